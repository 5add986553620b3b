//go:build cgo && gousb

package usb

import (
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
	serials map[spot]string
}

// spot is a device until it is plugged in again.
type spot struct {
	place   string
	address int
}

func newLibusb(o Options) (lister, error) {
	c, err := newContext()
	if err != nil {
		return nil, err
	}
	return &libusb{opts: o, context: c}, nil
}

func (l *libusb) hazard() error { return nil }

func (l *libusb) forget(p plugged) { delete(l.serials, spot{p.place, p.address}) }

func (l *libusb) close() error { return l.context.Close() }

func (l *libusb) list() (keys []plugged, err error) {
	defer recovered(&err)
	// The error may be that of a device that is none of ours.
	_, err = l.context.OpenDevices(func(d *gousb.DeviceDesc) bool {
		_, key := find(d)
		if key && d.Vendor == gousb.ID(l.opts.Vendor) && d.Product == gousb.ID(l.opts.Product) {
			keys = append(keys, plugged{place: place(d), bus: d.Bus, address: d.Address})
		}
		return false
	})
	if err != nil && len(keys) == 0 {
		return nil, err
	}
	serials := map[spot]string{}
	for i, k := range keys {
		at := spot{k.place, k.address}
		serial, known := l.serials[at]
		if !known {
			if serial, err = l.serial(k); err != nil {
				continue // somebody else has it open, or may not: its place is its name
			}
		}
		keys[i].serial, keys[i].remembered, serials[at] = serial, true, serial
	}
	l.serials = serials
	return keys, nil
}

// serial opens the key for its serial number.
func (l *libusb) serial(k plugged) (string, error) {
	devices, err := openDevices(l.context, func(d *gousb.DeviceDesc) bool { return d.Bus == k.bus && d.Address == k.address })
	for _, d := range devices {
		defer d.Close()
		serial, err := d.SerialNumber()
		return printable(serial), err
	}
	return "", err
}

func place(d *gousb.DeviceDesc) string {
	ports := strings.ReplaceAll(strings.Trim(fmt.Sprint(d.Path), "[]"), " ", ".")
	return fmt.Sprintf("%d-%s", d.Bus, ports)
}
