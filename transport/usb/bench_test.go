//go:build cgo && gousb && linux

package usb_test

import (
	"context"
	"slices"
	"testing"
	"time"

	"github.com/google/gousb"

	"github.com/sojournlm/sojourn/internal/gadget"
	"github.com/sojournlm/sojourn/internal/wire"
	"github.com/sojournlm/sojourn/transport"
)

// answering is a device that has its answer ready, whatever it is asked.
type answering []byte

func (a answering) Exchange(_ context.Context, request []byte) ([]byte, error) {
	copy(a[4:8], request[4:8]) // its sequence number
	return a, nil
}

// Exchanges beside the bare work below them: two bulk transfers of the same sizes, by
// gousb alone, with a device that only has its answer ready. Both are measured in
// turn, so that their ratio holds on a busy computer. The first sub-benchmark shows
// what the transport adds, with that same device; the second one what a simulated key
// adds, which here works on the same processor.
func BenchmarkExchange(b *testing.B) {
	ready := answering(wire.Frame{Op: wire.OpInfo}.Answer(wire.OK, wire.Info{KeyID: 0x51}.Encode()).Encode())
	bus := openBus(b, nil)
	b.Run("transport", func(b *testing.B) {
		device := gadget.New(ready, gadget.Config{Serial: "READY", Speed: gadget.HighSpeed})
		port, err := stack(b).Plug(device)
		if err != nil {
			b.Fatal(err)
		}
		defer port.Unplug()
		beside(b, bus, "usb:READY", ready)
	})
	b.Run("key", func(b *testing.B) { beside(b, bus, busID(stick(b, 0x51, gadget.HighSpeed)), ready) })
}

func beside(b *testing.B, bus transport.Bus, id transport.KeyID, answer []byte) {
	conn, err := bus.Open(b.Context(), id)
	if err != nil {
		b.Fatal(err)
	}
	defer conn.Close()
	in, out := bare(b, answer)
	buffer := make([]byte, 4608)
	request := wire.Frame{Op: wire.OpInfo}
	exchange := func() error {
		request.Seq++
		_, err := conn.Exchange(b.Context(), request.Encode())
		return err
	}
	echo := func() error {
		request.Seq++
		if _, err := out.WriteContext(b.Context(), request.Encode()); err != nil {
			return err
		}
		_, err := in.ReadContext(b.Context(), buffer)
		return err
	}
	var took, tookBare []time.Duration
	for b.Loop() {
		took = append(took, timed(b, exchange))
		tookBare = append(tookBare, timed(b, echo))
	}
	rate, median, p99 := summary(took)
	bareRate, bareMedian, bareP99 := summary(tookBare)
	b.ReportMetric(0, "ns/op") // of both together: without meaning
	b.ReportMetric(rate, "exchanges/s")
	b.ReportMetric(bareRate, "bare/s")
	b.ReportMetric(rate/bareRate, "ratio")
	b.ReportMetric(bareMedian/median, "median-ratio")
	b.ReportMetric(p99, "p99-µs")
	b.ReportMetric(bareP99, "bare-p99-µs")
	b.ReportMetric(bareP99/p99, "p99-ratio")
}

func timed(b *testing.B, f func() error) time.Duration {
	began := time.Now()
	if err := f(); err != nil {
		b.Fatal(err)
	}
	return time.Since(began)
}

// summary gives how many go into a second, and the median and the 99th percentile in
// microseconds.
func summary(took []time.Duration) (rate, median, p99 float64) {
	var sum time.Duration
	for _, t := range took {
		sum += t
	}
	slices.Sort(took)
	at := func(percent int) float64 { return float64(took[len(took)*percent/100].Nanoseconds()) / 1000 }
	return float64(len(took)) / sum.Seconds(), at(50), at(99)
}

// bare plugs in a device with that answer and opens it with gousb alone.
func bare(b *testing.B, answer []byte) (*gousb.InEndpoint, *gousb.OutEndpoint) {
	b.Helper()
	device := gadget.New(answering(answer), gadget.Config{Vendor: 0x1209, Product: 0x000A, Serial: "BARE", Speed: gadget.HighSpeed})
	port, err := stack(b).Plug(device)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { port.Unplug() })
	c := gousb.NewContext()
	b.Cleanup(func() { c.Close() })
	d, err := c.OpenDeviceWithVIDPID(0x1209, 0x000A)
	if err != nil || d == nil {
		b.Fatal(d, err)
	}
	b.Cleanup(func() { d.Close() })
	intf, done, err := d.DefaultInterface()
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(done)
	in, err := intf.InEndpoint(1)
	if err != nil {
		b.Fatal(err)
	}
	out, err := intf.OutEndpoint(1)
	if err != nil {
		b.Fatal(err)
	}
	return in, out
}
