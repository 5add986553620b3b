//go:build cgo && gousb && linux

package usb_test

import (
	"errors"
	"runtime"
	"testing"
	"time"

	"github.com/sojournlm/sojourn/internal/gadget"
	"github.com/sojournlm/sojourn/internal/usbtest"
	"github.com/sojournlm/sojourn/internal/wire"
	"github.com/sojournlm/sojourn/transport"
	"github.com/sojournlm/sojourn/transport/usb"
)

// refusedBusy expects an exchange to say that somebody else has the key.
func refusedBusy(t *testing.T, conn transport.Conn) {
	t.Helper()
	_, err := conn.Exchange(t.Context(), wire.Frame{Op: wire.OpInfo, Seq: 2}.Encode())
	if e := (*transport.Error)(nil); !errors.As(err, &e) || e.Sent || !errors.Is(err, transport.ErrBusy) {
		t.Errorf("somebody else has the key: %v", err)
	}
}

// theirs expects a key to stay with who has it now, whatever the one asks that has lost
// it, and to come back to that one afterwards.
func theirs(t *testing.T, s *usbtest.Stick, lost, has transport.Conn) {
	t.Helper()
	before := s.Device().Counts().PortResets
	for range 3 {
		refusedBusy(t, lost)
		answers(t, has)
	}

	// In the middle of an exchange of theirs.
	got := s.Device().Counts().Requests
	s.Slow(long)
	request := wire.Frame{Op: wire.OpInfo, Seq: 7}
	over := make(chan error, 1)
	go func() {
		answer, err := has.Exchange(t.Context(), request.Encode())
		if f, bad := wire.Parse(answer); err == nil && (bad != nil || !f.Answers(request)) {
			err = errors.Join(errors.New("no answer to it"), bad)
		}
		over <- err
	}()
	for end := time.Now().Add(long); s.Device().Counts().Requests == got && time.Now().Before(end); {
		runtime.Gosched()
	}
	refusedBusy(t, lost)
	s.Slow(0)
	if err := <-over; err != nil {
		t.Errorf("an exchange of who has the key: %v", err)
	}
	if now := s.Device().Counts().PortResets; now != before {
		t.Errorf("%d resets of their port", now-before)
	}
	if err := has.Close(); err != nil {
		t.Error(err)
	}
	answers(t, lost)
}

// A connection that gave its interface back to reset the port may find it taken by
// somebody else. It says so every time, and resets nothing of theirs.
func TestLostKey(t *testing.T) {
	s := stick(t, 0x5D, gadget.HighSpeed)
	lost := unsettled(t, openBus(t, nil), s)
	if err := usb.Lose(lost); err != nil {
		t.Fatal(err)
	}
	has, err := openBus(t, nil).Open(t.Context(), busID(s))
	if err != nil {
		t.Fatal(err)
	}
	theirs(t, s, lost, has)
}

// The whole way there: somebody else is quicker while the port is reset.
func TestLostInReset(t *testing.T) {
	if stack(t).Real() {
		t.Skip("a kernel does not let itself be held up")
	}
	s := stick(t, 0x5E, gadget.HighSpeed)
	lost := unsettled(t, openBus(t, nil), s)
	other := openBus(t, nil)
	s.Device().FailResets(1, gadget.StallReset)
	before := s.Device().Counts().PortResets
	release := s.Device().HoldPortResets()
	over := make(chan struct{})
	go func() {
		defer close(over)
		refusedBusy(t, lost)
	}()
	// Who is quicker than the reset itself loses the interface by it: nobody can tell yet.
	for end := time.Now().Add(long); s.Device().Counts().PortResets == before && time.Now().Before(end); {
		runtime.Gosched()
	}
	has, err := other.Open(t.Context(), busID(s))
	release()
	<-over
	if err != nil {
		t.Fatal(err)
	}
	theirs(t, s, lost, has)
}
