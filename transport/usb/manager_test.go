//go:build cgo && gousb && linux

package usb_test

import (
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/sojournlm/sojourn/fingerprint"
	"github.com/sojournlm/sojourn/internal/gadget"
	"github.com/sojournlm/sojourn/internal/usbtest"
	"github.com/sojournlm/sojourn/licensing"
	"github.com/sojournlm/sojourn/licensing/issuer"
	"github.com/sojournlm/sojourn/storage"
	"github.com/sojournlm/sojourn/storage/badgerstore"
	"github.com/sojournlm/sojourn/storage/memory"
	"github.com/sojournlm/sojourn/transport"
	"github.com/sojournlm/sojourn/transport/simulator"
	"github.com/sojournlm/sojourn/transport/transporttest"
	"github.com/sojournlm/sojourn/transport/usb"
)

const (
	vendorCode = 1368487351
	seats      = 5
	product    = 29
	feature    = 4
)

// office is a manager on Badger with its key on USB, and a laptop that takes seats.
type office struct {
	testing.TB
	*licensing.Manager
	stick  *usbtest.Stick
	laptop *licensing.Manager
	lmsID  uint64
	key    uint64
}

// newOffice gives the office a pool. A bus between the manager and USB can watch.
func newOffice(t testing.TB, opts *usb.Options, watch func(transport.Bus) transport.Bus) *office {
	t.Helper()
	public, private, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	o := &office{TB: t}
	o.stick, err = usbtest.NewStick(stack(t), simulator.Config{KeyID: 0x5101, Vendor: vendorCode, VendorPublic: public, Model: 3}, gadget.HighSpeed)
	o.ok(err)
	t.Cleanup(func() { o.ok(o.stick.Close()) })
	o.key = o.stick.Key.ID()
	store, err := badgerstore.Open(t.TempDir(), nil)
	o.ok(err)
	trust := map[uint32]ed25519.PublicKey{vendorCode: public}
	o.Manager = o.open("OFFICE", store, trust, watch(openBus(t, opts)))
	o.laptop = o.open("LAPTOP", memory.New(), trust)
	env, err := o.laptop.Environment(t.Context())
	o.ok(err)
	o.lmsID = env.LMSID
	o.ok(o.AddFingerprint(t.Context(), licensing.FingerprintFields{Fingerprint: env.Fingerprint}, nil))
	pool, err := issuer.Sign(private, issuer.Pool{
		Key: uint32(o.key), KeyPublic: o.stick.Key.Public(), Vendor: vendorCode, Counter: 1, Issued: time.Now(),
		Products: []issuer.Product{{Number: product, Name: "product", Features: []issuer.Feature{
			{Number: feature, Name: "feature", Seats: seats, Detachable: true},
		}}},
	})
	o.ok(err)
	o.ok(o.Install(t.Context(), pool, nil))
	return o
}

func (o *office) ok(err error) {
	o.Helper()
	if err != nil {
		o.Fatal(err)
	}
}

func (o *office) open(name string, store storage.Store, trust map[uint32]ed25519.PublicKey, buses ...transport.Bus) *licensing.Manager {
	o.Helper()
	anchor, err := licensing.OpenAnchor(o.Context(), "")
	o.ok(err)
	m, err := licensing.Open(o.Context(), store, anchor, &licensing.Options{
		Vendors: trust, Buses: buses, HostName: name,
		Hardware: fingerprint.Static{{Name: fingerprint.MachineComponent, Value: name}},
	})
	o.ok(err)
	o.Cleanup(func() {
		o.ok(errors.Join(m.Close(context.Background()), store.Close(), anchor.Close()))
	})
	return m
}

// detach asks for a seat. The request key makes asking again harmless.
func (o *office) detach(ctx context.Context, request string) (*licensing.Detached, error) {
	return o.Detach(ctx, licensing.DetachRequest{
		Offline: true, Recipient: o.lmsID, Key: o.key, Duration: time.Hour,
		Features: []licensing.Selector{{ProductNumber: product, FeatureNumber: feature}},
	}, &licensing.ChangeOptions{RequestKey: request})
}

// conserved is the first promise: free and detached seats are all there are.
func (o *office) conserved(out int) {
	o.Helper()
	list, err := o.Features(o.Context(), licensing.Filter{Key: &o.key})
	o.ok(err)
	for f := range list.All() {
		if int(f.Free) != seats-out || int(f.Detached) != out {
			o.Errorf("%d free and %d detached, want %d and %d", f.Free, f.Detached, seats-out, out)
		}
		return
	}
	o.Error("the pool is gone")
}

// accessible is whether the list shows the key as plugged in.
func (o *office) accessible() bool {
	o.Helper()
	list, err := o.Keys(o.Context(), licensing.Filter{})
	o.ok(err)
	for k := range list.All() {
		if k.ID == o.key {
			return !k.Inaccessible
		}
	}
	o.Fatal("the key is not listed")
	return false
}

// installed reports whether the laptop has a seat.
func (o *office) installed() bool {
	o.Helper()
	list, err := o.laptop.Features(o.Context(), licensing.Filter{})
	o.ok(err)
	for f := range list.All() {
		return f.Free == 1
	}
	return false
}

// persist asks until there is an answer, putting the key back each time.
func (o *office) persist(what string, ask func() error) {
	o.Helper()
	var err error
	for range 4 {
		if err = ask(); err == nil {
			return
		}
		o.ok(o.stick.Plug())
	}
	o.Fatalf("%s: %v", what, err)
}

