package licensing_test

import (
	"context"
	"crypto/ed25519"
	"errors"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sojournlm/sojourn/licensing"
	"github.com/sojournlm/sojourn/storage/memory"
	"github.com/sojournlm/sojourn/transport"
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

// A key that comes back other than it went, and does not say so when it is first asked
// where it stands, is asked again before anything is stored that it would not sign.
func TestReplugSetBackUnheard(t *testing.T) {
	for _, is := range []sickness{flipped, dumbSigner} {
		for _, looks := range []int{0, 20} {
			inBubble(t, func(w *world) {
				office, laptop, bus, _ := beside(w)
				office.crash()
				w.ok(office.boot())
				key, err := bus.Add(simulator.Config{KeyID: 0x61000009, Vendor: worldVendor, VendorPublic: office.keys[0].VendorPublic()})
				w.ok(err)
				w.ok(office.Install(w.ctx, office.poolOf(key, feature(1, 3)), nil))
				r := office.request(laptop, 1)
				r.Key = key.ID()
				earlier, err := key.Snapshot()
				w.ok(err)
				_, err = office.Detach(w.ctx, r, nil)
				w.ok(err)
				key.Unplug()
				office.shows(key.ID())
				w.ok(key.Restore(earlier))
				bus.is.Store(is)
				w.ok(key.Plug())
				if office.shows(key.ID()) {
					t.Errorf("%s: it is shown as sound", is)
				}
				bus.is.Store(well)
				for range looks {
					time.Sleep(time.Second)
					if office.shows(key.ID()) {
						t.Fatalf("%s: it is shown as sound later", is)
					}
				}
				before := office.look()
				_, err = office.Detach(w.ctx, r, nil)
				w.refused(err, licensing.StorageCorrupted, licensing.ErrAnchorLost)
				if errors.Is(err, licensing.ErrUnknown) {
					t.Errorf("%s: it is not known whether it happened: %v", is, err)
				}
				if diff := cmp.Diff(before, office.look()); diff != "" {
					t.Error(diff)
				}
			})
		}
	}
}

// A key that comes back as it went, and is not heard at first, is good as soon as it is.
func TestReplugUnheard(t *testing.T) {
	inBubble(t, func(w *world) {
		office, laptop, bus, _ := beside(w)
		office.crash()
		w.ok(office.boot())
		key, err := bus.Add(simulator.Config{KeyID: 0x61000009, Vendor: worldVendor, VendorPublic: office.keys[0].VendorPublic()})
		w.ok(err)
		w.ok(office.Install(w.ctx, office.poolOf(key, feature(1, 3), feature(2, 3)), nil))
		for i, is := range []sickness{flipped, dumbSigner} {
			r := office.request(laptop, uint32(i+1))
			r.Key = key.ID()
			key.Unplug()
			office.shows(key.ID())
			bus.is.Store(is)
			w.ok(key.Plug())
			if office.shows(key.ID()) {
				t.Errorf("%s: it is shown as sound", is)
			}
			bus.is.Store(well)
			if _, err := office.Detach(w.ctx, r, nil); err != nil {
				t.Errorf("%s: %v", is, err)
			}
			if !office.shows(key.ID()) {
				t.Errorf("%s: it is not shown as sound", is)
			}
		}
		w.checkPromises()
	})
}

// swapped is a socket whose key is changed for another one when it is asked to sign.
type swapped struct {
	socket
	swap func() // once; nil: no more
}

func (b *swapped) Open(ctx context.Context, id transport.KeyID) (transport.Conn, error) {
	c, err := b.socket.Open(ctx, id)
	if err != nil {
		return nil, err
	}
	return &swappedConn{c, b}, nil
}

type swappedConn struct {
	transport.Conn
	bus *swapped
}

func (c *swappedConn) Exchange(ctx context.Context, request []byte) ([]byte, error) {
	const opcode, advance = 3, 4
	if swap := c.bus.swap; swap != nil && request[opcode] == advance {
		c.bus.swap = nil
		swap()
	}
	return c.Conn.Exchange(ctx, request)
}

func (c *swappedConn) Ended() bool { return c.Conn.(transport.Ender).Ended() }

// Another key that gets the place of one in the middle of a change is not asked to sign
// for it; the change is done when the first one is back.
func TestOtherKeyWithinAChange(t *testing.T) {
	w := newWorld(t)
	office := w.bare("OFFICE", memory.New())
	bus := &swapped{socket: socket{office.bus}}
	office.opts.Buses = []transport.Bus{bus}
	one := office.addKey(worldKey)
	w.ok(office.boot())
	w.ok(office.Install(w.ctx, office.pool(feature(1, 3)), nil))
	laptop := w.laptop("LAPTOP", office)
	two := office.addKey(worldKey + 1)
	two.Unplug()
	bus.swap = func() {
		one.Unplug()
		w.ok(two.Plug())
	}
	_, err := office.Detach(w.ctx, office.request(laptop, 1), askedOnce)
	if !errors.Is(err, licensing.ErrUnknown) {
		t.Errorf("in the middle of it: %v", err)
	}
	for _, k := range collect[licensing.Key](w)(office.Keys(w.ctx, licensing.Filter{})) {
		if k.Inaccessible == (k.ID == two.ID()) {
			t.Errorf("key %d: inaccessible is %v", k.ID, k.Inaccessible)
		}
	}
	two.Unplug()
	w.ok(one.Plug())
	_, err = office.Detach(w.ctx, office.request(laptop, 1), askedOnce)
	w.ok(err)
	if free := office.free(1); free != 2 {
		t.Errorf("%d seats are free", free)
	}
	w.checkPromises()
}

// A key that is plugged in and cannot be opened is not called pulled out, and is once it is.
func TestKeyInUseElsewhere(t *testing.T) {
	w := newWorld(t)
	office := w.office(feature(1, 3))
	laptop := w.laptop("LAPTOP", office)
	key := office.keys[0]
	want := func(when, problem string) {
		t.Helper()
		_, err := office.Detach(w.ctx, office.request(laptop, 1), nil)
		w.refused(err, licensing.NoService)
		if pulled := strings.Contains(err.Error(), "pulled out"); pulled != (problem == "") || !strings.Contains(err.Error(), problem) {
			t.Errorf("%s: %v", when, err)
		}
		for _, k := range collect[licensing.Key](w)(office.Keys(w.ctx, licensing.Filter{})) {
			if !k.Inaccessible || (k.Problem == "") != (problem == "") || !strings.Contains(k.Problem, problem) {
				t.Errorf("%s: %+v", when, k)
			}
		}
	}
	key.Unplug()
	want("pulled out", "")
	w.ok(key.Plug())
	other, err := office.bus.Open(w.ctx, key.BusID())
	w.ok(err)
	want("in use elsewhere", transport.ErrBusy.Error())
	key.Unplug()
	want("pulled out again", "")
	w.ok(other.Close())

	// A program that starts then has not seen which key it is.
	w.ok(office.Close(w.ctx))
	office.crash()
	w.ok(key.Plug())
	other, err = office.bus.Open(w.ctx, key.BusID())
	w.ok(err)
	w.ok(office.boot())
	for _, k := range collect[licensing.Key](w)(office.Keys(w.ctx, licensing.Filter{})) {
		if !k.Inaccessible || !strings.Contains(k.Problem, transport.ErrBusy.Error()) {
			t.Errorf("in use elsewhere at the start: %+v", k)
		}
	}
	for _, id := range []uint64{worldKey, worldKey + 1} {
		r := office.request(laptop, 1)
		r.Key = id
		_, err := office.Detach(w.ctx, r, nil)
		var e *licensing.Error
		if !errors.As(err, &e) || !strings.Contains(e.Message, transport.ErrBusy.Error()) || !strings.Contains(e.Advice, "what is plugged in") {
			t.Errorf("in use elsewhere at the start: %#v", err)
		}
	}
	w.ok(other.Close())
	office.detach(laptop, 1)
	for _, k := range collect[licensing.Key](w)(office.Keys(w.ctx, licensing.Filter{})) {
		if k.Inaccessible || k.Problem != "" {
			t.Errorf("given back: %+v", k)
		}
	}
	w.checkPromises()
}

// A device that is another key each time it is plugged in leaves nothing behind, and those
// that have a pool stay.
func TestKeysWithoutPoolLeave(t *testing.T) {
	w := newWorld(t)
	office := w.bare("OFFICE", memory.New())
	bus := socket{simulator.New()}
	office.opts.Buses = append(office.opts.Buses, bus)
	office.addKey(worldKey)
	w.ok(office.boot())
	w.ok(office.Install(w.ctx, office.pool(feature(1, 3)), nil))
	office.keys[0].Unplug()
	listed := func() (ids []uint64) {
		for _, k := range collect[licensing.Key](w)(office.Keys(w.ctx, licensing.Filter{})) {
			ids = append(ids, k.ID)
		}
		return ids
	}
	for id := range uint64(20) {
		key, err := bus.Add(simulator.Config{KeyID: id + 1, Vendor: worldVendor, VendorPublic: w.vendor.Public().(ed25519.PublicKey)})
		w.ok(err)
		if diff := cmp.Diff([]uint64{id + 1, worldKey}, listed()); diff != "" {
			t.Fatal(diff)
		}
		key.Unplug()
		if id%2 == 0 {
			continue // the next one is there before anybody looks
		}
		if diff := cmp.Diff([]uint64{worldKey}, listed()); diff != "" {
			t.Fatal(diff)
		}
		if id < 19 {
			continue
		}
		w.ok(key.Plug()) // one that was here before is as good as new
		if diff := cmp.Diff([]uint64{id + 1, worldKey}, listed()); diff != "" {
			t.Fatal(diff)
		}
		w.ok(office.Install(w.ctx, office.poolOf(key, feature(1, 3)), nil))
		key.Unplug()
		if len(listed()) != 2 {
			t.Fatal("a key with a pool is forgotten")
		}
	}
}
