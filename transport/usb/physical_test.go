//go:build cgo && gousb && linux

package usb_test

import (
	"context"
	"errors"
	"flag"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sojournlm/sojourn/device"
	"github.com/sojournlm/sojourn/internal/gadget"
	"github.com/sojournlm/sojourn/transport"
	"github.com/sojournlm/sojourn/transport/transporttest"
	"github.com/sojournlm/sojourn/transport/usb"
)

// For whoever has a key of metal:
//
//	go test -tags gousb ./transport/usb -run Physical -v -usb.key=usb:SERIAL -usb.spend-12000-exchanges-and-what-is-staged
//
// with -usb.ids=VENDOR:PRODUCT where they are the key's own. keyinfo tells the key's name. Nothing else may use the key meanwhile.
const priceFlag = "usb.spend-12000-exchanges-and-what-is-staged"

var (
	physicalKey = flag.String("usb.key", "", "test this `key`, which is plugged into the computer, and nothing else")
	physicalIDs = flag.String("usb.ids", "1209:0001", "its `VENDOR:PRODUCT` ids")
	spend       = flag.Bool(priceFlag, false,
		"the price of -usb.key: the key answers some 12,000 times, and forgets a pool license that was staged and not installed; what it keeps stays as it is")
)

func TestPhysical(t *testing.T) {
	if *physicalKey == "" {
		t.Skip("needs -usb.key=ID, a key that is plugged in")
	}
	if !*spend {
		t.Fatalf("agree to this by -%s: %s", priceFlag, flag.Lookup(priceFlag).Usage)
	}
	vendor, product, err := usb.ParseIDs(*physicalIDs)
	if err != nil {
		t.Fatal(err)
	}
	physical(t, transport.KeyID(*physicalKey), &usb.Options{Vendor: vendor, Product: product}, 10_000)
}

// The run on a key of metal is itself tried, on a key that can be looked into.
func TestPhysicalRun(t *testing.T) {
	if stack(t).Real() {
		t.Skip("everything in it is tried here already")
	}
	s := stick(t, 0x57, gadget.HighSpeed)
	before, err := s.Key.Snapshot()
	if err != nil {
		t.Fatal(err)
	}
	physical(t, busID(s), nil, 200)
	after, err := s.Key.Snapshot()
	if err != nil {
		t.Fatal(err)
	}
	if !before.Equal(after) {
		t.Error("the key's memory has changed")
	}
}

// kept is what a key keeps.
type kept struct {
	Info       device.Info
	Pool       []byte
	Checkpoint device.Checkpoint
}

func keeps(t *testing.T, bus transport.Bus, id transport.KeyID) (k kept) {
	t.Helper()
	key, err := device.Open(t.Context(), bus, id)
	if err != nil {
		t.Fatal(err)
	}
	defer key.Close()
	var errs [3]error
	k.Info, errs[0] = key.Info(t.Context())
	if k.Pool, errs[1] = key.Pool(t.Context()); errors.Is(errs[1], device.ErrNoPool) {
		errs[1] = nil
	}
	k.Checkpoint, errs[2] = key.Checkpoint(t.Context())
	if err := errors.Join(errs[:]...); err != nil {
		t.Fatal(err)
	}
	return k
}

// physical is everything that can be tried on a key without pulling it out and without
// a write to its memory.
func physical(t *testing.T, id transport.KeyID, opts *usb.Options, exchanges int) {
	bus := openBus(t, opts)
	before := keeps(t, bus, id)
	t.Logf("%+v", before.Info)
	t.Run("Conformance", func(t *testing.T) {
		transporttest.Run(t, func() (*transporttest.Rig, error) {
			bus, err := usb.Open(opts)
			if err != nil {
				return nil, err
			}
			return &transporttest.Rig{Bus: only{bus, id}, Keys: []transport.KeyID{id}, Close: bus.Close}, nil
		})
	})
	t.Run("SecondOpener", func(t *testing.T) { secondOpener(t, bus, openBus(t, opts), id) })
	t.Run("ThousandCancels", func(t *testing.T) {
		t.Logf("%d given up", thousandCancels(t, bus, id, func(time.Duration) {}))
	})
	t.Run("Leaks", func(t *testing.T) { leaks(t, bus, id, exchanges) })
	if diff := cmp.Diff(before, keeps(t, bus, id)); diff != "" {
		t.Errorf("the key is not as it was (-before +after):\n%s", diff)
	}
}

// only is a bus on which other keys do not count.
type only struct {
	transport.Bus
	id transport.KeyID
}

func (o only) Keys(ctx context.Context) ([]transport.KeyInfo, error) {
	infos, err := o.Bus.Keys(ctx)
	return slices.DeleteFunc(infos, func(i transport.KeyInfo) bool { return i.ID != o.id }), err
}
