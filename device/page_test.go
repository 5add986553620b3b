package device_test

import (
	"context"
	"errors"
	"math"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sojournlm/sojourn/device"
	"github.com/sojournlm/sojourn/internal/wire"
	"github.com/sojournlm/sojourn/transport"
)

// built is a key of which somebody else has the program.
type built struct {
	info  wire.Info
	time  int64
	busy  time.Time // it is at an Advance of somebody who is gone
	asked int       // for Info
}

func (k *built) Keys(context.Context) ([]transport.KeyInfo, error) { return nil, nil }
func (k *built) Open(context.Context, transport.KeyID) (transport.Conn, error) {
	return k, nil
}
func (k *built) Close() error { return nil }
func (k *built) Exchange(ctx context.Context, b []byte) ([]byte, error) {
	f, err := wire.Parse(b)
	if err != nil {
		return nil, err
	}
	select {
	case <-time.After(time.Until(k.busy)):
	case <-ctx.Done():
		return nil, &transport.Error{Op: "exchange", Sent: true, Err: ctx.Err()}
	}
	switch f.Op {
	case wire.OpInfo:
		k.asked++
		return f.Answer(wire.OK, k.info.Encode()).Encode(), nil
	case wire.OpTime:
		return f.Answer(wire.OK, wire.Time{Unix: k.time}.Encode()).Encode(), nil
	case wire.OpAdvance:
		k.busy = time.Now().Add(advanceTime)
		return k.Exchange(ctx, wire.Frame{Op: wire.OpCheckpoint, Seq: f.Seq}.Encode())
	}
	return f.Answer(wire.UnknownOp, nil).Encode(), nil
}

// advanceTime is how long a key may be at an Advance.
const advanceTime = 5 * time.Second

// The page has times from 1970 to 9999 alone.
func TestTimesOfThePage(t *testing.T) {
	for at, good := range map[int64]bool{0: true, 1_800_000_000: true, 253402300799: true, -1: false, 253402300800: false, math.MinInt64: false} {
		k := &built{info: wire.Info{KeyID: 1, WritesLeft: 1 << 20, Flags: wire.HasClock, Manufactured: at}, time: at}
		d, err := device.Open(t.Context(), k, "k")
		if err != nil {
			t.Fatal(err)
		}
		if i, err := d.Info(t.Context()); (err == nil) != good || !good && !errors.Is(err, device.ErrAnswer) || good && i.Manufactured.Unix() != at {
			t.Errorf("a date of manufacture of %d: %v, %v", at, i.Manufactured, err)
		}
		if now, err := d.Time(t.Context()); (err == nil) != good || !good && !errors.Is(err, device.ErrAnswer) || good && now.Unix() != at {
			t.Errorf("a clock that shows %d: %v, %v", at, now, err)
		}
	}
}

// The last 64 batches are kept back, and where fewer than 1000 are left Info is asked.
func TestWritesOfThePage(t *testing.T) {
	for left, want := range map[uint32]struct{ ready, asked bool }{
		0: {}, 63: {asked: true}, 64: {true, true}, 999: {true, true}, 1000: {true, false},
	} {
		k := &built{info: wire.Info{KeyID: 1, WritesLeft: left}}
		d, err := device.Open(t.Context(), k, "k")
		if err != nil {
			t.Fatal(err)
		}
		before := k.asked
		err = d.Ready(t.Context())
		if (err == nil) != want.ready || !want.ready && !errors.Is(err, device.ErrWornOut) {
			t.Errorf("%d left: %v", left, err)
		}
		if left > 0 && (k.asked > before) != want.asked {
			t.Errorf("%d left: Info was asked %d times", left, k.asked-before)
		}
	}
}

// Who opens a key that is still at what somebody else has left, or asks it behind a command
// of its own that was given up, waits for that to end, and no longer.
func TestBehindAnotherCommand(t *testing.T) {
	info := wire.Info{KeyID: 1, WritesLeft: 1 << 20}
	synctest.Test(t, func(t *testing.T) {
		k := &built{info: info, busy: time.Now().Add(advanceTime)}
		d, err := device.Open(t.Context(), k, "k")
		if err != nil {
			t.Fatalf("opened behind an Advance: %v", err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		defer cancel()
		if _, err := d.Advance(ctx, device.Hash{}, header(1, 0)); err == nil {
			t.Error("it is done already")
		}
		if _, err := d.Info(t.Context()); err != nil {
			t.Errorf("asked behind an Advance of its own: %v", err)
		}
		k.busy = time.Now().Add(time.Hour)
		began := time.Now()
		if _, err := d.Info(t.Context()); err == nil || time.Since(began) != 2*time.Second {
			t.Errorf("one that answered, and hangs: after %v, %v", time.Since(began), err)
		}
		began = time.Now()
		if _, err := device.Open(t.Context(), k, "k"); err == nil || time.Since(began) != 7*time.Second {
			t.Errorf("one that hangs since before: after %v, %v", time.Since(began), err)
		}
	})
}
