package main

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sojournlm/sojourn/device"
	"github.com/sojournlm/sojourn/examples/internal/demo"
	"github.com/sojournlm/sojourn/internal/document"
	"github.com/sojournlm/sojourn/internal/wire"
	"github.com/sojournlm/sojourn/transport"
	"github.com/sojournlm/sojourn/transport/simulator"
	"github.com/sojournlm/sojourn/transport/usb"
)

// locked is a bus whose first key the operating system keeps for itself.
type locked struct{ transport.Bus }

func (b locked) Open(ctx context.Context, id transport.KeyID) (transport.Conn, error) {
	if id == "sim:00000001" {
		return nil, &transport.Error{Op: "open", Key: id, Err: usb.ErrPermission}
	}
	return b.Bus.Open(ctx, id)
}

func bus(t *testing.T) transport.Bus {
	t.Helper()
	b := simulator.New()
	for id := range uint64(3) {
		if _, err := b.Add(simulator.Config{KeyID: id + 1, Vendor: demo.Vendor, VendorPublic: demo.Public(), Endurance: uint32(id) * 1000}); err != nil {
			t.Fatal(err)
		}
	}
	return locked{b}
}

// inspected asks all keys of a bus.
func inspected(t *testing.T, b transport.Bus) ([]key, error) {
	t.Helper()
	infos, err := b.Keys(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return inspect(t.Context(), b, infos, usb.Options{})
}

func TestTable(t *testing.T) {
	keys, err := inspected(t, bus(t))
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	if err := writeTable(&out, keys); err != nil {
		t.Fatal(err)
	}
	text := strings.Join(strings.Fields(out.String()), " ")
	for _, want := range []string{
		"advice on Linux: keyinfo -udev-rule", "id 2 model Time, firmware 1.0, of ",
		"vendor DEMONVK", "pool none", "checkpoint none yet", "health good", "clock ",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("%q is missing", want)
		}
	}
	if t.Failed() {
		t.Log(out.String())
	}
}

func TestJSON(t *testing.T) {
	keys, err := inspected(t, bus(t))
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	if err := writeJSON(&out, keys); err != nil {
		t.Fatal(err)
	}
	var got []map[string]any
	if err := json.Unmarshal(out.Bytes(), &got); err != nil || len(got) != 3 {
		t.Fatalf("%v: %s", err, out.String())
	}
	if got[0]["problem"] == nil || got[0]["dongleId"] != nil || got[1]["dongleId"] != 2.0 || got[1]["problem"] != nil {
		t.Errorf("%s", out.String())
	}
	out.Reset()
	if err := writeJSON(&out, []key{}); err != nil || out.String() != "[]\n" {
		t.Errorf("no keys: %q, %v", out.String(), err)
	}
}

// liar is a bus with one more key, which signs what it likes.
type liar struct {
	transport.Bus
	private ed25519.PrivateKey
}

func (b liar) Keys(ctx context.Context) ([]transport.KeyInfo, error) {
	keys, err := b.Bus.Keys(ctx)
	return append(keys, transport.KeyInfo{ID: "usb:LIAR"}), err
}

func (b liar) Open(ctx context.Context, id transport.KeyID) (transport.Conn, error) {
	if id == "usb:LIAR" {
		return b, nil
	}
	return b.Bus.Open(ctx, id)
}

func (b liar) Close() error { return nil }

func (b liar) Exchange(_ context.Context, request []byte) ([]byte, error) {
	f, err := wire.Parse(request)
	if err != nil {
		return nil, err
	}
	switch f.Op {
	case wire.OpInfo:
		public := [ed25519.PublicKeySize]byte(b.private.Public().(ed25519.PublicKey))
		return f.Answer(wire.OK, wire.Info{KeyID: 1, Model: 2, Seq: 1, Public: public}.Encode()).Encode(), nil
	case wire.OpCheckpoint:
		c := document.Checkpoint{Seq: 1, Head: document.Hash{1}, Horizon: document.MaxTime + 1}
		err := c.Sign(b.private)
		return f.Answer(wire.OK, wire.Checkpoint{Seq: 1, Head: c.Head, Horizon: c.Horizon, Signature: [64]byte(c.Signature)}.Encode()).Encode(), err
	}
	return f.Answer(wire.NoPool, nil).Encode(), nil
}

// A key that says what no key can say is one with a problem; the others are shown.
func TestHostileKey(t *testing.T) {
	_, private, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	keys, err := inspected(t, liar{bus(t), private})
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	if err := writeJSON(&out, keys); err != nil {
		t.Fatal(err)
	}
	var got []key
	if err := json.Unmarshal(out.Bytes(), &got); err != nil || len(got) != 4 {
		t.Fatalf("%v: %s", err, &out)
	}
	if got[1].ID != 2 || got[1].Problem != "" || !strings.Contains(got[3].Problem, "horizon") || got[3].Horizon != nil {
		t.Errorf("%s", &out)
	}
}

