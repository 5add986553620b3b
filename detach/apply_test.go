package detach

import (
	"bytes"
	"fmt"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/sojournlm/sojourn/internal/document"
	"github.com/sojournlm/sojourn/internal/ledger"
)

// TestApplyThatFailsChangesNothing tries entries that contradict the pool.
func TestApplyThatFailsChangesNothing(t *testing.T) {
	w, given := catalogue(t)
	at := ledger.Position{Seq: w.seq + 1, Time: w.now, Rules: 1}
	again := given[0]
	late := given[0]
	late.Issued, late.Death = 0, late.Duration
	for i, entry := range [][]byte{
		again.Encode(), late.Encode(), nil, {0xa0},
		document.EncodeEntry(entryReturned, returned{License: 1 << 40}),
		document.EncodeEntry(entryReturned, returned{License: given[0].License, Until: given[0].Death + 1}),
		document.EncodeEntry(entryReturned, returned{License: given[0].License, Until: -1}),
		document.EncodeEntry(entryReturned, "text"),
		document.EncodeEntry(entryExpired, expired{Time: w.now + 1}),
		document.EncodeEntry(entryExpired, expired{Time: w.now - 1, Freed: w.now}),
		document.EncodeEntry(entryExpired, expired{Time: w.now, Freed: -1}),
		document.EncodeEntry(entryExpired, returned{}),
		document.EncodeEntry(entryUpdated, updated{}),
		document.EncodeEntry(entryUpdated, updated{Pool: w.license(1, feature(1, 1)).Bytes()}),
		document.EncodeEntry(entryTimed, expired{}),
		document.EncodeEntry(99, expired{}),
	} {
		t.Run(fmt.Sprint(i), func(t *testing.T) {
			before := w.pool.Features(Filter{})
			if err := w.pool.Apply(at, entry); err == nil {
				t.Fatal("applied")
			}
			if diff := cmp.Diff(before, w.pool.Features(Filter{})); diff != "" {
				t.Error(diff)
			}
			if err := w.pool.Check(); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestCheckFindsWhatDoesNotAddUp(t *testing.T) {
	for name, damage := range map[string]func(*Pool, *Record){
		"a seat too many":      func(p *Pool, r *Record) { p.taken.Set(taken{&r.pool.Features[0], 2}) },
		"a count missing":      func(p *Pool, r *Record) { p.taken.Delete(taken{feature: &r.pool.Features[0]}) },
		"not due":              func(p *Pool, r *Record) { p.deaths.Delete(r.waiting()) },
		"due as if dead":       func(p *Pool, r *Record) { p.deaths.Delete(r.waiting()); p.ends.Set(r.waiting()) },
		"not by recipient":     func(p *Pool, r *Record) { p.out.Delete(r.outTo()) },
		"not listed":           func(p *Pool, r *Record) { p.list.Delete(r.listed(0)) },
		"listed too often":     func(p *Pool, r *Record) { p.list.Set(r.listed(99)) },
		"not by request key":   func(p *Pool, r *Record) { p.requests.Delete(r) },
		"a choice too many":    func(p *Pool, r *Record) { p.count(r.choice, 1) },
		"a choice forgotten":   func(p *Pool, r *Record) { p.count(r.choice, -1) },
		"forgotten but listed": func(p *Pool, r *Record) { p.put(r.number, nil) },
		"not by short id":      func(p *Pool, r *Record) { p.shorts.Delete(r.shortened()) },
	} {
		t.Run(name, func(t *testing.T) {
			w := worldOf(t, feature(1, 5))
			r := request(1, 10, 1)
			r.Request.Key = document.Hash{1}
			terms := w.mustDetach(r)
			if err := w.pool.Check(); err != nil {
				t.Fatal(err)
			}
			damage(w.pool, w.pool.License(terms.License))
			if w.pool.Check() == nil {
				t.Error("not found")
			}
		})
	}
}

// TestAPublishedPoolIsReadWhileClonesAreWritten is for the race detector too.
func TestAPublishedPoolIsReadWhileClonesAreWritten(t *testing.T) {
	w := worldOf(t, feature(1, 5000), feature(2, 5000))
	w.pool = fill(t, w, 2000, func(n int) DetachRequest { return crowd(n, 1000, 1) })
	published, want := w.pool, idsOf(w.pool.Detached(Filter{}))
	var done sync.WaitGroup
	for g := range 4 {
		done.Go(func() {
			for i := range 20 {
				clone := published.Clone()
				if g%2 == 0 { // as a reader sees it when all is due
					for _, e := range clone.Due(start + 1000) {
						if err := clone.Apply(ledger.Position{Seq: 9, Time: start + 1000, Rules: 1}, e); err != nil {
							t.Error(err)
						}
					}
					if n := clone.Detached(Filter{}).Len(); n != 0 {
						t.Errorf("%d licenses outlived their death", n)
					}
					continue
				}
				d, err := clone.Detach(crowd(9000+i, 1000, 1, 2), Policy{}, start, func() uint64 { return uint64(77+g)<<32 | uint64(100_000+i) })
				if err != nil {
					t.Error(err)
					continue
				}
				if err := clone.Apply(ledger.Position{Seq: 9, Time: start, Rules: 1}, d.Entry); err != nil {
					t.Error(err)
				}
			}
		})
		done.Go(func() {
			for range 5 {
				if diff := cmp.Diff(want, idsOf(published.Detached(Filter{}))); diff != "" {
					t.Error(diff)
				}
				if s, _ := published.Feature(ref(1)); s.Detached != 2000 {
					t.Errorf("%d seats away, want 2000", s.Detached)
				}
			}
		})
	}
	done.Wait()
	if err := published.Check(); err != nil {
		t.Error(err)
	}
}

// FuzzApply: whatever stands in an entry, a pool takes it whole or not at all,
// and what it takes has one encoding.
func FuzzApply(f *testing.F) {
	w, given := catalogue(f)
	for _, l := range w.log {
		f.Add(l.entry)
	}
	f.Add(document.EncodeEntry(entryReturned, returned{License: given[0].License, Until: w.now + 5, Return: []byte{1}}))
	f.Add(document.EncodeEntry(entryExpired, expired{Time: w.now}))
	f.Add(document.EncodeEntry(entryExpired, expired{Time: w.now, Freed: w.now - 1}))
	fresh := given[2]
	fresh.License++
	fresh.Recipient = pc(77)
	fresh.Issued, fresh.Death = w.now, w.now+fresh.Duration
	f.Add(fresh.Encode())
	at := ledger.Position{Seq: w.seq + 1, Time: w.now, Rules: 1}
	f.Fuzz(func(t *testing.T, entry []byte) {
		state := w.pool.Clone()
		judged, err := state.Judge(at, entry), state.Apply(at, entry)
		if judged == nil && err != nil {
			t.Errorf("Judge takes what Apply refuses: %v", err)
		}
		if err := state.Check(); err != nil {
			t.Error(err)
		}
		if err != nil {
			return
		}
		kind, body, err := document.ParseEntry(entry)
		if err != nil {
			t.Fatalf("applied, but it does not parse: %v", err)
		}
		var again []byte
		switch kind {
		case entryDetached:
			x, _ := document.ParseTerms(body)
			again = x.Encode()
		case entryReturned:
			x, _ := parseBody[returned]("return entry", body)
			again = document.EncodeEntry(kind, x)
		case entryExpired:
			x, _ := parseBody[expired]("expiry entry", body)
			again = document.EncodeEntry(kind, x)
		case entryUpdated:
			x, _ := parseBody[updated]("update entry", body)
			again = document.EncodeEntry(kind, x)
		}
		if !bytes.Equal(again, entry) {
			t.Errorf("%x is read as %x", entry, again)
		}
	})
}
