package licensing

import (
	"cmp"
	"context"
	"iter"
	"slices"
	"strconv"
	"time"

	"github.com/sojournlm/sojourn/detach"
	"github.com/sojournlm/sojourn/internal/document"
	"github.com/sojournlm/sojourn/internal/fold"
)

// Page selects a part of a list. The zero Page is the whole list.
type Page struct {
	Number int // from 1; zero: 1
	Limit  int // entries on a page; zero: all
}

// Filter selects entries of a list; all given conditions must hold. Search is a
// substring, letter case apart, over numbers, names, the vendor and the host
// name. The others are exact.
type Filter struct {
	Search  string
	Key     *uint64 // dongleId; of a detached license its origin's
	Product *uint32
	Feature *uint32
	Page    Page
}

// List is a list's total and the entries that were asked for. The entries are
// made while they are read, from the state of when the list was made.
type List[T any] struct {
	Total  int        // before paging
	Silent []Computer // managers elsewhere that did not answer: what they have is as it was when they last did
	items  iter.Seq[T]
}

// All gives the entries in their order.
func (l *List[T]) All() iter.Seq[T] { return l.items }

// sequence is an ordered collection that never changes.
type sequence[R any] interface {
	Len() int
	At(i int) R
}

// window gives the range of the page in a list of n entries.
func (p Page) window(n int) (from, to int, err error) {
	switch {
	case p.Number < 0:
		return 0, 0, invalid("page", "%d, want 1 or more", p.Number)
	case p.Limit < 0:
		return 0, 0, invalid("limit", "%d, want 0 or more", p.Limit)
	case p.Limit == 0 && p.Number <= 1:
		return 0, n, nil
	case p.Limit == 0 || p.Number-1 > n/p.Limit:
		return n, n, nil
	}
	from = max(0, p.Number-1) * p.Limit
	return min(from, n), min(from+p.Limit, n), nil
}

// listOf makes a list of a page of records.
func listOf[R, T any](op string, page Page, records sequence[R], show func(R) T) (*List[T], error) {
	from, to, err := page.window(records.Len())
	if err != nil {
		return nil, fail(op, err)
	}
	return &List[T]{Total: records.Len(), items: func(yield func(T) bool) {
		for i := from; i < to; i++ {
			if !yield(show(records.At(i))) {
				return
			}
		}
	}}, nil
}

type sliceSequence[R any] []R

func (s sliceSequence[R]) Len() int   { return len(s) }
func (s sliceSequence[R]) At(i int) R { return s[i] }

// Feature is one feature of a key, of an installed license (a software key), or
// the copy inside a detached license.
type Feature struct {
	Key             uint64 // dongleId; 0 inside a detached license
	Vendor          uint32 // publicCode
	ProductNumber   uint32
	Modification    uint32
	ProductName     string
	Number          uint32
	Name            string
	RemoteMode      uint32    // mask: 1 local, 2 remote
	ConsumptionMode uint32    // 0 per station, 1 per login, 2 per process
	Max             uint32    // seats in all
	Free            uint32    // seats that can be taken now
	Detached        uint32    // seats that are away
	Overdrawn       uint32    // seats away beyond Max, after the vendor shrank the pool
	MaxRuns         uint32    // 0: not limited by runs
	ValidFrom       time.Time // zero: always
	ValidUpTo       time.Time // zero: for ever
	DaysLeft        uint32    // whole days until ValidUpTo; 0 where that is zero or past
	Detachable      bool      // by the vendor
	DetachAllowed   bool      // by the vendor and the administrator
	CancelRequired  bool      // it is out to this computer: give that back first
	Expired         bool
	RDPForbidden    bool
	VMForbidden     bool
	Inaccessible    bool // its key is pulled out, the key's manager is silent, or its license does not count here
	Remote          bool // its key is at another manager
}

// newFeature fills in what a vendor signed.
func newFeature(key uint64, vendor uint32, f *document.Feature, now int64) Feature {
	out := Feature{
		Key: key, Vendor: vendor,
		ProductNumber: f.ProductNumber, Modification: f.Modification, ProductName: f.ProductName,
		Number: f.FeatureNumber, Name: f.Name,
		RemoteMode: f.RemoteMode, ConsumptionMode: f.ConsumptionMode,
		Max: f.Seats, MaxRuns: f.MaxRuns,
		RDPForbidden: f.RDPForbidden, VMForbidden: f.VMForbidden,
		Expired: f.ValidUpTo != 0 && f.ValidUpTo <= now,
	}
	if f.ValidFrom != 0 {
		out.ValidFrom = time.Unix(f.ValidFrom, 0)
	}
	if f.ValidUpTo != 0 {
		out.ValidUpTo = time.Unix(f.ValidUpTo, 0)
		out.DaysLeft = uint32(max(0, f.ValidUpTo-now) / (24 * 60 * 60))
	}
	return out
}

