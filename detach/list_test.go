package detach

import (
	"math"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/sojournlm/sojourn/internal/document"
)

func idsOf(s Sequence) []uint64 {
	ids := []uint64{}
	for i := range s.Len() {
		ids = append(ids, s.At(i).License)
	}
	return ids
}

// catalogue is a world with licenses of two products on three computers.
func catalogue(t fataler) (*world, []document.Terms) {
	viewer := feature(1, 9)
	viewer.ProductNumber, viewer.Modification, viewer.ProductName, viewer.Name = 29, 92, "Größe", "viewer"
	w := worldOf(t, feature(1, 9), feature(2, 9), viewer)
	ask := func(n int, selectors ...Selector) document.Terms {
		r := request(n, 1000)
		r.Features = selectors
		w.now++
		return w.mustDetach(r)
	}
	return w, []document.Terms{
		ask(1, one(16, 1), one(16, 2)),
		ask(2, one(29, 1)),
		ask(3, one(16, 2), one(29, 1)),
	}
}

func TestDetachedIsFiltered(t *testing.T) {
	w, given := catalogue(t)
	number := func(n uint32) *uint32 { return &n }
	key := func(n uint64) *uint64 { return &n }
	for _, c := range []struct {
		name   string
		filter Filter
		want   []int
	}{
		{"everything", Filter{}, []int{0, 1, 2}},
		{"this key", Filter{Dongle: key(keyID)}, []int{0, 1, 2}},
		{"another key", Filter{Dongle: key(keyID + 1<<32)}, nil},
		{"product", Filter{Product: number(16)}, []int{0, 2}},
		{"feature of any product", Filter{Feature: number(1)}, []int{0, 1, 2}},
		{"feature of a product", Filter{Product: number(16), Feature: number(1)}, []int{0}},
		{"no such product", Filter{Product: number(17)}, nil},
		{"the number that stands for any product", Filter{Product: number(math.MaxUint32)}, nil},
		{"the number that stands for any feature", Filter{Feature: number(math.MaxUint32)}, nil},
		{"both numbers that stand for any", Filter{Product: number(math.MaxUint32), Feature: number(math.MaxUint32)}, nil},
		{"feature name", Filter{Search: "VIEW"}, []int{1, 2}},
		{"product name", Filter{Search: "gröSSe"}, nil},
		{"product name in another case", Filter{Search: "GRÖß"}, []int{1, 2}},
		{"product number", Filter{Search: "29"}, []int{1, 2}},
		{"product modification", Filter{Search: "92"}, []int{1, 2}},
		{"feature number", Filter{Search: "tool 2"}, []int{0, 2}},
		{"host name", Filter{Search: "pc-2"}, []int{1}},
		{"key id", Filter{Search: "13684"}, []int{0, 1, 2}},
		{"public code as text", Filter{Search: "demonvk"}, []int{0, 1, 2}},
		{"search and product", Filter{Search: "pc-3", Product: number(16)}, []int{2}},
		{"search and another product", Filter{Search: "pc-2", Product: number(16)}, nil},
		{"nothing", Filter{Search: "nobody"}, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			want := []uint64{}
			for _, i := range c.want {
				want = append(want, given[i].License)
			}
			s := w.pool.Detached(c.filter)
			if diff := cmp.Diff(want, idsOf(s)); diff != "" {
				t.Error(diff)
			}
			if s.At(-1) != nil || s.At(s.Len()) != nil {
				t.Error("a license beyond the list")
			}
		})
	}
	// A list is what it was, whatever comes after.
	before := w.pool.Detached(Filter{})
	w.now += 5000
	w.settle()
	if before.Len() != 3 || before.At(2).License != given[2].License || w.pool.Detached(Filter{}).Len() != 0 {
		t.Error("a list changed when the pool went on")
	}
}

