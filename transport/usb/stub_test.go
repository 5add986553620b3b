//go:build !cgo || !gousb

package usb_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/sojournlm/sojourn/transport/usb"
)

// A program without USB says how to get it, whichever door it comes through.
func TestNotBuilt(t *testing.T) {
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