// Features lists the features of all keys, those at other managers included, and
// of the licenses installed here, by key id, product number, modification and feature number.
func (m *Manager) Features(ctx context.Context, filter Filter) (*List[Feature], error) {
	const op = "list features"
	done, err := m.begin(op)
	if err != nil {
		return nil, err
	}
	defer done()
	m.peers.refresh(ctx, false)
	shelves := m.shelves(filter.Key)
	query := fold.NewQuery(filter.Search)
	total := 0
	for _, sh := range shelves {
		for range sh.chosen(filter, query) {
			total++
		}
	}
	from, to, err := filter.Page.window(total)
	if err != nil {
		return nil, fail(op, err)
	}
	return withSilent(m, func() (*List[Feature], error) {
		return &List[Feature]{Total: total, items: func(yield func(Feature) bool) {
			at := 0
			for _, sh := range shelves {
				for f := range sh.chosen(filter, query) {
					if at >= to || at >= from && !yield(sh.show(f)) {
						return
					}
					at++
				}
			}
		}}, nil
	})
}

// withSilent says with a list which managers did not answer.
func withSilent[T any](m *Manager, list func() (*List[T], error)) (*List[T], error) {
	l, err := list()
	if err == nil {
		l.Silent = m.peers.silent()
	}
	return l, err
}

// shelf is the features of one key or installed license, which never change, and how
// each is shown.
type shelf struct {
	key    uint64
	vendor uint32
	all    iter.Seq[*document.Feature]
	show   func(*document.Feature) Feature
}

// chosen gives the features that the filter chooses, its search made to a query.
func (s shelf) chosen(f Filter, query fold.Query) iter.Seq[*document.Feature] {
	return func(yield func(*document.Feature) bool) {
		whole := query.In(keyTexts(s.key, s.vendor)...)
		for x := range s.all {
			if f.Product != nil && *f.Product != x.ProductNumber || f.Feature != nil && *f.Feature != x.FeatureNumber ||
				!whole && !query.In(featureTexts(x)...) {
				continue
			}
			if !yield(x) {
				return
			}
		}
	}
}

// keyTexts and featureTexts are what a search looks at.
func keyTexts(key uint64, vendor uint32) []string {
	return []string{decimal(key), decimal(vendor), PublicCodeText(vendor)}
}

func featureTexts(f *document.Feature) []string {
	return []string{decimal(f.FeatureNumber), f.Name, decimal(f.ProductNumber), f.ProductName, decimal(f.Modification)}
}

func decimal[N uint32 | uint64](n N) string { return strconv.FormatUint(uint64(n), 10) }

// shelves gives the features of all pools and all installed licenses, by key id; of
// one key where only that is wanted. It holds states that never change, not copies.
func (m *Manager) shelves(only *uint64) []shelf {
	var all []shelf
	add := func(s shelf) {
		if only == nil || *only == s.key {
			all = append(all, s)
		}
	}
	slots, away := m.here()
	for _, s := range slots {
		pool := s.shown()
		if pool == nil {
			continue
		}
		state, now := pool.Read()
		vendor, serves := state.Head().Vendor, s.serves()
		add(shelf{s.info.ID, vendor, state.EachFeature(), func(x *document.Feature) Feature {
			f := newFeature(s.info.ID, vendor, x, now.Unix)
			seats := state.Seats(x)
			f.Free, f.Detached, f.Overdrawn = seats.Free, seats.Detached, seats.Overdrawn
			f.Detachable = x.Detachable
			f.DetachAllowed = m.opts.Policy.Allows(*x)
			f.CancelRequired = state.Out(m.self.id(), x.Ref()) != nil
			f.Inaccessible = !serves
			return f
		}})
	}
	state, now := m.local.Read()
	for _, r := range away {
		all := func(yield func(*document.Feature) bool) {
			for i := range r.Features {
				if !yield(&r.Features[i].Feature) {
					return
				}
			}
		}
		add(shelf{r.ID, r.Vendor, all, func(x *document.Feature) Feature {
			i := slices.IndexFunc(r.Features, func(f remoteFeature) bool { return f.Feature.Ref() == x.Ref() })
			return r.feature(&r.Features[i], now.Unix)
		}})
	}
	for in := range state.AllInstalled() {
		t := in.License.Terms
		id := uint64(document.ShortID(t.License))
		all := func(yield func(*document.Feature) bool) {
			for i := range in.License.Features {
				if !yield(&in.License.Features[i]) {
					return
				}
			}
		}
		add(shelf{id, t.Vendor, all, func(x *document.Feature) Feature {
			f := newFeature(id, t.Vendor, x, now.Unix)
			f.Max, f.Free = t.Seats, t.Seats
			f.Inaccessible = untrusted(in) != nil
			return f
		}})
	}
	slices.SortStableFunc(all, func(a, b shelf) int { return cmp.Compare(a.key, b.key) })
	return all
}

