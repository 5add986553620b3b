package detach

import (
	"bytes"
	"crypto/ed25519"
	"testing"

	"github.com/sojournlm/sojourn/internal/code"
	"github.com/sojournlm/sojourn/internal/document"
)

// foreign is a license like the one that issue makes, by a vendor that is not trusted
// and a key of its own.
func (w *localWorld) foreign(origin, id uint64, key ed25519.PrivateKey, edit ...func(*document.Terms)) *document.License {
	w.t.Helper()
	t := w.issue(origin, id, edit...).Terms
	t.Vendor++
	head := document.PoolHead{Key: t.Key, KeyPublic: publicOf(key), Vendor: t.Vendor, Counter: t.Counter}
	return seal(w.t, sign(w.t, privateKey(7), head, feature(7, 5), feature(8, 5)), key, t)
}

// To give a license back takes less than to install it: neither a trusted vendor nor a
// clock that agrees.
func TestDeclineUnusable(t *testing.T) {
	for name, tt := range map[string]struct {
		make func(*localWorld) *document.License
		late int64
	}{
		"of an untrusted vendor": {make: func(w *localWorld) *document.License { return w.foreign(1, 1, originKey(1)) }},
		"that never dies": {make: func(w *localWorld) *document.License {
			return w.foreign(1, 1, originKey(1), func(t *document.Terms) { t.Duration, t.Death = 1<<31-1, t.Issued+1<<31-1 })
		}},
		"dead by the clock here": {make: func(w *localWorld) *document.License { return w.issue(1, 1) }, late: 3600},
		"dead for long":          {make: func(w *localWorld) *document.License { return w.issue(1, 1) }, late: 7000},
	} {
		t.Run(name, func(t *testing.T) {
			w := newLocalWorld(t)
			w.intend(w.wish(1, 5, asked(1, 1)))
			until := w.state.Intent(1<<40 + 5).Until
			l := tt.make(w)
			w.now += tt.late
			back := w.sign(l)
			w.must(w.state.Decline(1<<40+5, l, back, document.Hash{7}))
			i := w.state.Intent(1<<40 + 5)
			if i == nil || i.Kind != IntentReturn || i.Until != until {
				t.Fatalf("its return is not to be handed over until %d: %+v", until, i)
			}
			if err := w.install(l); err == nil {
				t.Error("it is installed after it was given back")
			}
			w.must(w.state.SettleReturned(i.ID, w.receipt(1, back)), nil)
			if len(pendingIDs(w.state)) != 0 {
				t.Error("it is still pending")
			}
		})
	}
}

// A request key that was free again when the declined license had died stays free, or with
// the request that it was used for meanwhile, when the return is handed over.
func TestDeclinedRequestKeyLapsed(t *testing.T) {
	for _, anew := range []bool{false, true} {
		w := newLocalWorld(t)
		w.intend(w.wish(1, 5, asked(1, 1)))
		l := w.issue(1, 1, func(t *document.Terms) { t.Duration, t.Death = 60, t.Issued+60 })
		back := w.sign(l)
		w.must(w.state.Decline(1<<40+5, l, back, document.Hash{7}))
		w.now += 61
		if anew {
			w.must(w.state.answered(asked(1, 2), nil, w.now))
		}
		w.must(w.state.SettleReturned(1<<40+5, w.receipt(1, back)), nil)
		if known, err := w.state.Asked(asked(1, 2), w.now); known != anew || err != nil {
			t.Errorf("used anew %v: another request under it is known %v, %v", anew, known, err)
		}
		known, err := w.state.Asked(asked(1, 1), w.now)
		switch {
		case anew:
			wantCode(t, err, code.InvalidParameter)
		case known || err != nil:
			t.Errorf("the request that was over is known %v, %v", known, err)
		}
	}
}

// Who answers with a license of his own making that has another's id keeps nobody from
// installing the genuine one, before its return is handed over or after.
func TestDeclinedByLiar(t *testing.T) {
	for _, handed := range []bool{false, true} {
		w := newLocalWorld(t)
		w.intend(w.wish(1, 5, document.RequestKey{}))
		liar := w.foreign(1, 1, privateKey(66))
		back := w.sign(liar)
		w.must(w.state.Decline(1<<40+5, liar, back, document.Hash{7}))
		if handed {
			entries := w.state.SettleReturned(1<<40+5, w.receiptBy(privateKey(66), back))
			w.must(entries, nil)
		}
		genuine := w.issue(1, 1)
		if err := w.install(genuine); err != nil {
			t.Fatalf("handed over %v: the genuine license is refused: %v", handed, err)
		}
		if got := pendingIDs(w.state); len(got) != 0 || w.state.CancelledList().Len() != 0 {
			t.Errorf("handed over %v: %v are pending, and %d returns are listed", handed, got, w.state.CancelledList().Len())
		}
		// Once given back it stays so, whoever signs for what.
		if _, err := w.cancel(genuine.Terms.License, document.RequestKey{}); err != nil {
			t.Fatal(err)
		}
		wantCode(t, w.install(genuine), code.InvalidUpdateOrAlreadyInstalled)
	}
	// One with the id of a license that works here ends its own intent, and no more.
	w := newLocalWorld(t)
	request := asked(1, 1)
	w.intend(w.wish(1, 5, request))
	if err := w.install(w.issue(1, 1)); err != nil {
		t.Fatal(err)
	}
	liar := w.foreign(1, 1, privateKey(66))
	w.must(w.state.Decline(1<<40+5, liar, w.sign(liar), document.Hash{7}))
	if in, err := w.state.Obtained(request, w.now); in != nil || err != nil || len(pendingIDs(w.state)) != 0 || len(ids(w.state)) != 1 {
		t.Errorf("obtained: %v, %v; pending: %v; installed: %v", in, err, pendingIDs(w.state), ids(w.state))
	}
}

