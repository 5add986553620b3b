package licensing_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/sojournlm/sojourn/licensing"
	"github.com/sojournlm/sojourn/storage/memory"
	"github.com/sojournlm/sojourn/storage/storagetest"
	"github.com/sojournlm/sojourn/transport/simulator"
)

// untilStale is longer than anything that was sent is good for, and than a manager that
// failed is asked after others.
const untilStale = 11 * time.Minute

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
		time.Sleep(untilStale)
		w.turn(untilStale)
		w.await("the desk sees the key again", func() bool { return desk.sees(worldKey) })
		more := &licensing.ChangeOptions{RequestKey: "more"}
		_, err = desk.Detach(w.ctx, request, more)
		w.refused(err, licensing.CancelPreviousDetachRequired)
		w.refused(desk.RemoveFingerprint(w.ctx, 4711, more), licensing.NoResultsFound)
		w.checkPromises()
	})
}

// One message of a fetch was lost. What the office refuses afterwards is told when the
// message is stale, however often it is asked meanwhile; that it may not be asked any more
// says nothing about what was done before.
func TestRefusedIsTold(t *testing.T) {
	for name, tt := range map[string]struct {
		spoil   func(w *world, office, desk, laptop *machine)
		code    licensing.Code
		unknown bool
	}{
		"no seats": {func(w *world, office, _, laptop *machine) {
			office.lend(w.laptop("TABLET", office), 1)
		}, licensing.FeatureResourceExhaust, false},
		"not admitted": {func(w *world, office, desk, _ *machine) {
			w.ok(office.RemoveFingerprint(w.ctx, desk.id, nil))
		}, licensing.OperationIsNotAllowed, true},
	} {
		for _, reopen := range []bool{false, true} {
			inBubble(t, func(w *world) {
				office, desk, laptop, n := across(w)
				request := office.request(laptop, 1)
				request.Seats = 3
				ask := func() error { _, err := desk.Detach(w.ctx, request, askedOnce); return err }
				n.set(losing(false))
				w.refused(ask(), licensing.ErrUnknown)
				n.set(nil)
				tt.spoil(w, office, desk, laptop)
				if reopen {
					desk.reopen()
				}
				var err error
				for range 11 {
					w.turn(time.Minute)
					time.Sleep(time.Minute)
					err = ask()
					w.refused(err, tt.code)
				}
				if errors.Is(err, licensing.ErrUnknown) != tt.unknown {
					t.Errorf("%s, reopened %v: eleven minutes later: %v", name, reopen, err)
				}
				w.checkPromises()
			})
		}
	}
}

// Who leaves while a manager is being greeted is told that nothing has happened, and the
// request key is free.
func TestLeftWhileGreeting(t *testing.T) {
	inBubble(t, func(w *world) {
		office, desk, laptop, n := across(w)
		ctx, leave := context.WithCancel(w.ctx)
		n.set(func(from, _ *machine, _ []byte) fate {
			if from == desk {
				leave()
				return lost
			}
			return arrives
		})
		_, err := desk.Detach(ctx, office.request(laptop, 1), askedOnce)
		if w.refused(err); errors.Is(err, licensing.ErrUnknown) {
			t.Errorf("it was never sent, and may have happened: %v", err)
		}
		w.refused(desk.RemoveFingerprint(w.ctx, 4711, askedOnce), licensing.NoResultsFound)
	})
}

// rivals are an office and an annex that tell of one key, a desk that reaches both, and a
// laptop that all know.
func rivals(w *world) (office, annex, desk, laptop *machine, n *lines) {
	office, annex = w.office(feature(1, 3)), w.bare("ANNEX", memory.New())
	annex.addKey(worldKey) // of the same id
	w.ok(annex.boot())
	w.ok(annex.Install(w.ctx, annex.pool(feature(1, 3)), nil))
	desk, laptop = w.laptop("DESK", office, annex), w.laptop("LAPTOP", office, annex)
	n = w.connect(office, annex, desk)
	w.ok(desk.know(laptop))
	w.ok(desk.know(office))
	w.ok(desk.know(annex))
	w.await("the desk sees the key", func() bool { return desk.sees(worldKey) })
	return office, annex, desk, laptop, n
}

