package licensing_test

import (
	"errors"
	"testing"

	"github.com/sojournlm/sojourn/device"
	"github.com/sojournlm/sojourn/internal/document"
	"github.com/sojournlm/sojourn/licensing"
	"github.com/sojournlm/sojourn/transport/simulator"
)

// A pool license that did not get into the key under its request key, and gets there by
// another program after the request key was used for something else, bars nothing.
func TestPoolBroughtByAnother(t *testing.T) {
	for _, fault := range []simulator.Fault{simulator.PullFirst, simulator.Unplug} {
		used, n := 0, 0
		for ; ; n++ {
			w := newWorld(t)
			office := w.office(feature(1, 3), feature(2, 3))
			laptop := w.laptop("LAPTOP", office)
			key := office.keys[0]
			k := &licensing.ChangeOptions{RequestKey: "k"}
			file := office.pool(feature(1, 5), feature(2, 5))
			armed := key.FailNth(n, fault)
			err := office.Install(w.ctx, file, k)
			if !armed.Fired() {
				break
			}
			certain := err != nil && !errors.Is(err, licensing.ErrUnknown)
			w.ok(key.Plug())
			_, err = office.Detach(w.ctx, office.request(laptop, 1), k)
			if err == nil {
				used++
			} else {
				w.refused(err, licensing.InvalidParameter)
				if certain {
					t.Errorf("fault %d at %d: nothing happened, and the request key is not free", fault, n)
				}
			}
			key.Unplug()
			w.ok(key.Plug())
			other, err := device.Open(w.ctx, office.bus, key.BusID())
			w.ok(err)
			envelope, err := document.Unwrap(file)
			w.ok(err)
			license, err := envelope.Pool()
			w.ok(err)
			w.ok(other.Install(w.ctx, license.Bytes()))
			w.ok(other.Close())
			for range 2 {
				w.ok(office.Install(w.ctx, laptop.giveBack(office.lend(laptop, 2).LicenseID), nil))
			}
			if problem := collect[licensing.Key](w)(office.Keys(w.ctx, licensing.Filter{}))[0].Problem; problem != "" {
				t.Errorf("fault %d at %d: the key's problem is %q", fault, n, problem)
			}
			w.checkPromises()
			w.end()
		}
		if n < 2 {
			t.Errorf("fault %d: only %d exchanges", fault, n)
		}
		if fault == simulator.PullFirst && used == 0 {
			t.Error("the request key was never free, so nothing was tried")
		}
	}
}
