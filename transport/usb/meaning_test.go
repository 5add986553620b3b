//go:build cgo && gousb && linux

package usb

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/google/gousb"

	"github.com/sojournlm/sojourn/transport"
)

// Every error that gousb and libusb have, and some that they may have one day, has one
// meaning of those that callers tell apart, whether it is given, wrapped or quoted.
func TestMeaning(t *testing.T) {
	want := map[gousb.Error]error{
		gousb.ErrorNoDevice:     transport.ErrNoKey,
		gousb.ErrorNotFound:     transport.ErrNoKey,
		gousb.ErrorBusy:         transport.ErrBusy,
		gousb.ErrorAccess:       ErrPermission,
		gousb.ErrorNotSupported: ErrDriver,
		gousb.ErrorNoMem:        ErrMemory,
		gousb.ErrorIO:           transport.ErrGarbled,
		gousb.ErrorPipe:         transport.ErrGarbled,
		gousb.ErrorTimeout:      transport.ErrGarbled,
		gousb.ErrorOverflow:     transport.ErrGarbled,
		gousb.ErrorInterrupted:  transport.ErrGarbled,
		gousb.ErrorOther:        transport.ErrGarbled,
	}
	for code := gousb.Error(-128); code < 128; code++ {
		mean := want[code]
		if mean == nil {
			mean = ErrLibrary // invalid parameters, and what does not exist
		}
		for _, err := range []error{code, fmt.Errorf("claiming: %w", code), fmt.Errorf("claiming: %v", code), errors.Join(errors.New("first"), code)} {
			means(t, err, mean)
		}
	}
	for status := range gousb.TransferStatus(255) {
		mean := transport.ErrGarbled
		if status == gousb.TransferNoDevice {
			mean = transport.ErrNoKey
		}
		means(t, status, mean)
	}
	means(t, errors.New("gousb_alloc_transfer_and_buffer(5, 0) failed"), ErrMemory)
	means(t, errors.New("vid=1209 does not have endpoint with address 0x81"), ErrLibrary)
	means(t, starting(gousb.ErrorNoMem), ErrMemory)
	means(t, starting(gousb.ErrorOther), ErrLibrary)
	means(t, starting("whatever"), ErrLibrary)
	if err := meaning(nil); err != nil {
		t.Errorf("no error means %v", err)
	}
	for _, err := range known {
		if got := meaning(err); got != err {
			t.Errorf("%v means %v", err, got)
		}
	}
}

// means checks that err has the one meaning, and says it once and with its cause.
func means(t *testing.T, err, want error) {
	t.Helper()
	got := meaning(err)
	for _, k := range known {
		if errors.Is(got, k) != (k == want) {
			t.Errorf("%v means %v, want %v", err, got, want)
		}
	}
	if !errors.Is(got, err) || !strings.Contains(got.Error(), err.Error()) {
		t.Errorf("%v does not say that it is because of %v", got, err)
	}
	if again := meaning(got); again != got {
		t.Errorf("%v is said twice: %v", got, again)
	}
}

// What was not handed in has not gone out. Of all else nobody can be certain.
func TestMayHaveGone(t *testing.T) {
	for code := gousb.ErrorOther; code < 0; code++ {
		if mayHaveGone(code) {
			t.Errorf("%v: the transfer was refused", code)
		}
	}
	if mayHaveGone(errors.New("gousb_alloc_transfer_and_buffer(5, 0) failed")) {
		t.Error("there was no transfer")
	}
	for status := range gousb.TransferStatus(10) {
		if !mayHaveGone(status) {
			t.Errorf("%v: it was handed in", status)
		}
	}
	if !mayHaveGone(errNotWhole) || !mayHaveGone(nil) {
		t.Error("some of it went out")
	}
}

// A key that does not answer in time, and a context that has ended, are told apart.
func TestReasonCancelled(t *testing.T) {
	c := &conn{}
	c.life.begin(0)
	if err := c.reason(context.Background(), gousb.TransferCancelled); !errors.Is(err, transport.ErrGarbled) {
		t.Error(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if err := c.reason(ctx, gousb.TransferCancelled); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	c.life.end(transport.ErrClosed)
	if err := c.reason(ctx, gousb.TransferCancelled); !errors.Is(err, transport.ErrClosed) {
		t.Error(err)
	}
}