func TestFeaturesAreFiltered(t *testing.T) {
	w, _ := catalogue(t)
	number := func(n uint32) *uint32 { return &n }
	other := uint64(1)
	for _, c := range []struct {
		name   string
		filter Filter
		want   []string
	}{
		{"everything", Filter{}, []string{"tool 1", "tool 2", "viewer"}},
		{"another key", Filter{Dongle: &other}, nil},
		{"product", Filter{Product: number(16)}, []string{"tool 1", "tool 2"}},
		{"feature", Filter{Feature: number(1)}, []string{"tool 1", "viewer"}},
		{"both", Filter{Product: number(29), Feature: number(1)}, []string{"viewer"}},
		{"search", Filter{Search: "TOOL"}, []string{"tool 1", "tool 2"}},
		{"a recipient's name is not searched", Filter{Search: "pc-1"}, nil},
		{"all conditions", Filter{Search: "tool", Feature: number(1)}, []string{"tool 1"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			var names []string
			for _, f := range w.pool.Features(c.filter) {
				names = append(names, f.Feature.Name)
			}
			if diff := cmp.Diff(c.want, names); diff != "" {
				t.Error(diff)
			}
		})
	}
	if newWorld(t).pool.Features(Filter{}) == nil {
		t.Error("no features are nil, want an empty list")
	}
}

// TestPropertyFiltersAgreeWithAScan holds the counted trees against the obvious
// way to filter.
func TestPropertyFiltersAgreeWithAScan(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var features []document.Feature
		for product := range uint32(3) {
			for number := range uint32(4) {
				f := feature(number, 50)
				f.ProductNumber = product
				features = append(features, f)
			}
		}
		w := worldOf(t, features...)
		var given []document.Terms
		for n := range rapid.IntRange(0, 12).Draw(t, "licenses") {
			r := request(n, 10+rapid.Int64Range(0, 30).Draw(t, "duration"))
			r.Features = rapid.SliceOfN(rapid.Custom(func(t *rapid.T) Selector {
				return one(rapid.Uint32Range(0, 2).Draw(t, "product"), rapid.Uint32Range(0, 3).Draw(t, "feature"))
			}), 1, 5).Draw(t, "features")
			given = append(given, w.mustDetach(r))
			w.now += rapid.Int64Range(0, 2).Draw(t, "step")
		}
		w.now += rapid.Int64Range(0, 20).Draw(t, "later")
		w.settle()

		var filter Filter
		if rapid.Bool().Draw(t, "by product") {
			n := rapid.Uint32Range(0, 3).Draw(t, "product")
			filter.Product = &n
		}
		if rapid.Bool().Draw(t, "by feature") {
			n := rapid.Uint32Range(0, 4).Draw(t, "feature")
			filter.Feature = &n
		}
		if rapid.Bool().Draw(t, "by text") {
			filter.Search = rapid.SampledFrom([]string{"pc-1", "tool 2", "CAD", "nobody"}).Draw(t, "text")
		}
		want := []uint64{}
		for _, x := range given { // in the order of time, then id
			numbers := slices.ContainsFunc(x.Features, func(r document.FeatureRef) bool {
				return (filter.Product == nil || r.ProductNumber == *filter.Product) && (filter.Feature == nil || r.FeatureNumber == *filter.Feature)
			})
			text := filter.Search == "" || filter.Search == "CAD" || strings.Contains(strings.ToLower(x.Recipient.HostName), filter.Search) ||
				filter.Search == "tool 2" && slices.ContainsFunc(x.Features, func(r document.FeatureRef) bool { return r.FeatureNumber == 2 })
			if x.Death > w.now && numbers && text {
				want = append(want, x.License)
			}
		}
		list := w.pool.Detached(filter)
		if diff := cmp.Diff(want, idsOf(list)); diff != "" {
			t.Fatal(diff)
		}
		from, most := rapid.IntRange(-1, len(want)+1).Draw(t, "from"), rapid.IntRange(1, 12).Draw(t, "most")
		rest := []uint64{}
		for r := range list.From(from) {
			if rest = append(rest, r.License); len(rest) == most {
				break
			}
		}
		if from < 0 || from > len(want) {
			from = len(want)
		}
		if diff := cmp.Diff(want[from:min(len(want), from+most)], rest); diff != "" {
			t.Fatalf("from place %d: %s", from, diff)
		}
	})
}
