//go:build cgo && gousb && linux

package usb_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"runtime"
	"testing"
	"time"

	"github.com/sojournlm/sojourn/device"
	"github.com/sojournlm/sojourn/internal/document"
	"github.com/sojournlm/sojourn/internal/gadget"
	"github.com/sojournlm/sojourn/internal/usbtest"
	"github.com/sojournlm/sojourn/internal/wire"
	"github.com/sojournlm/sojourn/transport"
	"github.com/sojournlm/sojourn/transport/usb"
)

// impatient is a bus that waits for an answer no longer than a sound key needs here.
func impatient(t testing.TB) *usb.Options {
	if stack(t).Real() {
		return &usb.Options{Timeout: time.Second}
	}
	return &usb.Options{Timeout: 300 * time.Millisecond}
}

// advance is a request by which a key counts, and can be caught at having acted.
func advance(prev device.Hash, seq uint64) (header []byte, head device.Hash) {
	header = document.Header{Seq: seq, Root: document.Hash{1}, Count: 1, Time: 1, Horizon: 1, Rules: 1}.Encode()
	return header, document.Chain(prev, header)
}

// Every fault of the cable in an exchange: what the error says of it is true, and the
// connection, or after a pulled plug the next one, is as good as new.
func TestExchangeFaults(t *testing.T) {
	s := stick(t, 0x51, gadget.HighSpeed)
	bus := openBus(t, impatient(t))
	var prev device.Hash
	seq := uint64(0)
	for _, fault := range gadget.Faults() {
		t.Run(fault.String(), func(t *testing.T) {
			plugIn(t, s)
			conn, err := bus.Open(t.Context(), busID(s))
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			header, head := advance(prev, seq+1)
			request := wire.Frame{Op: wire.OpAdvance, Seq: 77, Payload: wire.Advance{Prev: prev, Header: header}.Encode()}
			armed := s.Device().FailNth(0, fault)
			answer, err := conn.Exchange(t.Context(), request.Encode())
			if !armed.Fired() {
				t.Error("it did not fire")
			}
			acted := standsAt(t, s) == seq+1
			if acted {
				prev, seq = head, seq+1
			}
			judge(t, fault, request, answer, err, acted)
			if fault.Pulls() {
				_, err := conn.Exchange(t.Context(), request.Encode())
				if !errors.Is(err, transport.ErrNoKey) {
					t.Errorf("the next exchange: %v", err)
				}
				return
			}
			answered := false
			for range 3 {
				request.Seq++
				request.Op, request.Payload = wire.OpInfo, nil
				answer, err := conn.Exchange(t.Context(), request.Encode())
				if err != nil && fault == gadget.LeftPacket {
					t.Errorf("what was left of one answer hides the next one: %v", err)
				}
				if f, parseErr := wire.Parse(answer); err == nil && parseErr == nil && f.Answers(request) {
					answered = true
					break
				}
			}
			if !answered {
				t.Error("three exchanges later there is still no answer")
			}
		})
	}
}

// A request of no bytes is one like any other: the key answers that it is none, and the
// next one is answered as ever.
func TestEmptyRequest(t *testing.T) {
	s := stick(t, 0x61, gadget.HighSpeed)
	conn, err := openBus(t, nil).Open(t.Context(), busID(s))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	before := s.Device().Counts().Requests
	b, err := conn.Exchange(t.Context(), nil)
	if f, _ := wire.Parse(b); err != nil || f.Status != wire.BadFrame {
		t.Errorf("it is answered %x, %v", b, err)
	}
	request := wire.Frame{Op: wire.OpInfo, Seq: 5}
	b, err = conn.Exchange(t.Context(), request.Encode())
	if f, _ := wire.Parse(b); err != nil || !f.Answers(request) {
		t.Errorf("the next one is answered %x, %v", b, err)
	}
	if n := s.Device().Counts().Requests - before; n != 2 {
		t.Errorf("two requests were %d on the cable", n)
	}
}

