package ledger

import (
	"errors"
	"fmt"

	"github.com/sojournlm/sojourn/storage"
)

// What a ledger refuses for, for errors.Is. The first five stay until the
// ledger is opened anew; so does storage.ErrUnknown when it comes from the
// store.
var (
	// ErrForked says that the store and its anchor do not tell the same story, or
	// that somebody else writes this ledger's store.
	ErrForked = errors.New("store and anchor have parted")

	// ErrRolledBack says that the anchor knows of batches that the store does not
	// have: an older store was put back.
	ErrRolledBack = errors.New("the store was rolled back")

	// ErrAnchorLost says that the store was signed by another anchor, or by this
	// one before it forgot: what the anchor says cannot vouch for the store.
	ErrAnchorLost = errors.New("the anchor of the store was lost or set back")

	// ErrDamaged says that a stored batch is not what was written.
	ErrDamaged = errors.New("the store is damaged")

	// ErrRules says that a batch was made by rules that this program does not
	// know: a newer program wrote it.
	ErrRules = errors.New("made by a newer program")

	// ErrClock says that the computer's clock is not believed.
	ErrClock = errors.New("the clock is not believed")

	// ErrTooLarge says that one command's entries do not fit into a batch.
	// Nothing happened.
	ErrTooLarge = errors.New("too large for a batch")

	// ErrClosed says that the ledger was closed. Nothing happened.
	ErrClosed = errors.New("the ledger is closed")

	// ErrNoProof says that there is no such entry, or none that is signed yet.
	ErrNoProof = errors.New("no such signed entry")
)

// Error is a failure of a ledger: what it was doing, and where.
type Error struct {
	Op    string // "open", "commit", "settle", "proof", "verify" or "close"
	Name  string // the ledger's name
	Seq   uint64 // the batch it is about, or 0
	Index int    // the entry of that batch it is about, or -1
	Err   error  // the reason
}

// Error is the name, the operation, the place and the reason.
func (e *Error) Error() string {
	s := "ledger " + e.Name + ": " + e.Op
	if e.Seq != 0 {
		s += fmt.Sprintf(": batch %d", e.Seq)
		if e.Index >= 0 {
			s += fmt.Sprintf(", entry %d", e.Index)
		}
	}
	return s + ": " + e.Err.Error()
}

// Unwrap is the reason.
func (e *Error) Unwrap() error { return e.Err }

// fail is an Error about no batch in particular.
func (l *Ledger[S]) fail(op string, err error) error {
	return &Error{Op: op, Name: l.cfg.Name, Index: -1, Err: err}
}

// failAt is an Error about a batch, and about one of its entries where err says
// which.
func (l *Ledger[S]) failAt(op string, seq uint64, err error) error {
	e := &Error{Op: op, Name: l.cfg.Name, Seq: seq, Index: -1, Err: err}
	if bad, ok := err.(*badEntry); ok {
		e.Index, e.Err = bad.index, bad.err
	}
	return e
}

// badEntry is what is wrong with one entry of a batch, on its way to an Error.
type badEntry struct {
	index int
	err   error
}

func (b *badEntry) Error() string { return fmt.Sprintf("entry %d: %v", b.index, b.err) }
func (b *badEntry) Unwrap() error { return b.err }

// damaged is a reason that wraps ErrDamaged.
func damaged(format string, args ...any) error {
	return fmt.Errorf("%w: %w", ErrDamaged, fmt.Errorf(format, args...))
}

// unknown is an outcome that is not known, though the store need not be opened
// anew: asking again settles it. It wraps storage.ErrUnknown.
type unknown struct {
	why string
	err error
}

func (u *unknown) Error() string   { return "outcome unknown: " + u.why + ": " + u.err.Error() }
func (u *unknown) Unwrap() []error { return []error{storage.ErrUnknown, u.err} }
