package licensing_test

import (
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sojournlm/sojourn/internal/document"
	"github.com/sojournlm/sojourn/licensing"
)

// moves reports whether a message is more than a greeting or a question for keys.
func moves(message []byte) bool {
	r, err := document.ParsePeerRequest(message)
	return err == nil && r.Verb > 1
}

func (n *lines) after(then func(from, to *machine, message []byte)) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.then = then
}

// pendingReturn lends a seat online and gives it back while the office is silent.
func pendingReturn(w *world, office, laptop *machine, n *lines, options *licensing.ChangeOptions) (license uint64) {
	w.Helper()
	d, err := laptop.Detach(w.ctx, laptop.online(office, 1), nil)
	w.ok(err)
	n.set(func(from, to *machine, message []byte) fate {
		if moves(message) {
			return lost
		}
		return arrives
	})
	_, err = laptop.CancelDetach(w.ctx, licensing.CancelRequest{License: d.LicenseID}, options)
	w.refused(err, licensing.ErrUnknown)
	synctest.Wait() // it was tried once more by itself, and failed
	if len(laptop.intents()) != 1 {
		w.Fatalf("%d operations are pending", len(laptop.intents()))
	}
	return d.LicenseID
}

// A pending return is carried by hand meanwhile: nothing is pending any more when
// the origin answers.
func TestPendingReturnCarriedByHand(t *testing.T) {
	inBubble(t, func(w *world) {
		office, laptop, n := two(w)
		license := pendingReturn(w, office, laptop, n, nil)
		back, err := laptop.DownloadCancelled(w.ctx, license)
		w.ok(err)
		w.ok(office.Install(w.ctx, back, nil))
		n.set(nil)
		w.await("nothing is pending", func() bool { return len(laptop.intents()) == 0 })
		laptop.reopen()
		if len(laptop.intents()) != 0 || office.free(1) != 3 {
			t.Errorf("%d pending, %d free", len(laptop.intents()), office.free(1))
		}
		w.checkPromises()
	})
}

// The record of a license is deleted while its return is pending: there is nothing
// to hand over any more, and nobody is told that the seats are home.
func TestPendingReturnForgotten(t *testing.T) {
	inBubble(t, func(w *world) {
		office, laptop, n := two(w)
		again := &licensing.ChangeOptions{RequestKey: "again"}
		license := pendingReturn(w, office, laptop, n, again)
		w.ok(laptop.ForgetCancelled(w.ctx, license, nil))
		n.set(nil)
		for range 2 {
			_, err := laptop.CancelDetach(w.ctx, licensing.CancelRequest{License: license}, again)
			w.refused(err, licensing.DetachedLicenseNotFound)
			laptop.reopen()
		}
		if len(laptop.intents()) != 0 || office.free(1) != 2 {
			t.Errorf("%d pending, %d free", len(laptop.intents()), office.free(1))
		}
		w.turn(25 * time.Hour)
		if office.free(1) != 3 {
			t.Errorf("%d free when it has died", office.free(1))
		}
	})
}

// A return that went by hand is handed over online too: it is home, and that is
// what the answer says.
func TestCancelOnlineAfterFile(t *testing.T) {
	inBubble(t, func(w *world) {
		office, laptop, _ := two(w)
		d, err := laptop.Detach(w.ctx, laptop.online(office, 1), nil)
		w.ok(err)
		w.ok(office.Install(w.ctx, laptop.giveBack(d.LicenseID), nil))
		_, err = laptop.CancelDetach(w.ctx, licensing.CancelRequest{License: d.LicenseID}, nil)
		w.ok(err)
		if len(laptop.intents()) != 0 {
			t.Errorf("%d pending", len(laptop.intents()))
		}
	})
}

// The return of a license that has died is of no use, and the error says so.
func TestCancelOnlineOfDeadLicense(t *testing.T) {
	inBubble(t, func(w *world) {
		office, laptop, _ := two(w)
		d, err := laptop.Detach(w.ctx, laptop.online(office, 1), nil)
		w.ok(err)
		laptop.giveBack(d.LicenseID)
		w.turn(25 * time.Hour)
		_, err = laptop.CancelDetach(w.ctx, licensing.CancelRequest{License: d.LicenseID}, nil)
		w.refused(err, licensing.DetachedLicenseExpired)
	})
}

