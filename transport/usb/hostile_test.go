//go:build cgo && gousb && linux

package usb_test

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"io"
	"log"
	"math/rand/v2"
	"os"
	"slices"
	"testing"
	"time"

	"github.com/sojournlm/sojourn/device"
	"github.com/sojournlm/sojourn/internal/gadget"
	"github.com/sojournlm/sojourn/internal/wire"
	"github.com/sojournlm/sojourn/transport"
	"github.com/sojournlm/sojourn/transport/usb"
)

var hostile = flag.Int("usb.hostile", 60, "how many hostile devices of each kind are plugged in")

// A device may say anything of itself. It is refused, or it is a key; nothing crashes
// or hangs or is left behind, and a sound key beside it is found, and opened but
// beside those few that gousb cannot read.
func TestHostileDescriptors(t *testing.T) {
	if stack(t).Real() {
		t.Skip("a kernel refuses most of them before anybody sees them")
	}
	log.SetOutput(io.Discard) // gousb prints what it thinks of some
	defer log.SetOutput(os.Stderr)
	sound := stick(t, 0x56, gadget.HighSpeed)
	bus := openBus(t, impatient(t))
	refused := 0
	look := func() {
		conn, err := bus.Open(t.Context(), busID(sound))
		if errors.Is(err, usb.ErrNeighbour) {
			refused++
			return
		}
		if err != nil {
			t.Fatalf("the sound key beside it: %v", err)
		}
		exchanges(t, conn, 1)
		if err := conn.Close(); err != nil {
			t.Fatal(err)
		}
	}
	look()
	before := usage(t)
	r := rand.New(rand.NewPCG(5, 6))
	for i := range *hostile {
		configuration := gadget.Describe(gadget.Config{Speed: gadget.HighSpeed}).Configuration
		switch {
		case i < len(handmade):
			configuration = handmade[i](configuration)
		default:
			configuration = mutate(r, configuration)
		}
		meet(t, bus, configuration, look)
	}
	if refused > *hostile/10 {
		t.Errorf("the sound key could not be opened beside %d of them", refused)
	}
	before.compare(t)
	refused = 0
	if look(); refused > 0 {
		t.Error("they are gone, and the sound key still cannot be opened")
	}
}

// meet plugs a hostile device in, does with it all that programs do with keys, and calls
// also meanwhile.
func meet(t *testing.T, bus *usb.Bus, configuration []byte, also func()) {
	t.Helper()
	d := gadget.Describe(gadget.Config{Serial: "HOSTILE", Speed: gadget.HighSpeed})
	d.Configuration = configuration
	port, err := stack(t).Plug(gadget.NewWith(answering(bytes.Repeat([]byte{1}, 20)), gadget.HighSpeed, d))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := bus.Keys(t.Context()); err != nil {
		t.Errorf("%x: %v", configuration, err)
	}
	conn, err := bus.Open(t.Context(), "usb:HOSTILE")
	if err == nil {
		_, err = conn.Exchange(t.Context(), wire.Frame{Op: wire.OpInfo, Seq: 1}.Encode())
		if err := conn.Close(); err != nil {
			t.Errorf("%x: %v", configuration, err)
		}
	}
	e := (*transport.Error)(nil)
	switch {
	case err != nil && !errors.As(err, &e):
		t.Errorf("%x: %T %v", configuration, err, err)
	case errors.Is(err, usb.ErrNeighbour) && !usb.Hazardous(configuration):
		t.Errorf("%x: gousb was let read what it panics on: %v", configuration, err)
	}
	also()
	if err := port.Unplug(); err != nil {
		t.Fatal(err)
	}
}

// What a device may say of itself is found by fuzzing too. Each worker has a kernel of
// paper of its own.
func FuzzDescriptors(f *testing.F) {
	sound := gadget.Describe(gadget.Config{Speed: gadget.HighSpeed}).Configuration
	f.Add(sound)
	for _, trick := range handmade {
		f.Add(trick(bytes.Clone(sound)))
	}
	f.Fuzz(func(t *testing.T, configuration []byte) {
		if stack(t).Real() {
			t.Skip("a kernel refuses most of them before anybody sees them")
		}
		log.SetOutput(io.Discard) // gousb prints what it thinks of some
		defer log.SetOutput(os.Stderr)
		files := usage(t).files
		bus, err := usb.Open(&usb.Options{Timeout: 10 * time.Millisecond})
		if err != nil {
			t.Fatal(err)
		}
		if meet(t, bus, configuration[:min(len(configuration), 1<<12)], func() {}); bus.Close() != nil {
			t.Error("it is not let go of")
		}
		if now := usage(t).files; now > files {
			t.Errorf("%d files are open, %d before", now, files)
		}
	})
}

