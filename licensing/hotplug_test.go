package licensing_test

import (
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/sojournlm/sojourn/licensing"
)

// A key that was pulled out and put back before anybody looked is as good as one that
// stayed: the old connection to it is known to be of no use.
func TestReplugUnnoticed(t *testing.T) {
	w := newWorld(t)
	office := w.office(feature(4, 3))
	laptop := w.laptop("LAPTOP", office)
	key := office.keys[0]
	for range 3 {
		w.ok(key.Replug())
		d := office.detach(laptop, 4)
		w.ok(laptop.Install(w.ctx, d.License, nil))
		w.ok(key.Replug())
		w.ok(office.Install(w.ctx, laptop.giveBack(d.LicenseID), nil))
		w.ok(key.Replug())
		list, err := office.Keys(w.ctx, licensing.Filter{})
		w.ok(err)
		for k := range list.All() {
			if k.Inaccessible || k.Problem != "" {
				t.Errorf("%+v", k)
			}
		}
	}
	w.checkPromises()
}

// A key that comes back other than it went is found out at once: nothing is stored
// that it would not sign.
func TestReplugSetBack(t *testing.T) {
	w := newWorld(t)
	office := w.office(feature(4, 3))
	laptop := w.laptop("LAPTOP", office)
	key := office.keys[0]
	earlier, err := key.Snapshot()
	w.ok(err)
	office.detach(laptop, 4)
	w.ok(key.Restore(earlier))
	before := office.look()
	_, err = office.Detach(w.ctx, office.request(laptop, 4), nil)
	w.refused(err, licensing.StorageCorrupted, licensing.ErrAnchorLost)
	if errors.Is(err, licensing.ErrUnknown) {
		t.Errorf("it is not known whether it happened: %v", err)
	}
	if diff := cmp.Diff(before, office.look()); diff != "" {
		t.Error(diff)
	}
}
