package licensing_test

import (
	"crypto/ed25519"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/sojournlm/sojourn/detach"
	"github.com/sojournlm/sojourn/device"
	"github.com/sojournlm/sojourn/internal/document"
	"github.com/sojournlm/sojourn/internal/ledger"
	"github.com/sojournlm/sojourn/licensing"
	"github.com/sojournlm/sojourn/storage/memory"
	"github.com/sojournlm/sojourn/transport/simulator"
)

// forger is an office of somebody who gives himself out for the world's vendor, by a
// key of his own, and those who believe him.
type forger struct {
	*machine
	trusted map[uint32]ed25519.PublicKey
}

func newForger(w *world) *forger {
	w.Helper()
	_, own, err := ed25519.GenerateKey(nil)
	w.ok(err)
	genuine := w.vendor
	w.vendor = own
	defer func() { w.vendor = genuine }()
	m := w.bare("FORGER", memory.New())
	m.addKey(worldKey + 0x100)
	w.ok(m.boot())
	w.ok(m.Install(w.ctx, m.pool(feature(1, 3), feature(99, 3)), nil))
	return &forger{m, map[uint32]ed25519.PublicKey{worldVendor: own.Public().(ed25519.PublicKey)}}
}

// plant starts a program on the computer that trusts the forger, and leaves the forger's
// license for a feature behind.
func (f *forger) plant(on *machine, number uint32) *licensing.Detached {
	f.w.Helper()
	genuine := on.opts.Vendors
	on.opts.Vendors = f.trusted
	on.restart()
	f.w.ok(f.know(on))
	d := f.lend(on, number)
	if _, err := on.check(number); err != nil {
		f.w.Errorf("the forger's own program gets no grant, so nothing is tried here: %v", err)
	}
	on.opts.Vendors = genuine
	on.restart()
	return d
}

// notGenuine is about an error that names the license and the link, and says what to do.
func (w *world) notGenuine(err error, license uint64) {
	w.Helper()
	w.refused(err, licensing.InvalidDigest)
	var e *licensing.Error
	if !errors.As(err, &e) || !strings.Contains(e.Message, fmt.Sprint(license)) || !strings.Contains(e.Message, "vendor signature") ||
		!strings.Contains(e.Advice, "Give the license back") {
		w.Errorf("the error names neither license %d nor the vendor's signature, or not what to do: %#v", license, e)
	}
}

// A program grants by no license that another program, which trusts others, has
// installed. The license can be given back, and stands in nobody's way.
func TestForgedLicenseIsNotGranted(t *testing.T) {
	w := newWorld(t)
	office, thief := w.office(feature(1, 3)), newForger(w)
	laptop := w.laptop("LAPTOP", office)
	forged := thief.plant(laptop, 99)

	_, err := laptop.check(99)
	w.notGenuine(err, forged.LicenseID)
	_, err = laptop.Verify(w.ctx)
	w.notGenuine(err, forged.LicenseID)
	keys := collect[licensing.Key](w)(laptop.Keys(w.ctx, licensing.Filter{}))
	if len(keys) != 1 || !keys[0].Inaccessible || !strings.Contains(keys[0].Problem, "vendor signature") {
		t.Errorf("the forged license is listed as %+v", keys)
	}
	for _, f := range laptop.look().Features {
		if !f.Inaccessible {
			t.Errorf("a forged feature is listed as %+v", f)
		}
	}

	// A genuine license for the same feature goes on, beside a forged one that lives longer.
	w.turn(time.Second)
	thief.plant(laptop, 1)
	office.lend(laptop, 1)
	w.turn(time.Second)
	if _, err := laptop.check(1); err != nil {
		t.Errorf("beside a forged license: %v", err)
	}
	for _, d := range thief.look().Detached {
		laptop.giveBack(d.ID)
	}
	if _, err := laptop.Verify(w.ctx); err != nil {
		t.Errorf("after the forged licenses were given back: %v", err)
	}
	w.checkPromises()
}

// trustsAgain gives a program its vendors back, and with them its grants.
func (m *machine) trustsAgain(genuine map[uint32]ed25519.PublicKey) {
	m.w.Helper()
	m.opts.Vendors = genuine
	m.restart()
	if _, err := m.check(1); err != nil {
		m.w.Errorf("trusted again: %v", err)
	}
}

// A batch with a license that the anchor has not signed is no damage to a program that
// does not trust the license's vendor (any more): it signs it, and grants nothing.
func TestUnsignedLicenseOfAForgottenVendor(t *testing.T) {
	w := newWorld(t)
	office := w.office(feature(1, 3))
	laptop := w.laptop("LAPTOP", office)
	d := office.detach(laptop, 1)
	laptop.safe.FailNth(0, simulator.PullFirst)
	w.refused(laptop.Install(w.ctx, d.License, nil), licensing.ErrUnknown)
	laptop.crash()
	genuine := laptop.opts.Vendors
	laptop.opts.Vendors = nil
	laptop.reopen()
	w.ok(laptop.know(office))
	_, err := laptop.check(1)
	w.notGenuine(err, d.LicenseID)
	laptop.trustsAgain(genuine)
	w.checkPromises()
}

