package licensing_test

import (
	"testing"
	"time"

	"github.com/sojournlm/sojourn/licensing"
)

// A license that came online goes back to the manager that gave it, whatever that tells
// of its keys by now.
func TestGivenBackToItsLender(t *testing.T) {
	for name, change := range map[string]func(w *world, office, laptop *machine){
		"no longer known there": func(w *world, office, laptop *machine) { w.ok(office.RemoveFingerprint(w.ctx, laptop.id, nil)) },
		"for local use by now":  func(w *world, office, laptop *machine) { w.ok(office.Install(w.ctx, office.pool(hidden(1, 3)), nil)) },
	} {
		for _, again := range []bool{false, true} {
			t.Run(name, func(t *testing.T) {
				inBubble(t, func(w *world) {
					office, laptop, _ := two(w)
					d, err := laptop.Detach(w.ctx, laptop.online(office, 1), nil)
					w.ok(err)
					change(w, office, laptop)
					w.await("the key is not told of", func() bool { return !laptop.sees(worldKey) })
					if again {
						laptop.restart()
						w.await("the office is met", func() bool { c, ok := laptop.knows("OFFICE"); return ok && c.Silent.IsZero() })
					}
					_, err = laptop.CancelDetach(w.ctx, licensing.CancelRequest{License: d.LicenseID}, nil)
					w.ok(err)
					if free := office.free(1); free != 3 || len(laptop.intents()) != 0 {
						t.Errorf("%d of 3 seats are free, %d operations pending", free, len(laptop.intents()))
					}
					w.checkPromises()
				})
			})
		}
	}
}

// A silent lender leaves the return pending, also where the store had no time to
// remember that it was found.
func TestGivenBackToSilentLender(t *testing.T) {
	inBubble(t, func(w *world) {
		office, laptop, n := two(w)
		time.Sleep(time.Minute) // what is found is stored, and not again at once
		for i := uint64(1); i <= 2; i++ {
			key := office.addKey(worldKey + i)
			office.sold += 10
			w.ok(office.Install(w.ctx, office.poolOf(key, feature(1, 3)), nil))
			w.await("seen", func() bool { return laptop.sees(worldKey + i) })
		}
		r := laptop.online(office, 1)
		r.Key = worldKey + 2
		d, err := laptop.Detach(w.ctx, r, nil)
		w.ok(err)
		n.set(dead)
		laptop.reopen()
		_, err = laptop.CancelDetach(w.ctx, licensing.CancelRequest{License: d.LicenseID}, nil)
		w.pendingAs(err)
		n.set(nil)
		w.await("nothing is pending", func() bool { return len(laptop.intents()) == 0 })
		w.turn(2 * time.Minute)
		w.checkPromises()
	})
}

// A manager that speaks to no others any more gives nothing back online, and does when
// it speaks to them again.
func TestGivenBackWithoutPeers(t *testing.T) {
	inBubble(t, func(w *world) {
		office, laptop, n := two(w)
		d, err := laptop.Detach(w.ctx, laptop.online(office, 1), nil)
		w.ok(err)
		lines := laptop.opts.Peers
		laptop.opts.Peers = nil
		laptop.restart()
		_, err = laptop.CancelDetach(w.ctx, licensing.CancelRequest{License: d.LicenseID}, nil)
		w.refused(err, licensing.ServerNotFound)
		if _, err := laptop.check(1); err != nil {
			t.Errorf("nothing was to happen: %v", err)
		}
		laptop.opts.Peers = lines
		laptop.restart()
		n.set(func(from, to *machine, message []byte) fate {
			if to == office && moves(message) {
				return lost
			}
			return arrives
		})
		_, err = laptop.CancelDetach(w.ctx, licensing.CancelRequest{License: d.LicenseID}, nil)
		w.refused(err, licensing.ErrUnknown)
		n.set(nil)
		w.await("nothing is pending", func() bool { return len(laptop.intents()) == 0 })
		w.turn(2 * time.Minute)
		if free := office.free(1); free != 3 {
			t.Errorf("%d of 3 seats are free", free)
		}
		w.checkPromises()
	})
}
