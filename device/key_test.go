package device_test

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"errors"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sojournlm/sojourn/device"
	"github.com/sojournlm/sojourn/internal/code"
	"github.com/sojournlm/sojourn/internal/document"
	"github.com/sojournlm/sojourn/transport"
	"github.com/sojournlm/sojourn/transport/simulator"
)

const (
	keyID      = 0x1234ABCD
	vendorCode = 1368487351
)

var vendor = ed25519.NewKeyFromSeed(bytes.Repeat([]byte{7}, 32))

func vendorPublic() ed25519.PublicKey { return vendor.Public().(ed25519.PublicKey) }

// plug makes a bus with one key.
func plug(t *testing.T, change func(*simulator.Config)) (*simulator.Bus, *simulator.Key) {
	t.Helper()
	c := simulator.Config{
		KeyID:        keyID,
		Firmware:     1<<16 | 2,
		Manufactured: time.Unix(1_700_000_000, 0),
		Vendor:       vendorCode,
		VendorPublic: vendorPublic(),
	}
	if change != nil {
		change(&c)
	}
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

// pool makes a pool license for a key, with that many features.
func pool(t testing.TB, public ed25519.PublicKey, counter uint64, features int, change func(*document.PoolHead)) []byte {
	t.Helper()
	head := document.PoolHead{
		Key: keyID, KeyPublic: public, Vendor: vendorCode, Counter: counter, Issued: 1_700_000_000,
	}
	if change != nil {
		change(&head)
	}
	list := make([]document.Feature, features)
	for i := range list {
		list[i] = document.Feature{
			ProductNumber: 16, ProductName: "Product", FeatureNumber: uint32(i + 1),
			Name: string(bytes.Repeat([]byte("feature "), 20)), Seats: 5, RemoteMode: 3, Detachable: true,
		}
	}
	p, err := document.SignPool(vendor, head, list)
	if err != nil {
		t.Fatal(err)
	}
	return p.Bytes()
}

func header(seq uint64, horizon int64) []byte {
	return document.Header{Seq: seq, Count: 1, Time: 1_700_000_000, Horizon: horizon, Rules: 1}.Encode()
}

func TestInfo(t *testing.T) {
	bus, key := plug(t, nil)
	k := open(t, bus, key)
	got, err := k.Info(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if got.WritesLeft < 1_000_000 {
		t.Errorf("a new key has %d writes left", got.WritesLeft)
	}
	got.WritesLeft = 0
	want := device.Info{
		ID: keyID, Model: 3, Firmware: "1.2", Manufactured: time.Unix(1_700_000_000, 0).UTC(),
		Vendor: vendorCode, HasClock: true,
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
	if !bytes.Equal(k.Public(), key.Public()) {
		t.Error("the public halves differ")
	}
}

func TestPool(t *testing.T) {
	bus, key := plug(t, nil)
	k := open(t, bus, key)
	if _, err := k.Pool(t.Context()); !errors.Is(err, device.ErrNoPool) {
		t.Fatalf("new key: %v", err)
	}
	first := pool(t, k.Public(), 1, 1, nil)
	big := pool(t, k.Public(), 2, 250, nil)
	if len(big) < 8*4096 {
		t.Fatalf("only %d bytes", len(big))
	}
	for _, p := range [][]byte{first, big, big} {
		if err := k.Install(t.Context(), p); err != nil {
			t.Fatal(err)
		}
		got, err := k.Pool(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(got, p) {
			t.Fatal("the key gave another pool than it took")
		}
	}
	if i, err := k.Info(t.Context()); err != nil || i.PoolCounter != 2 {
		t.Errorf("%+v, %v", i, err)
	}
}

func TestInstallRefusals(t *testing.T) {
	bus, key := plug(t, nil)
	k := open(t, bus, key)
	kept := pool(t, k.Public(), 5, 2, nil)
	if err := k.Install(t.Context(), kept); err != nil {
		t.Fatal(err)
	}
	other := ed25519.NewKeyFromSeed(bytes.Repeat([]byte{8}, 32))
	foreign, err := document.SignPool(other, document.PoolHead{
		Key: keyID, KeyPublic: k.Public(), Vendor: vendorCode, Counter: 9,
	}, []document.Feature{{ProductNumber: 1, FeatureNumber: 1}})
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		pool []byte
		want code.Code
	}{
		"older":            {pool(t, k.Public(), 4, 1, nil), code.InvalidUpdateOrAlreadyInstalled},
		"same counter":     {pool(t, k.Public(), 5, 3, nil), code.InvalidUpdateOrAlreadyInstalled},
		"another vendor":   {foreign.Bytes(), code.InvalidDigest},
		"another code":     {pool(t, k.Public(), 9, 1, func(h *document.PoolHead) { h.Vendor++ }), code.StorageIDMismatch},
		"another id":       {pool(t, k.Public(), 9, 1, func(h *document.PoolHead) { h.Key++ }), code.StorageIDMismatch},
		"another identity": {pool(t, vendorPublic(), 9, 1, nil), code.StorageIDMismatch},
		"garbage":          {[]byte("garbage"), code.InvalidParameter},
		"nothing":          {nil, code.InvalidParameter},
		"too much":         {make([]byte, document.MaxPool+1), code.InvalidParameter},
	} {
		err := k.Install(t.Context(), c.pool)
		if !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", name, err, c.want)
		}
		if e := (*device.Error)(nil); !errors.As(err, &e) || e.MayHaveActed {
			t.Errorf("%s: %+v", name, err)
		}
	}
	if got, err := k.Pool(t.Context()); err != nil || !bytes.Equal(got, kept) {
		t.Errorf("a refusal changed the pool: %v", err)
	}
}

func TestAdvance(t *testing.T) {
	bus, key := plug(t, nil)
	k := open(t, bus, key)
	var head device.Hash
	for seq := uint64(1); seq <= 5; seq++ {
		h := header(seq, int64(1000-seq))
		for range 2 { // the second is a repetition
			c, err := k.Advance(t.Context(), head, h)
			if err != nil {
				t.Fatal(err)
			}
			if c.Seq != seq || c.Head != document.Chain(head, h) || c.Horizon != 999 {
				t.Fatalf("batch %d: %+v", seq, c)
			}
		}
		head = document.Chain(head, h)
		if c, err := k.Checkpoint(t.Context()); err != nil || c.Head != head {
			t.Fatal(c, err)
		}
	}
	for name, c := range map[string]struct {
		prev   device.Hash
		header []byte
	}{
		"same number, other batch": {device.Hash{}, header(5, 7)},
		"a number left out":        {head, header(7, 7)},
		"not over its head":        {device.Hash{1}, header(6, 7)},
		"from the start":           {device.Hash{}, header(1, 7)},
	} {
		_, err := k.Advance(t.Context(), c.prev, c.header)
		if !errors.Is(err, device.ErrFork) || !errors.Is(err, code.StorageCorrupted) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := k.Advance(t.Context(), head, []byte("no header")); !errors.Is(err, code.InvalidParameter) {
		t.Error(err)
	}
	if c, err := k.Checkpoint(t.Context()); err != nil || c.Head != head {
		t.Errorf("a refusal moved the key: %+v, %v", c, err)
	}
}

func TestTime(t *testing.T) {
	bus, key := plug(t, nil)
	k := open(t, bus, key)
	want := time.Date(2030, 5, 6, 7, 8, 9, 0, time.UTC)
	key.SetClock(want, 0)
	if got, err := k.Time(t.Context()); err != nil || !got.Equal(want) {
		t.Errorf("%v, %v", got, err)
	}
	key.SetClock(time.Unix(-5, 0), 0)
	if _, err := k.Time(t.Context()); !errors.Is(err, device.ErrAnswer) {
		t.Errorf("before 1970: %v", err)
	}
	key.KillClock()
	if _, err := k.Time(t.Context()); !errors.Is(err, device.ErrClockDied) || !errors.Is(err, code.RTCError) {
		t.Errorf("dead: %v", err)
	}
	if i, err := k.Info(t.Context()); err != nil || !i.ClockDied {
		t.Errorf("dead: %+v, %v", i, err)
	}

	bus, key = plug(t, func(c *simulator.Config) { c.Model = 2 })
	if _, err := open(t, bus, key).Time(t.Context()); !errors.Is(err, device.ErrNoClock) {
		t.Errorf("none: %v", err)
	}
}

func TestOpenFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "anchor")
	here := [32]byte{1}
	k, err := device.OpenFile(t.Context(), path, here)
	if err != nil {
		t.Fatal(err)
	}
	public := k.Public()
	c, err := k.Advance(t.Context(), device.Hash{}, header(1, 5))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := device.OpenFile(t.Context(), path, here); !errors.Is(err, device.ErrLocked) {
		t.Errorf("open twice: %v", err)
	}
	if err := k.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := k.Checkpoint(t.Context()); !errors.Is(err, transport.ErrClosed) {
		t.Errorf("after Close: %v", err)
	}
	if _, err := device.OpenFile(t.Context(), path, [32]byte{2}); !errors.Is(err, device.ErrBoundElsewhere) {
		t.Errorf("elsewhere: %v", err)
	}
	k, err = device.OpenFile(t.Context(), path, here)
	if err != nil {
		t.Fatal(err)
	}
	defer k.Close()
	again, err := k.Checkpoint(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(c, again); d != "" || !bytes.Equal(public, k.Public()) {
		t.Error("the key came back as another", d)
	}
	if i, err := k.Info(t.Context()); err != nil || i.ID != 0 || i.Vendor != 0 {
		t.Errorf("%+v, %v", i, err)
	}
	if err := k.Install(t.Context(), pool(t, public, 1, 1, nil)); !errors.Is(err, code.StorageIDMismatch) {
		t.Errorf("a pool for an anchor: %v", err)
	}
}

func TestOpenMemory(t *testing.T) {
	k, err := device.OpenMemory(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	if c, err := k.Advance(t.Context(), device.Hash{}, header(1, 5)); err != nil || c.Seq != 1 {
		t.Error(c, err)
	}
	for range 2 {
		if err := k.Close(); err != nil {
			t.Error(err)
		}
	}
}
