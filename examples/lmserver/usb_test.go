package main

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
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
		if _, err := parseFlags([]string{"-usb", "-usb-ids", ids}, io.Discard); err == nil {
			t.Errorf("-usb-ids %q: accepted", ids)
		}
	}
	if _, err := parseFlags([]string{"-usb-ids", "1234:abcd"}, io.Discard); err == nil || !strings.Contains(err.Error(), "-usb is missing") {
		t.Errorf("-usb-ids without -usb: %v", err)
	}
}

// A program that was built without USB says how to build one with it, and makes nothing
// before.
func TestUSBNotBuilt(t *testing.T) {
	if bus, err := usb.Open(nil); err == nil {
		bus.Close()
		t.Skip("this one was built with it")
	}
	data := filepath.Join(t.TempDir(), "data")
	if log := refused(t, "-usb", "-data", data); !strings.Contains(log, "-tags gousb") {
		t.Error(log)
	}
	if _, err := os.Stat(data); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the data directory is there: %v", err)
	}
}
