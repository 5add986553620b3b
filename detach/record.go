package detach

import (
	"cmp"
	"slices"

	"github.com/sojournlm/sojourn/internal/document"
)

// The records of a pool lie in blocks, by their numbers, and its indexes name them
// by number. So no index has a pointer in it, and the garbage collector walks
// through none of them: it would look at every license once for each of its indexes,
// and with a million licenses that is most of what a page of a list costs.

// blockSize is how many records one block has: a change of one copies its block.
const blockSize = 64

// block is the records with numbers from first on, nil where no license has one.
type block struct {
	first   uint32
	records *[blockSize]*Record // never written to once it is in the tree
}

func byBlock(a, b block) bool { return a.first < b.first }

// blockOf is where the block of a number begins.
func blockOf(number uint32) uint32 { return number &^ (blockSize - 1) }

// record is the remembered license with that number, nil for none.
func (p *Pool) record(number uint32) *Record { return recordIn(p.records, number) }

func recordIn(records *tree[block], number uint32) *Record {
	if b, ok := records.Get(block{first: blockOf(number)}); ok {
		return b.records[number%blockSize]
	}
	return nil
}

// put sets the record with that number; nil takes it away.
func (p *Pool) put(number uint32, r *Record) {
	b := block{first: blockOf(number), records: new([blockSize]*Record)}
	if old, ok := p.records.Get(b); ok {
		*b.records = *old.records
	}
	b.records[number%blockSize] = r
	if *b.records == [blockSize]*Record{} {
		p.records.Delete(b)
	} else {
		p.records.Set(b)
	}
}

// freeNumber gives a number that no record has. It counts up and begins anew when the
// numbers are used up, so that licenses made together lie together.
func (p *Pool) freeNumber() uint32 {
	for p.record(p.next) != nil {
		p.next++
	}
	n := p.next
	p.next++
	return n
}

// shortened is a remembered license's short id.
type shortened struct{ id, number uint32 }

func byShortID(a, b shortened) bool { return a.id < b.id }

// short is the remembered license with a short id, nil for none.
func (p *Pool) short(id uint32) *Record {
	if s, ok := p.shorts.Get(shortened{id: id}); ok {
		return p.record(s.number)
	}
	return nil
}

func (r *Record) shortened() shortened { return shortened{document.ShortID(r.License), r.number} }

// waiting is a license and when time changes something about it.
type waiting struct {
	due    int64 // Unix seconds
	number uint32
}

func byDue(a, b waiting) bool {
	return cmp.Or(cmp.Compare(a.due, b.due), cmp.Compare(a.number, b.number)) < 0
}

func (r *Record) waiting() waiting { return waiting{r.due, r.number} }

// outTo is a license that is out, and to whom.
type outTo struct {
	recipient uint64
	number    uint32
}

func byRecipient(a, b outTo) bool {
	return cmp.Or(cmp.Compare(a.recipient, b.recipient), cmp.Compare(a.number, b.number)) < 0
}

func (r *Record) outTo() outTo { return outTo{r.Recipient.ID, r.number} }

// choice is features of a pool license, shared by the licenses that have just these.
type choice struct {
	pool     *document.Pool
	features []uint16 // places in pool.Features
}

// chosen is how many remembered licenses have a choice.
type chosen struct {
	*choice
	n int
}

func byChoice(a, b chosen) bool {
	return cmp.Or(cmp.Compare(a.pool.Head.Counter, b.pool.Head.Counter), slices.Compare(a.features, b.features)) < 0
}

func (p *Pool) count(c *choice, by int) {
	x, _ := p.choices.Get(chosen{choice: c})
	if x.choice, x.n = c, x.n+by; x.n == 0 {
		p.choices.Delete(x)
	} else {
		p.choices.Set(x)
	}
}
