//go:build cgo && gousb && linux

package usb_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/sojournlm/sojourn/internal/gadget"
	"github.com/sojournlm/sojourn/internal/usbtest"
	"github.com/sojournlm/sojourn/internal/wire"
	"github.com/sojournlm/sojourn/transport"
	"github.com/sojournlm/sojourn/transport/usb"
)

// always is more resets than any test asks for.
const always = 1 << 30

// promptly is far more than what should come at once takes, and far less than what it
// must not wait for, where tests make that long.
const promptly, long = 5 * time.Second, 30 * time.Second

// unsettled gives a connection whose next exchange begins with a reset.
func unsettled(t *testing.T, bus transport.Bus, s *usbtest.Stick) transport.Conn {
	t.Helper()
	conn, err := bus.Open(t.Context(), busID(s))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	s.Device().FailNth(0, gadget.SwallowAnswer)
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if _, err := conn.Exchange(ctx, wire.Frame{Op: wire.OpInfo, Seq: 1}.Encode()); !errors.Is(err, context.DeadlineExceeded) {
		t.Fatal(err)
	}
	return conn
}

// answers asks until the connection is settled again.
func answers(t *testing.T, conn transport.Conn) {
	t.Helper()
	request := wire.Frame{Op: wire.OpInfo, Seq: 100}
	var err error
	for range 3 {
		request.Seq++
		var answer []byte
		if answer, err = conn.Exchange(t.Context(), request.Encode()); err == nil {
			if f, err := wire.Parse(answer); err != nil || !f.Answers(request) {
				t.Errorf("%x, %v", answer, err)
			}
			return
		}
	}
	t.Errorf("three exchanges later: %v", err)
}

// A key that refuses a reset, or does not answer it, has its port reset. When that does
// not help either, the exchange fails, has sent nothing, and the next one tries again.
func TestResetFaults(t *testing.T) {
	s := stick(t, 0x57, gadget.HighSpeed)
	bus := openBus(t, nil)
	for _, fault := range gadget.ResetFaults() {
		t.Run(fault.String(), func(t *testing.T) {
			conn := unsettled(t, bus, s)
			before := s.Device().Counts()
			s.Device().FailResets(1, fault)
			answers(t, conn)
			now := s.Device().Counts()
			if !stack(t).Real() && now.PortResets != before.PortResets+1 { // a real kernel does not tell
				t.Errorf("%d port resets", now.PortResets-before.PortResets)
			}
			if err := conn.Close(); err != nil {
				t.Error(err)
			}

			conn = unsettled(t, bus, s)
			before = s.Device().Counts()
			s.Device().FailResets(always, fault)
			_, err := conn.Exchange(t.Context(), wire.Frame{Op: wire.OpInfo, Seq: 2}.Encode())
			if e := (*transport.Error)(nil); !errors.As(err, &e) || e.Sent || !errors.Is(err, transport.ErrGarbled) {
				t.Errorf("without any reset: %v", err)
			}
			if n := s.Device().Counts().Requests - before.Requests; n != 0 {
				t.Errorf("%d requests reached the key", n)
			}
			s.Device().FailResets(0, fault)
			answers(t, conn)
			if err := conn.Close(); err != nil {
				t.Error(err)
			}
		})
	}
}

// seen waits until the key has that many resets that it does not answer.
func seen(t *testing.T, d *gadget.Device, n int) {
	t.Helper()
	for end := time.Now().Add(long); d.Counts().Unheard < n; time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Error("no reset came")
			return
		}
	}
}

// An exchange does not wait for a reset longer than its context lets it, neither does
// Close longer than it says; what is left is waited for by the next exchange, or by the
// bus.
func TestResetUnanswered(t *testing.T) {
	defer usb.Patience(long, 50*time.Millisecond)()
	s := stick(t, 0x58, gadget.HighSpeed)
	before := usage(t)
	bus := openBus(t, nil)
	conn := unsettled(t, bus, s)
	d := s.Device()
	d.FailResets(always, gadget.IgnoreReset)
	within(t, "an exchange that is given up", func() {
		for range 3 {
			ctx, cancel := context.WithCancel(t.Context())
			go func() {
				seen(t, d, 1)
				cancel()
			}()
			_, err := conn.Exchange(ctx, wire.Frame{Op: wire.OpInfo, Seq: 2}.Encode())
			if e := (*transport.Error)(nil); !errors.As(err, &e) || e.Sent || !errors.Is(err, context.Canceled) {
				t.Error(err)
			}
			cancel()
		}
	})
	if n := d.Counts().Unheard; n != 1 {
		t.Errorf("%d resets at once", n)
	}
	within(t, "closing", func() {
		if err := conn.Close(); err == nil {
			t.Error("Close says that the key is given back")
		}
	})
	if _, err := conn.Exchange(t.Context(), nil); !errors.Is(err, transport.ErrClosed) {
		t.Error(err)
	}
	if _, err := bus.Open(t.Context(), busID(s)); !errors.Is(err, transport.ErrBusy) {
		t.Errorf("another opens it meanwhile: %v", err)
	}
	if err := s.Unplug(); err != nil { // which ends the reset
		t.Fatal(err)
	}
	within(t, "closing the bus", func() {
		if err := bus.Close(); err != nil {
			t.Error(err)
		}
	})
	before.compare(t)
}

