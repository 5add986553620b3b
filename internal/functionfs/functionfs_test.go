//go:build cgo && gousb && linux

package functionfs_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"testing"
	"time"

	"github.com/google/gousb"

	"github.com/sojournlm/sojourn/internal/functionfs"
	"github.com/sojournlm/sojourn/internal/gadget"
	"github.com/sojournlm/sojourn/internal/wire"
	"github.com/sojournlm/sojourn/transport"
	"github.com/sojournlm/sojourn/transport/usb"
)

// sized is a key that answers with as many bytes as the request's payload says, after
// as many milliseconds, and with its sequence number.
type sized struct{}

func (sized) Exchange(ctx context.Context, request []byte) ([]byte, error) {
	f, err := wire.Parse(request)
	if err != nil {
		return wire.Frame{}.Answer(wire.BadFrame, nil).Encode(), nil
	}
	answer := make([]byte, binary.BigEndian.Uint16(f.Payload))
	copy(answer, request[:8])
	select {
	case <-time.After(time.Duration(binary.BigEndian.Uint16(f.Payload[2:])) * time.Millisecond):
	case <-ctx.Done():
	}
	return answer, nil
}

// ask is a request of that length for an answer of that length.
func ask(seq uint32, length, answer int, wait uint16) []byte {
	payload := make([]byte, length-14)
	binary.BigEndian.PutUint16(payload, uint16(answer))
	binary.BigEndian.PutUint16(payload[2:], wait)
	return wire.Frame{Op: wire.OpInfo, Seq: seq, Payload: payload}.Encode()
}

// A board that is a key, on the other end of a cable that the kernel makes up: frames
// of every awkward length go over in both directions, what is given up does not stay
// in the way, and when the board goes away its connection ends.
func TestBoard(t *testing.T) {
	port := devicePort(t)
	bus, err := usb.Open(&usb.Options{Timeout: 5 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	defer bus.Close()
	for round := range 2 {
		g, err := functionfs.Open("sojourn", port, gadget.Config{Serial: "BOARD"})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := functionfs.Open("sojourn", port, gadget.Config{Serial: "BOARD"}); !errors.Is(err, fs.ErrExist) {
			t.Errorf("round %d: opened twice: %v", round, err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error)
		go func() { ended <- g.Serve(ctx, sized{}) }()
		conn := connect(t, bus)
		talk(t, conn)
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("round %d: %v", round, err)
		}
		if _, err := conn.Exchange(t.Context(), ask(1, 20, 20, 0)); !errors.Is(err, transport.ErrNoKey) {
			t.Errorf("round %d: the board is gone: %v", round, err)
		}
		conn.Close()
	}
}

// devicePort is this computer's.
func devicePort(t *testing.T) string {
	t.Helper()
	port, err := functionfs.Port()
	if err != nil && os.Getenv("USB_TEST_REQUIRE") != "" {
		t.Fatal(err, "(vmrun -gadget has one)")
	} else if err != nil {
		t.Skip(err, "(vmrun -gadget has one)")
	}
	return port
}

// What a program sends that is longer than any request, with an end or without one, is
// answered once where it ends, and forgotten at a reset; the request after that is
// answered as ever.
func TestTooLong(t *testing.T) {
	g, err := functionfs.Open("sojourn", devicePort(t), gadget.Config{Serial: "BOARD"})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error)
	go func() { ended <- g.Serve(ctx, sized{}) }()
	defer func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	}()
	bus, err := usb.Open(nil)
	if err != nil {
		t.Fatal(err)
	}
	connect(t, bus).Close() // the board is there
	bus.Close()
	b := openBare(t)
	const packet, reads = 512, 4608 // what the board reads at once
	for i, c := range []struct {
		name   string
		writes []int // lengths
		reset  bool  // then
		bad    bool  // an answer that it was no request comes before
	}{
		{"with an end", []int{6000}, false, true},
		{"one byte more than any", []int{wire.MaxFrame + 1}, false, true},
		{"of many reads", []int{10*reads + 1}, false, true},
		{"that ends at a read's end", []int{2 * reads, 0}, false, true},
		{"without an end", []int{reads}, true, false},
		{"without an end, in two reads", []int{reads + packet}, true, false},
		{"without an end, in many", []int{3*reads + 5*packet}, true, false},
		{"half a request", []int{packet}, true, false},
	} {
		for _, n := range c.writes {
			b.write(t, make([]byte, n))
		}
		if c.reset {
			b.reset(t)
		}
		if c.bad {
			if f, err := wire.Parse(b.read(t)); err != nil || f.Status != wire.BadFrame {
				t.Errorf("%s: %+v, %v", c.name, f, err)
			}
		}
		request := ask(uint32(i+1), 100, 64, 0)
		b.write(t, request)
		if answer := b.read(t); len(answer) != 64 || !bytes.Equal(answer[:8], request[:8]) {
			t.Errorf("%s: the next request is answered %x", c.name, answer)
		}
	}
}

