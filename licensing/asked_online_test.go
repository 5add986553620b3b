package licensing_test

import (
	"context"
	"errors"
	"testing"

	"github.com/sojournlm/sojourn/licensing"
	"github.com/sojournlm/sojourn/transport/simulator"
)

// losing loses what matters, greetings too where all is set.
func losing(all bool) func(from, to *machine, message []byte) fate {
	return func(_, _ *machine, message []byte) fate {
		if all || moves(message) {
			return lost
		}
		return arrives
	}
}

// What was done with another manager is not denied when that has fallen silent.
func TestDoneOnlineIsNeverDenied(t *testing.T) {
	inBubble(t, func(w *world) {
		office, laptop, n := two(w)
		back := &licensing.ChangeOptions{RequestKey: "back"}
		d, err := laptop.Detach(w.ctx, laptop.online(office, 1), askedOnce)
		w.ok(err)
		ended, cancel := context.WithCancel(w.ctx)
		cancel()
		n.set(losing(true))
		again, err := laptop.Detach(ended, laptop.online(office, 1), askedOnce)
		w.ok(err)
		if again.LicenseID != d.LicenseID {
			t.Errorf("license %d, not %d", again.LicenseID, d.LicenseID)
		}
		n.set(nil)
		give := func(ctx context.Context) error {
			_, err := laptop.CancelDetach(ctx, licensing.CancelRequest{License: d.LicenseID}, back)
			return err
		}
		w.ok(give(w.ctx))
		n.set(losing(true))
		w.ok(give(ended))
		laptop.reopen()
		w.ok(give(ended))
		if office.free(1) != 3 {
			t.Errorf("%d free", office.free(1))
		}
	})
}

// A license that has come and whose installation is stored, but not signed by the anchor
// yet, is not denied: whatever the manager that gave it says by then.
func TestInstalledInDoubtIsNotDenied(t *testing.T) {
	inBubble(t, func(w *world) {
		office, laptop, n := two(w)
		var faults []*simulator.Armed
		n.set(func(from, _ *machine, message []byte) fate {
			if from == laptop && moves(message) {
				for range 60 {
					faults = append(faults, laptop.safe.FailNth(0, simulator.LoseRequest))
				}
			}
			return arrives
		})
		ask := func() (*licensing.Detached, error) {
			return laptop.Detach(w.ctx, laptop.online(office, 1), askedOnce)
		}
		_, err := ask()
		w.refused(err, licensing.ErrUnknown)
		n.set(nil)
		w.ok(office.RemoveFingerprint(w.ctx, laptop.id, nil))
		_, err = ask()
		w.refused(err, licensing.ErrUnknown)
		for _, f := range faults {
			f.Disarm()
		}
		d, err := ask()
		w.ok(err)
		if g, err := laptop.check(1); err != nil || g.LicenseID != d.LicenseID {
			t.Errorf("detached %+v, granted %+v, %v", d, g, err)
		}
	})
}

// A request for a return that another one has begun is remembered by its license: it
// ends no other that has come from the same key since.
func TestAskedForAPendingReturn(t *testing.T) {
	for _, reopen := range []bool{false, true} {
		inBubble(t, func(w *world) {
			office, laptop, n := two(w)
			pendingReturn(w, office, laptop, n, askedOnce)
			late := &licensing.ChangeOptions{RequestKey: "late"}
			give := func() error {
				_, err := laptop.CancelDetach(w.ctx, licensing.CancelRequest{License: worldKey}, late)
				return err
			}
			w.refused(give(), licensing.ErrUnknown)
			w.ok(laptop.Install(w.ctx, office.detach(laptop, 2).License, nil))
			if reopen {
				laptop.reopen()
			}
			w.refused(give(), licensing.ErrUnknown)
			w.refused(laptop.RemoveFingerprint(w.ctx, 4711, late), licensing.InvalidParameter)
			n.set(nil)
			w.ok(give())
			w.ok(give())
			if _, err := laptop.check(2); err != nil {
				t.Errorf("another license has ended: %v", err)
			}
			if office.free(1) != 3 || len(laptop.intents()) != 0 {
				t.Errorf("%d free, %d pending", office.free(1), len(laptop.intents()))
			}
			w.checkPromises()
		})
	}
}

