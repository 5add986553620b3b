package detach

import (
	"cmp"
	"iter"
	"math"
	"slices"
	"strconv"

	"github.com/tidwall/btree"

	"github.com/sojournlm/sojourn/internal/code"
	"github.com/sojournlm/sojourn/internal/document"
	"github.com/sojournlm/sojourn/internal/fold"
)

// Filter chooses from a list: all its conditions hold for what is chosen. The
// zero Filter chooses everything.
type Filter struct {
	// Search is a text, whatever its case, within the number or name of a
	// feature or product, a product's modification, the key's id, the vendor's
	// public code as number or text, or, for licenses, the recipient's host name.
	Search string

	Dongle  *uint64 // exactly this key's pool
	Product *uint32 // exactly this product number
	Feature *uint32 // exactly this feature number, of Product where that is given
}

// FeatureState is a feature of a pool and where its seats are. Always
// Free + Detached = Feature.Seats + Overdrawn, and Free or Overdrawn is 0.
type FeatureState struct {
	Feature   document.Feature // Seats is 0 for one the vendor took away while seats of it are out
	Detached  uint32           // seats away from the pool
	Free      uint32           // seats that can leave
	Overdrawn uint32           // seats away beyond what the vendor now allows
}

// Features lists the features of the pool, also those the vendor has taken away
// while seats of them are out, ordered by [document.FeatureRef.Compare].
func (p *Pool) Features(filter Filter) []FeatureState {
	list := []FeatureState{}
	if filter.Dongle != nil && *filter.Dongle != p.trust.Key {
		return list
	}
	match := p.matcher(filter.Search)
	for f := range p.EachFeature() {
		if filter.chooses(f) && match.feature(f) {
			list = append(list, p.Seats(f))
		}
	}
	return list
}

// EachFeature walks the features that Features lists without a filter, in that
// order. It copies nothing but those that the vendor has taken away.
func (p *Pool) EachFeature() iter.Seq[*document.Feature] {
	return func(yield func(*document.Feature) bool) {
		var gone []*document.Feature
		p.taken.Scan(func(t taken) bool {
			if _, ok := p.find(t.feature.Ref()); !ok {
				f := *t.feature
				f.Seats = 0
				gone = append(gone, &f)
			}
			return true
		})
		if p.license != nil {
			for i := range p.license.Features {
				f := &p.license.Features[i]
				for len(gone) > 0 && gone[0].Ref().Compare(f.Ref()) < 0 {
					if !yield(gone[0]) {
						return
					}
					gone = gone[1:]
				}
				if !yield(f) {
					return
				}
			}
		}
		for _, f := range gone {
			if !yield(f) {
				return
			}
		}
	}
}

// Feature is the state of a feature in the newest pool license.
func (p *Pool) Feature(ref document.FeatureRef) (FeatureState, bool) {
	at, ok := p.find(ref)
	if !ok {
		return FeatureState{}, false
	}
	return p.Seats(&p.license.Features[at]), true
}

// Seats is where the seats of a feature that EachFeature gave are.
func (p *Pool) Seats(f *document.Feature) FeatureState {
	away := p.away(f.Ref())
	return FeatureState{Feature: *f, Detached: away, Free: f.Seats - min(f.Seats, away), Overdrawn: away - min(f.Seats, away)}
}

// Detached lists the licenses that are out, ordered by the time of detaching,
// then id. Without a Search it costs the same for any number of licenses.
func (p *Pool) Detached(filter Filter) Sequence {
	tag, ok := filter.tag()
	if !ok || filter.Dongle != nil && *filter.Dongle != p.trust.Key {
		return Sequence{}
	}
	all := p.listOf(tag)
	if filter.Search == "" {
		return all
	}
	match := p.matcher(filter.Search)
	var found []*Record
	for r := range all.From(0) {
		if match.license(r) {
			found = append(found, r)
		}
	}
	return Sequence{found: found, n: len(found)}
}

// Sequence is a list of licenses of which any part can be read. It stays as it
// was when the pool goes on, and is safe for concurrent use.
type Sequence struct {
	list    *tree[listed]
	records *tree[block]
	from, n int
	found   []*Record // instead of list, by a search
}

// Len is the number of licenses.
func (s Sequence) Len() int { return s.n }

// At is license i, from 0; nil where i is not below Len.
func (s Sequence) At(i int) *Record {
	switch {
	case i < 0 || i >= s.n:
		return nil
	case s.list == nil:
		return s.found[i]
	}
	l, _ := s.list.GetAt(s.from + i)
	return recordIn(s.records, l.number)
}