// bare is a board that gousb alone has open.
type bare struct {
	device *gousb.Device
	in     *gousb.InEndpoint
	out    *gousb.OutEndpoint
}

func openBare(t *testing.T) bare {
	t.Helper()
	c := gousb.NewContext()
	t.Cleanup(func() { c.Close() })
	d, err := c.OpenDeviceWithVIDPID(gadget.TestVendor, gadget.TestProduct)
	if err != nil || d == nil {
		t.Fatal(d, err)
	}
	t.Cleanup(func() { d.Close() })
	intf, done, err := d.DefaultInterface()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(done)
	b := bare{device: d}
	for _, e := range intf.Setting.Endpoints {
		if e.Direction == gousb.EndpointDirectionIn {
			b.in, err = intf.InEndpoint(e.Number)
		} else {
			b.out, err = intf.OutEndpoint(e.Number)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	return b
}

func (b bare) write(t *testing.T, data []byte) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	if n, err := b.out.WriteContext(ctx, data); err != nil || n != len(data) {
		t.Fatalf("%d of %d bytes: %v", n, len(data), err)
	}
}

func (b bare) read(t *testing.T) []byte {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	answer := make([]byte, 4608)
	n, err := b.in.ReadContext(ctx, answer)
	if err != nil {
		t.Fatal(err)
	}
	return answer[:n]
}

func (b bare) reset(t *testing.T) {
	t.Helper()
	if _, err := b.device.Control(gadget.RequestTypeReset, gadget.RequestReset, 0, 0, nil); err != nil {
		t.Fatal(err)
	}
}

// connect waits for the board to be seen.
func connect(t *testing.T, bus *usb.Bus) transport.Conn {
	t.Helper()
	end := time.Now().Add(30 * time.Second)
	for {
		conn, err := bus.Open(t.Context(), "usb:BOARD")
		if err == nil {
			return conn
		}
		if time.Now().After(end) {
			t.Fatal(err)
		}
		time.Sleep(10 * time.Millisecond)
	}
}

func talk(t *testing.T, conn transport.Conn) {
	t.Helper()
	seq := uint32(0)
	exchange := func(length, answer int) error {
		seq++
		got, err := conn.Exchange(t.Context(), ask(seq, length, answer, 0))
		if err == nil && len(got) != answer {
			err = fmt.Errorf("%d bytes", len(got))
		}
		if err != nil {
			return fmt.Errorf("request of %d bytes, answer of %d: %w", length, answer, err)
		}
		return nil
	}
	lengths := []int{18, 63, 64, 65, 511, 512, 513, 1023, 1024, 1025, 4095, 4096, 4097, wire.MaxFrame}
	for _, length := range lengths {
		if err := errors.Join(exchange(length, 100), exchange(100, length)); err != nil {
			t.Error(err)
		}
	}
	for range 5 {
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
		seq++
		if _, err := conn.Exchange(ctx, ask(seq, 600, 600, 400)); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("given up: %v", err)
		}
		cancel()
		if err := exchange(512, 1024); err != nil {
			t.Errorf("after one was given up: %v", err)
		}
	}
}