// A device that has a key's interface and stalls the reset is none to speak to.
func TestNoReset(t *testing.T) {
	d := gadget.Describe(gadget.Config{Serial: "NORESET", Speed: gadget.HighSpeed})
	other, key := []byte{9, 4, 0, 0, 0, 3, 0, 0, 0}, bytes.Clone(d.Configuration[9:])
	key[2] = 1 // the gadget knows no reset of this one
	d.Configuration = total(slices.Concat(d.Configuration[:9], other, key), 2)
	port, err := stack(t).Plug(gadget.NewWith(answering(make([]byte, 20)), gadget.HighSpeed, d))
	if err != nil {
		t.Fatal(err)
	}
	defer port.Unplug()
	_, err = openBus(t, impatient(t)).Open(t.Context(), "usb:NORESET")
	if e := (*transport.Error)(nil); !errors.Is(err, usb.ErrForeign) || !errors.As(err, &e) {
		t.Error(err)
	}
}

// handmade are configurations that each try one trick.
var handmade = []func([]byte) []byte{
	func(b []byte) []byte { return nil },
	func(b []byte) []byte { return b[:5] },
	func(b []byte) []byte { return b[:9] },
	func(b []byte) []byte { return b[:len(b)-3] },
	func(b []byte) []byte { b[2], b[3] = 0xFF, 0xFF; return b },                      // a total length that lies
	func(b []byte) []byte { b[4] = 200; return b },                                   // interfaces that are not there
	func(b []byte) []byte { b[9] = 0; return b },                                     // a descriptor without length
	func(b []byte) []byte { b[11] = 7; return b },                                    // an interface out of its place
	func(b []byte) []byte { b[13] = 255; return b },                                  // endpoints that are not there
	func(b []byte) []byte { b[22], b[23] = 0, 0; return b },                          // packets of no bytes
	func(b []byte) []byte { b[22], b[23] = 0xFF, 0xFF; return b },                    // packets of any
	func(b []byte) []byte { return total(append(b[:9:9], twice(b[9:], 3)...), 3) },   // the same interface three times
	func(b []byte) []byte { return total(append(b[:9:9], zigzag(b[9:])...), 3) },     // the same again after another
	func(b []byte) []byte { return total(append(b[:9:9], twice(b[9:], 60)...), 32) }, // and sixty times
}

func twice(b []byte, n int) []byte { return bytes.Repeat(b, n) }

func zigzag(b []byte) []byte {
	other := bytes.Clone(b)
	other[2] = 1
	return append(append(bytes.Clone(b), other...), b...)
}

// total makes the head of a configuration fit.
func total(b []byte, interfaces byte) []byte {
	b[2], b[3], b[4] = byte(len(b)), byte(len(b)>>8), interfaces
	return b
}

// mutate changes some bytes, leaves some out, or doubles some.
func mutate(r *rand.Rand, b []byte) []byte {
	for range 1 + r.IntN(4) {
		if len(b) == 0 {
			return b
		}
		at := r.IntN(len(b))
		switch r.IntN(4) {
		case 0:
			b[at] = byte(r.Uint32())
		case 1:
			b[at] ^= 1 << r.IntN(8)
		case 2:
			end := at + r.IntN(len(b)-at)
			b = append(b[:at:at], b[end:]...)
		case 3:
			end := at + r.IntN(len(b)-at)
			b = append(b[:end:end], b[at:]...)
		}
	}
	return b
}

// babbler is a key that answers anything, mostly what nearly makes sense.
type babbler struct{ r *rand.Rand }

func (b babbler) Exchange(_ context.Context, request []byte) ([]byte, error) {
	answer := wire.Frame{Op: wire.OpInfo, Seq: b.r.Uint32()}.Answer(wire.OK, nil).Encode()
	if f, err := wire.Parse(request); err == nil {
		answer = f.Answer(wire.OK, wire.Info{KeyID: 1, Model: 3}.Encode()).Encode()
	}
	switch b.r.IntN(6) {
	case 0:
		return make([]byte, b.r.IntN(3*wire.MaxFrame)), nil
	case 1:
		return answer, nil
	case 2:
		return nil, nil
	case 3:
		return nil, context.Canceled // silence
	}
	return mutate(b.r, answer), nil
}

// Whatever a device answers and however its packets come, a program gets an error or
// an answer in time.
func TestHostileFrames(t *testing.T) {
	bus := openBus(t, &usb.Options{Timeout: 30 * time.Millisecond})
	r := rand.New(rand.NewPCG(7, 8))
	b := gadget.New(babbler{rand.New(rand.NewPCG(9, 10))}, gadget.Config{Serial: "HOSTILE", Speed: gadget.HighSpeed})
	port, err := stack(t).Plug(b)
	if err != nil {
		t.Fatal(err)
	}
	defer port.Unplug()
	faults := gadget.Faults()
	var before use
	for i := range *hostile / 5 {
		if f := faults[r.IntN(len(faults))]; !f.Pulls() && r.IntN(2) == 0 {
			b.FailNth(r.IntN(3), f)
		}
		key, err := device.Open(t.Context(), bus, "usb:HOSTILE")
		if err == nil {
			for range 5 {
				if _, err = key.Checkpoint(t.Context()); err == nil {
					t.Error("it has signed something")
				}
			}
			key.Close()
		}
		if i == 10 {
			before = usage(t)
		}
	}
	before.compare(t)
}
