package licensing_test

import (
	"slices"
	"testing"

	"github.com/sojournlm/sojourn/licensing"
	"github.com/sojournlm/sojourn/licensing/issuer"
)

// A list holds the pool's state, not a copy of what is in it: one row of a long
// list costs about as much as one of a short one.
func TestAListCopiesNothing(t *testing.T) {
	w := newWorld(t)
	cost := func(features ...issuer.Feature) float64 {
		office := w.office(features...)
		defer office.crash()
		return testing.AllocsPerRun(20, func() {
			list, err := office.Features(w.ctx, licensing.Filter{Page: licensing.Page{Limit: 1}})
			w.ok(err)
			if list.Total != len(features) || len(slices.Collect(list.All())) != 1 {
				t.Errorf("%d features, want %d", list.Total, len(features))
			}
		})
	}
	var many []issuer.Feature
	for n := range uint32(500) {
		many = append(many, feature(n+1, 1))
	}
	if short, long := cost(feature(1, 1)), cost(many...); long > short+5 {
		t.Errorf("one row of 500 costs %v allocations, of one %v", long, short)
	}
}

// A key is found by what it holds too.
func TestKeysAreFoundByTheirFeatures(t *testing.T) {
	w := newWorld(t)
	office := w.office(feature(77, 1))
	laptop := w.laptop("LAPTOP", office)
	office.lend(laptop, 77)
	for search, want := range map[string]int{
		"77": 1, "FEATUR": 1, "29": 1, "Product": 1, "0": 1, "DEMO": 1, "": 1, "nothing like it": 0,
	} {
		for _, m := range []*machine{office, laptop} {
			keys := collect[licensing.Key](w)(m.Keys(w.ctx, licensing.Filter{Search: search}))
			if len(keys) != want {
				t.Errorf("%s finds %d keys by %q, want %d", m.name, len(keys), search, want)
			}
		}
	}
}
