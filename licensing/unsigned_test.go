package licensing_test

import (
	"testing"
	"time"

	"github.com/sojournlm/sojourn/licensing"
	"github.com/sojournlm/sojourn/transport/simulator"
)

// That nothing came of a fetch is stored and not signed when it is asked for again: its
// request key stays its own.
func TestInVainNotSigned(t *testing.T) {
	inBubble(t, func(w *world) {
		office, desk, laptop, n := across(w)
		tablet := w.laptop("TABLET", office)
		w.pass(30 * time.Minute)
		w.await("the desk sees the key", func() bool { return desk.sees(worldKey) })
		request := office.request(laptop, 1)
		request.Seats = 3
		out := office.lend(tablet, 1)
		first := true
		n.after(func(from, _ *machine, message []byte) {
			if from == desk && moves(message) && first {
				first = false
				for range 6 {
					desk.safe.FailNth(0, simulator.LoseRequest)
				}
			}
		})
		_, err := desk.Detach(w.ctx, request, askedOnce)
		w.refused(err, licensing.FeatureResourceExhaust)
		n.after(nil)
		w.ok(office.Install(w.ctx, tablet.giveBack(out.LicenseID), nil))
		_, err = desk.Detach(w.ctx, request, askedOnce)
		w.ok(err)
		w.ok(desk.EditFingerprint(w.ctx, licensing.FingerprintFields{LMSID: &laptop.id, HostName: new("X")}, nil))
		w.refused(desk.EditFingerprint(w.ctx, licensing.FingerprintFields{LMSID: &laptop.id, HostName: new("TWICE")}, askedOnce),
			licensing.InvalidParameter)
	})
}

// Who is asked is stored and not signed, and nothing is sent. Asked again while that one is
// silent and another one tells of the key, the request is not told to be another one.
func TestAskedElsewhereNotSigned(t *testing.T) {
	for _, dead := range []string{"OFFICE", "ANNEX"} { // one of the two was asked first
		inBubble(t, func(w *world) {
			office, annex, desk, laptop, n := rivals(w)
			w.pass(30 * time.Minute)
			w.await("the desk sees the key", func() bool { return desk.sees(worldKey) })
			for range 6 {
				desk.safe.FailNth(0, simulator.LoseRequest)
			}
			ask := func() error { _, err := desk.Detach(w.ctx, office.request(laptop, 1), askedOnce); return err }
			w.refused(ask(), licensing.ErrUnknown)
			n.set(func(from, to *machine, _ []byte) fate {
				if from == desk && to.name == dead {
					return lost
				}
				return arrives
			})
			time.Sleep(2 * time.Minute)
			w.turn(2 * time.Minute)
			for range 2 {
				if err := ask(); err != nil {
					w.refused(err, licensing.ErrUnknown)
				}
			}
			if out := len(office.look().Detached) + len(annex.look().Detached); out > 1 {
				t.Errorf("%d licenses under one request key", out)
			}
			w.refused(desk.RemoveFingerprint(w.ctx, 4711, askedOnce), licensing.InvalidParameter)
		})
	}
}

// That an intent is dropped is stored and not signed when it is gone on with: what was
// asked for is asked anew.
func TestDropNotSigned(t *testing.T) {
	inBubble(t, func(w *world) {
		office, laptop, n := two(w)
		w.pass(30 * time.Minute)
		w.await("the key is seen", func() bool { return laptop.sees(worldKey) })
		office.watch.shift(2 * time.Hour)
		armed := true
		n.set(func(from, _ *machine, _ []byte) fate {
			if from == laptop && armed {
				armed = false
				for range 6 {
					laptop.safe.FailNth(0, simulator.LoseRequest)
				}
			}
			return arrives
		})
		_, err := laptop.Detach(w.ctx, laptop.online(office, 1), askedOnce)
		w.refused(err, licensing.ErrUnknown)
		n.set(nil)
		office.watch.shift(-2 * time.Hour)
		_, err = laptop.Detach(w.ctx, laptop.online(office, 1), askedOnce)
		w.ok(err)
		_, err = laptop.check(1)
		w.ok(err)
	})
}
