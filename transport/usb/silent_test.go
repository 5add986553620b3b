//go:build cgo && gousb && linux

package usb_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/sojournlm/sojourn/internal/gadget"
	"github.com/sojournlm/sojourn/licensing"
	"github.com/sojournlm/sojourn/transport"
	"github.com/sojournlm/sojourn/transport/usb"
)

// askedForStrings and configured are control requests.
func askedForStrings(setup [8]byte) bool { return setup[0] == 0x80 && setup[1] == 6 && setup[3] == 3 }
func configured(setup [8]byte) bool      { return setup[0] == 0x00 && setup[1] == 9 }

// silent is a device with a key's ids and interface that never answers some requests.
func silent(requests func(setup [8]byte) bool) *gadget.Device {
	d := gadget.New(answering(make([]byte, 14)), gadget.Config{Serial: "MUTE", Speed: gadget.HighSpeed})
	d.Ignore(requests)
	return d
}

// listed lists keys, which takes less than who manages keys waits for.
func listed(t *testing.T, bus transport.Bus) (ids []transport.KeyID) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	keys, err := bus.Keys(ctx)
	if err != nil {
		t.Fatal(err)
	}
	for _, k := range keys {
		ids = append(ids, k.ID)
	}
	return ids
}

// A device that never tells its serial number is asked for it once where libusb lists,
// holds up no other key, and has its place for a name.
func TestSerialNumberUnanswered(t *testing.T) {
	if stack(t).Real() {
		t.Skip("a kernel asks for it before anybody else, and lists the device without")
	}
	sound := stick(t, 0x71, gadget.HighSpeed)
	bus, err := usb.OpenLibusb(nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { bus.Close() })
	o := newOffice(t, nil, func(transport.Bus) transport.Bus { return bus })
	listed(t, bus)
	port, err := stack(t).Plug(silent(askedForStrings))
	o.ok(err)
	defer port.Unplug()

	ids := listed(t, bus)
	if want := []transport.KeyID{busID(sound), busID(o.stick)}; !slices.Equal(ids, want) {
		t.Errorf("the first list is %q, want %q", ids, want)
	}
	if n := bus.Silent(); n != 1 {
		t.Errorf("%d silent devices", n)
	}
	if _, err := o.detachOf(t.Context(), crowdFeature, ""); err != nil {
		t.Error(err)
	}
	o.ok(o.stick.Unplug())
	if o.accessible() {
		t.Error("a key is pulled out, and shown as accessible")
	}
	_, err = o.detachOf(t.Context(), crowdFeature+1, "x")
	if !errors.Is(err, licensing.NoService) || errors.Is(err, licensing.ErrUnknown) {
		t.Errorf("a detach from a key that is pulled out: %v", err)
	}
	o.ok(o.stick.Plug())
	if _, err := o.detachOf(t.Context(), crowdFeature+1, "x"); err != nil {
		t.Error(err)
	}
	for end := time.Now().Add(long); len(listed(t, bus)) != 3; time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("the silent device never has a name")
		}
	}
	if n := bus.Silent(); n != 0 {
		t.Errorf("%d silent devices when it has a name", n)
	}
	began := time.Now()
	for range 100 {
		listed(t, bus)
	}
	if took := time.Since(began); took > promptly {
		t.Errorf("a hundred lists took %v: it is asked again each time", took)
	}
}

// A device that keeps the kernel waiting when it takes it in holds up no other key. It is
// found when the kernel has it.
func TestConfigurationUnanswered(t *testing.T) {
	if !stack(t).Real() {
		t.Skip("needs a kernel")
	}
	bus := openBus(t, nil)
	o := newOffice(t, nil, func(transport.Bus) transport.Bus { return bus })
	d := silent(configured)
	go configure(d)
	plugged := make(chan struct{})
	go func() {
		defer close(plugged)
		port, err := stack(t).Plug(d)
		if err != nil {
			t.Error(err)
			return
		}
		t.Cleanup(func() { port.Unplug() })
	}()
	request, waited := uint32(crowdFeature), false
	for going := true; going; time.Sleep(20 * time.Millisecond) {
		select {
		case <-plugged:
			going = false
		default:
		}
		ids := listed(t, bus)
		if !slices.Contains(ids, busID(o.stick)) {
			t.Fatalf("the sound key is not in %q", ids)
		}
		waited = waited || bus.Silent() == 1 && !slices.Contains(ids, "usb:MUTE")
		if request++; request < crowdFeature+crowd {
			if _, err := o.detachOf(t.Context(), request, ""); err != nil {
				t.Error(err)
			}
		}
	}
	if ids := listed(t, bus); !slices.Contains(ids, "usb:MUTE") || bus.Silent() != 0 || !waited {
		t.Errorf("the device that the kernel has now is not in %q, or was never counted as silent, or still is: %v, %d", ids, waited, bus.Silent())
	}
}

// configure lets the kernel take a silent device in when it has given that up.
func configure(d *gadget.Device) {
	for end := time.Now().Add(long); time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
		found, _ := filepath.Glob("/sys/bus/usb/devices/*/serial")
		for _, at := range found {
			if serial, _ := os.ReadFile(at); string(serial) != "MUTE\n" { // waits for the kernel
				continue
			}
			d.Ignore(nil)
			if os.WriteFile(filepath.Join(filepath.Dir(at), "bConfigurationValue"), []byte("1"), 0) == nil {
				return
			}
		}
	}
}
