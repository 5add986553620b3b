package detach

import (
	"math"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/sojournlm/sojourn/internal/code"
	"github.com/sojournlm/sojourn/internal/document"
)

func TestReturnFreesTheSeatWhenItMay(t *testing.T) {
	for _, c := range []struct {
		name  string
		until int64 // grants, against the installation of the return; 0 for none
		skew  int64
	}{
		{name: "no grant lives"},
		{name: "the last grant has ended", until: -5},
		{name: "no grant lives, and clocks differ", skew: 60},
		{name: "the last grant ends soon", until: 1},
		{name: "the last grant has ended, and clocks differ", until: -5, skew: 60},
		{name: "the last grant ended long ago, and clocks differ", until: -90, skew: 60},
		{name: "a grant lives", until: 30},
		{name: "a grant lives to the death", until: 900},
		{name: "a grant lives to the death, and clocks differ", until: 900, skew: 60},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld(t)
			w.pool = NewPool(w.trust(c.skew))
			w.update(w.license(1, feature(1, 5)))
			terms := w.mustDetach(request(1, 1000, 1))
			w.now += 100
			until := int64(0)
			if c.until != 0 {
				until = w.now + c.until
			}
			if err := w.install(w.giveBack(1, terms.License, until)); err != nil {
				t.Fatal(err)
			}
			if w.pool.License(terms.License) != nil || w.pool.Detached(Filter{}).Len() != 0 {
				t.Error("a license that was given back is still listed")
			}
			if free := until + c.skew; until > 0 && free > w.now {
				w.now = free - 1
				if got := w.free(1); got != 4 {
					t.Fatalf("%d seats free while a grant lives, want 4", got)
				}
				w.now++
			}
			if got := w.free(1); got != 5 {
				t.Fatalf("%d seats free after the last grant, want 5", got)
			}
			if err := w.pool.Check(); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestReturnsThatComeTooLateOrTwice(t *testing.T) {
	w := worldOf(t, feature(1, 5))
	terms := w.mustDetach(request(1, 1000, 1))
	lost := w.mustDetach(request(2, 1000, 1))
	w.now += 10
	back, late := w.giveBack(1, terms.License, 0), w.giveBack(2, lost.License, 0)
	if err := w.install(back); err != nil {
		t.Fatal(err)
	}
	wantCode(t, w.install(back), code.InvalidUpdateOrAlreadyInstalled)
	wantCode(t, w.install(w.giveBack(1, terms.License, w.now+5)), code.InvalidUpdateOrAlreadyInstalled)
	w.now = start + 1000
	wantCode(t, w.install(late), code.DetachedLicenseExpired)
	wantCode(t, w.install(back), code.DetachedLicenseExpired)
	if got := w.free(1); got != 5 {
		t.Errorf("%d seats free, want 5", got)
	}
}

func TestAReturnOfAnEarlierLicenseWithTheSameID(t *testing.T) {
	w := worldOf(t, feature(1, 5))
	first := w.mustDetach(request(1, 1000, 1))
	back := w.giveBack(1, first.License, 0)
	if err := w.install(back); err != nil {
		t.Fatal(err)
	}
	w.ids = first.License - 1 // the random source repeats itself
	second := w.mustDetach(request(1, 1000, 1))
	if second.License != first.License {
		t.Fatal("this test needs the same id again")
	}
	wantCode(t, w.install(back), code.InvalidUpdateOrAlreadyInstalled)
	if got := w.free(1); got != 4 {
		t.Errorf("an old return freed the seat of a new license: %d free, want 4", got)
	}
}

func TestAReturnOfAnotherKeysLicense(t *testing.T) {
	w, other := worldOf(t, feature(1, 5)), worldOf(t, feature(1, 5))
	terms := w.mustDetach(request(1, 1000, 1))
	trust := other.trust(0)
	trust.Key++
	_, err := NewPool(trust).Return(w.giveBack(1, terms.License, 0), document.RequestKey{}, w.now)
	wantCode(t, err, code.StorageIDMismatch)
}

func TestUpdates(t *testing.T) {
	w := worldOf(t, feature(1, 5))
	head := document.PoolHead{Key: keyID, KeyPublic: publicOf(w.key), Vendor: vendorCode, Counter: 2}
	with := func(change func(*document.PoolHead)) *document.Pool {
		h := head
		change(&h)
		return sign(t, w.vendor, h, feature(1, 9))
	}
	for _, c := range []struct {
		name    string
		license *document.Pool
		want    code.Code
	}{
		{"same counter", with(func(h *document.PoolHead) { h.Counter = 1 }), code.InvalidUpdateOrAlreadyInstalled},
		{"another key", with(func(h *document.PoolHead) { h.Key++ }), code.StorageIDMismatch},
		{"another key with the same id", with(func(h *document.PoolHead) { h.KeyPublic = publicOf(w.vendor) }), code.StorageIDMismatch},
		{"another vendor", with(func(h *document.PoolHead) { h.Vendor++ }), code.InvalidDigest},
		{"not the vendor's signature", sign(t, w.key, head, feature(1, 9)), code.InvalidDigest},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := w.pool.Update(c.license, document.RequestKey{})
			wantCode(t, err, c.want)
		})
	}
	untrusted := NewPool(Trust{Key: keyID, Public: publicOf(w.key)})
	_, err := untrusted.Update(with(func(*document.PoolHead) {}), document.RequestKey{})
	wantCode(t, err, code.InvalidDigest)
	w.update(with(func(h *document.PoolHead) { h.Counter = 7 }))
	if got := w.free(1); got != 9 || w.pool.Counter() != 7 || w.pool.Head().Counter != 7 {
		t.Errorf("%d seats free under update %d, want 9 under 7", got, w.pool.Counter())
	}
}