// judge holds the outcome of an exchange to what the key did.
func judge(t *testing.T, fault gadget.Fault, request wire.Frame, answer []byte, err error, acted bool) {
	t.Helper()
	var e *transport.Error
	switch {
	case err == nil:
		f, parseErr := wire.Parse(answer)
		if parseErr == nil && f.Answers(request) && f.Status == wire.OK && !acted {
			t.Error("an answer, but the key did not act")
		}
	case !errors.As(err, &e):
		t.Errorf("%T %v", err, err)
	case acted && !e.Sent:
		t.Errorf("the key acted, and the error says that nothing was sent: %v", err)
	case fault.Pulls() != errors.Is(err, transport.ErrNoKey):
		t.Errorf("%v", err)
	case !fault.Pulls() && !errors.Is(err, transport.ErrGarbled):
		t.Errorf("%v", err)
	}
}

// plugIn waits for a plug that was pulled to be out, and puts it back.
func plugIn(t *testing.T, s *usbtest.Stick) {
	t.Helper()
	if err := s.Plug(); err != nil {
		t.Fatal(err)
	}
}

// standsAt looks inside the key, past USB.
func standsAt(t *testing.T, s *usbtest.Stick) uint64 {
	t.Helper()
	seq, err := s.Position()
	if err != nil {
		t.Fatal(err)
	}
	return seq
}

// Every fault at every exchange of a program that opens a key and moves its ledger on,
// until none fires. The program is told the truth of what has happened.
func TestDeviceFaults(t *testing.T) {
	s := stick(t, 0x52, gadget.HighSpeed)
	bus := openBus(t, impatient(t))
	var prev device.Hash
	seq := uint64(0)
	for _, fault := range gadget.Faults() {
		if stack(t).Real() && !fault.Pulls() && fault != gadget.StallRequest && fault != gadget.StallAnswer {
			continue // the kernel makes no difference to what is in a frame
		}
		t.Run(fault.String(), func(t *testing.T) {
			for n := 0; ; n++ {
				plugIn(t, s)
				armed := s.Device().FailNth(n, fault)
				header, head := advance(prev, seq+1)
				err := program(t.Context(), bus, busID(s), prev, header)
				fired := armed.Fired()
				armed.Disarm()
				acted := standsAt(t, s) == seq+1
				var e *device.Error
				switch {
				case err == nil && !acted:
					t.Errorf("at %d: no error, and nothing happened", n)
				case err != nil && acted && (!errors.As(err, &e) || !e.MayHaveActed):
					t.Errorf("at %d: it happened, and the error does not say so: %v", n, err)
				case err != nil && !fault.Pulls():
					t.Errorf("at %d: asking again did not help: %v", n, err)
				}
				if acted {
					prev, seq = head, seq+1
				}
				if !fired {
					break
				}
			}
		})
	}
}

func program(ctx context.Context, bus transport.Bus, id transport.KeyID, prev device.Hash, header []byte) error {
	key, err := device.Open(ctx, bus, id)
	if err != nil {
		return err
	}
	defer key.Close()
	_, err = key.Advance(ctx, prev, header)
	return err
}

func TestSecondOpener(t *testing.T) {
	secondOpener(t, openBus(t, nil), openBus(t, nil), busID(stick(t, 0x53, gadget.HighSpeed)))
}

