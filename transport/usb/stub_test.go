//go:build !cgo || !gousb

package usb_test

import (
	"errors"
	"os"
	"strings"
	"testing"

	"github.com/sojournlm/sojourn/transport/usb"
)

// A program without USB says how to get it, whichever door it comes through.
func TestNotBuilt(t *testing.T) {
	if os.Getenv("USB_TEST_REQUIRE") != "" {
		t.Fatal("USB is to be tested: build with cgo and -tags gousb")
	}
	bus, err := usb.Open(nil)
	_, listErr := bus.Keys(t.Context())
	_, openErr := bus.Open(t.Context(), "usb:1")
	for _, err := range []error{err, listErr, openErr} {
		if !errors.Is(err, usb.ErrNotBuilt) || !strings.Contains(err.Error(), "-tags gousb") {
			t.Errorf("%v", err)
		}
	}
	if err := bus.Close(); err != nil {
		t.Error(err)
	}
}
