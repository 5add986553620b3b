//go:build cgo && gousb && linux

package usb_test

import (
	"context"
	"flag"
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

var ratio = flag.Float64("usb.ratio", 0, "BenchmarkExchange/transport fails when it does less than this part of what bare transfers do; "+
	"with -benchtime 15x at least")

// Exchanges beside the bare work below them: two bulk transfers of the same sizes, by
// gousb alone, with a device that only has its answer ready. Both are measured in
// turn, so that their ratio holds on a busy computer: an operation is a round of
// roundSize exchanges and as many bare ones, and the ratios are the medians of those of
// the rounds. The first sub-benchmark shows what the transport adds, with that same
// device; the second one what a simulated key adds, which here works on the same
// processor.
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
		r := beside(b, bus, "usb:READY", ready)
		if r.rate < *ratio || r.p99 < *ratio {
			b.Errorf("%.2f of the rate and %.2f of the p99 of bare transfers, want %.2f", r.rate, r.p99, *ratio)
		}
	})
	b.Run("key", func(b *testing.B) { beside(b, bus, busID(stick(b, 0x51, gadget.HighSpeed)), ready) })
}

const roundSize = 200

// ratios are what exchanges do, as a part of what bare transfers do.
type ratios struct{ rate, p99 float64 }

func beside(b *testing.B, bus transport.Bus, id transport.KeyID, answer []byte) ratios {
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
	r := report(b, rounds(b, b.Loop, exchange, echo))
	// What else the computer does may spoil one measurement, but hardly three.
	for again := 2; again > 0 && min(r.rate, r.p99) < *ratio; again-- {
		left := b.N
		r = report(b, rounds(b, func() bool { left--; return left >= 0 }, exchange, echo))
	}
	return r
}

// round is what was measured in one.
type round struct{ rate, p99, bareRate, bareP99 float64 }

func rounds(b *testing.B, more func() bool, exchange, echo func() error) (all []round) {
	for more() {
		var took, bare []time.Duration
		for range roundSize / 2 { // each comes as often after itself as after the other
			took = append(took, timed(b, exchange))
			bare = append(bare, timed(b, echo), timed(b, echo))
			took = append(took, timed(b, exchange))
		}
		var r round
		r.rate, r.p99 = summary(took)
		r.bareRate, r.bareP99 = summary(bare)
		all = append(all, r)
	}
	return all
}

func report(b *testing.B, all []round) ratios {
	of := func(value func(round) float64) float64 {
		var values []float64
		for _, r := range all {
			values = append(values, value(r))
		}
		slices.Sort(values)
		return values[len(values)/2]
	}
	r := ratios{
		rate: of(func(r round) float64 { return r.rate / r.bareRate }),
		p99:  of(func(r round) float64 { return r.bareP99 / r.p99 }),
	}
	b.ReportMetric(0, "ns/op") // of both together: without meaning
	b.ReportMetric(of(func(r round) float64 { return r.rate }), "exchanges/s")
	b.ReportMetric(of(func(r round) float64 { return r.bareRate }), "bare/s")
	b.ReportMetric(r.rate, "ratio")
	b.ReportMetric(of(func(r round) float64 { return r.p99 }), "p99-µs")
	b.ReportMetric(of(func(r round) float64 { return r.bareP99 }), "bare-p99-µs")
	b.ReportMetric(r.p99, "p99-ratio")
	return r
}

func timed(b *testing.B, f func() error) time.Duration {
	began := time.Now()
	if err := f(); err != nil {
		b.Fatal(err)
	}
	return time.Since(began)
}

// summary gives how many go into a second, and the 99th percentile in microseconds.
func summary(took []time.Duration) (rate, p99 float64) {
	var sum time.Duration
	for _, t := range took {
		sum += t
	}
	slices.Sort(took)
	return float64(len(took)) / sum.Seconds(), float64(took[len(took)*99/100].Nanoseconds()) / 1000
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
