package fingerprint

import (
	"iter"
	"slices"
	"sync"

	"github.com/tidwall/btree"

	"github.com/sojournlm/sojourn/internal/document"
	"github.com/sojournlm/sojourn/internal/fold"
)

// Computer is one known computer. Values are immutable: a change makes a new one.
type Computer struct {
	ID       uint64 // lmsId: its manager's id, and this entry's
	HostName string // as its fingerprint says or as it was edited
	Issued   int64  // when the fingerprint was obtained, Unix seconds; may be edited
	Auto     bool   // determined by the manager itself: not for editing
	Remote   bool   // false for the computer the manager runs on

	encoded []byte // the fingerprint, in one piece: a book may have a million
}

// Recipient is the computer as a license names it: with the keys and
// components of its fingerprint and under the name it has in the book.
func (c *Computer) Recipient() document.Recipient {
	r := c.Fingerprint().Computer
	r.HostName = c.HostName
	return r
}

// Buffer is the computer's fingerprint as a file that can be carried.
func (c *Computer) Buffer() []byte {
	return document.Wrap(document.KindFingerprint, 0, c.ID, c.encoded)
}

// Fingerprint is what the computer says of itself. It is decoded each time.
func (c *Computer) Fingerprint() *document.Fingerprint {
	f := new(document.Fingerprint)
	if err := document.Decode("fingerprint", c.encoded, len(c.encoded), f); err != nil {
		panic(err) // it was parsed when the computer was entered
	}
	return f
}

// Book is the known computers of one manager: the fold of its [Change] values,
// and the pure rules by which a change is made. It knows no clock and no disk.
//
// The computer the manager runs on is in the book from the moment it is
// observed. It is listed as auto and not remote, and cannot be added, edited or
// removed by hand.
//
// Any number of goroutines may read and clone a book that nobody applies
// changes to; one that is being changed belongs to one goroutine.
type Book struct {
	self  uint64
	local *Computer

	mu     sync.Mutex // cloning writes a mark into the tree it clones
	byHand *btree.BTreeG[*Computer]
}

// NewBook gives the empty book of the manager with the id self.
func NewBook(self uint64) *Book {
	byID := func(a, b *Computer) bool { return a.ID < b.ID }
	return &Book{self: self, byHand: btree.NewBTreeGOptions(byID, btree.Options{NoLocks: true})}
}

// Clone gives an independent copy in constant time.
func (b *Book) Clone() *Book {
	b.mu.Lock()
	defer b.mu.Unlock()
	return &Book{self: b.self, local: b.local, byHand: b.byHand.Copy()}
}

// Local is the computer the manager runs on, or nil while it was not observed.
func (b *Book) Local() *Computer { return b.local }

// Computer gives the one whose manager has that id, the local one included.
func (b *Book) Computer(id uint64) (*Computer, bool) {
	if id == b.self {
		return b.local, b.local != nil
	}
	return b.byHand.Get(&Computer{ID: id})
}

// Check reports the first entry that does not agree with the book it is in.
func (b *Book) Check() error {
	if b.local != nil && (b.local.ID != b.self || !b.local.Auto || b.local.Remote) {
		return internal("the local computer is entered as %d", b.local.ID)
	}
	var err error
	b.byHand.Scan(func(c *Computer) bool {
		if c.ID == b.self || c.Auto || !c.Remote || c.ID != c.Fingerprint().Computer.ID {
			err = internal("computer %d is entered as one it is not", c.ID)
		}
		return err == nil
	})
	return err
}

// Computers is an ordered, unchanging list of known computers. It is safe for
// concurrent use and may be kept.
type Computers struct {
	local  *Computer // comes first where it is not nil
	byHand *btree.BTreeG[*Computer]
	found  []*Computer // instead of byHand, by a search
}

// Len is how many computers the list has.
func (l Computers) Len() int {
	n := len(l.found)
	if l.byHand != nil {
		n = l.byHand.Len()
	}
	if l.local != nil {
		n++
	}
	return n
}

// From gives the computers from place i on, without looking each of them up; none
// where i is not a place in the list.
func (l Computers) From(i int) iter.Seq[*Computer] {
	return func(yield func(*Computer) bool) {
		if i < 0 || i >= l.Len() {
			return
		}
		if l.local != nil {
			if i == 0 && !yield(l.local) {
				return
			}
			i = max(0, i-1)
		}
		if l.byHand == nil {
			slices.Values(l.found[i:])(yield)
			return
		}
		if begin, ok := l.byHand.GetAt(i); ok {
			l.byHand.Ascend(begin, yield)
		}
	}
}

// Computers lists the computers whose host name contains search, however its
// letters are cased; the empty search lists them all and costs nothing. The
// local computer comes first, the others are ordered by id.
func (b *Book) Computers(search string) Computers {
	query := fold.NewQuery(search)
	if query.Empty() {
		return Computers{local: b.local, byHand: b.byHand}
	}
	var l Computers
	if b.local != nil && query.In(b.local.HostName) {
		l.local = b.local
	}
	b.byHand.Scan(func(c *Computer) bool {
		if query.In(c.HostName) {
			l.found = append(l.found, c)
		}
		return true
	})
	return l
}
