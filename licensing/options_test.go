package licensing_test

import (
	"crypto/ed25519"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/sojournlm/sojourn/licensing"
	"github.com/sojournlm/sojourn/storage"
	"github.com/sojournlm/sojourn/storage/memory"
)

// TestOptionsAreCopied changes a manager's options behind its back.
func TestOptionsAreCopied(t *testing.T) {
	w := newWorld(t)
	office := w.office(feature(1, 3), feature(2, 3))
	laptop := w.laptop("LAPTOP")
	office.opts.Policy.Forbidden = []licensing.Selector{{ProductNumber: worldProduct, FeatureNumber: 2}}
	office.restart()
	w.ok(office.know(laptop))
	office.opts.Policy.Forbidden[0].Whole = true
	clear(office.opts.Vendors)
	clear(office.opts.Buses)
	clear(laptop.opts.Vendors)
	w.ok(laptop.Install(w.ctx, office.detach(laptop, 1).License, nil))
	_, err := office.Detach(w.ctx, office.request(laptop, 2), nil)
	w.refused(err, licensing.DetachForbidden)
	w.checkPromises()
}

// What cannot be meant is refused by its name, and nothing is begun in the store.
func TestOptionsAreRefusedByName(t *testing.T) {
	for name, set := range map[string]func(*licensing.Options){
		"GrantLength":        func(o *licensing.Options) { o.GrantLength = -1 },
		"SkewAllowance":      func(o *licensing.Options) { o.SkewAllowance = -time.Second },
		"ClockStep":          func(o *licensing.Options) { o.ClockStep = -1 },
		"ClockGap":           func(o *licensing.Options) { o.ClockGap = math.MinInt64 },
		"Policy.MaxDuration": func(o *licensing.Options) { o.Policy.MaxDuration = -time.Hour },
		"whole seconds":      func(o *licensing.Options) { o.Policy.MaxDuration = time.Second / 2 },
		"Vendors":            func(o *licensing.Options) { o.Vendors = map[uint32]ed25519.PublicKey{worldVendor: nil} },
		"Peers.Exchange":     func(o *licensing.Options) { o.Peers = &licensing.Peers{} },
		"Buses":              func(o *licensing.Options) { o.Buses = append(o.Buses, nil) },
	} {
		w := newWorld(t)
		m := w.bare("OFFICE", memory.New())
		set(&m.opts)
		err := m.boot()
		w.refused(err, licensing.InvalidParameter)
		if err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("%s: %v", name, err)
		}
		if n := len(stored(m.disk, w)); n > 0 {
			t.Errorf("%s: %d values are stored", name, n)
		}
	}
}

// An anchor that could not be opened, and whose error was not looked at, is refused.
func TestNoAnchor(t *testing.T) {
	w := newWorld(t)
	for name, anchor := range map[string]licensing.Anchor{"none": nil, "no file": (*licensing.AnchorFile)(nil)} {
		disk := memory.New()
		m, err := licensing.Open(w.ctx, disk, anchor, nil)
		w.refused(err, licensing.InvalidParameter)
		if m != nil || err == nil || !strings.Contains(err.Error(), "no anchor") {
			t.Errorf("%s: %v", name, err)
		}
		if n := len(stored(disk, w)); n > 0 {
			t.Errorf("%s: %d values are stored", name, n)
		}
	}
}

// The longest lengths of time are as good as any: nothing overflows.
func TestLongestOptions(t *testing.T) {
	for _, longest := range []time.Duration{math.MaxInt64, math.MaxInt64 - time.Second, math.MaxInt64 - 1, math.MaxInt64/2 + 1} {
		w := newWorld(t)
		office := w.bare("OFFICE", memory.New())
		office.addKey(worldKey)
		office.opts.ClockStep, office.opts.ClockGap = longest, longest
		w.ok(office.boot())
		w.ok(office.Install(w.ctx, office.pool(feature(1, 1)), nil))
		laptop := w.laptop("LAPTOP", office)
		laptop.opts.GrantLength, laptop.opts.ClockStep, laptop.opts.ClockGap = longest, longest, longest
		laptop.restart()
		d := office.lend(laptop, 1)
		for range 2 {
			w.turn(time.Hour)
			grant, err := laptop.check(1)
			w.ok(err)
			if want := d.Ends.Sub(laptop.watch.Now()); grant.Length != want || !grant.Ends.Equal(d.Ends) {
				t.Errorf("%v: the grant is for %v until %v, want %v until %v", longest, grant.Length, grant.Ends, want, d.Ends)
			}
			laptop.restart()
		}
		// The grant lives as long as the license does, so the seat is away as long.
		w.ok(office.Install(w.ctx, laptop.giveBack(d.LicenseID), nil))
		if n := office.free(1); n != 0 {
			t.Errorf("%v: %d seats free while the grant lives", longest, n)
		}
		office.opts.SkewAllowance = longest
		office.restart()
		w.turn(100 * 24 * time.Hour)
		if n := office.free(1); n != 0 {
			t.Errorf("%v: %d seats free before the skew is over", longest, n)
		}
		w.checkPromises()
	}
}

// A part of a second is not lost, for it would be somebody's overlap.
func TestSkewIsRoundedUp(t *testing.T) {
	w := newWorld(t)
	office := w.office(feature(1, 1))
	laptop := w.laptop("LAPTOP", office)
	office.opts.SkewAllowance = time.Second / 2
	office.restart()
	office.detach(laptop, 1)
	w.turn(24 * time.Hour)
	if n := office.free(1); n != 0 {
		t.Errorf("%d seats free at the death time", n)
	}
	w.turn(time.Second)
	if n := office.free(1); n != 1 {
		t.Errorf("%d seats free a second later", n)
	}
}

// stored is everything on a disk.
func stored(disk storage.Store, w *world) (all []storage.Pair) {
	w.Helper()
	w.ok(disk.View(w.ctx, func(r storage.Reader) error {
		for p, err := range r.Scan("") {
			if err != nil {
				return err
			}
			all = append(all, p)
		}
		return nil
	}))
	return all
}
