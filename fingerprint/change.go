package fingerprint

import (
	"bytes"
	"fmt"

	"github.com/sojournlm/sojourn/internal/code"
	"github.com/sojournlm/sojourn/internal/document"
)

// The names of the fields of a known computer, as the API spells them.
const (
	fieldFingerprint = "fingerprint"
	fieldHostName    = "hostName"
	fieldIssueTime   = "issueTime"
	fieldID          = "lmsId"
)

// Change is one change of a [Book] as it stands in a ledger: the computer as it
// is afterwards, or, with no fingerprint, its removal.
type Change struct {
	ID          uint64 `cbor:"1,keyasint"`
	HostName    string `cbor:"2,keyasint"`
	Issued      int64  `cbor:"3,keyasint"` // Unix seconds
	Fingerprint []byte `cbor:"4,keyasint"` // the encoded document, or empty
}

// Fields are what a caller says of a computer. A nil field is not given.
type Fields struct {
	ID          *uint64 // lmsId
	HostName    *string
	Issued      *int64 // issueTime, Unix seconds
	Fingerprint []byte // a carried fingerprint file
}

// Parse reads a carried fingerprint file. Anything else, a fingerprint of
// another make included, is refused with InvalidParameter.
func Parse(file []byte) (*document.Fingerprint, error) {
	e, err := document.Unwrap(file)
	if err != nil {
		return nil, invalid(fieldFingerprint, "this is not a fingerprint of ours: %v", err)
	}
	f, err := e.Fingerprint()
	if err != nil {
		return nil, invalid(fieldFingerprint, "the fingerprint cannot be read: %v", err)
	}
	return f, nil
}

// Buffer is the file in which a fingerprint is carried; [Parse] reads it.
func Buffer(f *document.Fingerprint) []byte {
	return document.Wrap(document.KindFingerprint, 0, f.Computer.ID, f.Bytes())
}

// Add decides on a computer that is added by hand. It needs the fingerprint;
// what else is given overrides what the fingerprint says, except the id, which
// must agree with it. The change is nil where there is nothing to change.
//
// A computer added by hand before is replaced by a fingerprint of the same keys
// that is not older, whole: what was edited goes. The very same fingerprint
// changes nothing, so a repeated file never undoes an edit. The errors are an
// [*Error] with InvalidParameter for a field, OperationIsNotAllowed for the
// local computer and for other keys, and InvalidUpdateOrAlreadyInstalled for an
// older fingerprint.
func (b *Book) Add(given Fields) (*Change, error) {
	if given.Fingerprint == nil {
		return nil, invalid(fieldFingerprint, "adding a computer needs its fingerprint")
	}
	f, err := Parse(given.Fingerprint)
	if err != nil {
		return nil, err
	}
	id := f.Computer.ID
	if given.ID != nil && *given.ID != id {
		return nil, invalid(fieldID, "lmsId %d contradicts the fingerprint, which is of %d", *given.ID, id)
	}
	if id == b.self {
		return nil, notAllowed("computer %d is the one this manager runs on: it is known by itself", id)
	}
	c := &Change{ID: id, HostName: f.Computer.HostName, Issued: f.Issued, Fingerprint: f.Bytes()}
	if err := c.override(given); err != nil {
		return nil, err
	}
	if known, ok := b.Computer(id); ok {
		if err := succeeds(known, f); err != nil {
			return nil, err
		}
		if bytes.Equal(f.Bytes(), known.encoded) {
			return nil, nil
		}
		if f.Issued < known.Fingerprint().Issued {
			return nil, &Error{code.InvalidUpdateOrAlreadyInstalled, fieldFingerprint,
				fmt.Sprintf("this fingerprint of computer %d is older than the known one", id)}
		}
	}
	return c, nil
}

// Edit decides on changes to a computer that was added by hand: just the fields
// that are given change. The id says which computer; a new fingerprint must be
// of the same id and keys. The change is nil where there is nothing to change.
// The errors are an [*Error] with InvalidParameter for a field, NoResultsFound
// for an unknown id and OperationIsNotAllowed for the local computer and for
// other keys.
func (b *Book) Edit(given Fields) (*Change, error) {
	known, err := b.editable(given.ID)
	if err != nil {
		return nil, err
	}
	was := known.change()
	c := was
	if given.Fingerprint != nil {
		f, err := Parse(given.Fingerprint)
		if err != nil {
			return nil, err
		}
		if f.Computer.ID != known.ID {
			return nil, invalid(fieldFingerprint, "this is the fingerprint of %d, not of %d", f.Computer.ID, known.ID)
		}
		if err := succeeds(known, f); err != nil {
			return nil, err
		}
		c.Fingerprint = f.Bytes()
	}
	if err := c.override(given); err != nil {
		return nil, err
	}
	if c.HostName == was.HostName && c.Issued == was.Issued && bytes.Equal(c.Fingerprint, was.Fingerprint) {
		return nil, nil
	}
	return &c, nil
}

