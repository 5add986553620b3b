package detach

import (
	"bytes"
	"strings"
	"testing"

	"github.com/sojournlm/sojourn/internal/document"
	"github.com/sojournlm/sojourn/internal/ledger"
)

// TestJudgeTakesOnlyWhatProvesItself shows entries to Judge as they could stand
// in a batch that nobody signed. Each forgery differs from a good entry in one
// thing.
func TestJudgeTakesOnlyWhatProvesItself(t *testing.T) {
	locked := feature(3, 5)
	locked.Detachable = false
	dated := feature(4, 5)
	dated.ValidUpTo = start + 1000
	w := newWorld(t)
	w.update(w.signed(document.PoolHead{Counter: 2, MaxDuration: 5000}, feature(1, 5), feature(2, 1), locked, dated))
	keyed := request(1, 3600, 1)
	keyed.Request.Key = document.Hash{1}
	live := w.mustDetach(keyed)
	home := w.mustDetach(request(5, 3600, 1))
	backHome := w.giveBack(5, home.License, 0)
	if err := w.install(backHome); err != nil {
		t.Fatal(err)
	}
	at := ledger.Position{Seq: w.seq + 1, Time: w.now, Rules: 1}

	d, err := w.pool.Detach(request(2, 3600, 1, 2), Policy{}, w.now, w.newID)
	if err != nil {
		t.Fatal(err)
	}
	terms := func(change func(*document.Terms)) []byte {
		x := d.Terms
		change(&x)
		return x.Encode()
	}
	back := func(r *document.Return, change func(*returned)) []byte {
		b := returned{License: r.Terms().License, Until: r.Until, Return: r.Bytes()}
		change(&b)
		return document.EncodeEntry(entryReturned, b)
	}
	good := w.giveBack(1, live.License, w.now+10)
	asIs := func(*returned) {}
	forged, err := document.SignReturn(pcKey(2), w.proofs[live.License], document.ReasonCancelled, w.now, 0)
	if err != nil {
		t.Fatal(err)
	}
	other := w.proofs[live.License]
	other.Entry = w.proofs[home.License].Entry
	moved, err := document.SignReturn(pcKey(5), other, document.ReasonCancelled, w.now, 0)
	if err != nil {
		t.Fatal(err)
	}
	pool := func(p *document.Pool) []byte {
		return document.EncodeEntry(entryUpdated, updated{Pool: p.Bytes()})
	}
	head := document.PoolHead{Key: keyID, KeyPublic: publicOf(w.key), Vendor: vendorCode, Counter: 3}
	elsewhere, anothers := head, head
	elsewhere.Key++
	anothers.Vendor++

	for _, c := range []struct {
		name  string
		entry []byte
		words string // in the error, or "" for an entry that is good
	}{
		{"license", d.Entry, ""},
		{"license of another key", terms(func(t *document.Terms) { t.Key++ }), "present license"},
		{"license of another vendor", terms(func(t *document.Terms) { t.Vendor++ }), "present license"},
		{"license under an old update", terms(func(t *document.Terms) { t.Counter-- }), "present license"},
		{"license under a later update", terms(func(t *document.Terms) { t.Counter++ }), "present license"},
		{"second revision", terms(func(t *document.Terms) { t.Revision++ }), "revision"},
		{"no revision", terms(func(t *document.Terms) { t.Revision = 0 }), "revision"},
		{"license with a parent", terms(func(t *document.Terms) { t.Parent = live.License }), "parent"},
		{"id in use", terms(func(t *document.Terms) { t.License = live.License }), "short id is in use"},
		{"short id in use", terms(func(t *document.Terms) { t.License = live.License ^ 1<<45 }), "short id is in use"},
		{"bad id", terms(func(t *document.Terms) { t.License = 77 }), "license id"},
		{"unknown feature", terms(func(t *document.Terms) { t.Features = append(t.Features, ref(9)) }), "not in the pool"},
		{"more seats than free", terms(func(t *document.Terms) { t.Seats = 2 }), "1 seats free, 2 are taken"},
		{"no seats", terms(func(t *document.Terms) { t.Seats = 0 }), "seats"},
		{"a feature that may not leave", terms(func(t *document.Terms) { t.Features = []document.FeatureRef{ref(3)} }), "vendor does not allow"},
		{"beyond the feature's validity", terms(func(t *document.Terms) { t.Features = []document.FeatureRef{ref(4)} }), "at most 1000 s"},
		{"longer than the vendor allows", terms(func(t *document.Terms) { t.Duration, t.Death = 5001, t.Issued+5001 }), "at most 5000 s"},
		{"a feature the computer has", terms(func(t *document.Terms) { t.Recipient = live.Recipient }), "is out to computer"},
		{"from the future", terms(func(t *document.Terms) { t.Issued++; t.Death++ }), "entered at"},
		{"dead on arrival", terms(func(t *document.Terms) { t.Issued -= 3600; t.Death -= 3600 }), "entered at"},
		{"request key in use", terms(func(t *document.Terms) { t.Request.Key = document.Hash{1} }), "request key is in use"},

		{"return", back(good, asIs), ""},
		{"return with another license's number", back(good, func(b *returned) { b.License = home.License }), "with the return of"},
		{"return with an earlier end of grants", back(good, func(b *returned) { b.Until = 0 }), "with the return of"},
		{"return by another computer", back(forged, asIs), "recipient signature"},
		{"return with the proof of another license", back(moved, asIs), "inclusion proof"},
		{"return of a license that came home", back(backHome, asIs), "come home before"},
		{"return that is none", back(good, func(b *returned) { b.Return = []byte("x") }), "return"},

		{"pool license", pool(sign(t, w.vendor, head, feature(1, 9))), ""},
		{"pool license by somebody else", pool(sign(t, w.key, head, feature(1, 9))), "vendor signature"},
		{"pool license for another key", pool(sign(t, w.vendor, elsewhere, feature(1, 9))), "another key"},
		{"pool license by another vendor", pool(sign(t, w.vendor, anothers, feature(1, 9))), "vendor"},
		{"older pool license", pool(w.license(1, feature(1, 999))), "update 1"},
		{"same pool license", pool(w.license(2, feature(1, 999))), "update 2"},

		{"expiry", document.EncodeEntry(entryExpired, expired{Time: w.now, Freed: w.now}), ""},
		{"expiry that frees nothing yet", document.EncodeEntry(entryExpired, expired{Time: w.now}), ""},
		{"expiry that frees what lives", document.EncodeEntry(entryExpired, expired{Time: w.now - 1, Freed: w.now}), "frees what"},
		{"expiry ahead of its time", document.EncodeEntry(entryExpired, expired{Time: w.now + 1}), "entered at"},
		{"reserved kind", document.EncodeEntry(6, struct{}{}), "kind 6"},
		{"unknown kind", document.EncodeEntry(1<<31, struct{}{}), "kind"},
		{"no entry", []byte{0xff}, "entry"},
		{"nothing", nil, "entry"},
	} {
		t.Run(c.name, func(t *testing.T) {
			state := w.pool.Clone()
			err := state.Judge(at, c.entry)
			if c.words != "" {
				if err == nil || !strings.Contains(err.Error(), c.words) {
					t.Errorf("got %v, want an error about %q", err, c.words)
				}
				return
			}
			if err != nil {
				t.Errorf("a good entry is refused: %v", err)
			}
			if err := state.Apply(at, c.entry); err != nil {
				t.Errorf("a good entry does not fold: %v", err)
			}
		})
	}
}