// The license of a pending detach is carried by hand and installed. Asked again
// under its request key, the detach gives that license.
func TestPendingDetachCarriedByHand(t *testing.T) {
	for _, undone := range []bool{false, true} {
		inBubble(t, func(w *world) {
			office, laptop, n := two(w)
			n.set(func(from, to *machine, message []byte) fate {
				if moves(message) {
					return answered
				}
				return arrives
			})
			again := &licensing.ChangeOptions{RequestKey: "again"}
			_, err := laptop.Detach(w.ctx, laptop.online(office, 1), again)
			w.refused(err, licensing.ErrUnknown)
			license := office.look().Detached[0].ID
			file, err := office.DownloadDetached(w.ctx, license)
			w.ok(err)
			w.ok(laptop.Install(w.ctx, file, nil))
			n.set(nil)
			if undone {
				w.await("nothing is pending", func() bool { return len(laptop.intents()) == 0 })
			}
			for range 2 {
				d, err := laptop.Detach(w.ctx, laptop.online(office, 1), again)
				w.ok(err)
				if d.LicenseID != license {
					t.Errorf("license %d, want %d", d.LicenseID, license)
				}
			}
			laptop.reopen()
			if _, err := laptop.check(1); err != nil || len(laptop.intents()) != 0 {
				t.Errorf("%v, %d pending", err, len(laptop.intents()))
			}
			w.checkPromises()
		})
	}
}

// The caller gives up, or the manager is closed, between the origin's answer and
// the ledger here: the error does not claim that nothing happened.
func TestGivenUpAfterAnswer(t *testing.T) {
	for _, cancel := range []bool{false, true} {
		for _, close := range []bool{false, true} {
			inBubble(t, func(w *world) {
				office, laptop, n := two(w)
				var lent *licensing.Detached
				var err error
				if cancel {
					lent, err = laptop.Detach(w.ctx, laptop.online(office, 1), nil)
					w.ok(err)
				}
				ctx, stop := context.WithCancel(w.ctx)
				defer stop()
				var closing sync.WaitGroup
				n.heeds.Store(close)
				n.after(func(from, to *machine, message []byte) {
					switch {
					case from != laptop || !moves(message):
					case close: // it does not wait for what is under way, but gives it up
						gone, stop := context.WithCancel(w.ctx)
						stop()
						closing.Go(func() { laptop.live.Load().Close(gone) })
						synctest.Wait()
					default:
						stop()
					}
				})
				if cancel {
					_, err = laptop.CancelDetach(ctx, licensing.CancelRequest{License: lent.LicenseID}, nil)
				} else {
					_, err = laptop.Detach(ctx, laptop.online(office, 1), nil)
				}
				w.refused(err, licensing.ErrUnknown)
				var e *licensing.Error
				if !errors.As(err, &e) || e.Intent == 0 {
					t.Errorf("cancel %v, close %v: the error names no pending operation: %v", cancel, close, err)
				}
				n.after(nil)
				closing.Wait()
				laptop.reopen()
				w.await("nothing is pending", func() bool { return len(laptop.intents()) == 0 })
				w.turn(3 * time.Minute)
				if office.free(1) != 3 {
					t.Errorf("%d free", office.free(1))
				}
				w.checkPromises()
			})
		}
	}
}

// The license of a pending detach is carried by hand, and comes home that way: no other
// one is made under its request key.
func TestPendingDetachCameHomeByHand(t *testing.T) {
	for _, reopen := range []bool{false, true} {
		inBubble(t, func(w *world) {
			office, laptop, n := two(w)
			ask := func() error { _, err := laptop.Detach(w.ctx, laptop.online(office, 1), askedOnce); return err }
			n.set(func(from, _ *machine, message []byte) fate {
				if from == laptop && moves(message) {
					return answered
				}
				return arrives
			})
			w.refused(ask(), licensing.ErrUnknown)
			n.set(losing(true))
			out := office.look().Detached[0]
			file, err := office.DownloadDetached(w.ctx, out.ID)
			w.ok(err)
			w.ok(laptop.Install(w.ctx, file, nil))
			w.ok(office.Install(w.ctx, laptop.giveBack(out.ID), nil))
			n.set(nil)
			w.await("nothing is pending", func() bool { return len(laptop.intents()) == 0 })
			if reopen {
				laptop.reopen()
				w.await("the laptop sees the key", func() bool { return laptop.sees(worldKey) })
			}
			for range 2 {
				w.refused(ask(), licensing.InvalidUpdateOrAlreadyInstalled)
			}
			w.refused(laptop.RemoveFingerprint(w.ctx, 4711, askedOnce), licensing.InvalidParameter)
			if out := office.look().Detached; len(out) != 0 {
				t.Errorf("reopened %v: out again: %+v", reopen, out)
			}
			w.checkPromises()
		})
	}
}
