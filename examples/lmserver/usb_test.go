package main

import (
	"io"
	"strings"
	"testing"

	"github.com/sojournlm/sojourn/transport/usb"
)

func TestUSBFlags(t *testing.T) {
	c, err := parseFlags([]string{"-usb", "-usb-ids", "1234:aBcD"}, io.Discard)
	if err != nil || !c.usb || c.usbIDs != (usb.Options{Vendor: 0x1234, Product: 0xABCD}) {
		t.Errorf("%+v, %v", c, err)
	}
	for _, ids := range []string{"", "1209", "1209:", ":1", "0:1", "12345:1", "x:y", "1209:1:1"} {
		if _, err := parseFlags([]string{"-usb-ids", ids}, io.Discard); err == nil {
			t.Errorf("-usb-ids %q: accepted", ids)
		}
	}
}

// A program that was built without USB says how to build one with it.
func TestUSBNotBuilt(t *testing.T) {
	if bus, err := usb.Open(nil); err == nil {
		bus.Close()
		t.Skip("this one was built with it")
	}
	if log := refused(t, "-usb"); !strings.Contains(log, "-tags gousb") {
		t.Error(log)
	}
}
