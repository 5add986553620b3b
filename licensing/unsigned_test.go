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
