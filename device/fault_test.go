package device_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sojournlm/sojourn/device"
	"github.com/sojournlm/sojourn/internal/code"
	"github.com/sojournlm/sojourn/internal/document"
	"github.com/sojournlm/sojourn/internal/wire"
	"github.com/sojournlm/sojourn/transport"
	"github.com/sojournlm/sojourn/transport/simulator"
	"github.com/sojournlm/sojourn/transport/transporttest"
)

// kept is what a key keeps.
type kept struct {
	seq  uint64
	head device.Hash
	pool string
}

// look opens the key afresh and sees what it keeps.
func look(t *testing.T, bus transport.Bus, key *simulator.Key) kept {
	t.Helper()
	if err := key.Plug(); err != nil {
		t.Fatal(err)
	}
	k, err := device.Open(t.Context(), bus, key.BusID())
	if err != nil {
		t.Fatal(err)
	}
	defer k.Close()
	c, err := k.Checkpoint(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	p, err := k.Pool(t.Context())
	if err != nil && !errors.Is(err, device.ErrNoPool) {
		t.Fatal(err)
	}
	return kept{c.Seq, c.Head, string(p)}
}

// operation is a command, and what the key keeps before and after it.
type operation struct {
	name    string
	do      func(context.Context, *device.Key) error
	changes func(*kept)
}

func operations(t *testing.T, key *simulator.Key) []operation {
	h := header(1, 100)
	big := pool(t, key.Public(), 1, 40, nil)
	none := func(*kept) {}
	return []operation{
		{"Info", func(ctx context.Context, k *device.Key) error { _, err := k.Info(ctx); return err }, none},
		{"Checkpoint", func(ctx context.Context, k *device.Key) error { _, err := k.Checkpoint(ctx); return err }, none},
		{"Time", func(ctx context.Context, k *device.Key) error { _, err := k.Time(ctx); return err }, none},
		{"Advance", func(ctx context.Context, k *device.Key) error {
			_, err := k.Advance(ctx, device.Hash{}, h)
			return err
		}, func(s *kept) { s.seq, s.head = 1, document.Chain(device.Hash{}, h) }},
		{"Install", func(ctx context.Context, k *device.Key) error { return k.Install(ctx, big) },
			func(s *kept) { s.pool = string(big) }},
	}
}

// Every fault at every exchange of every operation, until none fires: what was
// acknowledged is there, what was refused is not, and where it is not known the
// error says so.
func TestFaultLoop(t *testing.T) {
	for _, fault := range simulator.Faults() {
		faultLoop(t, fmt.Sprint("fault ", int(fault)), func(key *simulator.Key, n int) *simulator.Armed {
			return key.FailNth(n, fault)
		})
	}
	faultLoop(t, "power cut at a write", (*simulator.Key).FailWrite)
}

func faultLoop(t *testing.T, name string, arm func(*simulator.Key, int) *simulator.Armed) {
	for i := range operations(t, mustPlug(t)) {
		for n := 0; ; n++ {
			bus, key := plug(t, nil)
			op := operations(t, key)[i]
			before := look(t, bus, key)
			after := before
			op.changes(&after)

			armed := arm(key, n)
			k, err := device.Open(t.Context(), bus, key.BusID())
			if err == nil {
				err = op.do(t.Context(), k)
				k.Close()
			}
			fired := armed.Fired()
			armed.Disarm()
			got := look(t, bus, key)
			var e *device.Error
			switch {
			case err == nil:
				if got != after {
					t.Errorf("%s, exchange %d of %s: acknowledged, but lost", name, n, op.name)
				}
			case !fired:
				t.Fatalf("%s: %v without a fault", op.name, err)
			case !errors.As(err, &e):
				t.Errorf("%s, exchange %d of %s: %T %v", name, n, op.name, err, err)
			case !e.MayHaveActed && got != before:
				t.Errorf("%s, exchange %d of %s: it happened, and the error denies it: %v", name, n, op.name, err)
			case got != before && got != after:
				t.Errorf("%s, exchange %d of %s: neither before nor after", name, n, op.name)
			}
			if !fired {
				break
			}
		}
	}
}

func mustPlug(t *testing.T) *simulator.Key {
	_, key := plug(t, nil)
	return key
}

// What can be repeated is, with a new sequence number, and nobody notices.
func TestRetries(t *testing.T) {
	for _, fault := range []simulator.Fault{
		simulator.LoseRequest, simulator.SwallowRequest, simulator.LoseReply, simulator.GarbleRequest,
		simulator.GarbleReply, simulator.CutReply, simulator.StaleReply,
	} {
		bus, key := plug(t, nil)
		recorder := transporttest.Record(bus)
		k := open(t, recorder, key)
		for range 2 {
			key.FailNth(0, fault)
		}
		if _, err := k.Advance(t.Context(), device.Hash{}, header(1, 5)); err != nil {
			t.Errorf("fault %d: %v", fault, err)
		}
		if got := key.Exchanges()["Advance"]; got != 3 {
			t.Errorf("fault %d: %d attempts", fault, got)
		}
		seqs := map[uint32]bool{}
		for _, e := range recorder.Exchanges() {
			f, err := wire.Parse(e.Request)
			if err != nil || seqs[f.Seq] {
				t.Errorf("fault %d: request %d again (%v)", fault, f.Seq, err)
			}
			seqs[f.Seq] = true
		}
		for range 3 {
			key.FailNth(0, fault)
		}
		_, err := k.Advance(t.Context(), device.Hash{}, header(1, 5))
		if e := (*device.Error)(nil); !errors.As(err, &e) || e.MayHaveActed == (fault == simulator.LoseRequest) {
			t.Errorf("fault %d, three times: %v", fault, err)
		}
		if fault == simulator.LoseRequest && !errors.Is(err, code.NoService) {
			t.Error(err)
		}
	}
}

// forgetting is a bus whose key is reset at the nth exchange that stages or installs, 0 for
// each, and forgets what was staged. The answer is lost, and the request too unless it is
// taken.
type forgetting struct {
	transport.Bus
	at    int
	taken bool
	fired *bool
}

func (b forgetting) Open(ctx context.Context, id transport.KeyID) (transport.Conn, error) {
	c, err := b.Bus.Open(ctx, id)
	return &forgettingConn{Conn: c, forgetting: b}, err
}

type forgettingConn struct {
	transport.Conn
	forgetting
	n int
}

func (c *forgettingConn) Exchange(ctx context.Context, request []byte) ([]byte, error) {
	f, err := wire.Parse(request)
	if err != nil || f.Op != wire.OpStage && f.Op != wire.OpInstall {
		return c.Conn.Exchange(ctx, request)
	}
	if c.n++; c.at > 0 && c.n != c.at {
		return c.Conn.Exchange(ctx, request)
	}
	*c.fired = true
	if c.taken {
		if _, err := c.Conn.Exchange(ctx, request); err != nil {
			return nil, err
		}
	}
	other := wire.Frame{Op: wire.OpStage, Seq: 1 << 31, Payload: wire.Stage{Data: []byte{0}}.Encode()}
	if _, err := c.Conn.Exchange(ctx, other.Encode()); err != nil {
		return nil, err
	}
	return nil, &transport.Error{Op: "exchange", Sent: true, Err: transport.ErrGarbled}
}

// A late answer to a program that had the key before is known for what it is: sessions
// do not count alike.
func TestSessionsDiffer(t *testing.T) {
	bus, key := plug(t, nil)
	first := map[uint32]bool{}
	for range 4 {
		recorder := transporttest.Record(bus)
		k, err := device.Open(t.Context(), recorder, key.BusID())
		if err != nil {
			t.Fatal(err)
		}
		if err := k.Close(); err != nil {
			t.Fatal(err)
		}
		f, err := wire.Parse(recorder.Exchanges()[0].Request)
		if err != nil {
			t.Fatal(err)
		}
		first[f.Seq] = true
	}
	if len(first) < 3 {
		t.Errorf("four sessions begin with %v", first)
	}
}

// A key that is reset while its pool license is staged or installed takes it all the same,
// whichever exchange was lost. One that is reset each time does not, and that is told.
func TestInstallForgotten(t *testing.T) {
	for _, taken := range []bool{true, false} {
		for at, fired := 1, true; fired; at++ {
			fired = false
			bus, key := plug(t, nil)
			k := open(t, forgetting{bus, at, taken, &fired}, key)
			if err := k.Install(t.Context(), pool(t, k.Public(), 1, 60, nil)); err != nil {
				t.Errorf("reset at %d, taken %v: %v", at, taken, err)
			}
			if i, err := k.Info(t.Context()); err != nil || i.PoolCounter != 1 {
				t.Errorf("reset at %d, taken %v: %+v, %v", at, taken, i, err)
			}
			if !fired && at < 4 {
				t.Errorf("the license came in %d exchanges, want more", at-1)
			}
		}
	}
	bus, key := plug(t, nil)
	k := open(t, forgetting{bus, 0, false, new(bool)}, key)
	if err := k.Install(t.Context(), pool(t, k.Public(), 1, 2, nil)); err == nil {
		t.Error("a key that forgets all has taken it")
	}
}

// An outcome that is not known is not repeated against the caller's will.
func TestContextEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		bus, key := plug(t, func(c *simulator.Config) { c.SignDelay = time.Minute })
		k := open(t, bus, key)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		began := time.Now()
		_, err := k.Advance(ctx, device.Hash{}, header(1, 5))
		var e *device.Error
		if !errors.Is(err, context.DeadlineExceeded) || !errors.As(err, &e) || !e.MayHaveActed {
			t.Errorf("in flight: %v", err)
		}
		if took := time.Since(began); took != time.Second {
			t.Errorf("it took %v", took)
		}
		_, err = k.Checkpoint(ctx)
		if !errors.Is(err, context.DeadlineExceeded) || !errors.As(err, &e) || e.MayHaveActed {
			t.Errorf("after the end: %v", err)
		}
		if got := key.Exchanges()["Advance"]; got != 1 {
			t.Errorf("%d attempts", got)
		}
		var wg sync.WaitGroup
		wg.Go(func() { k.Checkpoint(t.Context()) })
		synctest.Wait()
		ctx, cancel = context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := k.Info(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("waiting for its turn: %v", err)
		}
		wg.Wait()
	})
}

