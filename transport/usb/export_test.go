//go:build cgo && gousb && linux

package usb

import (
	"time"

	"github.com/sojournlm/sojourn/transport"
)

// Root is where the kernel of these tests shows what is plugged in.
func Root(dir string) { sysfsRoot = dir }

// Patience sets how long a key has for a reset, and how long Close waits for one, until
// restore is called.
func Patience(control, closing time.Duration) (restore func()) {
	wasControl, wasClosing := controlTime, closeTime
	controlTime, closeTime = control, closing
	return func() { controlTime, closeTime = wasControl, wasClosing }
}

// Lose gives a connection's interface back, as when somebody else was quicker to take it
// after a reset of the port.
func Lose(c transport.Conn) error { return c.(*conn).claim.release() }

// Hazardous tells descriptors that no device should be opened beside.
func Hazardous(descriptors []byte) bool { return hazardous(descriptors) }

// OpenLibusb opens a bus that lists keys as libusb knows them, as everywhere but on
// Linux.
func OpenLibusb(opts *Options) (*Bus, error) { return openWith(opts, newLibusb) }
