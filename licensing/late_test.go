package licensing_test

import (
	"sync/atomic"
	"testing"
	"time"

	"github.com/sojournlm/sojourn/licensing"
)

// pass turns the clocks by much more than a moment, in steps that are believed.
func (w *world) pass(d time.Duration) {
	for ; d > 0; d -= 30 * time.Minute {
		w.turn(30 * time.Minute)
	}
	time.Sleep(time.Minute)
}

// A detach online that is asked for again almost a license's life later makes no
// license that outlives what is known of it here; one that was made before is installed.
func TestDetachAskedAgainLate(t *testing.T) {
	for name, first := range map[string]fate{"not made before": lost, "made before": answered} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(w *world) {
				office, laptop, n := two(w)
				ask := func() (*licensing.Detached, error) {
					return laptop.Detach(w.ctx, laptop.online(office, 1), askedOnce)
				}
				// only lets the next message that matters have a fate, and loses all others.
				only := func(f fate) {
					done := false
					n.set(func(from, _ *machine, message []byte) fate {
						switch {
						case done:
							return lost
						case from == laptop && moves(message):
							done = true
							return f
						}
						return arrives
					})
				}
				only(first)
				_, err := ask()
				w.refused(err, licensing.ErrUnknown)
				out := office.look().Detached
				w.pass(23 * time.Hour)
				only(answered)
				_, err = ask()
				w.refused(err, licensing.ErrUnknown)
				if first == answered {
					n.set(nil)
					d, err := ask()
					w.ok(err)
					if len(out) != 1 || d.LicenseID != out[0].ID {
						t.Errorf("license %d, want the one of %+v", d.LicenseID, out)
					}
					w.checkPromises()
					return
				}
				w.pass(2 * time.Hour)
				if out := office.look().Detached; len(out) != 0 || len(laptop.intents()) != 0 {
					t.Errorf("pending here: %+v; out: %+v", laptop.intents(), out)
				}
				n.set(nil)
				w.await("the laptop sees the key", func() bool { return laptop.sees(worldKey) })
				_, err = ask()
				w.ok(err)
				w.checkPromises()
			})
		})
	}
}

// Who goes on late with a detach that has reached nobody begins it anew.
func TestUnsentAskedAgainLate(t *testing.T) {
	for name, options := range map[string]*licensing.ChangeOptions{"with a request key": askedOnce, "without": nil} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(w *world) {
				office, laptop, n := two(w)
				silence(w, laptop, n)
				ask := func() error { _, err := laptop.Detach(w.ctx, laptop.online(office, 1), options); return err }
				first := w.pendingAs(ask())
				for range 100 {
					w.turn(9 * time.Second)
					time.Sleep(9 * time.Second) // before it is given up
					w.refused(ask(), licensing.ServerNotFound)
				}
				if all := laptop.intents(); len(all) != 1 || all[0].ID == first {
					t.Errorf("pending after a quarter of an hour: %+v", all)
				}
				n.set(nil)
				w.await("it is made", func() bool { return ask() == nil })
				w.checkPromises()
			})
		})
	}
}

// What was fetched at the second asking, almost a license's life after the first, is
// known here until it is dead.
func TestFetchedLateIsKnown(t *testing.T) {
	inBubble(t, func(w *world) {
		office, desk, laptop, n := across(w)
		ask := func() (*licensing.Detached, error) { return desk.Detach(w.ctx, office.request(laptop, 1), askedOnce) }
		n.set(losing(false))
		_, err := ask()
		w.refused(err, licensing.ErrUnknown)
		n.set(nil)
		w.pass(23 * time.Hour)
		w.await("the desk sees the key", func() bool { return desk.sees(worldKey) })
		d, err := ask()
		w.ok(err)
		w.pass(23 * time.Hour)
		if out := office.look().Detached; len(out) != 1 || out[0].ID != d.LicenseID {
			t.Errorf("out: %+v", out)
		}
		w.refused(desk.RemoveFingerprint(w.ctx, laptop.id, askedOnce), licensing.InvalidParameter)
		w.pass(2 * time.Hour)
		w.ok(desk.RemoveFingerprint(w.ctx, laptop.id, askedOnce))
		w.checkPromises()
	})
}

// Who waits for a return that somebody else hands over, and whose license dies meanwhile,
// is not told that it was handed over.
func TestCancelOfWhatDies(t *testing.T) {
	inBubble(t, func(w *world) {
		office, laptop, n := two(w)
		d, err := laptop.Detach(w.ctx, laptop.online(office, 1), nil)
		w.ok(err)
		cancel := func() error {
			_, err := laptop.CancelDetach(w.ctx, licensing.CancelRequest{License: d.LicenseID}, nil)
			return err
		}
		second := make(chan error, 1)
		var begun atomic.Bool
		n.set(func(from, _ *machine, message []byte) fate {
			switch {
			case begun.Load():
				return lost
			case from != laptop || !moves(message):
				return arrives
			}
			begun.Store(true)
			go func() { second <- cancel() }()
			time.Sleep(time.Second)
			w.pass(25 * time.Hour)
			w.ok(laptop.know(office)) // enters what is due
			return lost
		})
		if err := cancel(); err == nil {
			t.Error("nothing was handed over, and nothing is said")
		}
		w.refused(<-second, licensing.DetachedLicenseExpired)
	})
}
