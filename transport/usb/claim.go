//go:build cgo && gousb

package usb

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/google/gousb"

	"github.com/sojournlm/sojourn/transport"
)

// What a key is known by, and its one vendor request.
const (
	class, subClass, protocol = 0xFF, 0x53, 0x01

	requestTypeReset, requestReset = 0x41, 0x01
)

// controlTime is how long a key has for a control request; it should need a
// fifth. Tests have it otherwise.
var controlTime = 500 * time.Millisecond

// claim is a key that this program has for itself. What it is made of is closed from
// the inside out, and only when no transfer is under way: libusb crashes otherwise.
type claim struct {
	context *gousb.Context
	device  *gousb.Device
	config  *gousb.Config // nil while the interface is not claimed
	intf    *gousb.Interface
	place   where
	in      *gousb.InEndpoint
	out     *gousb.OutEndpoint
}

// where is a key's interface in the descriptors of its device.
type where struct {
	config, number int
	in, out        int // endpoint numbers
	maxPacket      int
}

// open finds the device again and claims its interface. Each of its steps is a call of
// libusb's that ends when it likes; between them it ends when stop gives an error.
func open(opts Options, p plugged, stop func() error) (c *claim, err error) {
	c = new(claim)
	defer func() {
		if err != nil {
			err = errors.Join(err, c.close())
		}
	}()
	if c.context, err = newContext(); err != nil {
		return c, err
	}
	wanted := func(d *gousb.DeviceDesc) bool {
		return d.Bus == p.bus && d.Address == p.address &&
			d.Vendor == gousb.ID(opts.Vendor) && d.Product == gousb.ID(opts.Product)
	}
	devices, err := openDevices(c.context, wanted)
	if len(devices) == 0 {
		if err == nil {
			err = transport.ErrNoKey // it was pulled out since it was listed
		}
		return c, meaning(err)
	}
	c.device = devices[0] // one address, one device
	c.device.ControlTimeout = controlTime
	var ok bool
	if c.place, ok = find(c.device.Desc); !ok {
		return c, ErrForeign
	}
	if err := inTurn(stop, func() error { return c.confirm(p) }, c.take); err != nil {
		return c, err
	}
	if err := c.settle(unsure, stop); isUSB(err, gousb.ErrorPipe) {
		return c, fmt.Errorf("%w: it stalls what every key answers (%v)", ErrForeign, err)
	} else if err != nil {
		return c, err
	}
	return c, nil
}

// errAnother: it was pulled out, and another device has got its address.
var errAnother = fmt.Errorf("%w: another one has its place", transport.ErrNoKey)

// confirm makes sure that the device is the one that was listed.
func (c *claim) confirm(p plugged) error {
	if !p.remembered {
		return nil
	}
	serial, err := c.device.SerialNumber()
	switch {
	case err != nil:
		return meaning(err)
	case printable(serial) != p.serial:
		return errAnother
	}
	return nil
}

// inTurn takes steps until one of them fails, or stop gives an error.
func inTurn(stop func() error, steps ...func() error) error {
	for _, step := range steps {
		if err := stop(); err != nil {
			return err
		}
		if err := step(); err != nil {
			return err
		}
	}
	return nil
}

// take claims the interface.
func (c *claim) take() (err error) {
	if c.config, err = c.device.Config(c.place.config); err != nil {
		return meaning(err)
	}
	if c.intf, err = c.config.Interface(c.place.number, 0); err != nil {
		return meaning(errors.Join(err, c.release()))
	}
	if c.in, err = c.intf.InEndpoint(c.place.in); err != nil {
		return meaning(errors.Join(err, c.release()))
	}
	if c.out, err = c.intf.OutEndpoint(c.place.out); err != nil {
		return meaning(errors.Join(err, c.release()))
	}
	return nil
}

// release gives the interface back.
func (c *claim) release() error {
	if c.intf != nil {
		c.intf.Close()
		c.intf = nil
	}
	if c.config == nil {
		return nil
	}
	err := c.config.Close()
	c.config = nil
	return meaning(err)
}

func (c *claim) close() error {
	errs := []error{c.release()}
	if c.device != nil {
		errs = append(errs, meaning(c.device.Close()))
	}
	if c.context != nil {
		errs = append(errs, meaning(c.context.Close()))
	}
	return errors.Join(errs...)
}

// settle makes the key forget an exchange that was not seen to its end. Where the key
// does not, everything between it and here is reset: its port. That needs the interface
// given back, and somebody else may take it meanwhile. Then it is theirs: a reset of the
// port would take it from under their hands, so the interface is claimed first, and asked
// for again by every later call. Between two steps it ends when stop gives an error.
func (c *claim) settle(was state, stop func() error) error {
	if c.intf == nil {
		if err := inTurn(stop, c.take); err != nil {
			return err
		}
	}
	if was == unsure {
		err := inTurn(stop, c.ask)
		if err == nil || errors.Is(err, transport.ErrNoKey) {
			return err
		}
	}
	return inTurn(stop, c.release, c.resetPort, c.take, c.ask)
}

func (c *claim) ask() error {
	_, err := c.device.Control(requestTypeReset, requestReset, 0, uint16(c.place.number), nil)
	return meaning(err)
}

func (c *claim) resetPort() error { return meaning(c.device.Reset()) }

// find finds the interface of an open key in a device's descriptors, which are to
// be believed in nothing. Of several configurations with one it is the lowest.
func find(d *gousb.DeviceDesc) (where, bool) {
	for _, number := range slices.Sorted(maps.Keys(d.Configs)) {
		for i, intf := range d.Configs[number].Interfaces {
			// gousb takes an interface's number for its place, and panics otherwise.
			if intf.Number != i || len(intf.AltSettings) != 1 || intf.AltSettings[0].Alternate != 0 {
				continue
			}
			if w, ok := endpoints(intf.AltSettings[0]); ok {
				w.config, w.number = number, i
				return w, true
			}
		}
	}
	return where{}, false
}

func endpoints(s gousb.InterfaceSetting) (where, bool) {
	if s.Class != class || s.SubClass != subClass || s.Protocol != protocol || len(s.Endpoints) != 2 {
		return where{}, false
	}
	var w where
	for _, e := range s.Endpoints {
		switch {
		case e.TransferType != gousb.TransferTypeBulk || w.maxPacket != 0 && w.maxPacket != e.MaxPacketSize:
			return where{}, false
		case e.Direction == gousb.EndpointDirectionIn:
			w.in = e.Number
		default:
			w.out = e.Number
		}
		w.maxPacket = e.MaxPacketSize
	}
	sizes := []int{8, 16, 32, 64, 512, 1024}
	return w, w.in != 0 && w.out != 0 && slices.Contains(sizes, w.maxPacket)
}

// newContext is gousb's, which panics where libusb does not start.
func newContext() (c *gousb.Context, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = starting(p)
		}
	}()
	return gousb.NewContext(), nil
}

// openDevices is gousb's, which gives devices and an error at once, and panics on
// some descriptors. It walks through all of them before it opens any, since what
// was opened before a panic can never be closed.
func openDevices(c *gousb.Context, wanted func(*gousb.DeviceDesc) bool) (devices []*gousb.Device, err error) {
	defer recovered(&err)
	c.OpenDevices(func(*gousb.DeviceDesc) bool { return false }) // its error may be that of a device that is none of ours
	return c.OpenDevices(wanted)
}

func recovered(err *error) {
	if p := recover(); p != nil {
		*err = fmt.Errorf("%w (%v)", ErrNeighbour, p)
	}
}