// tomorrow is a bus whose keys answer some commands as none of today does.
type tomorrow struct {
	transport.Bus
	answers map[wire.Op]wire.Frame
}

func (b tomorrow) Open(ctx context.Context, id transport.KeyID) (transport.Conn, error) {
	c, err := b.Bus.Open(ctx, id)
	return tomorrowConn{c, b.answers}, err
}

type tomorrowConn struct {
	transport.Conn
	answers map[wire.Op]wire.Frame
}

func (c tomorrowConn) Exchange(ctx context.Context, request []byte) ([]byte, error) {
	f, err := wire.Parse(request)
	if answer, ok := c.answers[f.Op]; ok && err == nil {
		return f.Answer(answer.Status, answer.Payload).Encode(), nil
	}
	return c.Conn.Exchange(ctx, request)
}

// A key that is newer than the program is not called broken, and what can be read of it is
// shown.
func TestNewerKey(t *testing.T) {
	head := document.Encode(map[int]any{1: 99}) // its version
	pool := document.Encode(map[int]any{1: map[int]any{1: head, 2: make([]byte, ed25519.SignatureSize)}, 2: []any{}})
	for name, c := range map[string]struct {
		answers map[wire.Op]wire.Frame
		shows   []string
	}{
		"another protocol": {map[wire.Op]wire.Frame{wire.OpInfo: {Status: wire.BadVersion}}, []string{"problem"}},
		"a pool license of tomorrow": {map[wire.Op]wire.Frame{
			wire.OpReadPool: {Payload: wire.PoolPiece{Length: uint32(len(pool)), Data: pool}.Encode()},
		}, []string{"version 99", "writes left"}},
	} {
		b := simulator.New()
		if _, err := b.Add(simulator.Config{KeyID: 9, VendorPublic: demo.Public()}); err != nil {
			t.Fatal(err)
		}
		keys, err := inspected(t, tomorrow{b, c.answers})
		if err != nil {
			t.Fatal(err)
		}
		var out bytes.Buffer
		err = writeTable(&out, keys)
		for _, word := range append(c.shows, newer) {
			if err != nil || !strings.Contains(out.String(), word) {
				t.Errorf("%s: want %q: %v\n%s", name, word, err, &out)
			}
		}
	}
}

// A key that can write no more says so: 0 is not left out.
func TestNoWritesLeft(t *testing.T) {
	b := simulator.New()
	k, err := b.Add(simulator.Config{KeyID: 9, VendorPublic: demo.Public(), Endurance: 1})
	if err != nil {
		t.Fatal(err)
	}
	d, err := device.Open(t.Context(), b, k.BusID())
	if err != nil {
		t.Fatal(err)
	}
	var head device.Hash
	for seq := uint64(1); err == nil; seq++ {
		h := document.Header{Seq: seq, Count: 1, Time: 1, Horizon: 1, Rules: 1}.Encode()
		_, err = d.Advance(t.Context(), head, h)
		head = document.Chain(head, h)
	}
	d.Close()
	if !errors.Is(err, device.ErrWornOut) {
		t.Fatal(err)
	}
	keys, err := inspected(t, b)
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	if err := writeJSON(&out, keys); err != nil || !strings.Contains(out.String(), `"writesLeft": 0`) {
		t.Errorf("%v: %s", err, &out)
	}
}

// late is a bus whose keys say what they are only by and by.
type late struct {
	transport.Bus
	answer time.Time
	silent int
}

func (b *late) Keys(ctx context.Context) ([]transport.KeyInfo, error) {
	keys, err := b.Bus.Keys(ctx)
	b.silent = 0
	if time.Now().Before(b.answer) && err == nil {
		b.silent, keys = len(keys)-1, keys[:1]
	}
	return keys, err
}

func (b *late) Silent() int { return b.silent }

