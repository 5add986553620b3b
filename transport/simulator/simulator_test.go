package simulator_test

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"errors"
	"fmt"
	"math"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sojournlm/sojourn/device"
	"github.com/sojournlm/sojourn/internal/document"
	"github.com/sojournlm/sojourn/transport"
	"github.com/sojournlm/sojourn/transport/simulator"
	"github.com/sojournlm/sojourn/transport/transporttest"
)

// A vendor makes up a bus with a key, and a program opens it.
func Example() {
	vendor, _, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		panic(err)
	}
	bus := simulator.New()
	simulated, err := bus.Add(simulator.Config{KeyID: 0x1234, Vendor: 1368487351, VendorPublic: vendor})
	if err != nil {
		panic(err)
	}
	ctx := context.Background()
	key, err := device.Open(ctx, bus, simulated.BusID())
	if err != nil {
		panic(err)
	}
	defer key.Close()
	info, err := key.Info(ctx)
	fmt.Printf("key %d, firmware %s, clock %v, %v\n", info.ID, info.Firmware, info.HasClock, err)

	simulated.Unplug()
	_, err = key.Info(ctx)
	fmt.Println(err)
	// Output:
	// key 4660, firmware 1.0, clock true, <nil>
	// device: info key sim:00001234: key is not reachable: transport: exchange key sim:00001234: key is not plugged in
}

func config() simulator.Config {
	return simulator.Config{KeyID: 0x77, VendorPublic: make(ed25519.PublicKey, ed25519.PublicKeySize)}
}

func add(t *testing.T, c simulator.Config) (*simulator.Bus, *simulator.Key) {
	t.Helper()
	bus := simulator.New()
	key, err := bus.Add(c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { key.Close() })
	return bus, key
}

func open(t *testing.T, bus transport.Bus, key *simulator.Key) *device.Key {
	t.Helper()
	k, err := device.Open(t.Context(), bus, key.BusID())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { k.Close() })
	return k
}

func advance(t *testing.T, k *device.Key, from device.Checkpoint) device.Checkpoint {
	t.Helper()
	h := document.Header{Seq: from.Seq + 1, Count: 1, Rules: 1}.Encode()
	c, err := k.Advance(t.Context(), from.Head, h)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// The conformance suite, over keys in files.
func TestConformance(t *testing.T) {
	transporttest.Run(t, func() (*transporttest.Rig, error) {
		bus := simulator.New()
		keys := map[transport.KeyID]*simulator.Key{}
		rig := &transporttest.Rig{
			Bus:    bus,
			Plug:   func(id transport.KeyID) error { return keys[id].Plug() },
			Unplug: func(id transport.KeyID) error { keys[id].Unplug(); return nil },
			Lose:   func(id transport.KeyID) { keys[id].FailNth(0, simulator.LoseReply) },
			Close: func() error {
				var errs []error
				for _, k := range keys {
					errs = append(errs, k.Close())
				}
				return errors.Join(errs...)
			},
		}
		dir := t.TempDir()
		for id := range uint64(2) {
			c := config()
			c.KeyID += id
			c.File = filepath.Join(dir, fmt.Sprint(id))
			key, err := bus.Add(c)
			if err != nil {
				return nil, err
			}
			keys[key.BusID()] = key
			rig.Keys = append(rig.Keys, key.BusID())
		}
		return rig, nil
	})
}

func TestAddRefuses(t *testing.T) {
	path := filepath.Join(t.TempDir(), "key")
	c := config()
	c.File = path
	bus, key := add(t, c)
	for name, change := range map[string]func(*simulator.Config){
		"no id":            func(c *simulator.Config) { c.KeyID = 0 },
		"bad id":           func(c *simulator.Config) { c.KeyID = math.MaxUint32 },
		"made before 1970": func(c *simulator.Config) { c.Manufactured = time.Unix(-1, 0) },
		"a delay below 0":  func(c *simulator.Config) { c.SignDelay = -1 },
		"no vendor":        func(c *simulator.Config) { c.VendorPublic = nil },
		"twice":            func(*simulator.Config) {},
		"a file in use":    func(c *simulator.Config) { c.KeyID, c.File = 5, path },
		"below a file":     func(c *simulator.Config) { c.KeyID, c.File = 5, filepath.Join(path, "x") },
		"model of no key":  func(c *simulator.Config) { c.KeyID, c.Model = 5, 6 },
	} {
		c := config()
		change(&c)
		if _, err := bus.Add(c); err == nil {
			t.Errorf("%s: added", name)
		}
	}
	key.Close()
	c.KeyID = 5
	if _, err := bus.Add(c); err == nil {
		t.Error("another key's file: added")
	}
}

func TestFile(t *testing.T) {
	c := config()
	c.File = filepath.Join(t.TempDir(), "key")
	bus, key := add(t, c)
	stands := advance(t, open(t, bus, key), device.Checkpoint{})
	public := key.Public()
	for range 2 {
		if err := key.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if key.Plug() == nil || key.Plugged() {
		t.Error("plugged in after Close")
	}
	key, err := bus.Add(c)
	if err != nil {
		t.Fatal(err)
	}
	defer key.Close()
	if !bytes.Equal(public, key.Public()) {
		t.Error("another identity")
	}
	got, err := open(t, bus, key).Checkpoint(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(stands, got); d != "" {
		t.Error(d)
	}
}

func TestSnapshot(t *testing.T) {
	bus, key := add(t, config())
	first := advance(t, open(t, bus, key), device.Checkpoint{})
	snapshot, err := key.Snapshot()
	if err != nil {
		t.Fatal(err)
	}
	if err := key.Replug(); err != nil {
		t.Fatal(err)
	}
	advance(t, open(t, bus, key), first)
	if err := key.Restore(snapshot); err != nil {
		t.Fatal(err)
	}
	got, err := open(t, bus, key).Checkpoint(t.Context())
	if err != nil || got.Seq != 1 || got.Head != first.Head {
		t.Errorf("%+v, %v", got, err)
	}
}

func TestClock(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		bus, key := add(t, config())
		k := open(t, bus, key)
		shows := func(want time.Time) {
			t.Helper()
			if got, err := k.Time(t.Context()); err != nil || !got.Equal(want.Truncate(time.Second)) {
				t.Errorf("%v, %v, want %v", got, err, want)
			}
		}
		shows(time.Now())
		time.Sleep(time.Hour)
		shows(time.Now())
		then := time.Date(2040, 1, 1, 0, 0, 0, 0, time.UTC)
		key.SetClock(then, 1.5)
		time.Sleep(time.Hour)
		shows(then.Add(90 * time.Minute))
		key.KillClock()
		if _, err := k.Time(t.Context()); !errors.Is(err, device.ErrClockDied) {
			t.Error(err)
		}
		key.SetClock(then, 1)
		shows(then)
	})
}

// Commands take their time, one after the other, and an abandoned one too.
func TestDelay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := config()
		c.Delay, c.SignDelay = time.Second, 4*time.Second
		bus, key := add(t, c)
		k := open(t, bus, key)
		began := time.Now()
		took := func(want time.Duration) {
			t.Helper()
			if got := time.Since(began); got != want {
				t.Errorf("it took %v, want %v", got, want)
			}
			began = time.Now()
		}
		if _, err := k.Info(t.Context()); err != nil {
			t.Fatal(err)
		}
		took(time.Second)
		advance(t, k, device.Checkpoint{})
		took(5 * time.Second)
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
		defer cancel()
		if _, err := k.Checkpoint(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Error(err)
		}
		took(2 * time.Second)
		if _, err := k.Checkpoint(t.Context()); err != nil {
			t.Error(err)
		}
		took(8 * time.Second) // three that are left of the other, and its own
		key.SetDelay(0, 0)
		if _, err := k.Info(t.Context()); err != nil {
			t.Error(err)
		}
		took(0)
	})
}

