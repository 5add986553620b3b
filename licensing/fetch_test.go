package licensing_test

import (
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/sojournlm/sojourn/licensing"
	"github.com/sojournlm/sojourn/storage/memory"
)

// What was sent before a start may still arrive: until it is stale, no refusal of the
// same request is certain.
func TestRefusedAfterAStart(t *testing.T) {
	inBubble(t, func(w *world) {
		office, desk, laptop, n := across(w)
		tablet := w.laptop("TABLET", office)
		request := office.request(laptop, 1)
		request.Seats = 3
		ask := func() (*licensing.Detached, error) { return desk.Detach(w.ctx, request, askedOnce) }
		var late []byte
		n.set(func(from, _ *machine, message []byte) fate {
			if from == desk && moves(message) {
				late = slices.Clone(message)
				return lost
			}
			return arrives
		})
		_, err := ask()
		w.refused(err, licensing.ErrUnknown)
		n.set(nil)
		out := office.lend(tablet, 1)
		desk.reopen()
		w.await("the desk sees the key", func() bool { return desk.sees(worldKey) })
		_, err = ask()
		w.refused(err, licensing.ErrUnknown)
		w.ok(office.Install(w.ctx, tablet.giveBack(out.LicenseID), nil))
		w.turn(2 * time.Second)
		_, err = office.AnswerPeer(w.ctx, late)
		w.ok(err)
		d, err := ask()
		w.ok(err)
		if lent := office.look().Detached; len(lent) != 1 || d.LicenseID != lent[0].ID {
			t.Errorf("license %d, want the one of %+v", d.LicenseID, lent)
		}

		// Long after a start a refusal is certain, and the request key is free.
		desk.reopen()
		time.Sleep(time.Hour)
		w.turn(time.Hour)
		w.await("the desk sees the key again", func() bool { return desk.sees(worldKey) })
		more := &licensing.ChangeOptions{RequestKey: "more"}
		_, err = desk.Detach(w.ctx, request, more)
		w.refused(err, licensing.CancelPreviousDetachRequired)
		w.refused(desk.RemoveFingerprint(w.ctx, 4711, more), licensing.NoResultsFound)
		w.checkPromises()
	})
}

// A request that one manager may have granted is asked of no other one that tells of
// the key, whatever has become of the first.
func TestFetchedFromOneOnly(t *testing.T) {
	for _, reopen := range []bool{false, true} {
		inBubble(t, func(w *world) {
			office, annex := w.office(feature(1, 3)), w.bare("ANNEX", memory.New())
			annex.addKey(worldKey) // of the same id
			w.ok(annex.boot())
			w.ok(annex.Install(w.ctx, annex.pool(feature(1, 3)), nil))
			desk, laptop := w.laptop("DESK", office, annex), w.laptop("LAPTOP", office, annex)
			n := w.connect(office, annex, desk)
			w.ok(desk.know(laptop))
			w.ok(desk.know(office))
			w.ok(desk.know(annex))
			w.await("the desk sees the key", func() bool { return desk.sees(worldKey) })
			ask := func() error { _, err := desk.Detach(w.ctx, office.request(laptop, 1), askedOnce); return err }
			only := func(one, other *machine) {
				n.set(func(from, to *machine, message []byte) fate {
					switch {
					case from == desk && to == other:
						return lost
					case from == desk && to == one && moves(message):
						return answered
					}
					return arrives
				})
			}
			only(office, annex)
			w.await("the office has made it", func() bool {
				return errors.Is(ask(), licensing.ErrUnknown) && len(office.look().Detached) == 1
			})
			if reopen {
				desk.reopen()
			}
			n.set(func(from, to *machine, _ []byte) fate {
				if from == desk && to == office {
					return lost
				}
				return arrives
			})
			for range 4 {
				w.turn(15 * time.Second)
				time.Sleep(15 * time.Second)
				w.refused(ask(), licensing.ErrUnknown)
			}
			if out := annex.look().Detached; len(out) != 0 {
				t.Errorf("reopened %v: the annex has made another: %+v", reopen, out)
			}
			n.set(nil)
			w.await("the office answers", func() bool { return ask() == nil })
			if len(office.look().Detached)+len(annex.look().Detached) != 1 {
				t.Error("two licenses under one request key")
			}
		})
	}
}