// across is an office, a desk that reaches it, and a laptop that both know.
func across(w *world) (office, desk, laptop *machine, n *lines) {
	office = w.office(feature(1, 3))
	desk, laptop = w.laptop("DESK", office), w.laptop("LAPTOP", office)
	n = w.connect(office, desk)
	w.ok(desk.know(laptop))
	w.await("the desk sees the key", func() bool { return desk.sees(worldKey) })
	return office, desk, laptop, n
}

// What was fetched from another manager for a third computer is known here under its
// request key; what was refused there, or never asked, is not.
func TestFetchedIsKnown(t *testing.T) {
	for _, reopen := range []bool{false, true} {
		inBubble(t, func(w *world) {
			office, desk, laptop, n := across(w)
			request := office.request(laptop, 1)
			ask := func(ctx context.Context) (*licensing.Detached, error) { return desk.Detach(ctx, request, askedOnce) }
			other := func() error { return desk.RemoveFingerprint(w.ctx, 4711, askedOnce) }

			// Refused there, or out of reach: the key is free for something else.
			request.Seats = 9
			_, err := ask(w.ctx)
			w.refused(err, licensing.FeatureResourceExhaust)
			w.refused(other(), licensing.NoResultsFound)
			request.Seats = 1

			d, err := ask(w.ctx)
			w.ok(err)
			ended, cancel := context.WithCancel(w.ctx)
			cancel()
			n.set(losing(true))
			if reopen {
				desk.reopen()
			}
			for _, ctx := range []context.Context{w.ctx, ended} {
				_, err = ask(ctx)
				w.refused(err, licensing.ErrUnknown)
			}
			w.refused(other(), licensing.InvalidParameter)
			n.set(nil)
			w.await("the desk sees the key", func() bool { return desk.sees(worldKey) })
			again, err := ask(w.ctx)
			w.ok(err)
			if again.LicenseID != d.LicenseID || office.free(1) != 2 {
				t.Errorf("license %d, not %d; %d free", again.LicenseID, d.LicenseID, office.free(1))
			}
			w.refused(other(), licensing.InvalidParameter)
			w.ok(office.RemoveFingerprint(w.ctx, laptop.id, nil))
			again, err = ask(w.ctx)
			w.ok(err)
			if again.LicenseID != d.LicenseID {
				t.Errorf("license %d, not %d", again.LicenseID, d.LicenseID)
			}
			w.ok(office.RemoveFingerprint(w.ctx, desk.id, nil))
			_, err = ask(w.ctx)
			w.refused(err, licensing.ErrUnknown, licensing.OperationIsNotAllowed)
			w.ok(desk.RemoveFingerprint(w.ctx, laptop.id, nil))
			_, err = ask(w.ctx)
			w.refused(err, licensing.ErrUnknown)
			w.checkPromises()
		})
	}
}

// Before anything was sent it is certain that nothing happened, and the key is free.
func TestNotFetchedIsNotKnown(t *testing.T) {
	inBubble(t, func(w *world) {
		office, desk, laptop, n := across(w)
		n.set(losing(true))
		_, err := desk.Detach(w.ctx, office.request(laptop, 1), askedOnce)
		w.refused(err, licensing.ServerNotFound)
		if errors.Is(err, licensing.ErrUnknown) {
			t.Errorf("it was never sent, and may have happened: %v", err)
		}
		w.refused(desk.RemoveFingerprint(w.ctx, 4711, askedOnce), licensing.NoResultsFound)
	})
}

// Two computers that ask one office for different things under one request key do not meet:
// each has its own.
func TestRequestKeysOfTwo(t *testing.T) {
	inBubble(t, func(w *world) {
		office := w.office(feature(1, 3))
		one, two, laptop, tablet := w.laptop("ONE", office), w.laptop("TWO", office), w.laptop("LAPTOP", office), w.laptop("TABLET", office)
		w.connect(office, one, two)
		w.ok(one.know(laptop))
		w.ok(two.know(tablet))
		w.await("both see the key", func() bool { return one.sees(worldKey) && two.sees(worldKey) })
		a, err := one.Detach(w.ctx, office.request(laptop, 1), askedOnce)
		w.ok(err)
		b, err := two.Detach(w.ctx, office.request(tablet, 1), askedOnce)
		w.ok(err)
		if a.LicenseID == b.LicenseID || office.free(1) != 1 {
			t.Errorf("licenses %d and %d, %d of 3 seats are free", a.LicenseID, b.LicenseID, office.free(1))
		}
	})
}