// A program without vendors, or with a vendor without a key, grants nothing.
func TestNobodyTrustedGrantsNothing(t *testing.T) {
	for name, vendors := range map[string]map[uint32]ed25519.PublicKey{
		"none": nil, "another": {worldVendor + 1: ed25519.NewKeyFromSeed(make([]byte, ed25519.SeedSize)).Public().(ed25519.PublicKey)},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			office := w.office(feature(1, 3))
			laptop := w.laptop("LAPTOP", office)
			d := office.lend(laptop, 1)
			genuine := laptop.opts.Vendors
			laptop.opts.Vendors = vendors
			laptop.restart()
			_, err := laptop.check(1)
			w.notGenuine(err, d.LicenseID)
			laptop.trustsAgain(genuine)
		})
	}
}

// No seat leaves a pool that was signed by somebody this program does not trust, with
// its key plugged in or not, and nothing of it is shown as a feature.
func TestForgedPoolLetsNothingLeave(t *testing.T) {
	w := newWorld(t)
	thief := newForger(w)
	laptop := w.laptop("LAPTOP", thief.machine)
	thief.detach(laptop, 1)
	thief.opts.Vendors = map[uint32]ed25519.PublicKey{worldVendor: w.vendor.Public().(ed25519.PublicKey)}
	for _, plugged := range []bool{true, false} {
		thief.restart()
		if !plugged {
			w.ok(thief.Close(w.ctx))
			thief.crash()
			thief.keys[0].Unplug()
			w.ok(thief.boot())
		}
		_, err := thief.Detach(w.ctx, thief.request(laptop, 99), nil)
		if plugged {
			w.refused(err, licensing.InvalidDigest)
		} else {
			w.refused(err, licensing.NoService)
		}
		if v := thief.look(); len(v.Features) > 0 || len(v.Detached) > 0 {
			t.Errorf("plugged in %v: shown are %+v and %+v", plugged, v.Features, v.Detached)
		}
		keys := collect[licensing.Key](w)(thief.Keys(w.ctx, licensing.Filter{}))
		if len(keys) != 1 || !strings.Contains(keys[0].Problem, "vendor signature") {
			t.Errorf("plugged in %v: the key is listed as %+v", plugged, keys)
		}
		report, err := thief.Verify(w.ctx)
		if err != nil || len(report.Unread) != 1 {
			t.Errorf("plugged in %v: Verify says %+v, %v", plugged, report, err)
		}
	}
}

// What a program that trusts others has entered into the ledger of a genuine key does
// not count either.
func TestForgedEntryOnGenuineKey(t *testing.T) {
	w := newWorld(t)
	office := w.office(feature(1, 3))
	laptop := w.laptop("LAPTOP", office)
	w.ok(office.Close(w.ctx))
	office.crash()

	genuine := w.vendor
	_, w.vendor, _ = ed25519.GenerateKey(nil)
	forged := office.pool(feature(1, 30))
	trusted := w.vendor.Public().(ed25519.PublicKey)
	w.vendor = genuine
	key, err := device.Open(w.ctx, office.bus, office.keys[0].BusID())
	w.ok(err)
	pool, err := ledger.Open(w.ctx, ledger.Config[*detach.Pool]{
		Name: fmt.Sprintf("pool/%08x", office.keys[0].ID()), Store: office.disk, Anchor: key, Rules: 1,
		Clock: ledger.NewClock(office.watch, 0, 0),
		Empty: detach.NewPool(detach.Trust{Key: office.keys[0].ID(), Public: key.Public(),
			Vendor: func(uint32) ed25519.PublicKey { return trusted }}),
	})
	w.ok(err)
	_, err = pool.Do(w.ctx, func(p *detach.Pool, _ ledger.Moment) ([][]byte, error) {
		envelope, err := document.Unwrap(forged)
		w.ok(err)
		license, err := envelope.Pool()
		w.ok(err)
		return p.Update(license, document.RequestKey{})
	})
	w.ok(err)
	w.ok(pool.Close(w.ctx))
	w.ok(key.Close())

	w.ok(office.boot())
	_, err = office.Detach(w.ctx, office.request(laptop, 1), nil)
	w.refused(err, licensing.InvalidDigest)
	if v := office.look(); len(v.Features) > 0 {
		t.Errorf("shown are %+v", v.Features)
	}
}
