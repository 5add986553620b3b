package detach

import (
	"math"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/sojournlm/sojourn/internal/code"
	"github.com/sojournlm/sojourn/internal/document"
	"github.com/sojournlm/sojourn/internal/ledger"
)

func TestTheLongestLivingGrantsFirst(t *testing.T) {
	w := newLocalWorld(t)
	for id, duration := range map[uint64]int64{1: 60, 2: 180, 3: 120, 4: 300} {
		if err := w.install(w.issue(id, id, func(t *document.Terms) { t.Duration = duration })); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := w.cancel(4, document.RequestKey{}); err != nil {
		t.Fatal(err)
	}
	var got []uint64
	for _, in := range w.state.Granting(vendorCode, 16, 8) {
		got = append(got, in.License.Terms.License-1<<40)
	}
	if want := []uint64{2, 3, 1}; !cmp.Equal(got, want) {
		t.Errorf("granting %v, want %v", got, want)
	}
	for _, other := range [][3]uint32{{1, 16, 8}, {vendorCode, 15, 8}, {vendorCode, 16, 7}, {vendorCode, 16, 9}, {vendorCode, 16, 1<<32 - 1}} {
		if got := w.state.Granting(other[0], other[1], other[2]); len(got) != 0 {
			t.Errorf("%v is granted by %v", other, got)
		}
	}
}

func TestALicenseOfSeveralModificationsGrantsOnce(t *testing.T) {
	w := newLocalWorld(t)
	l := w.issue(1, 1)
	pro := feature(8, 5)
	pro.Modification = 1
	terms := l.Terms
	terms.Features = []document.FeatureRef{ref(8), pro.Ref()}
	head := document.PoolHead{Key: terms.Key, KeyPublic: publicOf(originKey(1)), Vendor: vendorCode, Counter: 1}
	if err := w.install(seal(t, sign(t, privateKey(1), head, feature(8, 5), pro), originKey(1), terms)); err != nil {
		t.Fatal(err)
	}
	if got := w.state.Granting(vendorCode, 16, 8); len(got) != 1 {
		t.Errorf("%d licenses grant it", len(got))
	}
}

func TestWhyNot(t *testing.T) {
	w := newLocalWorld(t)
	why := func(want code.Code) {
		t.Helper()
		wantCode(t, w.state.WhyNot(vendorCode, 16, 8), want)
		for _, other := range [][3]uint32{{1, 16, 8}, {vendorCode, 15, 8}, {vendorCode, 16, 7}, {vendorCode, 16, 9}, {vendorCode, 16, 1<<32 - 1}} {
			wantCode(t, w.state.WhyNot(other[0], other[1], other[2]), code.FeatureNotFound)
		}
	}
	why(code.FeatureNotFound)
	for id, duration := range map[uint64]int64{1: 60, 2: 180, 3: 120} {
		if err := w.install(w.issue(id, id, func(t *document.Terms) { t.Duration = duration })); err != nil {
			t.Fatal(err)
		}
	}
	why(code.FeatureNotFound)
	w.now += 60
	w.must(w.state.Mark(60, 600), nil)
	why(code.DetachedLicenseExpired) // the short one has, and that is all there is of the past
	if _, err := w.cancel(2, document.RequestKey{}); err != nil {
		t.Fatal(err)
	}
	w.now += 60
	w.must(w.state.Mark(60, 600), nil)
	why(code.DetachedLicenseNotFound) // the longest was given back
	w.must(w.state.Forget(1<<40+2, document.RequestKey{}, w.now))
	why(code.DetachedLicenseNotFound)
	if err := w.install(w.issue(4, 4)); err != nil {
		t.Fatal(err)
	}
	w.now += 3600
	w.must(w.state.Mark(60, 600), nil)
	why(code.DetachedLicenseExpired)
}

func TestMarksTellAGoodEnd(t *testing.T) {
	w := newLocalWorld(t)
	if _, known := w.state.ClosedGrants(); known || w.state.LastMark() != start {
		t.Error("a new manager was closed")
	}
	if err := w.install(w.issue(1, 1, func(t *document.Terms) { t.Duration = 100 })); err != nil {
		t.Fatal(err)
	}
	w.now += 60
	w.must(w.state.Close(w.now+30), nil)
	if until, known := w.state.ClosedGrants(); !known || until != w.now+30 || w.state.LastMark() != w.now {
		t.Errorf("closed with grants until %d (%v) at %d", until-w.now, known, w.state.LastMark())
	}
	// What expires meanwhile shows when it is read, which is nothing the manager did.
	closedAt := w.now
	w.now += 60
	if _, known := w.read().ClosedGrants(); !known || w.read().LastMark() != closedAt {
		t.Error("reading what has expired undoes the good end")
	}
	// Nor is it what a start finds out about its own computer, which is a mark.
	entries, err := w.state.Observe(printOf(t, w.state.Identity(), "renamed", w.now))
	w.must(entries, err)
	if until, known := w.state.ClosedGrants(); !known || until != closedAt+30 || w.state.LastMark() != w.now {
		t.Error("a new name undoes the good end, or is no mark")
	}
	w.must(w.state.Mark(60, 600), nil)
	if _, known := w.state.ClosedGrants(); known || w.state.LastMark() != w.now {
		t.Error("it still counts as closed after another entry")
	}
	w.must(w.state.Close(-5), nil)
	if until, known := w.state.ClosedGrants(); !known || until != 0 {
		t.Errorf("closed with grants until %d (%v)", until, known)
	}
	if w.state.Clone().Apply(ledger.Position{Seq: w.seq + 1, Time: w.now - 1, Rules: 1}, w.state.Mark(60, 600)[0]) == nil {
		t.Error("the time runs back")
	}
}

func TestGrantLength(t *testing.T) {
	w := newLocalWorld(t)
	is := func(want int64, why string) {
		t.Helper()
		if got := w.state.GrantLength(); got != want {
			t.Errorf("%s: grants may live %d s, want %d", why, got, want)
		}
	}
	is(0, "a new manager")
	w.must(w.state.Mark(3600, 600), nil)
	is(3600, "the first mark")
	w.now += 100
	w.must(w.state.Mark(60, 600), nil)
	is(3600, "shorter grants since, but the longest was given just before")
	w.now += 1000
	w.must(w.state.Mark(60, 600), nil)
	is(2600, "it lives on")
	w.now += 2550
	w.must(w.state.Mark(60, 600), nil)
	is(60, "it ends before the latest can")
	w.must(w.state.Mark(math.MaxInt64, 600), nil)
	is(document.MaxTime, "grants without end")
	w.must(w.state.Close(w.now+500), nil)
	is(500, "a close, which knows")
	w.now += 100
	w.must(w.state.Mark(60, 600), nil)
	is(400, "after the next mark too")
	w.must(w.state.Mark(-1, 600), nil)
	w.must(w.state.Close(0), nil)
	is(0, "a close when no grant lived")
}

// TestPropertyNoGrantIsForgotten: whatever the lengths of grants were, and
// however its runs ended, a manager that starts knows when all have ended.
func TestPropertyNoGrantIsForgotten(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := newLocalWorld(t)
		var latest, boot, length int64 // end of the latest grant; what the run assumed at its start; its length
		marked := true
		begin := func() {
			until, known := w.state.ClosedGrants()
			if boot = until; !known {
				boot = w.now + w.state.GrantLength()
			}
			if latest > w.now && latest > boot {
				t.Fatalf("a grant lives until %d s from now, the start assumes %d", latest-w.now, boot-w.now)
			}
			length, marked = rapid.Int64Range(1, 100).Draw(t, "length"), false
		}
		begin()
		t.Repeat(map[string]func(*rapid.T){
			"grant": func(*rapid.T) {
				if !marked {
					w.must(w.state.Mark(length, 600), nil)
					marked = true
				}
				latest = max(latest, w.now+length)
			},
			"mark": func(*rapid.T) { w.must(w.state.Mark(length, 600), nil); marked = true },
			"observe": func(t *rapid.T) {
				w.must(w.state.Observe(printOf(t, w.state.Identity(), rapid.SampledFrom([]string{"a", "b"}).Draw(t, "name"), w.now)))
			},
			"crash": func(*rapid.T) { begin() },
			"close": func(*rapid.T) {
				if until := max(latest, boot); until > w.now {
					w.must(w.state.Close(until), nil)
				} else {
					w.must(w.state.Close(0), nil)
				}
				begin()
			},
			"time": func(t *rapid.T) { w.now += rapid.Int64Range(1, 60).Draw(t, "seconds") },
		})
	})
}