// DetachedLicense is a live license that was detached from one of the keys here.
type DetachedLicense struct {
	ID        uint64
	Origin    uint64 // the key it came from
	Vendor    uint32 // publicCode
	Recipient uint64 // lmsId
	HostName  string // of the recipient
	Seats     int
	Issued    time.Time
	Death     time.Time // when the seats come home by themselves
	Duration  time.Duration
	Features  []Feature // as the recipient has them
}

// ListDetached lists the live licenses detached from the keys here, by time of
// detaching, then id. Returned and expired ones are not in it.
func (m *Manager) ListDetached(ctx context.Context, filter Filter) (*List[DetachedLicense], error) {
	const op = "list detached"
	done, err := m.begin(op)
	if err != nil {
		return nil, err
	}
	defer done()
	var parts merged
	for _, s := range m.rack.all() {
		pool := s.shown()
		if pool == nil || filter.Key != nil && *filter.Key != s.info.ID {
			continue
		}
		state, now := pool.Read()
		found := state.Detached(detach.Filter{Search: filter.Search, Product: filter.Product, Feature: filter.Feature})
		if found.Len() > 0 {
			parts = append(parts, part{found, now.Unix})
		}
	}
	return listMerged(op, filter.Page, parts)
}

// part is the matching licenses of one pool, and its time.
type part struct {
	detach.Sequence
	now int64
}

// show gives a record for people.
func (p part) show(r *detach.Record) DetachedLicense {
	head := &r.Pool().Head
	out := DetachedLicense{
		ID: r.License, Origin: head.Key, Vendor: head.Vendor,
		Recipient: r.Recipient.ID, HostName: r.Recipient.HostName, Seats: int(r.Seats),
		Issued: time.Unix(r.Issued, 0), Death: time.Unix(r.Death(), 0), Duration: time.Duration(r.Duration) * time.Second,
		Features: make([]Feature, r.Len()),
	}
	for i := range out.Features {
		f := newFeature(0, head.Vendor, r.Feature(i), p.now)
		f.Max, f.Free = r.Seats, r.Seats
		out.Features[i] = f
	}
	return out
}

// merged is the licenses of several pools in one order.
type merged []part

func (ps merged) len() (n int) {
	for _, p := range ps {
		n += p.Len()
	}
	return n
}

func compareRecords(a, b *detach.Record) int {
	return cmp.Or(cmp.Compare(a.Issued, b.Issued), cmp.Compare(a.License, b.License))
}

// skip gives for each part how many of its records stand among the first n of
// the merged order: by halving what is left to skip, so that a far page of a
// long list costs what the first one does.
func (ps merged) skip(n int) []int {
	at := make([]int, len(ps))
	for n > 0 {
		// Of the parts that are not used up, the one whose record step places
		// ahead comes first can give up all before it.
		live := 0
		for i, p := range ps {
			if at[i] < p.Len() {
				live++
			}
		}
		if live == 0 {
			break
		}
		step := max(1, n/live)
		best, taken := -1, 0
		for i, p := range ps {
			if at[i] >= p.Len() {
				continue
			}
			k := min(step, p.Len()-at[i])
			if best < 0 || compareRecords(p.At(at[i]+k-1), ps[best].At(at[best]+taken-1)) < 0 {
				best, taken = i, k
			}
		}
		at[best] += taken
		n -= taken
	}
	return at
}

func listMerged(op string, page Page, ps merged) (*List[DetachedLicense], error) {
	total := ps.len()
	from, to, err := page.window(total)
	if err != nil {
		return nil, fail(op, err)
	}
	return &List[DetachedLicense]{Total: total, items: func(yield func(DetachedLicense) bool) {
		next := make([]func() (*detach.Record, bool), len(ps))
		first := make([]*detach.Record, len(ps)) // of what each part has left; nil: nothing
		for i, at := range ps.skip(from) {
			var stop func()
			next[i], stop = iter.Pull(ps[i].From(at))
			defer stop()
			first[i], _ = next[i]()
		}
		for range to - from {
			best := -1
			for i, r := range first {
				if r != nil && (best < 0 || compareRecords(r, first[best]) < 0) {
					best = i
				}
			}
			if !yield(ps[best].show(first[best])) {
				return
			}
			first[best], _ = next[best]()
		}
	}}, nil
}