// An exchange does not fail because of a reset that one before it had begun.
func TestResetOfAnother(t *testing.T) {
	defer usb.Patience(200*time.Millisecond, promptly)()
	s := stick(t, 0x5B, gadget.HighSpeed)
	conn := unsettled(t, openBus(t, nil), s)
	d := s.Device()
	d.FailResets(2, gadget.IgnoreReset) // both that one attempt makes
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		seen(t, d, 1)
		cancel()
	}()
	if _, err := conn.Exchange(ctx, wire.Frame{Op: wire.OpInfo, Seq: 2}.Encode()); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	request := wire.Frame{Op: wire.OpInfo, Seq: 3}
	answer, err := conn.Exchange(t.Context(), request.Encode())
	if f, _ := wire.Parse(answer); err != nil || !f.Answers(request) {
		t.Errorf("the next one: %x, %v", answer, err)
	}
}

// An opening that was given up: the next one waits for it, and gets the key.
func TestOpenUnanswered(t *testing.T) {
	defer usb.Patience(time.Second, promptly)()
	s := stick(t, 0x59, gadget.HighSpeed)
	before := usage(t)
	bus := openBus(t, nil)
	d := s.Device()
	d.FailResets(1, gadget.IgnoreReset)
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		seen(t, d, 1)
		cancel()
	}()
	if _, err := bus.Open(ctx, busID(s)); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	conn, err := bus.Open(t.Context(), busID(s))
	if err != nil {
		t.Fatalf("the next opening: %v", err)
	}
	answers(t, conn)
	if err := conn.Close(); err != nil {
		t.Error(err)
	}
	d.FailResets(1, gadget.IgnoreReset)
	failed := make(chan error, 1)
	go func() {
		_, err := bus.Open(t.Context(), busID(s))
		failed <- err
	}()
	seen(t, d, 2)
	if err := bus.Close(); err != nil {
		t.Error(err)
	}
	if err := <-failed; !errors.Is(err, transport.ErrClosed) {
		t.Errorf("an opening when the bus was closed: %v", err)
	}
	before.compare(t)
}

// A call that the operating system does not come back from holds nobody up.
func TestPortResetHangs(t *testing.T) {
	if stack(t).Real() {
		t.Skip("a kernel does not let itself be held up")
	}
	defer usb.Patience(long, 50*time.Millisecond)()
	s := stick(t, 0x5A, gadget.HighSpeed)
	before := usage(t)
	bus := openBus(t, &usb.Options{Timeout: 100 * time.Millisecond})
	conn := unsettled(t, bus, s)
	s.Device().FailResets(1, gadget.StallReset)
	release := s.Device().HoldPortResets()
	within(t, "exchanges", func() {
		_, err := conn.Exchange(t.Context(), wire.Frame{Op: wire.OpInfo, Seq: 2}.Encode())
		if e := (*transport.Error)(nil); !errors.As(err, &e) || e.Sent || !errors.Is(err, transport.ErrGarbled) {
			t.Errorf("the bus's own limit: %v", err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
		defer cancel()
		if _, err := conn.Exchange(ctx, wire.Frame{Op: wire.OpInfo, Seq: 3}.Encode()); !errors.Is(err, context.DeadlineExceeded) {
			t.Error(err)
		}
	})
	closed := make(chan error)
	go func() { closed <- bus.Close() }()
	within(t, "closing", func() {
		if err := conn.Close(); err == nil {
			t.Error("Close says that the key is given back")
		}
	})
	release()
	if err := <-closed; err != nil {
		t.Error(err)
	}
	before.compare(t)
}

// within fails the test when f takes long.
func within(t *testing.T, what string, f func()) {
	t.Helper()
	began := time.Now()
	f()
	if took := time.Since(began); took > promptly {
		t.Errorf("%s took %v", what, took)
	}
}
