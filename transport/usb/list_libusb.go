//go:build cgo && gousb

package usb

import (
	"errors"
	"fmt"
	"strings"

	"github.com/google/gousb"
)

// libusb lists keys as libusb knows them: where the operating system tells it of
// every change, or lets it look afresh each time. A serial number is read once, since for
// that a key is opened. Where an address is given again at once, that of one key may be
// remembered for the next one, so opening a key reads it again.
type libusb struct {
	opts    Options
	context *gousb.Context
	serials looks[spot, serial]
}

// spot is a device until it is plugged in again.
type spot struct {
	place        string
	bus, address int
}

func (p plugged) spot() spot { return spot{p.place, p.bus, p.address} }

// serial is a serial number, where it could be read.
type serial struct {
	text string
	read bool
}

func newLibusb(o Options, start func(func())) (lister, error) {
	c, err := newContext()
	if err != nil {
		return nil, err
	}
	return &libusb{opts: o, context: c, serials: looks[spot, serial]{start: start}}, nil
}

func (l *libusb) silent() int { return l.serials.silent }

func (l *libusb) hazard() error { return nil }

func (l *libusb) forget(p plugged) { l.serials.forget(func(s spot) bool { return s == p.spot() }) }

func (l *libusb) close() error { return l.context.Close() }

func (l *libusb) list() (keys []plugged, err error) {
	defer recovered(&err)
	var here []plugged
	var spots []spot
	// The error may be that of a device that is none of ours.
	_, err = l.context.OpenDevices(func(d *gousb.DeviceDesc) bool {
		_, key := find(d)
		if key && d.Vendor == gousb.ID(l.opts.Vendor) && d.Product == gousb.ID(l.opts.Product) {
			p := plugged{place: place(d), bus: d.Bus, address: d.Address}
			here, spots = append(here, p), append(spots, p.spot())
		}
		return false
	})
	if err != nil && len(here) == 0 {
		return nil, err
	}
	found := l.serials.list(spots, l.serial)
	for _, p := range here {
		if s, known := found[p.spot()]; known {
			p.serial, p.remembered = s.text, s.read
			keys = append(keys, p)
		}
	}
	return keys, nil
}

// serial opens the key for its serial number. Where somebody else has it open, or the user
// may not, its place is its name until that has changed. One that does not tell its
// serial number is not asked for it again.
func (l *libusb) serial(at spot) (s serial, settled bool) {
	devices, _ := openDevices(l.context, func(d *gousb.DeviceDesc) bool { return d.Bus == at.bus && d.Address == at.address })
	for _, d := range devices {
		defer d.Close()
		text, err := d.SerialNumber()
		return serial{printable(text), err == nil}, !errors.Is(err, gousb.ErrorNoDevice)
	}
	return serial{}, false
}

func place(d *gousb.DeviceDesc) string {
	ports := strings.ReplaceAll(strings.Trim(fmt.Sprint(d.Path), "[]"), " ", ".")
	return fmt.Sprintf("%d-%s", d.Bus, ports)
}
