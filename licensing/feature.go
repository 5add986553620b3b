package licensing

import (
	"cmp"
	"context"
	"iter"
	"slices"
	"strconv"
	"time"

	"github.com/sojournlm/sojourn/internal/document"
	"github.com/sojournlm/sojourn/internal/fold"
)

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
	Free            uint32    // seats of the pool that are not out
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
