package licensing_test

import (
	"context"
	"slices"
	"sync/atomic"
	"testing"
	"time"

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

// A manager dies. The first list that waits for it in vain says so, none waits for it a
// second time, and what it had stays shown. One that was only slow is silent no more when
// its answer has come.
func TestTheFirstListNamesTheSilent(t *testing.T) {
	for _, takes := range []time.Duration{1500 * time.Millisecond, time.Hour} {
		inBubble(t, func(w *world) {
			_, laptop, n := two(w)
			through := n.exchange(laptop)
			w.ok(laptop.Close(w.ctx))
			var delay atomic.Int64
			laptop.opts.Peers.Exchange = func(ctx context.Context, address string, message []byte) ([]byte, error) {
				wait := time.Duration(delay.Load())
				if wait < time.Hour {
					delay.Store(0) // one answer alone is slow
				}
				select {
				case <-time.After(wait):
					return through(ctx, address, message)
				case <-ctx.Done():
					return nil, ctx.Err()
				}
			}
			laptop.reopen()
			w.await("the laptop sees the key", func() bool { return laptop.sees(worldKey) })
			time.Sleep(1500 * time.Millisecond)
			w.turn(1500 * time.Millisecond)
			list := func() (took time.Duration, silent []licensing.Computer) {
				began := time.Now()
				l, err := laptop.Features(w.ctx, licensing.Filter{})
				w.ok(err)
				if l.Total == 0 {
					t.Error("what the silent manager has is not shown")
				}
				return time.Since(began), l.Silent
			}
			delay.Store(int64(takes))
			if took, silent := list(); took != time.Second || len(silent) != 1 || silent[0].LMSID == 0 || silent[0].Silent.IsZero() || silent[0].Problem == "" {
				t.Errorf("the first list took %v and calls %+v silent", took, silent)
			}
			if took, silent := list(); took != 0 || len(silent) != 1 {
				t.Errorf("the second list took %v and calls %d silent", took, len(silent))
			}
			time.Sleep(2 * time.Second)
			w.turn(2 * time.Second)
			want := 0
			if takes == time.Hour {
				want = 1
			}
			if took, silent := list(); took != 0 || len(silent) != want {
				t.Errorf("%v later: the list took %v and calls %d silent, want %d", 2*time.Second, took, len(silent), want)
			}
		})
	}
}

// A manager that always answers, and takes longer for it than a list waits, is not silent.
func TestSlowIsNotSilent(t *testing.T) {
	inBubble(t, func(w *world) {
		_, laptop, n := two(w)
		through := n.exchange(laptop)
		w.ok(laptop.Close(w.ctx))
		laptop.opts.Peers.Exchange = func(ctx context.Context, address string, message []byte) ([]byte, error) {
			select {
			case <-time.After(600 * time.Millisecond): // and there are two to a question
				return through(ctx, address, message)
			case <-ctx.Done():
				return nil, ctx.Err()
			}
		}
		laptop.reopen()
		w.await("the laptop sees the key", func() bool { return laptop.sees(worldKey) })
		for range 20 {
			time.Sleep(7 * time.Second)
			w.turn(7 * time.Second)
			l, err := laptop.Features(w.ctx, licensing.Filter{})
			w.ok(err)
			if len(l.Silent) > 0 {
				t.Errorf("called silent: %+v", l.Silent)
			}
		}
	})
}

// An address that is announced again and again, and at which nobody ever answers, is named
// and waited for at first only.
func TestAnnouncedInVain(t *testing.T) {
	inBubble(t, func(w *world) {
		_, laptop, _ := two(w)
		w.ok(laptop.Close(w.ctx))
		laptop.opts.Peers.Addresses = nil
		laptop.opts.Peers.Browse = func(ctx context.Context, found func(string)) error {
			for {
				found("NOWHERE")
				select {
				case <-time.After(time.Minute):
				case <-ctx.Done():
					return nil
				}
			}
		}
		var asked atomic.Int64
		laptop.opts.Peers.Exchange = func(context.Context, string, []byte) ([]byte, error) {
			asked.Add(1)
			return nil, errLine
		}
		laptop.reopen()
		for s := range 600 {
			began := time.Now()
			l, err := laptop.Features(w.ctx, licensing.Filter{})
			w.ok(err)
			if s >= 60 && (len(l.Silent) > 0 || time.Since(began) > 0) {
				t.Fatalf("after %d s a list takes %v and names %+v", s, time.Since(began), l.Silent)
			}
			time.Sleep(time.Second)
			w.turn(time.Second)
		}
		if n := asked.Load(); n < 600/10 {
			t.Errorf("asked %d times in ten minutes", n)
		}
	})
}