func TestClosedAndGone(t *testing.T) {
	bus, key := plug(t, nil)
	k := open(t, bus, key)
	if _, err := device.Open(t.Context(), bus, key.BusID()); !errors.Is(err, transport.ErrBusy) {
		t.Errorf("open twice: %v", err)
	}
	key.Unplug()
	if _, err := k.Info(t.Context()); !errors.Is(err, transport.ErrNoKey) || !errors.Is(err, code.NoService) {
		t.Errorf("unplugged: %v", err)
	}
	k.Close()
	if _, err := k.Info(t.Context()); err == nil {
		t.Error("closed, and yet it answers")
	}
	if _, err := device.Open(t.Context(), bus, key.BusID()); !errors.Is(err, transport.ErrNoKey) {
		t.Errorf("open what is not there: %v", err)
	}
}

func TestWornOut(t *testing.T) {
	bus, key := plug(t, func(c *simulator.Config) { c.Endurance = 1 })
	k := open(t, bus, key)
	i, err := k.Info(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var now device.Checkpoint
	for left := i.WritesLeft; left > 0; left-- {
		if k.WritesLeft() != left {
			t.Fatalf("it has %d writes left by its count, want %d", k.WritesLeft(), left)
		}
		// The last ones are kept back.
		if err := k.Ready(t.Context()); (err == nil) != (left >= 64) || err != nil && !errors.Is(err, device.ErrWornOut) || (err == nil) != (k.Worn() == nil) {
			t.Fatalf("with %d writes left: %v", left, err)
		}
		if now, err = k.Advance(t.Context(), now.Head, header(now.Seq+1, 5)); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := k.Advance(t.Context(), now.Head, header(now.Seq+1, 5)); !errors.Is(err, device.ErrWornOut) {
		t.Error(err)
	}
	if i, err := k.Info(t.Context()); err != nil || !i.WornOut || i.WritesLeft != 0 {
		t.Errorf("%+v, %v", i, err)
	}
	if c, err := k.Checkpoint(t.Context()); err != nil || c.Head != now.Head {
		t.Error(c, err)
	}
}

// Many at once, each with its own answer.
func TestConcurrent(t *testing.T) {
	bus, key := plug(t, nil)
	k := open(t, bus, key)
	big := pool(t, k.Public(), 1, 60, nil)
	if err := k.Install(t.Context(), big); err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			if err := k.Install(t.Context(), big); err != nil {
				t.Error(err)
			}
			if got, err := k.Pool(t.Context()); err != nil || !bytes.Equal(got, big) {
				t.Error("another pool", err)
			}
			if _, err := k.Advance(t.Context(), device.Hash{}, header(1, 5)); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
}