func secondOpener(t *testing.T, first, second transport.Bus, id transport.KeyID) {
	t.Helper()
	conn, err := first.Open(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	for range 3 {
		if _, err := second.Open(t.Context(), id); !errors.Is(err, transport.ErrBusy) {
			t.Errorf("a second program opens it: %v", err)
		}
	}
	info := wire.Frame{Op: wire.OpInfo, Seq: 1}
	if _, err := conn.Exchange(t.Context(), info.Encode()); err != nil {
		t.Errorf("the first one: %v", err)
	}
	if err := conn.Close(); err != nil {
		t.Error(err)
	}
	again, err := second.Open(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	again.Close()
}

// A thousand exchanges are given up, at whatever point they are; then the key answers.
func TestThousandCancels(t *testing.T) {
	s := stick(t, 0x54, gadget.HighSpeed)
	gaveUp := thousandCancels(t, openBus(t, nil), busID(s), s.Slow)
	if gaveUp < 200 {
		t.Errorf("only %d were given up", gaveUp)
	}
}

// thousandCancels tells how many of a thousand were given up. slow makes the key slow,
// so that its answer is waited for, too.
func thousandCancels(t *testing.T, bus transport.Bus, id transport.KeyID, slow func(time.Duration)) (gaveUp int) {
	t.Helper()
	conn, err := bus.Open(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	began := time.Now()
	exchanges(t, conn, 50)
	usual := min(time.Since(began)/50, 3*time.Millisecond)
	slow(usual)
	defer slow(0)
	before := usage(t)
	request := wire.Frame{Op: wire.OpInfo}
	for i := range 1000 {
		ctx, cancel := context.WithTimeout(t.Context(), usual*time.Duration(i%50)/25)
		request.Seq++
		_, err := conn.Exchange(ctx, request.Encode())
		cancel()
		if err != nil {
			gaveUp++
			if !errors.Is(err, context.DeadlineExceeded) {
				t.Fatal(err)
			}
		}
	}
	request.Seq++
	answer, err := conn.Exchange(t.Context(), request.Encode())
	if f, parseErr := wire.Parse(answer); err != nil || parseErr != nil || !f.Answers(request) {
		t.Errorf("afterwards: %x, %v", answer, err)
	}
	before.compare(t)
	return gaveUp
}

// Ten thousand exchanges leave nothing behind, and neither do openings and closings.
func TestLeaks(t *testing.T) {
	leaks(t, openBus(t, nil), busID(stick(t, 0x55, gadget.HighSpeed)), 10_000)
}

func leaks(t *testing.T, bus transport.Bus, id transport.KeyID, n int) {
	t.Helper()
	all := usage(t)
	for range 5 {
		conn, err := bus.Open(t.Context(), id)
		if err != nil {
			t.Fatal(err)
		}
		exchanges(t, conn, 100)
		if err := conn.Close(); err != nil {
			t.Fatal(err)
		}
	}
	all.compare(t)
	conn, err := bus.Open(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	exchanges(t, conn, n/20) // so that all that is kept for later is there
	open := usage(t)
	exchanges(t, conn, n)
	open.compare(t)
}

func exchanges(t *testing.T, conn transport.Conn, n int) {
	t.Helper()
	request := wire.Frame{Op: wire.OpInfo}
	for range n {
		request.Seq++
		answer, err := conn.Exchange(t.Context(), request.Encode())
		if err != nil || len(answer) < 8 {
			t.Fatalf("exchange %d: %x, %v", request.Seq, answer, err)
		}
	}
}

// use is what this process holds.
type use struct{ goroutines, files, kilobytes int }

func usage(t *testing.T) use {
	t.Helper()
	runtime.GC()
	files, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return use{runtime.NumGoroutine(), len(files), residentKilobytes(t)}
}

// slack is how much more memory is no leak: heaps and caches grow. Ten thousand
// transfers that are not freed would be 46 MB.
const slack = 16 << 10

// compare finds what has been left behind. Goroutines and files end a moment after
// what they were for.
func (before use) compare(t *testing.T) {
	t.Helper()
	end := time.Now().Add(10 * time.Second)
	for {
		now := usage(t)
		left := now.goroutines > before.goroutines || now.files > before.files
		if left && time.Now().Before(end) {
			time.Sleep(10 * time.Millisecond)
			continue
		}
		if left || now.kilobytes > before.kilobytes+slack {
			stacks := make([]byte, 1<<18)
			t.Errorf("%+v before, %+v now\n%s", before, now, stacks[:runtime.Stack(stacks, true)])
		}
		return
	}
}

// residentKilobytes is this process's memory, C's included.
func residentKilobytes(t *testing.T) int {
	t.Helper()
	text, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		t.Fatal(err)
	}
	var size, resident int
	if _, err := fmt.Sscan(string(text), &size, &resident); err != nil {
		t.Fatal(err)
	}
	return resident * os.Getpagesize() / 1024
}
