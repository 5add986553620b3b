//go:build cgo && gousb && linux

package usb_test

import (
	"crypto/ed25519"
	"errors"
	"flag"
	"os"
	"testing"
	"time"

	"github.com/sojournlm/sojourn/internal/gadget"
	"github.com/sojournlm/sojourn/internal/usbtest"
	"github.com/sojournlm/sojourn/transport"
	"github.com/sojournlm/sojourn/transport/simulator"
	"github.com/sojournlm/sojourn/transport/transporttest"
	"github.com/sojournlm/sojourn/transport/usb"
)

func TestMain(m *testing.M) {
	flag.Parse()
	if *physicalKey != "" {
		os.Exit(m.Run()) // on the USB of this computer
	}
	os.Exit(usbtest.Main(m))
}

// stack is the USB of these tests.
func stack(t testing.TB) usbtest.Stack {
	t.Helper()
	s := usbtest.Need(t)
	usb.Root(s.Devices())
	return s
}

func config(id uint64) simulator.Config {
	return simulator.Config{KeyID: id, VendorPublic: make(ed25519.PublicKey, ed25519.PublicKeySize)}
}

// stick plugs a key in for a test.
func stick(t testing.TB, id uint64, speed gadget.Speed) *usbtest.Stick {
	t.Helper()
	s, err := usbtest.NewStick(stack(t), config(id), speed)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

// openBus opens a bus for a test.
func openBus(t testing.TB, opts *usb.Options) *usb.Bus {
	t.Helper()
	if *physicalKey == "" {
		stack(t)
	}
	b, err := usb.Open(opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := b.Close(); err != nil {
			t.Error(err)
		}
	})
	return b
}

func busID(s *usbtest.Stick) transport.KeyID { return transport.KeyID("usb:" + s.Serial()) }

// The suite, at both speeds, and for both ways of listing. In the machine tier, where
// plugging takes the time that it takes, once.
func TestConformance(t *testing.T) {
	t.Run("without udev", func(t *testing.T) {
		stack(t)
		usbtest.WithoutUdev(func() { conformance(t, gadget.HighSpeed, usb.Open) })
	})
	if stack(t).Real() {
		return
	}
	t.Run("full speed", func(t *testing.T) { conformance(t, gadget.FullSpeed, usb.Open) })
	t.Run("listed by libusb", func(t *testing.T) { conformance(t, gadget.HighSpeed, usb.OpenLibusb) })
}

func conformance(t *testing.T, speed gadget.Speed, open func(*usb.Options) (*usb.Bus, error)) {
	sticks := map[transport.KeyID]*usbtest.Stick{}
	var ids []transport.KeyID
	for _, id := range []uint64{0x51, 0x52} {
		s := stick(t, id, speed)
		sticks[busID(s)] = s
		ids = append(ids, busID(s))
	}
	transporttest.Run(t, func() (*transporttest.Rig, error) {
		bus, err := open(nil)
		if err != nil {
			return nil, err
		}
		for _, s := range sticks { // as the case before left them
			s.Slow(0)
			err = errors.Join(err, s.Plug())
		}
		return &transporttest.Rig{
			Bus:    bus,
			Keys:   ids,
			Plug:   func(id transport.KeyID) error { return sticks[id].Plug() },
			Unplug: func(id transport.KeyID) error { return sticks[id].Unplug() },
			Slow:   func(id transport.KeyID, d time.Duration) { sticks[id].Slow(d) },
			Lose:   func(id transport.KeyID) { sticks[id].Device().FailNth(0, gadget.StallAnswer) },
			Seen: func(id transport.KeyID) (n int) {
				for _, count := range sticks[id].Key.Exchanges() {
					n += count
				}
				return n
			},
			Close: bus.Close,
		}, err
	})
}
