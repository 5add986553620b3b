package detach

import (
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"runtime"
	"slices"
	"testing"

	"github.com/sojournlm/sojourn/internal/document"
	"github.com/sojournlm/sojourn/internal/ledger"
)

// BenchmarkDetach is what the committer pays for one license: a clone, the
// decision, and folding the entry in.
func BenchmarkDetach(b *testing.B) {
	for _, features := range []int{1, 8} {
		b.Run(fmt.Sprintf("features=%d", features), func(b *testing.B) {
			var all []document.Feature
			ask := crowd(0, 1000)
			for n := range uint32(features) {
				all = append(all, feature(n, document.MaxSeats))
				ask.Features = append(ask.Features, one(16, n))
			}
			w := worldOf(b, all...)
			p := w.pool
			for b.Loop() {
				ask.Recipient.ID++
				p = p.Clone()
				d, err := p.Detach(ask, Policy{}, w.now, w.newID)
				if err != nil {
					b.Fatal(err)
				}
				if err := p.Apply(ledger.Position{Seq: 2, Time: w.now, Rules: 1}, d.Entry); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkMemory tells what a license costs in memory, all indexes included,
// where many licenses share a computer and where none does.
func BenchmarkMemory(b *testing.B) {
	for _, perComputer := range []int{100, 1} {
		b.Run(fmt.Sprintf("licenses-per-computer=%d", perComputer), func(b *testing.B) {
			for b.Loop() {
				var before, after runtime.MemStats
				w := bigWorld(b, 100)
				runtime.GC()
				runtime.ReadMemStats(&before)
				p := big(b, w, 1_000_000, perComputer)
				runtime.GC()
				runtime.ReadMemStats(&after)
				b.ReportMetric(float64(after.HeapAlloc-before.HeapAlloc)/1e6, "B/license")
				runtime.KeepAlive(p)
			}
		})
	}
}

// BenchmarkPage reads what a page of 100 shows, from the middle of a filtered
// list. It must cost the same for any number of licenses.
func BenchmarkPage(b *testing.B) {
	product, number := uint32(16), uint32(2)
	for _, many := range []int{1_000, 1_000_000} {
		w := bigWorld(b, 4)
		w.pool = big(b, w, many, 4)
		for name, filter := range map[string]Filter{
			"everything": {}, "product": {Product: &product}, "feature": {Product: &product, Feature: &number},
		} {
			b.Run(fmt.Sprintf("%s/licenses=%d", name, many), func(b *testing.B) {
				for b.Loop() {
					s := w.pool.Detached(filter)
					middle := s.Len() / 2
					for i := range 100 {
						r := s.At(middle + i)
						if t := r.Terms(); len(t.Features) != r.Len() {
							b.Fatal("a record that contradicts itself")
						}
					}
				}
			})
		}
	}
}

// BenchmarkCancelledPage makes pages of 50 as JSON of what a list of cancelled licenses
// shows, from the first to the last one of the list in turn. "ratio" is the cost by
// that of the shorter list.
func BenchmarkCancelledPage(b *testing.B) {
	const limit, spots = 50, 20
	var short float64
	for _, many := range []int{1_000, 1_000_000} {
		b.Run(fmt.Sprintf("licenses=%d", many), func(b *testing.B) {
			state := bigLocal(b, many)
			runtime.GC() // what building left behind is not the page's
			b.ReportAllocs()
			spot := 0
			for b.Loop() {
				list := state.CancelledList()
				spot = (spot + 1) % spots
				page := make([]Cancelled, 0, limit)
				for c := range list.From(spot * (list.Len() - limit) / (spots - 1)) {
					if page = append(page, c); len(page) == limit {
						break
					}
				}
				if err := json.NewEncoder(io.Discard).Encode(page); err != nil || len(page) < limit {
					b.Fatalf("a page of %d: %v", len(page), err)
				}
			}
			cost := float64(b.Elapsed().Nanoseconds()) / float64(b.N)
			if short == 0 {
				short = cost
			}
			b.ReportMetric(cost/short, "ratio")
			runtime.KeepAlive(state)
		})
	}
}

// bigLocal is the state of a computer where many licenses were given back, in no
// order. To sign and seal them all would take an hour: they are copies of one, with
// another id and time.
func bigLocal(b *testing.B, many int) *Local {
	w := newLocalWorld(b)
	license := w.issue(1, 1)
	w.must(nil, w.install(license))
	r, err := w.cancel(license.Terms.License, document.RequestKey{})
	w.must(nil, err)
	state := w.state.Clone()
	one := state.named(heldCancelled, license.Terms.License)
	for _, at := range rand.New(rand.NewPCG(0, 0)).Perm(many) {
		h := *one
		h.license += uint64(at + 1)
		h.features = slices.Clone(h.features)
		copied, err := document.ParseReturn(r.Bytes())
		w.must(nil, err)
		h.cancelled = &CancelledRecord{copied, start + int64(at/10), h.cancelled.Origin}
		state.become(nil, &h)
	}
	return state
}

// BenchmarkSearch scans a million licenses for a host's name.
func BenchmarkSearch(b *testing.B) {
	w := bigWorld(b, 100)
	w.pool = big(b, w, 1_000_000, 100)
	for b.Loop() {
		w.pool.Detached(Filter{Search: "pc-99"})
	}
}

// bigWorld has features with the most seats.
func bigWorld(t fataler, features uint32) *world {
	var all []document.Feature
	for n := range features {
		all = append(all, feature(n, document.MaxSeats))
	}
	return worldOf(t, all...)
}

// big is a pool of bigWorld with many licenses of one feature each, as many to
// a computer as there are features at most.
func big(t fataler, w *world, many, perComputer int) *Pool {
	return fill(t, w, many, func(n int) DetachRequest {
		if n%1000 == 0 {
			w.now++
		}
		return crowd(n/perComputer, 1_000_000+int64(n%5000), uint32(n%len(w.pool.license.Features)))
	})
}
