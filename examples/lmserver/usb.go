package main

import (
	"errors"
	"flag"
	"fmt"

	"github.com/sojournlm/sojourn/transport"
	"github.com/sojournlm/sojourn/transport/usb"
)

// usbFlags are the flags of real keys.
func (c *config) usbFlags(flags *flag.FlagSet) {
	flags.BoolVar(&c.usb, "usb", false, "use the keys on USB too; needs a program built with -tags gousb")
	flags.Func("usb-ids", "the keys' `VENDOR:PRODUCT` ids, in hexadecimal (default 1209:0001, for development only)", func(ids string) (err error) {
		c.usbIDs.Vendor, c.usbIDs.Product, err = usb.ParseIDs(ids)
		return err
	})
}

func (c *config) checkUSB() error {
	if !c.usb && c.usbIDs != (usb.Options{}) {
		return errors.New("-usb-ids: -usb is missing; without it no keys on USB are used")
	}
	return nil
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