func TestAShrunkPoolIsOverdrawn(t *testing.T) {
	w := worldOf(t, feature(1, 5), feature(2, 5))
	var given []document.Terms
	for n := range 4 {
		given = append(given, w.mustDetach(request(n, 1000, 1, 2)))
	}
	old := w.pool.License(given[0].License).Pool()
	w.update(w.license(2, feature(1, 2))) // feature 2 is gone altogether

	check := func(detached, free, overdrawn uint32) {
		t.Helper()
		gone := feature(2, 0)
		want := []FeatureState{{feature(1, 2), detached, free, overdrawn}}
		if detached > 0 {
			want = append(want, FeatureState{gone, detached, 0, detached})
		}
		got := w.pool.Features(Filter{})
		if len(got) != len(want) {
			t.Fatalf("%d features, want %d", len(got), len(want))
		}
		for i := range want {
			if got[i] != want[i] {
				t.Errorf("got %+v, want %+v", got[i], want[i])
			}
		}
	}
	check(4, 0, 2)
	_, err := w.detach(request(9, 10, 1), Policy{})
	wantCode(t, err, code.FeatureResourceExhaust)
	_, err = w.detach(request(9, 10, 2), Policy{})
	wantCode(t, err, code.FeatureNotFound)
	if r := w.pool.License(given[0].License); r.Pool() != old || r.Pool().Head.Counter != 1 {
		t.Error("a license that is out no longer knows the pool license it was made under")
	}

	for n, detached := range []uint32{3, 2, 1, 0} {
		if err := w.install(w.giveBack(n, given[n].License, 0)); err != nil {
			t.Fatal(err)
		}
		check(detached, 2-min(2, detached), detached-min(2, detached))
	}
	w.mustDetach(request(9, 10, 1))
	if err := w.pool.Check(); err != nil {
		t.Error(err)
	}
}

func TestSeatsComeHomeByThemselves(t *testing.T) {
	for _, skew := range []int64{0, 3600} {
		w := newWorld(t)
		w.pool = NewPool(w.trust(skew))
		w.update(w.license(1, feature(1, 5)))
		w.mustDetach(request(1, 1000, 1))
		w.now = start + 1000 - 1
		if got := w.free(1); got != 4 || w.pool.Detached(Filter{}).Len() != 1 {
			t.Errorf("skew %d: %d seats free a second before the death, want 4", skew, got)
		}
		w.now += skew
		if got := w.free(1); got != 4 || w.pool.Check() != nil {
			t.Errorf("skew %d: %d seats free a second before, want 4; %v", skew, got, w.pool.Check())
		}
		w.now++
		if got := w.free(1); got != 5 || w.pool.Detached(Filter{}).Len() != 0 {
			t.Errorf("skew %d: %d seats free, want 5", skew, got)
		}
		if w.pool.Due(1<<40) != nil {
			t.Errorf("skew %d: something is due in an empty pool", skew)
		}
		if w.pool.Horizon() != start+1000 {
			t.Errorf("skew %d: the horizon fell to %d", skew, w.pool.Horizon())
		}
	}
}