// A key that answers late is shown, and one that does not is told of, after those that do.
// Who has seen enough need not wait.
func TestLate(t *testing.T) {
	for name, c := range map[string]struct {
		answers, wait, canceled time.Duration // canceled: 0 is never
		shown                   int           // -1: nothing
		took                    time.Duration // at least
		err                     string
	}{
		"at once":         {0, 6 * time.Second, 0, 3, 0, ""},
		"in time":         {5 * time.Second, 6 * time.Second, 0, 3, 5 * time.Second, ""},
		"never":           {time.Hour, 6 * time.Second, 0, 1, 6 * time.Second, "2 more of the devices"},
		"without waiting": {time.Second, 0, 0, 1, 0, "2 more of the devices"},
		"interrupted":     {time.Hour, time.Hour, 3 * time.Second, -1, 3 * time.Second, "canceled"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				began := time.Now()
				b := &late{Bus: bus(t).(locked).Bus, answer: began.Add(c.answers)}
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				if c.canceled > 0 {
					time.AfterFunc(c.canceled, cancel)
				}
				shown := -1
				sound, err := show(ctx, b, usb.Options{}, c.wait, func(keys []key) error { shown = len(keys); return nil })
				if (err == nil) != (c.err == "") || err != nil && !strings.Contains(err.Error(), c.err) || sound != (err == nil) || shown != c.shown {
					t.Errorf("%d shown, sound: %v, %v", shown, sound, err)
				}
				if took := time.Since(began); took < c.took || took > c.took+time.Second {
					t.Errorf("it took %v, want %v", took, c.took)
				}
			})
		})
	}
}

func TestHealth(t *testing.T) {
	_, private, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	b := simulator.New()
	k, err := b.Add(simulator.Config{KeyID: 9, VendorPublic: private.Public().(ed25519.PublicKey), Endurance: 1})
	if err != nil {
		t.Fatal(err)
	}
	k.KillClock()
	keys, err := inspected(t, b)
	if err != nil || keys[0].Clock != nil || !strings.Contains(keys[0].Health, "battery") {
		t.Errorf("%+v, %v", keys, err)
	}
}

func TestHealthOfWriting(t *testing.T) {
	for _, c := range []struct {
		info  device.Info
		spent bool
		want  string
	}{
		{device.Info{WritesLeft: fewWrites}, false, "good"},
		{device.Info{WritesLeft: fewWrites - 1}, false, "nearly worn out"},
		{device.Info{WritesLeft: 5}, true, "worn out: it can be read, and keeps its last writes back"},
		{device.Info{WornOut: true}, true, "worn out: it can be read, and signs nothing more"},
	} {
		if got := health(c.info, c.spent); got != c.want {
			t.Errorf("%+v: %q, want %q", c.info, got, c.want)
		}
	}
}

// What is to be done is what the error says, and about the right device.
func TestAdvice(t *testing.T) {
	for _, c := range []struct {
		err  error
		want string
	}{
		{usb.ErrPermission, "-udev-rule"},
		{transport.ErrBusy, "end that one first"},
		{transport.ErrNoKey, "plug it in again"},
		{usb.ErrNeighbour, "pull out the other device"},
		{usb.ErrForeign, "a later version"},
		{usb.ErrDriver, "WinUSB"},
		{usb.ErrMemory, "usbfs_memory_mb"},
		{usb.ErrLibrary, "update libusb"},
		{transport.ErrGarbled, "may be broken"},
	} {
		if got := advice(&transport.Error{Op: "open", Err: c.err}, usb.Options{}); !strings.Contains(got, c.want) {
			t.Errorf("%v: %q", c.err, got)
		}
	}
	own := usb.Options{Vendor: 0x1234, Product: 0xAB}
	if got := advice(usb.ErrPermission, own); !strings.Contains(got, "keyinfo -usb-ids 1234:00ab -udev-rule |") {
		t.Errorf("keys of other ids: %q", got)
	}
}

func TestRun(t *testing.T) {
	var out, diagnostics bytes.Buffer
	if exit := run([]string{"-udev-rule"}, &out, &diagnostics); exit != 0 || !strings.Contains(out.String(), `ATTR{idVendor}=="1209"`) {
		t.Errorf("%d: %s%s", exit, &out, &diagnostics)
	}
	out.Reset()
	exit := run([]string{"-usb-ids", "1234:AB", "-udev-rule"}, &out, &diagnostics)
	if rule := out.String(); exit != 0 || !strings.Contains(rule, `ATTR{idVendor}=="1234", ATTR{idProduct}=="00ab"`) || strings.Contains(rule, "1209") || strings.Contains(rule, "0001") {
		t.Errorf("keys of other ids: %d: %s%s", exit, &out, &diagnostics)
	}
	for _, args := range [][]string{{"-usb-ids", "x"}, {"more"}, {"-no-such"}} {
		if exit := run(args, &out, &diagnostics); exit != 2 {
			t.Errorf("%q: %d", args, exit)
		}
	}
	diagnostics.Reset()
	if b, err := usb.Open(nil); err == nil {
		b.Close()
		return
	}
	if exit := run(nil, &out, &diagnostics); exit != 1 || !strings.Contains(fmt.Sprint(&diagnostics), "-tags gousb") {
		t.Errorf("built without USB: %d: %s", exit, &diagnostics)
	}
}