// What the license's own key has not signed is not declined in any store.
func TestDeclineForgeries(t *testing.T) {
	w := newLocalWorld(t)
	w.intend(w.wish(1, 5, document.RequestKey{}))
	genuine := w.issue(1, 1)
	t1 := genuine.Terms
	head := document.PoolHead{Key: t1.Key, KeyPublic: publicOf(originKey(1)), Vendor: vendorCode, Counter: 1}
	unsigned := seal(t, sign(t, privateKey(1), head, feature(7, 5), feature(8, 5)), privateKey(66), t1) // by another than it names
	for name, b := range map[string]declined{
		"a license of no key":     {1<<40 + 5, unsigned.Bytes(), w.sign(unsigned).Bytes(), document.Hash{7}},
		"the return of another's": {1<<40 + 5, genuine.Bytes(), w.sign(unsigned).Bytes(), document.Hash{7}},
	} {
		if err := w.state.Judge(w.position(0), document.EncodeEntry(entryDeclined, b)); err == nil {
			t.Errorf("%s: judged good", name)
		}
	}
}

// Who gave a license is known for as long as that is, also when a file brings a newer
// revision; of one that came as a file nobody is.
func TestLender(t *testing.T) {
	w := newLocalWorld(t)
	i := w.wish(1, 5, document.RequestKey{})
	w.intend(i)
	l, carried := w.issue(1, 1), w.issue(1, 2)
	if err := w.obtain(i.ID, l, document.RequestKey{}); err != nil {
		t.Fatal(err)
	}
	if err := w.install(carried); err != nil {
		t.Fatal(err)
	}
	check := func(when string) {
		t.Helper()
		from := w.state.Lender(l.Terms.License, l.Terms.Key)
		if from == nil || from.ID != i.Peer || !bytes.Equal(from.Public, i.PeerKey) {
			t.Errorf("%s: it came from %+v", when, from)
		}
		if from := w.state.Lender(carried.Terms.License, carried.Terms.Key); from != nil {
			t.Errorf("%s: what came as a file came from %+v", when, from)
		}
	}
	check("obtained")
	if err := w.install(w.issue(1, 1, func(t *document.Terms) { t.Revision = 2 })); err != nil {
		t.Fatal(err)
	}
	check("at a newer revision")
	for _, license := range []*document.License{l, carried} {
		if _, err := w.cancel(license.Terms.License, document.RequestKey{}); err != nil {
			t.Fatal(err)
		}
	}
	check("given back")
	if w.state.Lender(77, 88) != nil {
		t.Error("somebody gave what was never here")
	}
}

// Whoever answers with a license of his own making chooses its id: by the id of another
// that one is meant, whatever became of it.
func TestDeclinedIsMeantLast(t *testing.T) {
	const id = 1<<40 + 1
	for _, first := range []bool{false, true} { // the liar's key has the lower id, or the higher one
		w := newLocalWorld(t)
		liars, genuine := uint64(2), uint64(1)
		if first {
			liars, genuine = 1, 2
		}
		w.intend(w.wish(liars, 5, document.RequestKey{}))
		liar := w.foreign(liars, 1, privateKey(66))
		w.must(w.state.Decline(1<<40+5, liar, w.sign(liar), document.Hash{7}))
		meant := func(what string, want uint64, refusal code.Code) {
			t.Helper()
			found, err := w.state.Find(id, document.RequestKey{}, w.now)
			switch {
			case refusal != 0:
				wantCode(t, err, refusal)
			case err != nil:
				t.Errorf("%s: %v", what, err)
			case found.Installed != nil && found.Installed.License.Terms.Key != originID(want),
				found.Return != nil && found.Return.Terms().Key != originID(want):
				t.Errorf("%s: found %+v", what, found)
			}
			if r, ok := w.state.Cancelled(id); ok && found.Return != nil && r.Return != found.Return {
				t.Errorf("%s: the return of another is downloaded", what)
			}
		}
		meant("alone", liars, 0)
		if err := w.install(w.issue(genuine, 1)); err != nil {
			t.Fatal(err)
		}
		meant("installed", genuine, 0)
		if _, err := w.cancel(id, document.RequestKey{}); err != nil {
			t.Fatal(err)
		}
		meant("given back", genuine, 0)
		w.must(w.state.Forget(id, document.RequestKey{}, w.now))
		meant("forgotten", genuine, code.DetachedLicenseNotFound)
		w.must(w.state.Forget(id, document.RequestKey{}, w.now)) // the liar's
		if w.state.CancelledList().Len() != 0 {
			t.Error("a record is left")
		}
		meant("both forgotten", genuine, code.DetachedLicenseNotFound)
	}
}

// What was never installed is no license that once had a feature here.
func TestDeclinedHadNothing(t *testing.T) {
	w := newLocalWorld(t)
	w.intend(w.wish(1, 5, document.RequestKey{}))
	l := w.issue(1, 1, func(t *document.Terms) { t.Duration = 7200 })
	w.must(w.state.Decline(1<<40+5, l, w.sign(l), document.Hash{7}))
	wantCode(t, w.state.WhyNot(vendorCode, 16, 8), code.FeatureNotFound)
	if err := w.install(w.issue(1, 2, func(t *document.Terms) { t.Duration = 60 })); err != nil {
		t.Fatal(err)
	}
	w.now += 60
	w.must(w.state.Mark(60, 600), nil)
	wantCode(t, w.state.WhyNot(vendorCode, 16, 8), code.DetachedLicenseExpired)
}