// TestAfterTheDeathTheSeatMayStayOut: a license that is dead is not served or
// listed and stands in nobody's way, but where clocks may differ its seat is not
// free yet.
func TestAfterTheDeathTheSeatMayStayOut(t *testing.T) {
	w := newWorld(t)
	w.pool = NewPool(w.trust(600))
	w.update(w.license(1, feature(1, 2)))
	asked := request(1, 1000, 1)
	asked.Request = document.RequestKey{Key: document.Hash{1}, Request: document.Hash{2}}
	terms := w.mustDetach(asked)
	back := w.giveBack(1, terms.License, 0)
	w.now = terms.Death
	if got := w.free(1); got != 1 {
		t.Errorf("%d seats free, want 1", got)
	}
	if w.pool.License(terms.License) != nil || w.pool.LicenseShort(document.ShortID(terms.License)) != nil ||
		w.pool.Out(pc(1).ID, ref(1)) != nil || w.pool.Detached(Filter{}).Len() != 0 {
		t.Error("a dead license counts as out")
	}
	late := wantCode(t, w.install(back), code.DetachedLicenseExpired)
	if home := clock(terms.Death + 600); !strings.Contains(late.Message, "come home by themselves, at "+home) {
		t.Errorf("%q does not say that the seat is home at %s", late, home)
	}
	_, err := w.detach(asked, Policy{})
	wantCode(t, err, code.DetachedLicenseExpired)
	w.mustDetach(request(1, 1000, 1)) // the same feature to the same computer
	_, err = w.detach(request(2, 1000, 1), Policy{})
	wantCode(t, err, code.FeatureResourceExhaust)
	if err := w.pool.Check(); err != nil {
		t.Error(err)
	}
	w.now += 600
	if got := w.free(1); got != 1 {
		t.Errorf("%d seats free, want the dead license's", got)
	}
	if late := wantCode(t, w.install(back), code.DetachedLicenseExpired); !strings.Contains(late.Message, "came home") {
		t.Errorf("%q does not say that the seat came home", late)
	}
	asked.Recipient = pc(3)
	w.mustDetach(asked) // its request key is forgotten
}

// TestTheAllowanceForClocksMayChange: what was entered under one holds under
// any other, and the pool goes on from there.
func TestTheAllowanceForClocksMayChange(t *testing.T) {
	for _, skew := range [][2]int64{{0, 600}, {600, 0}, {600, 30}} {
		w := newWorld(t)
		w.pool = NewPool(w.trust(skew[0]))
		w.update(w.license(1, feature(1, 2)))
		w.mustDetach(request(1, 1000, 1))
		given := w.mustDetach(request(2, 2000, 1))
		w.now += 1000
		if err := w.install(w.giveBack(2, given.License, w.now-10)); err != nil {
			t.Fatal(err)
		}
		w.now += 1 + skew[0]
		w.mustDetach(request(3, 1000, 1)) // of a seat that is home only by the first allowance
		w.mustDetach(request(4, 1000, 1))

		again := NewPool(w.trust(skew[1]))
		for _, e := range w.log {
			if err := again.Judge(e.at, e.entry); err != nil {
				t.Fatalf("%v: %v", skew, err)
			}
			if err := again.Apply(e.at, e.entry); err != nil {
				t.Fatalf("%v: %v", skew, err)
			}
		}
		if diff := cmp.Diff(w.pool.Features(Filter{}), again.Features(Filter{})); diff != "" {
			t.Errorf("%v: %s", skew, diff)
		}
		w.pool = again
		w.now += 1000 + skew[1] - 1
		if got := w.free(1); got != 0 || again.Check() != nil {
			t.Errorf("%v: %d seats free a second before, want 0; %v", skew, got, again.Check())
		}
		w.now++
		if got := w.free(1); got != 2 {
			t.Errorf("%v: %d seats free, want 2", skew, got)
		}
	}
}

func TestTheLargestSkewFreesNothingEarly(t *testing.T) {
	for _, skew := range []int64{math.MaxInt64, math.MinInt64} {
		w := newWorld(t)
		w.pool = NewPool(w.trust(skew))
		w.update(w.license(1, feature(1, 5)))
		w.mustDetach(request(1, 1000, 1))
		w.now += 999
		if got := w.free(1); got != 4 {
			t.Errorf("skew %d: %d seats free before the death, want 4", skew, got)
		}
	}
}

// TestTenThousandComeHomeOnTime: those of one second in one entry, and no seat
// early.
func TestTenThousandComeHomeOnTime(t *testing.T) {
	const many = 10_000
	w := worldOf(t, feature(1, many))
	w.pool = fill(t, w, many, func(n int) DetachRequest {
		if n < many/2 {
			return crowd(n, 5000, 1) // all in the same second
		}
		return crowd(n, int64(1+n-many/2), 1) // one a second
	})
	w.now = start
	for gone := 0; gone < many/2; gone += 1000 {
		w.now = start + int64(gone)
		if got := w.free(1); got != gone {
			t.Fatalf("%d seats are home after %d s, want %d", got, gone, gone)
		}
	}
	w.now = start + 4999
	if got := w.free(1); got != 4999 {
		t.Fatalf("%d seats are home, want 4999", got)
	}
	w.now = start + 5000
	if due := w.pool.Due(w.now); len(due) != 1 || len(due[0]) > 32 {
		t.Fatalf("%d entries for thousands that die in one second, want one small one", len(due))
	}
	if got := w.free(1); got != many {
		t.Fatalf("%d seats are home, want all", got)
	}
	if err := w.pool.Check(); err != nil {
		t.Error(err)
	}
}