func TestJudgeBeforeTheFirstLicense(t *testing.T) {
	w, given := catalogue(t)
	empty := NewPool(w.trust(0))
	at := ledger.Position{Seq: 1, Time: w.now, Rules: 1}
	if err := empty.Judge(at, given[0].Encode()); err == nil {
		t.Error("a license from a pool without a license")
	}
	if err := empty.Apply(at, given[0].Encode()); err == nil {
		t.Error("a license from a pool without a license")
	}
	if err := empty.Judge(at, document.EncodeEntry(entryUpdated, updated{Pool: w.license(1, feature(1, 1)).Bytes()})); err != nil {
		t.Error(err)
	}
}

// TestJudgeNoticesEveryBit flips a bit in each byte of the entries that carry
// signatures, up to the request key at their end, which nobody signs.
func TestJudgeNoticesEveryBit(t *testing.T) {
	w := worldOf(t, feature(1, 5))
	live := w.mustDetach(request(1, 3600, 1))
	at := ledger.Position{Seq: w.seq + 1, Time: w.now, Rules: 1}
	back, err := w.pool.Return(w.giveBack(1, live.License, 0), document.RequestKey{}, w.now)
	if err != nil {
		t.Fatal(err)
	}
	newer, err := w.pool.Update(w.license(2, feature(1, 5), feature(2, 5)), document.RequestKey{})
	if err != nil {
		t.Fatal(err)
	}
	for _, entry := range [][]byte{back[0], newer[0]} {
		if err := w.pool.Judge(at, entry); err != nil {
			t.Fatal(err)
		}
		for i := range len(entry) - len(document.Encode(document.RequestKey{})) {
			forged := bytes.Clone(entry)
			forged[i] ^= 1 << (i % 8)
			if w.pool.Judge(at, forged) == nil {
				t.Errorf("bit %d of byte %d may be flipped in %x", i%8, i, entry)
			}
		}
	}
}
