package licensing_test

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"errors"
	"math"
	"os"
	"path/filepath"
	"slices"
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
	for _, key := range laptop.opts.Vendors {
		defer copy(key, slices.Clone(key)) // it is the world's
		clear(key)
	}
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
		"all zero":           func(o *licensing.Options) { o.Vendors = map[uint32]ed25519.PublicKey{worldVendor: make([]byte, 32)} },
		"HostName":           func(o *licensing.Options) { o.HostName = "two\nlines" },
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

// What an anchor's file cannot be is said with what to do.
func TestAnchorFiles(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "anchor")
	anchor, err := licensing.OpenAnchor(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	defer anchor.Close()
	garbage := filepath.Join(dir, "garbage")
	if err := os.WriteFile(garbage, bytes.Repeat([]byte("no anchor "), 10_000), 0o600); err != nil {
		t.Fatal(err)
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	for name, c := range map[string]struct {
		ctx    context.Context
		path   string
		code   licensing.Code
		advice string
	}{
		"in use":       {t.Context(), path, licensing.NoService, "End the program"},
		"no anchor":    {t.Context(), garbage, licensing.StorageCorrupted, "Name the file"},
		"a directory":  {t.Context(), dir, licensing.InvalidParameter, "Name a file"},
		"no directory": {t.Context(), filepath.Join(dir, "none", "anchor"), licensing.InvalidParameter, "Name a file"},
		"given up":     {ended, "", licensing.RequestFailed, "Ask again"},
	} {
		_, err := licensing.OpenAnchor(c.ctx, c.path)
		var e *licensing.Error
		if !errors.As(err, &e) || e.Code != c.code || !strings.Contains(e.Message, c.path) || !strings.Contains(e.Advice, c.advice) {
			t.Errorf("%s: %#v", name, err)
		}
	}
}

// What was closed, and what is not there, is said for what it is.
func TestOpenOnWhatIsClosed(t *testing.T) {
	w := newWorld(t)
	open := func() (*licensing.AnchorFile, *memory.Store) {
		anchor, err := licensing.OpenAnchor(w.ctx, "")
		w.ok(err)
		return anchor, memory.New()
	}
	advises := func(err error, code licensing.Code, words ...string) {
		t.Helper()
		w.refused(err, code)
		var e *licensing.Error
		for _, word := range words {
			if !errors.As(err, &e) || !strings.Contains(e.Message+" "+e.Advice, word) {
				t.Errorf("%q does not stand in %#v", word, err)
			}
		}
	}
	anchor, disk := open()
	_, err := licensing.Open(w.ctx, nil, anchor, nil)
	advises(err, licensing.InvalidParameter, "store")
	w.ok(disk.Close())
	_, err = licensing.Open(w.ctx, disk, anchor, nil)
	advises(err, licensing.StorageCorrupted, "Open the store again")
	_, disk = open()
	w.ok(anchor.Close())
	_, err = licensing.Open(w.ctx, disk, anchor, nil)
	advises(err, licensing.NoService, "Open the anchor again")
	anchor, disk = open()
	_, err = licensing.Open(w.ctx, disk, anchor, &licensing.Options{Hardware: failingSource{}})
	advises(err, licensing.InternalError, "hardware", "Options.Hardware")
}

// A disk without room keeps nobody from reading, also where the computer has another name
// than at the last start, and the error says what to do.
func TestFullDisk(t *testing.T) {
	w := newWorld(t)
	office := w.office(feature(1, 3))
	laptop := w.laptop("LAPTOP", office)
	d := office.lend(laptop, 1)
	w.ok(laptop.Close(w.ctx))
	laptop.crash()
	disk := laptop.disk
	for _, name := range []string{"LAPTOP", "LAPTOP.example.com"} {
		laptop.disk, laptop.opts.HostName = full{disk}, name
		w.ok(laptop.boot())
		if list := laptop.look().Features; len(list) != 1 {
			t.Errorf("%s: %+v", name, list)
		}
		_, err := laptop.CancelDetach(w.ctx, licensing.CancelRequest{Offline: true, License: d.LicenseID}, nil)
		var e *licensing.Error
		if !errors.As(err, &e) || e.Code != licensing.StorageCorrupted || !strings.Contains(e.Advice, "Make room") {
			t.Errorf("%s: %#v", name, err)
		}
		laptop.crash()
	}
	laptop.disk = disk
	laptop.reopen()
	env, err := laptop.Environment(w.ctx)
	w.ok(err)
	if env.HostName != "LAPTOP.example.com" {
		t.Errorf("with room again it is called %s", env.HostName)
	}
	laptop.giveBack(d.LicenseID)
	w.checkPromises()
}

// full is a store whose disk has no room left.
type full struct{ storage.Store }

func (f full) Update(context.Context, func(storage.Writer) error) error {
	return &storage.Error{Op: "update", Err: storage.ErrFull}
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
