package licensing_test

import (
	"crypto/ed25519"
	"errors"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/sojournlm/sojourn/licensing"
	"github.com/sojournlm/sojourn/storage/memory"
	"github.com/sojournlm/sojourn/transport/simulator"
)

// A key that was pulled out and put back before anybody looked is as good as one that
// stayed: the old connection to it is known to be of no use.
func TestReplugUnnoticed(t *testing.T) {
	w := newWorld(t)
	office := w.office(feature(4, 3))
	laptop := w.laptop("LAPTOP", office)
	key := office.keys[0]
	for range 3 {
		w.ok(key.Replug())
		d := office.detach(laptop, 4)
		w.ok(laptop.Install(w.ctx, d.License, nil))
		w.ok(key.Replug())
		w.ok(office.Install(w.ctx, laptop.giveBack(d.LicenseID), nil))
		w.ok(key.Replug())
		list, err := office.Keys(w.ctx, licensing.Filter{})
		w.ok(err)
		for k := range list.All() {
			if k.Inaccessible || k.Problem != "" {
				t.Errorf("%+v", k)
			}
		}
	}
	w.checkPromises()
}

// A key that comes back other than it went is found out at once: nothing is stored
// that it would not sign.
func TestReplugSetBack(t *testing.T) {
	w := newWorld(t)
	office := w.office(feature(4, 3))
	laptop := w.laptop("LAPTOP", office)
	key := office.keys[0]
	earlier, err := key.Snapshot()
	w.ok(err)
	office.detach(laptop, 4)
	w.ok(key.Restore(earlier))
	before := office.look()
	_, err = office.Detach(w.ctx, office.request(laptop, 4), nil)
	w.refused(err, licensing.StorageCorrupted, licensing.ErrAnchorLost)
	if errors.Is(err, licensing.ErrUnknown) {
		t.Errorf("it is not known whether it happened: %v", err)
	}
	if diff := cmp.Diff(before, office.look()); diff != "" {
		t.Error(diff)
	}
}

// A key that goes from one bus to another is found by the first call, whichever of the
// two comes first.
func TestKeyGoesToAnotherBus(t *testing.T) {
	w := newWorld(t)
	office := w.bare("OFFICE", memory.New())
	buses := []*simulator.Bus{office.bus, simulator.New()}
	office.opts.Buses = append(office.opts.Buses, buses[1])
	config := simulator.Config{
		KeyID: worldKey, Model: uint8(licensing.ModelSign), Vendor: worldVendor,
		VendorPublic: w.vendor.Public().(ed25519.PublicKey), File: filepath.Join(t.TempDir(), "key"),
	}
	key, err := buses[0].Add(config)
	w.ok(err)
	office.keys = append(office.keys, key)
	w.ok(office.boot())
	w.ok(office.Install(w.ctx, office.pool(feature(1, 3)), nil))
	for i := range 4 {
		w.ok(key.Close())
		key, err = buses[(i+1)%2].Add(config)
		w.ok(err)
		office.keys[0] = key
		laptop := w.laptop("LAPTOP", office)
		d, err := office.Detach(w.ctx, office.request(laptop, 1), nil)
		if err != nil {
			t.Fatalf("after move %d: %v", i+1, err)
		}
		w.ok(laptop.Install(w.ctx, d.License, nil))
		w.ok(office.Install(w.ctx, laptop.giveBack(d.LicenseID), nil))
	}
	w.checkPromises()
	w.ok(office.Close(w.ctx))
	w.ok(key.Close())
}