// Remove decides on taking a computer that was added by hand out of the book.
// The errors are those of [Book.Edit].
func (b *Book) Remove(id uint64) (*Change, error) {
	if _, err := b.editable(&id); err != nil {
		return nil, err
	}
	return &Change{ID: id}, nil
}

// Observe decides on what the manager found about its own computer. f must be
// of the book's own id. The change is nil where name, keys and components are
// those already known: the time alone is no news.
func (b *Book) Observe(f *document.Fingerprint) (*Change, error) {
	if f.Computer.ID != b.self {
		return nil, internal("computer %d observed by manager %d", f.Computer.ID, b.self)
	}
	if b.local != nil && bytes.Equal(document.Encode(b.local.Fingerprint().Computer), document.Encode(f.Computer)) {
		return nil, nil
	}
	return &Change{ID: b.self, HostName: f.Computer.HostName, Issued: f.Issued, Fingerprint: f.Bytes()}, nil
}

// Apply makes a change that was decided. An error means that the change is none
// of this book's; the book is then as before.
func (b *Book) Apply(c Change) error {
	if len(c.Fingerprint) == 0 {
		if c.HostName != "" || c.Issued != 0 {
			return internal("a removal of computer %d that names more than it", c.ID)
		}
		if _, err := b.editable(&c.ID); err != nil {
			return err
		}
		b.byHand.Delete(&Computer{ID: c.ID})
		return nil
	}
	f, err := document.ParseFingerprint(c.Fingerprint)
	if err != nil {
		return err
	}
	if f.Computer.ID != c.ID {
		return internal("the fingerprint of %d entered for computer %d", f.Computer.ID, c.ID)
	}
	if err := c.check(); err != nil {
		return err
	}
	if known, ok := b.Computer(c.ID); ok {
		if err := succeeds(known, f); err != nil {
			return err
		}
	}
	own := c.ID == b.self
	computer := &Computer{ID: c.ID, HostName: c.HostName, Issued: c.Issued, Auto: own, Remote: !own, encoded: f.Bytes()}
	if own {
		b.local = computer
	} else {
		b.byHand.Set(computer)
	}
	return nil
}

// editable gives the computer with that id if it was added by hand.
func (b *Book) editable(id *uint64) (*Computer, error) {
	if id == nil {
		return nil, invalid(fieldID, "lmsId says which computer is meant, and is missing")
	}
	c, ok := b.Computer(*id)
	switch {
	case *id == b.self:
		return nil, notAllowed("computer %d is the one this manager runs on: it cannot be edited or removed", *id)
	case !ok:
		return nil, &Error{code.NoResultsFound, fieldID, fmt.Sprintf("no computer with lmsId %d is known", *id)}
	}
	return c, nil
}

// succeeds refuses a fingerprint of other keys than the known ones: seats would
// go to a computer that only claims to be the known one.
func succeeds(known *Computer, f *document.Fingerprint) error {
	old, now := known.Fingerprint().Computer, f.Computer
	if !bytes.Equal(old.Sign, now.Sign) || !bytes.Equal(old.Seal, now.Seal) {
		return notAllowed("computer %d is known by other keys: remove it first, if this is really its new fingerprint", known.ID)
	}
	return nil
}

// change gives the computer as a change would enter it.
func (c *Computer) change() Change {
	return Change{ID: c.ID, HostName: c.HostName, Issued: c.Issued, Fingerprint: c.encoded}
}

// override takes what was given by hand.
func (c *Change) override(given Fields) error {
	if given.HostName != nil {
		c.HostName = *given.HostName
	}
	if given.Issued != nil {
		c.Issued = *given.Issued
	}
	return c.check()
}

// check refuses what no document could carry: a license made for the computer
// has its name.
func (c *Change) check() error {
	if err := document.CheckText(c.HostName); err != nil {
		return invalid(fieldHostName, "hostName %v", err)
	}
	if c.Issued < 0 || c.Issued > document.MaxTime {
		return invalid(fieldIssueTime, "issueTime %d is not between 1970 and 9999", c.Issued)
	}
	return nil
}

func invalid(field, format string, args ...any) error {
	return &Error{code.InvalidParameter, field, fmt.Sprintf(format, args...)}
}

func notAllowed(format string, args ...any) error {
	return &Error{code.OperationIsNotAllowed, fieldID, fmt.Sprintf(format, args...)}
}

// internal is about an entry that the rules cannot have made.
func internal(format string, args ...any) error {
	return &Error{code.InternalError, "", fmt.Sprintf(format, args...)}
}
