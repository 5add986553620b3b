//go:build cgo && gousb && linux

package usb_test

import (
	"errors"
	"slices"
	"testing"

	"github.com/sojournlm/sojourn/internal/gadget"
	"github.com/sojournlm/sojourn/internal/usbtest"
	"github.com/sojournlm/sojourn/transport"
	"github.com/sojournlm/sojourn/transport/usb"
)

// Where the operating system gives an address again at once, another key that is plugged
// in does not go by the name of the one before: it is not opened as that one, and has a
// name of its own from then on.
func TestSameAddress(t *testing.T) {
	if stack(t).Real() {
		t.Skip("Linux gives no address again at once")
	}
	bus, err := usb.OpenLibusb(nil)
	if err != nil {
		t.Fatal(err)
	}
	defer bus.Close()
	ids := func() (ids []transport.KeyID) {
		t.Helper()
		keys, err := bus.Keys(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for _, k := range keys {
			ids = append(ids, k.ID)
		}
		return ids
	}
	before := stick(t, 0x5F, gadget.HighSpeed)
	if got := ids(); !slices.Equal(got, []transport.KeyID{busID(before)}) {
		t.Fatalf("%q", got)
	}
	if err := before.Unplug(); err != nil {
		t.Fatal(err)
	}
	usbtest.SameAddress()
	after := stick(t, 0x60, gadget.HighSpeed)
	if got := ids(); !slices.Equal(got, []transport.KeyID{busID(before)}) {
		t.Fatalf("%q: the address is another one", got)
	}
	if conn, err := bus.Open(t.Context(), busID(before)); !errors.Is(err, transport.ErrNoKey) {
		t.Errorf("the one that is out: %v", err)
		if err == nil {
			conn.Close()
		}
	}
	if n := after.Device().Counts().Resets; n != 0 {
		t.Errorf("the other one was reset %d times", n)
	}
	if got := ids(); !slices.Equal(got, []transport.KeyID{busID(after)}) {
		t.Errorf("%q", got)
	}
	conn, err := bus.Open(t.Context(), busID(after))
	if err != nil {
		t.Fatal(err)
	}
	answers(t, conn)
	if err := conn.Close(); err != nil {
		t.Error(err)
	}
}
