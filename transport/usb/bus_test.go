//go:build cgo && gousb && linux

package usb

import (
	"context"
	"errors"
	"testing"

	"github.com/sojournlm/sojourn/transport"
)

// slow is a lister that takes until it is released.
type slow struct{ asked, release chan struct{} }

func (s slow) list() ([]plugged, error) {
	s.asked <- struct{}{}
	<-s.release
	return []plugged{{place: "1-1", bus: 1, address: 2, serial: "A"}}, nil
}
func (slow) silent() int    { return 0 }
func (slow) hazard() error  { return nil }
func (slow) forget(plugged) {}
func (slow) close() error   { return nil }

// hazardousLister has a device that libusb must not be used beside.
type hazardousLister struct{}

func (hazardousLister) list() ([]plugged, error) {
	return []plugged{{place: "1-1", bus: 255, address: 255, serial: "A"}}, nil
}
func (hazardousLister) silent() int    { return 0 }
func (hazardousLister) hazard() error  { return ErrNeighbour }
func (hazardousLister) forget(plugged) {}
func (hazardousLister) close() error   { return nil }

// Nothing is opened beside a device that libusb must not be used beside.
func TestHazard(t *testing.T) {
	bus, err := openWith(nil, func(Options, func(func())) (lister, error) { return hazardousLister{}, nil })
	if err != nil {
		t.Fatal(err)
	}
	defer bus.Close()
	if _, err := bus.Open(t.Context(), "usb:A"); !errors.Is(err, ErrNeighbour) {
		t.Error(err)
	}
}

// Who lists keys, or opens one, waits for the operating system no longer than the
// context lets it. The bus waits.
func TestSlowList(t *testing.T) {
	s := slow{make(chan struct{}), make(chan struct{})}
	bus, err := openWith(nil, func(Options, func(func())) (lister, error) { return s, nil })
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		<-s.asked
		cancel()
	}()
	if _, err := bus.Keys(ctx); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	ctx, cancel = context.WithCancel(t.Context())
	opened := make(chan error)
	go func() {
		_, err := bus.Open(ctx, "usb:A")
		opened <- err
	}()
	cancel()
	if err := <-opened; !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	closed := make(chan error)
	go func() { closed <- bus.Close() }()
	<-bus.done
	select {
	case <-closed:
		t.Error("the bus is closed, and still at work")
	default:
	}
	close(s.release)
	if err := <-closed; err != nil {
		t.Error(err)
	}
	if _, err := bus.Keys(t.Context()); !errors.Is(err, transport.ErrClosed) {
		t.Error(err)
	}
}