// The license that was fetched under a request key came home: asked again, nobody makes
// another, and the key is good for nothing else.
func TestFetchedCameHome(t *testing.T) {
	inBubble(t, func(w *world) {
		office, annex, desk, laptop, _ := rivals(w)
		w.pass(30 * time.Minute) // no refusal is in doubt any more
		w.await("the desk sees the key", func() bool { return desk.sees(worldKey) })
		ask := func() (*licensing.Detached, error) { return desk.Detach(w.ctx, office.request(laptop, 1), askedOnce) }
		d, err := ask()
		w.ok(err)
		w.ok(laptop.Install(w.ctx, d.License, nil))
		back, home := laptop.giveBack(d.LicenseID), office
		if len(annex.look().Detached) == 1 {
			home = annex
		}
		w.ok(home.Install(w.ctx, back, nil))
		for range 2 {
			_, err = ask()
			w.refused(err, licensing.InvalidUpdateOrAlreadyInstalled)
			w.refused(desk.RemoveFingerprint(w.ctx, 4711, askedOnce), licensing.InvalidParameter)
		}
		if n := len(office.look().Detached) + len(annex.look().Detached); n != 0 {
			t.Errorf("%d licenses were made under the request key of one that came home", n)
		}
	})
}

// What another manager was asked for, and may have made, is asked of that one alone, also
// when the key is plugged in here; where that made none, it is made here.
func TestFetchedThenPluggedIn(t *testing.T) {
	for first, want := range map[fate]int{answered: 1, lost: 0} {
		inBubble(t, func(w *world) {
			office, annex, desk, laptop, n := rivals(w)
			desk.addKey(worldKey)
			desk.reopen()
			w.ok(desk.Install(w.ctx, desk.pool(feature(1, 3)), nil))
			desk.keys[0].Unplug()
			w.await("the desk sees a key elsewhere", func() bool { return desk.sees(worldKey) })
			ask := func() error { _, err := desk.Detach(w.ctx, office.request(laptop, 1), askedOnce); return err }
			n.set(func(from, _ *machine, message []byte) fate {
				if from == desk && moves(message) {
					return first
				}
				return arrives
			})
			w.refused(ask(), licensing.ErrUnknown)
			n.set(nil)
			w.pass(30 * time.Minute)
			if first == lost { // none of the two makes it any more
				w.ok(office.RemoveFingerprint(w.ctx, laptop.id, nil))
				w.ok(annex.RemoveFingerprint(w.ctx, laptop.id, nil))
			}
			w.ok(desk.keys[0].Plug())
			w.await("it is made", func() bool { return ask() == nil })
			there := len(office.look().Detached) + len(annex.look().Detached)
			if here := len(desk.look().Detached); there != want || here != 1-want {
				t.Errorf("the first message was %v: %d licenses were made there and %d here", first, there, here)
			}
		})
	}
}

// The manager that was asked is gone for good. However often that is asked again, the
// request key is free when a license that was made for the last message is surely dead.
func TestGoneKeepsNoRequestKey(t *testing.T) {
	inBubble(t, func(w *world) {
		_, desk, laptop, n := across(w)
		desk.addKey(worldKey)
		desk.reopen()
		w.ok(desk.Install(w.ctx, desk.pool(feature(1, 3)), nil))
		desk.keys[0].Unplug()
		w.await("the desk sees a key elsewhere", func() bool { return desk.sees(worldKey) })
		request := desk.request(laptop, 1)
		request.Duration = 48 * time.Hour
		ask := func() error { _, err := desk.Detach(w.ctx, request, askedOnce); return err }
		hour := func() { w.turn(time.Hour); time.Sleep(time.Minute) }
		n.set(losing(false))
		w.refused(ask(), licensing.ErrUnknown)
		for range 3 { // it greets, and may have the message: the key is kept from then
			hour()
			w.refused(ask(), licensing.ErrUnknown)
		}
		n.set(losing(true))
		w.ok(desk.keys[0].Plug())
		for range 48 {
			w.refused(ask(), licensing.ErrUnknown)
			w.refused(desk.RemoveFingerprint(w.ctx, 4711, askedOnce), licensing.InvalidParameter)
			hour()
		}
		hour()
		w.ok(ask())
	})
}