// From gives the licenses from place i on, without looking each of them up.
func (s Sequence) From(i int) iter.Seq[*Record] {
	return func(yield func(*Record) bool) {
		if i < 0 || i >= s.n {
			return
		}
		if s.list == nil {
			for _, r := range s.found[i:] {
				if !yield(r) {
					return
				}
			}
			return
		}
		begin, _ := s.list.GetAt(s.from + i)
		left := s.n - i
		var near block // licenses made together lie together
		var hint btree.PathHint
		s.list.Ascend(begin, func(l listed) bool {
			if at := blockOf(l.number); near.records == nil || near.first != at {
				near, _ = s.records.GetHint(block{first: at}, &hint)
			}
			left--
			return yield(near.records[l.number%blockSize]) && left > 0
		})
	}
}

// listed is a license's place in the list of one filter.
type listed struct {
	list    uint32 // the list's number
	number  uint32 // the record's
	issued  int64
	license uint64
}

func (r *Record) listed(list uint32) listed { return listed{list, r.number, r.Issued, r.License} }

// A list's tag is a product number and a feature number, each of which may be
// anyNumber.
const (
	anyNumber  = math.MaxUint32 // no product and no feature has this number
	everything = math.MaxUint64 // the tag of the list without a filter
)

func byList(a, b listed) bool {
	return cmp.Or(cmp.Compare(a.list, b.list), cmp.Compare(a.issued, b.issued), cmp.Compare(a.license, b.license)) < 0
}

func tagOf(product, feature uint32) uint64 { return uint64(product)<<32 | uint64(feature) }

// tags are the filters that choose the license, some of them repeatedly.
func (r *Record) tags() iter.Seq[uint64] {
	return func(yield func(uint64) bool) {
		if !yield(everything) {
			return
		}
		for _, at := range r.features {
			f := &r.pool.Features[at]
			if !yield(tagOf(f.ProductNumber, f.FeatureNumber)) || !yield(tagOf(f.ProductNumber, anyNumber)) || !yield(tagOf(anyNumber, f.FeatureNumber)) {
				return
			}
		}
	}
}

// length is how many licenses a tag chooses, and the number of the list that has
// them.
type length struct {
	tag  uint64
	list uint32
	n    int
}

func byLength(a, b length) bool { return a.tag < b.tag }

// numberList gives the list of a tag, a new number with it where it had none. A list
// keeps its number when it is empty: there are only as many as features.
func (p *Pool) numberList(tag uint64) length {
	l, known := p.lengths.Get(length{tag: tag})
	if !known {
		l = length{tag: tag, list: uint32(p.lengths.Len())}
	}
	return l
}

// listOf is the list of a tag. Where it begins follows from the lengths of the
// lists before it, of which there are about as many as features.
func (p *Pool) listOf(tag uint64) Sequence {
	s := Sequence{list: p.list, records: p.records}
	of, known := p.lengths.Get(length{tag: tag})
	if s.n = of.n; !known || of.list == 0 {
		return s
	}
	p.lengths.Scan(func(l length) bool {
		if l.list < of.list {
			s.from += l.n
		}
		return true
	})
	return s
}

// tag is the list that the filter's numbers choose, if there is one.
func (f Filter) tag() (uint64, bool) {
	product, feature := uint32(anyNumber), uint32(anyNumber)
	if f.Product != nil {
		product = *f.Product
	}
	if f.Feature != nil {
		feature = *f.Feature
	}
	// Asking for the number that stands for any must not find everything.
	ok := (f.Product == nil || product != anyNumber) && (f.Feature == nil || feature != anyNumber)
	return tagOf(product, feature), ok
}

func (f Filter) chooses(x *document.Feature) bool {
	return (f.Product == nil || *f.Product == x.ProductNumber) && (f.Feature == nil || *f.Feature == x.FeatureNumber)
}

// matcher answers a search, remembering what it found of features, which many
// licenses share.
type matcher struct {
	query fold.Query
	all   bool // the key or its vendor matches, and with it everything
	known map[*document.Feature]bool
}

func (p *Pool) matcher(search string) *matcher {
	q := fold.NewQuery(search)
	vendor := p.Head().Vendor
	return &matcher{
		query: q,
		all:   q.In(decimal(p.trust.Key), decimal(vendor), code.PublicCodeText(vendor)),
		known: map[*document.Feature]bool{},
	}
}

func (m *matcher) feature(f *document.Feature) bool {
	if m.all {
		return true
	}
	match, ok := m.known[f]
	if !ok {
		match = m.query.In(decimal(f.FeatureNumber), f.Name, decimal(f.ProductNumber), f.ProductName, decimal(f.Modification))
		m.known[f] = match
	}
	return match
}

func (m *matcher) license(r *Record) bool {
	return m.all || m.query.In(r.Recipient.HostName) || slices.ContainsFunc(r.features, func(at uint16) bool {
		return m.feature(&r.pool.Features[at])
	})
}

func decimal[T uint32 | uint64](n T) string { return strconv.FormatUint(uint64(n), 10) }