// A seat leaves and comes home, and the key is pulled out at every point of every
// exchange of both. Nothing is minted, nothing is lost, and no seat lives twice.
func TestDetachWhilePulled(t *testing.T) {
	o := newOffice(t, impatient(t), func(b transport.Bus) transport.Bus { return b })
	turn := 0
	for _, fault := range gadget.Faults() {
		if !fault.Pulls() {
			continue
		}
		t.Run(fault.String(), func(t *testing.T) {
			o.TB = t
			for n := 0; ; n++ {
				turn++
				o.ok(o.stick.Plug())
				armed := o.stick.Device().FailNth(n, fault)
				o.journey(fmt.Sprintf("request %d", turn))
				fired := armed.Fired()
				armed.Disarm()
				if t.Failed() {
					t.Fatalf("pulled at exchange %d", n)
				}
				if fired {
					continue
				}
				if n < 2 {
					t.Errorf("the plug could be pulled at %d exchanges, want at least 2", n)
				}
				break
			}
		})
	}
	o.TB = t
	o.ok(o.stick.Plug())
	report, err := o.Verify(t.Context())
	if err != nil || len(report.Unread) > 0 {
		t.Errorf("the ledgers do not add up: %+v, %v", report, err)
	}
}

// journey takes a seat to the laptop and back.
func (o *office) journey(request string) {
	o.Helper()
	ctx := o.Context()
	var first *licensing.Detached
	o.persist("detach", func() error {
		d, err := o.detach(ctx, request)
		if err == nil {
			first = d
		}
		return err
	})
	o.persist("the same again", func() error {
		again, err := o.detach(ctx, request)
		if err == nil && again.LicenseID != first.LicenseID {
			o.Errorf("the same request gave licenses %d and %d", first.LicenseID, again.LicenseID)
		}
		return err
	})
	o.conserved(1)
	o.ok(o.laptop.Install(ctx, first.License, nil))
	if !o.installed() {
		o.Error("the laptop has taken the license, and has no seat")
	}
	returned, err := o.laptop.CancelDetach(ctx, licensing.CancelRequest{Offline: true, License: first.LicenseID}, nil)
	o.ok(err)
	if _, err := o.laptop.Check(ctx, vendorCode, product, feature); err == nil || o.installed() {
		o.Error("the license was given back, and the laptop may still run")
	}
	o.persist("install the return", func() error {
		err := o.Install(ctx, returned.Return, nil)
		if errors.Is(err, licensing.InvalidUpdateOrAlreadyInstalled) {
			return nil // the first attempt was not answered, and came true
		}
		return err
	})
	o.conserved(0)
}

// A key that is pulled out is shown as inaccessible, and its pool refuses with the
// code for that. When it is back, so is its pool, and it goes on where it was. A key
// that was put back to an earlier state meanwhile is found out.
func TestHotplug(t *testing.T) {
	o := newOffice(t, nil, func(b transport.Bus) transport.Bus { return b })
	before, err := o.stick.Key.Snapshot()
	o.ok(err)
	o.journey("there and back")
	for range 2 {
		o.ok(o.stick.Unplug())
		if o.accessible() {
			t.Error("the key is out, and is shown as accessible")
		}
		if _, err := o.detach(t.Context(), ""); !errors.Is(err, licensing.NoService) {
			t.Errorf("a detach without the key: %v", err)
		}
		o.conserved(0)
		o.ok(o.stick.Plug())
		if !o.accessible() {
			t.Error("the key is back, and is shown as inaccessible")
		}
	}
	o.ok(errors.Join(o.stick.Unplug(), o.stick.Plug())) // and nobody has looked
	d, err := o.detach(t.Context(), "")
	o.ok(err)
	o.conserved(1)
	o.ok(o.laptop.Install(t.Context(), d.License, nil))
	o.ok(o.stick.Unplug())
	o.ok(o.stick.Key.Restore(before))
	o.ok(o.stick.Plug())
	if _, err := o.detach(t.Context(), ""); !errors.Is(err, licensing.StorageCorrupted) {
		t.Errorf("a detach from a key that was put back to an earlier state: %v", err)
	}
}

// A detach costs one round trip to the key for the batch that it is in, however many
// share it, and the transport adds no frames.
func TestFramesPerDetach(t *testing.T) {
	var recorder *transporttest.Recorder
	o := newOffice(t, nil, func(b transport.Bus) transport.Bus {
		recorder = transporttest.Record(b)
		return recorder
	})
	d, err := o.detach(t.Context(), "warm")
	o.ok(err)
	o.ok(o.laptop.Install(t.Context(), d.License, nil))
	r, err := o.laptop.CancelDetach(t.Context(), licensing.CancelRequest{Offline: true, License: d.LicenseID}, nil)
	o.ok(err)
	o.ok(o.Install(t.Context(), r.Return, nil))

	said, before := len(recorder.Exchanges()), o.stick.Device().Counts()
	_, err = o.detach(t.Context(), "counted")
	o.ok(err)
	after := o.stick.Device().Counts()
	if n := len(recorder.Exchanges()) - said; n != 1 {
		t.Errorf("a detach took %d exchanges, want 1", n)
	}
	if n := after.Requests - before.Requests; n != 1 || after.Answers-before.Answers != 1 || after.Resets != before.Resets {
		t.Errorf("over the cable: %+v before, %+v after", before, after)
	}
}
