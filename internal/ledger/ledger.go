// Package ledger keeps a ledger: a chain of batches of entries in a store,
// anchored in a key, and the state that folds from them. The key is one of
// hardware, or a file outside the store that acts as one. The ledger is the
// database: audit trail, recovery log and stored form are one thing.
//
// A change is a function that looks at the state and decides on entries. One
// goroutine, the committer, takes all changes that wait, lets each decide on the
// state with the batch so far, and commits what comes out as one batch: first
// the store, then the key, which signs the new head, then everybody gets their
// answer. A batch that the key did not sign is not state.
//
// Stored are, under the ledger's name:
//
//	name/head     the newest batch's number and head, and the key's public half
//	name/b/<seq>  a batch: the head before it, its header, its entries
//	name/s/<seq>  the key's checkpoint of that batch, written with the next one
//
// with seq as sixteen hexadecimal digits and values in deterministic CBOR.
//
// After a crash the store is at most one batch ahead of the key. Open judges that
// batch as if an enemy had written it and then has it signed. Whatever else does
// not fit is refused by an error of its own, and the ledger can only be read.
package ledger

import (
	"context"
	"crypto/ed25519"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sojournlm/sojourn/internal/document"
	"github.com/sojournlm/sojourn/storage"
)

// Limits of one batch. What does not fit waits for the next one.
const (
	MaxEntries = 1000
	MaxBytes   = 512 << 10 // of entries
)

// Anchor is what a ledger needs of a key: one of hardware, or a file outside the
// store that acts as one. Its methods are called by one goroutine at a time, and
// end when ctx does.
//
// An anchor that wears out also has Ready(ctx) error. It is asked before each batch is
// stored, and its error refuses the batch: once stored, a batch that is never signed
// would be in doubt for ever.
type Anchor interface {
	// Checkpoint is the newest head the key was told of, signed.
	Checkpoint(ctx context.Context) (document.Checkpoint, error)
	// Advance moves the key from prev to document.Chain(prev, header) for good and
	// gives the new checkpoint. For the head the key already has it gives the
	// checkpoint again; for a prev that is not the key's head it fails. An error
	// says nothing about whether the key has moved.
	Advance(ctx context.Context, prev document.Hash, header []byte) (document.Checkpoint, error)
	// Public is the key that signs the checkpoints.
	Public() ed25519.PublicKey
}

// Position is the place of an entry in its ledger and what the batch says for
// all its entries.
type Position struct {
	Seq   uint64 // number of the batch, from 1
	Index int    // place in the batch, from 0
	Time  int64  // the ledger's time, Unix seconds
	Rules uint32 // version of the rules that made the batch
}

// State is a fold of entries. A state that the ledger has shown to anybody is
// never changed again: the ledger changes clones.
type State[S any] interface {
	// Clone is a copy to change, in constant time: copy-on-write. It is safe for
	// concurrent use with itself and with reading.
	Clone() S
	// Apply adds an entry. It depends on nothing but the state and its arguments.
	// An error says that the entry is not one of ours or contradicts the state,
	// which is then thrown away.
	Apply(at Position, entry []byte) error
	// Judge looks at an entry that was found in the store without the key's
	// signature, before it is applied: hostile until it proves itself.
	Judge(at Position, entry []byte) error
	// Due is the entries that time alone has made due at now, or nil.
	Due(now int64) [][]byte
	// Horizon is the latest death time ever issued, Unix seconds; it never falls.
	Horizon() int64
	// Check says whether the state agrees with itself.
	Check() error
}

// Config is what a ledger is made of. Only Witness may be nil.
type Config[S State[S]] struct {
	Name    string                  // prefix of its keys in the store, such as "pool/00000001"
	Store   storage.Store           // not closed by the ledger
	Anchor  Anchor                  // the key
	Empty   S                       // the state before the first entry
	Rules   uint32                  // version of the rules that new batches are made by, from 1; all up to it are known
	Clock   *Clock                  // started by Open with the last recorded time
	Witness func() document.Witness // position of the manager's own ledger, for the header; nil there
}

func (c *Config[S]) check() error {
	switch {
	case c.Name == "":
		return errors.New("no name")
	case c.Store == nil || c.Anchor == nil || c.Clock == nil:
		return errors.New("no store, anchor or clock")
	case len(c.Anchor.Public()) != ed25519.PublicKeySize:
		return errors.New("the anchor has no public key")
	case c.Rules == 0:
		return errors.New("rules are numbered from 1")
	}
	return nil
}

// Ledger is an open ledger. It is safe for concurrent use. One process has a
// ledger open at a time; a second one is found out by its first commit.
type Ledger[S State[S]] struct {
	cfg    Config[S]
	public ed25519.PublicKey // of the key that signed what is stored: the anchor's, unless that was lost

	tip     atomic.Pointer[tip[S]] // what is stored and signed
	due     atomic.Pointer[due[S]] // tip with what was due at the last Read
	doubt   atomic.Pointer[due[S]] // pending with what was due at the last Doubtful
	refusal atomic.Pointer[error]
	pending atomic.Pointer[pending[S]] // written by Open, then by the committer alone

	queue   queue[S]
	cancel  context.CancelFunc // ends the committer's context
	stopped chan struct{}      // closed when the committer has ended
	closed  error              // what Close gives; written before stopped is closed

	mu    sync.Mutex
	stats Stats
}

