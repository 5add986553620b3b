package main

import (
	"errors"
	"flag"
	"fmt"
	"strconv"
	"strings"

	"github.com/sojournlm/sojourn/transport"
	"github.com/sojournlm/sojourn/transport/usb"
)

// usbFlags are the flags of real keys.
func (c *config) usbFlags(flags *flag.FlagSet) {
	flags.BoolVar(&c.usb, "usb", false, "use the keys on USB too; needs a program built with -tags gousb")
	flags.Func("usb-ids", "the keys' `VENDOR:PRODUCT` ids, in hexadecimal (default 1209:0001, for development only)", func(ids string) error {
		vendor, product, _ := strings.Cut(ids, ":")
		v, err := strconv.ParseUint(vendor, 16, 16)
		p, err2 := strconv.ParseUint(product, 16, 16)
		if err != nil || err2 != nil || v == 0 {
			return errors.New("want two numbers of four digits, such as 1209:0001")
		}
		c.usbIDs = usb.Options{Vendor: uint16(v), Product: uint16(p)}
		return nil
	})
}

// openUSB opens the bus of real keys, where there is to be one.
func (h *house) openUSB(c *config) (err error) {
	if !c.usb {
		return nil
	}
	if h.usb, err = usb.Open(&c.usbIDs); err != nil {
		return fmt.Errorf("-usb: %w", err)
	}
	return nil
}

// buses are where keys are found.
func (h *house) buses() []transport.Bus {
	all := []transport.Bus{h.rack.bus()}
	if h.usb != nil {
		all = append(all, h.usb)
	}
	return all
}

func (h *house) closeUSB() error {
	if h.usb == nil {
		return nil
	}
	return h.usb.Close()
}
