package detach

import (
	"testing"

	"github.com/google/go-cmp/cmp"

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
	w.must(w.state.Mark(), nil)
	why(code.DetachedLicenseExpired) // the short one has, and that is all there is of the past
	if _, err := w.cancel(2, document.RequestKey{}); err != nil {
		t.Fatal(err)
	}
	w.now += 60
	w.must(w.state.Mark(), nil)
	why(code.DetachedLicenseNotFound) // the longest was given back
	w.must(w.state.Forget(1<<40+2, document.RequestKey{}, w.now))
	why(code.DetachedLicenseNotFound)
	if err := w.install(w.issue(4, 4)); err != nil {
		t.Fatal(err)
	}
	w.now += 3600
	w.must(w.state.Mark(), nil)
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
	w.must(w.state.Mark(), nil)
	if _, known := w.state.ClosedGrants(); known || w.state.LastMark() != w.now {
		t.Error("it still counts as closed after another entry")
	}
	w.must(w.state.Close(-5), nil)
	if until, known := w.state.ClosedGrants(); !known || until != 0 {
		t.Errorf("closed with grants until %d (%v)", until, known)
	}
	if w.state.Clone().Apply(ledger.Position{Seq: w.seq + 1, Time: w.now - 1, Rules: 1}, w.state.Mark()[0]) == nil {
		t.Error("the time runs back")
	}
}
