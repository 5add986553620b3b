package licensing_test

import (
	"bytes"
	"crypto/ed25519"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/sojournlm/sojourn/licensing"
	"github.com/sojournlm/sojourn/licensing/issuer"
	"github.com/sojournlm/sojourn/storage/memory"
	"github.com/sojournlm/sojourn/transport/simulator"
)

// A key that is worn out says so: each change is a certain no, the lists name the reason,
// and the log was told long before. Nothing that was acknowledged is lost.
func TestWornOutKey(t *testing.T) {
	w := newWorld(t)
	var log bytes.Buffer
	office := w.bare("OFFICE", memory.New())
	key, err := office.bus.Add(simulator.Config{
		KeyID: worldKey, Model: uint8(licensing.ModelSign), Vendor: worldVendor,
		VendorPublic: w.vendor.Public().(ed25519.PublicKey), Endurance: 1,
	})
	w.ok(err)
	office.keys = append(office.keys, key)
	office.opts.Logger = slog.New(slog.NewTextHandler(&log, nil))
	w.ok(office.boot())
	if !strings.Contains(log.String(), "nearly worn out") {
		t.Error("the log was not told beforehand")
	}
	const features = 60
	var sold []issuer.Feature
	for n := range uint32(features) {
		sold = append(sold, feature(n, 100))
	}
	w.ok(office.Install(w.ctx, office.pool(sold...), nil))
	laptop := w.laptop("LAPTOP", office)
	strangers := office.strangers(features)
	problem := func() string {
		for _, k := range collect[licensing.Key](w)(office.Keys(w.ctx, licensing.Filter{})) {
			return k.Problem
		}
		return "no key"
	}
	out := office.lend(laptop, 1)
	if p := problem(); p != "" {
		t.Fatalf("a key that can still keep something has the problem %q", p)
	}

	away := 1
	request := func() licensing.DetachRequest {
		r := office.request(laptop, uint32(away%features))
		r.Recipient = strangers[away/features%features]
		return r
	}
	again := func() error {
		_, err := office.Detach(w.ctx, request(), &licensing.ChangeOptions{RequestKey: fmt.Sprint(away)})
		return err
	}
	var wrong error
	for wrong = again(); wrong == nil && away < features*features; wrong = again() {
		away++
	}
	ret := laptop.giveBack(out.LicenseID)
	worn := func(what string, err error) {
		t.Helper()
		w.refused(err, licensing.StorageCorrupted)
		var e *licensing.Error
		if errors.Is(err, licensing.ErrUnknown) || !errors.As(err, &e) || !strings.Contains(e.Message, "worn out") || !strings.Contains(e.Advice, "new key") {
			t.Errorf("%s: %v, %#v, want a certain no that says worn out", what, err, e)
		}
		if p := problem(); !strings.Contains(p, "worn out") {
			t.Errorf("%s: the key's problem is %q", what, p)
		}
	}
	worn("the first time", wrong)
	worn("again", again())
	worn("a return", office.Install(w.ctx, ret, &licensing.ChangeOptions{RequestKey: "return"}))
	worn("a new pool license", office.Install(w.ctx, office.pool(feature(1, 60001)), &licensing.ChangeOptions{RequestKey: "pool"}))
	if !strings.Contains(log.String(), "a key is worn out") {
		t.Error("the log was not told")
	}
	office.reopen()
	worn("after a crash", again())
	office.restart()
	worn("after a restart", again())
	worn("a return after a restart", office.Install(w.ctx, ret, &licensing.ChangeOptions{RequestKey: "return"}))
	if n := len(office.look().Detached); n != away {
		t.Errorf("%d licenses are out, %d were acknowledged", n, away)
	}
	w.checkPromises()
}

// A pool license that the key has taken with its last writes is followed by its pool,
// though another change has come in between: one of the writes that are kept back is
// for that.
func TestWornKeyIsFollowed(t *testing.T) {
	const seats = 60
	stand := func(t *testing.T) (office *machine, disk *heldUp, use func() error) {
		w := newWorld(t)
		disk = &heldUp{Store: memory.New()}
		office = w.bare("OFFICE", disk)
		key, err := office.bus.Add(simulator.Config{
			KeyID: worldKey, Model: uint8(licensing.ModelSign), Vendor: worldVendor,
			VendorPublic: w.vendor.Public().(ed25519.PublicKey), Endurance: 1,
		})
		w.ok(err)
		office.keys = append(office.keys, key)
		w.ok(office.boot())
		var sold []issuer.Feature
		for n := range uint32(seats) {
			sold = append(sold, feature(n, 100))
		}
		w.ok(office.Install(w.ctx, office.pool(sold...), nil))
		strangers := office.strangers(seats)
		used := 0
		return office, disk, func() error {
			r := office.request(office, uint32(used%seats))
			r.Recipient = strangers[used/seats%seats]
			_, err := office.Detach(w.ctx, r, nil)
			if err == nil {
				used++
			}
			return err
		}
	}
	lasts := 0
	for _, _, use := stand(t); use() == nil; {
		lasts++
	}
	synctest.Test(t, func(t *testing.T) {
		office, disk, use := stand(t)
		w := office.w
		for range lasts - 1 {
			w.ok(use())
		}
		newer := office.pool(feature(0, 100), feature(1, 60001))
		end := disk.hold()
		installed := make(chan error, 1)
		go func() { installed <- office.Install(w.ctx, newer, askedOnce) }()
		synctest.Wait() // it is about to be announced
		w.ok(use())
		end(nil)
		w.ok(<-installed)
		for range 2 {
			w.ok(office.Install(w.ctx, newer, askedOnce))
			if f := office.look().Features[1]; f.Max != 60001 {
				t.Errorf("the pool has %+v", f)
			}
			r := office.request(office, 1)
			_, err := office.Detach(w.ctx, r, nil)
			w.refused(err, licensing.StorageCorrupted)
			w.refused(office.Install(w.ctx, office.pool(feature(1, 60002)), nil), licensing.StorageCorrupted)
			office.reopen()
		}
		w.checkPromises()
		office.crash()
	})
}