// A manager refuses, and that cannot be entered: no other is asked, for nobody would know
// who was.
func TestRefusalNotEntered(t *testing.T) {
	inBubble(t, func(w *world) {
		office, annex, desk, laptop, n := rivals(w)
		w.pass(30 * time.Minute)
		w.await("the desk sees the key", func() bool { return desk.sees(worldKey) })
		ask := func() error { _, err := desk.Detach(w.ctx, office.request(laptop, 1), askedOnce); return err }
		var asked []*machine
		n.set(func(from, to *machine, message []byte) fate {
			if from == desk && moves(message) {
				if asked = append(asked, to); len(asked) == 1 {
					w.ok(to.RemoveFingerprint(w.ctx, laptop.id, nil))
				}
			}
			return arrives
		})
		n.after(func(from, _ *machine, message []byte) {
			if from == desk && moves(message) && len(asked) == 1 {
				desk.fail(0, storagetest.Refuse)
			}
		})
		w.refused(ask(), licensing.NoResultsFound)
		if len(asked) != 1 {
			t.Fatalf("%d managers were asked", len(asked))
		}
		n.after(nil)
		w.refused(desk.RemoveFingerprint(w.ctx, 4711, askedOnce), licensing.InvalidParameter)
		w.ok(ask())
		other := office
		if asked[0] == office {
			other = annex
		}
		if len(other.look().Detached) != 1 {
			t.Error("the other has not made it")
		}
	})
}

// A request that one manager may have granted is asked of no other one that tells of
// the key, whatever has become of the first.
func TestFetchedFromOneOnly(t *testing.T) {
	for _, reopen := range []bool{false, true} {
		inBubble(t, func(w *world) {
			office, annex, desk, laptop, n := rivals(w)
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

// The recipient of a fetched license is removed where it may have been made: it is not
// denied before that is known.
func TestFetchedForRemovedRecipient(t *testing.T) {
	inBubble(t, func(w *world) {
		office, desk, laptop, _ := across(w)
		request := office.request(laptop, 1)
		for range 200 {
			office.keys[0].FailNth(0, simulator.LoseRequest)
		}
		_, err := desk.Detach(w.ctx, request, askedOnce)
		w.refused(err, licensing.ErrUnknown)
		w.ok(office.RemoveFingerprint(w.ctx, laptop.id, nil))
		time.Sleep(untilStale)
		w.turn(untilStale)
		w.await("the desk sees the key", func() bool { return desk.sees(worldKey) })
		_, err = desk.Detach(w.ctx, request, askedOnce)
		w.refused(err, licensing.ErrUnknown)
		w.refused(desk.RemoveFingerprint(w.ctx, laptop.id, askedOnce), licensing.InvalidParameter)
		for range 100 { // the faults run out
			if _, err = office.Detach(w.ctx, office.request(desk, 1), nil); err == nil {
				break
			}
		}
		w.ok(err)
		d, err := desk.Detach(w.ctx, request, askedOnce)
		w.ok(err)
		w.ok(laptop.Install(w.ctx, d.License, nil))
	})
}

// Close gives up what an operation enters while another manager waits for its request,
// however long the own anchor takes for it.
func TestCloseWhileAskedIsEntered(t *testing.T) {
	inBubble(t, func(w *world) {
		office, desk, laptop, _ := across(w)
		desk.safe.SetDelay(time.Hour, 0)
		done := make(chan error, 1)
		go func() {
			_, err := desk.Detach(w.ctx, office.request(laptop, 1), askedOnce)
			done <- err
		}()
		time.Sleep(5 * time.Second)
		ctx, cancel := context.WithTimeout(w.ctx, time.Second)
		defer cancel()
		began := time.Now()
		desk.Close(ctx)
		if took := time.Since(began); took > 5*time.Second {
			t.Errorf("Close took %v", took)
		}
		w.refused(<-done, licensing.ErrUnknown)
		desk.safe.SetDelay(0, 0)
	})
}

// An own anchor that is slow is not taken for the other manager's silence.
func TestOwnAnchorIsSlow(t *testing.T) {
	inBubble(t, func(w *world) {
		office, desk, laptop, _ := across(w)
		desk.safe.SetDelay(16*time.Second, 0)
		_, err := desk.Detach(w.ctx, office.request(laptop, 1), askedOnce)
		w.refused(err, licensing.ErrUnknown)
		if strings.Contains(err.Error(), "cannot be reached") {
			t.Error(err)
		}
		time.Sleep(time.Minute)
		w.turn(time.Minute)
		_, err = desk.Detach(w.ctx, office.request(laptop, 1), askedOnce)
		w.ok(err)
	})
}