// tip is the newest batch that is stored and signed, and the state up to it.
// It is never changed.
type tip[S State[S]] struct {
	state      S
	header     document.Header     // of the batch; zero before the first
	head       document.Hash       // zero before the first
	checkpoint document.Checkpoint // the key's, over head; without signature where the ledger was refused
	recorded   bool                // the checkpoint is in the store
}

// due is a state with the entries that were due at a time.
type due[S State[S]] struct {
	tip   *tip[S]
	until int64
	state S
	index int // entries applied beyond the tip
}

// Read is the state as of now: what is stored and signed, with everything that
// time has made due since. Nothing is due by a clock that is not believed. The
// state is the caller's to read, for as long as he likes.
func (l *Ledger[S]) Read() (S, Moment) { return l.asOfNow(l.tip.Load(), &l.due) }

// asOfNow is the state after t with everything that time has made due since. It is kept
// in last.
func (l *Ledger[S]) asOfNow(t *tip[S], last *atomic.Pointer[due[S]]) (S, Moment) {
	now := l.cfg.Clock.Now()
	if now.Err != nil {
		return t.state, now
	}
	from := last.Load()
	if from == nil || from.tip != t || from.until > now.Unix {
		from = &due[S]{tip: t, state: t.state}
	}
	entries := from.state.Due(now.Unix)
	if len(entries) == 0 {
		return from.state, now
	}
	next := &due[S]{tip: t, until: now.Unix, state: from.state.Clone(), index: from.index}
	for _, entry := range entries {
		at := Position{Seq: t.header.Seq + 1, Index: next.index, Time: now.Unix, Rules: l.cfg.Rules}
		if err := next.state.Apply(at, entry); err != nil {
			// The rules contradict themselves, and every commit says so. What is
			// stored holds.
			return t.state, now
		}
		next.index++
	}
	last.Store(next)
	return next.state, now
}

// Overdue says whether time has made something due that is not entered yet: Read shows
// it, and the next batch enters it.
func (l *Ledger[S]) Overdue() bool {
	t, now := l.tip.Load(), l.cfg.Clock.Now()
	return now.Err == nil && len(t.state.Due(now.Unix)) > 0
}

// Refusal is nil, or why every change is refused, and every grant should be. It
// wraps ErrForked, ErrRolledBack, ErrAnchorLost, ErrDamaged, ErrRules or
// storage.ErrUnknown.
func (l *Ledger[S]) Refusal() error {
	if err := l.refusal.Load(); err != nil {
		return *err
	}
	return nil
}

// Doubtful is what Read would give if the batch that is stored and not known to be signed,
// judged or not, had been: nothing in doubt lasts longer than if it had happened. There is
// none where ok is false: also where the batch does not fold, and so never becomes state.
// Who looks here first, and then at Read, misses no batch that was stored before.
func (l *Ledger[S]) Doubtful() (state S, ok bool) {
	if p := l.pending.Load(); p != nil {
		if t := p.look(); t != nil {
			state, _ = l.asOfNow(t, &l.doubt)
			return state, true
		}
	}
	return state, false
}

// Hides is nil, or why the ledger may have more than it shows: Refusal, where that wraps
// ErrRolledBack, ErrForked, ErrDamaged, ErrRules or storage.ErrUnknown. Where it wraps
// ErrAnchorLost, all that is stored is shown, or Doubtful.
func (l *Ledger[S]) Hides() error {
	err := l.Refusal()
	for _, why := range []error{ErrRolledBack, ErrForked, ErrDamaged, ErrRules, storage.ErrUnknown} {
		if errors.Is(err, why) {
			return err
		}
	}
	return nil
}

// MayHold says whether the ledger has what has looks for in a state, or may turn out
// to: it is shown or Doubtful, or nothing can be told because the ledger Hides something.
// A command that its caller left counts when Unseen is closed.
func (l *Ledger[S]) MayHold(has func(s S, now Moment) bool) bool {
	if l.Hides() != nil {
		return true
	}
	doubtful, some := l.Doubtful() // before the state: what ceases to be pending is shown, or refused
	state, now := l.Read()
	return some && has(doubtful, now) || has(state, now) || l.Hides() != nil
}

// Unseen is closed when what became of the commands that their callers have left by
// now can be seen: by Doubtful and then Read, or by Refusal. It is nil where that is
// so already. It does not wait for the key.
func (l *Ledger[S]) Unseen() <-chan struct{} { return l.queue.unseen() }

// refuse makes err the reason of all refusals, unless there is one, and gives
// the reason.
func (l *Ledger[S]) refuse(err error) error {
	l.refusal.CompareAndSwap(nil, &err)
	return l.Refusal()
}

// Position is the number and the head of the newest batch that is stored and
// signed; zero before the first.
func (l *Ledger[S]) Position() document.Witness {
	t := l.tip.Load()
	return document.Witness{Seq: t.header.Seq, Head: t.head}
}

// Header is that of the newest batch that is stored and signed; zero before the
// first.
func (l *Ledger[S]) Header() document.Header { return l.tip.Load().header }

// Stats counts what a ledger did since it was opened.
type Stats struct {
	Batches  uint64        // committed
	Entries  uint64        // in them
	Commands uint64        // answered with them
	InStore  time.Duration // spent in commits of the store
	InKey    time.Duration // spent in advances of the key
}

// Stats is the counts as of now.
func (l *Ledger[S]) Stats() Stats {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.stats
}

func (l *Ledger[S]) count(add func(*Stats)) {
	l.mu.Lock()
	defer l.mu.Unlock()
	add(&l.stats)
}