func TestExchangesAreCounted(t *testing.T) {
	bus, key := add(t, config())
	k := open(t, bus, key)
	armed := key.FailNth(0, simulator.LoseReply)
	advance(t, k, device.Checkpoint{})
	if !armed.Fired() {
		t.Error("the fault did not fire")
	}
	if d := cmp.Diff(map[string]int{"Info": 1, "Advance": 2}, key.Exchanges()); d != "" {
		t.Error(d)
	}
}

func TestFaultsInTheirTurn(t *testing.T) {
	bus, key := add(t, config())
	c, err := bus.Open(t.Context(), key.BusID())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	second := key.FailNth(1, simulator.LoseRequest)
	alsoSecond := key.FailNth(1, simulator.LoseReply)
	never := key.FailNth(5, simulator.Unplug)
	for i, want := range []struct{ failed, sent bool }{{false, false}, {true, false}, {true, true}, {false, false}} {
		_, err := c.Exchange(t.Context(), nil)
		var e *transport.Error
		if got := errors.As(err, &e); got != want.failed || got && e.Sent != want.sent {
			t.Errorf("exchange %d: %v", i, err)
		}
	}
	if !second.Fired() || !alsoSecond.Fired() || never.Fired() {
		t.Error("the wrong ones fired")
	}
	never.Disarm()
	for range 5 {
		if _, err := c.Exchange(t.Context(), nil); err != nil {
			t.Error(err)
		}
	}
}

// A write that loses its power takes the connection with it, and the key comes
// back.
func TestFailWrite(t *testing.T) {
	bus, key := add(t, config())
	k := open(t, bus, key)
	idle := key.FailWrite(7)
	idle.Disarm()
	armed := key.FailWrite(0)
	_, err := k.Advance(t.Context(), device.Hash{}, document.Header{Seq: 1, Count: 1}.Encode())
	if !errors.Is(err, transport.ErrNoKey) || !armed.Fired() || idle.Fired() {
		t.Errorf("%v, fired %v", err, armed.Fired())
	}
	if !key.Plugged() {
		t.Error("the key did not come back")
	}
	advance(t, open(t, bus, key), device.Checkpoint{})
}
