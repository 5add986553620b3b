package licensing_test

import (
	"context"
	"errors"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sojournlm/sojourn/licensing"
	"github.com/sojournlm/sojourn/storage/storagetest"
	"github.com/sojournlm/sojourn/transport/simulator"
)

// idle is a change that has nothing to do, and what makes that it would have.
type idle struct {
	act
	undo func(*stage)
}

func idles() []idle {
	add := func(s *stage) error {
		env, err := s.laptop.Environment(s.ctx)
		s.ok(err)
		return s.office.AddFingerprint(s.ctx, licensing.FingerprintFields{Fingerprint: env.Fingerprint}, askedOnce)
	}
	cancel := func(s *stage, name uint64) error {
		c, err := s.laptop.CancelDetach(s.ctx, licensing.CancelRequest{Offline: true, License: name}, askedOnce)
		if err == nil && c.LicenseID != s.lent.LicenseID {
			s.Errorf("license %d is given back, not %d", c.LicenseID, s.lent.LicenseID)
		}
		return err
	}
	given := func(s *stage) {
		s.lent = s.office.lend(s.laptop, 1)
		s.file = s.laptop.giveBack(s.lent.LicenseID)
		s.at = s.laptop
	}
	another := func(s *stage) { s.office.lend(s.laptop, 2) }
	return []idle{
		{act{name: "add a known computer", run: add}, func(s *stage) {
			s.ok(s.office.RemoveFingerprint(s.ctx, s.laptop.id, nil))
		}},
		{act{name: "edit nothing", run: func(s *stage) error {
			return s.office.EditFingerprint(s.ctx, licensing.FingerprintFields{LMSID: &s.laptop.id, HostName: new("LAPTOP")}, askedOnce)
		}}, func(s *stage) {
			s.ok(s.office.EditFingerprint(s.ctx, licensing.FingerprintFields{LMSID: &s.laptop.id, HostName: new("RENAMED")}, nil))
		}},
		{act{name: "cancel what is given back", set: given, run: func(s *stage) error { return cancel(s, s.lent.LicenseID) }}, another},
		{act{name: "cancel what is given back, by its origin", set: given, run: func(s *stage) error {
			return cancel(s, s.office.keys[0].ID())
		}}, another},
	}
}

// changes are all operations that take a request key, with those that have nothing to
// do, each on one computer.
func changes() []act {
	var all []act
	for _, a := range acts() {
		switch a.name {
		case "detach", "install the first pool", "install a newer pool", "install a license", "install a return", "cancel",
			"forget cancelled", "add fingerprint", "edit fingerprint", "remove fingerprint":
			all = append(all, a)
		}
	}
	for _, i := range idles() {
		all = append(all, i.act)
	}
	online := func(s *stage) error {
		request := s.office.request(s.office, 1)
		request.Offline = false
		d, err := s.office.Detach(s.ctx, request, askedOnce)
		if err == nil {
			s.lent = d
		}
		return err
	}
	return append(all,
		act{name: "detach online", run: online},
		act{name: "cancel online", set: func(s *stage) { s.ok(online(s)) }, run: func(s *stage) error {
			_, err := s.office.CancelDetach(s.ctx, licensing.CancelRequest{License: s.lent.LicenseID}, &licensing.ChangeOptions{RequestKey: "back"})
			return err
		}})
}

// What was done is never said not to have happened to who asks again, whatever stands in
// the way of an answer; nothing is done twice, and the request key is good for nothing
// else.
func TestDoneIsNeverDenied(t *testing.T) {
	all := changes()
	if len(all) != 16 {
		t.Fatalf("%d changes", len(all))
	}
	for name, trouble := range map[string]func(*stage){
		"none": func(*stage) {},
		"the context has ended": func(s *stage) {
			ended, cancel := context.WithCancel(s.ctx)
			cancel()
			s.world.ctx = ended
		},
		"the keys are away": func(s *stage) {
			for _, k := range s.at.keys {
				k.Unplug()
			}
		},
		"the keys are silent": func(s *stage) {
			for _, k := range append(s.at.keys, s.at.safe) {
				for range 30 {
					k.FailNth(0, simulator.LoseReply)
				}
			}
		},
		"a read of the store fails": func(s *stage) { s.at.fail(0, storagetest.Refuse) },
		"the store is broken": func(s *stage) {
			s.at.fail(0, storagetest.Lose)
			s.at.AddFingerprint(s.ctx, licensing.FingerprintFields{}, nil)
			s.at.RemoveFingerprint(s.ctx, s.laptop.id, nil)
		},
		"it is closed": func(s *stage) { s.ok(s.at.Close(s.ctx)) },
		"it was started anew, without keys": func(s *stage) {
			s.at.crash()
			for _, k := range s.at.keys {
				k.Unplug()
			}
			s.ok(s.at.boot())
		},
		"it was started anew, and the context has ended": func(s *stage) {
			s.at.reopen()
			ended, cancel := context.WithCancel(s.ctx)
			cancel()
			s.world.ctx = ended
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for _, a := range all {
				s := a.stage(t)
				good := s.ctx
				s.ok(a.run(s))
				done := s.shape()
				trouble(s)
				for range 2 {
					if err := a.run(s); err != nil {
						checkError(t, err)
						if !errors.Is(err, licensing.ErrUnknown) {
							t.Errorf("%s again: %v", a.name, err)
						}
						// All but a license's file is known without store and key, and all but what
						// the key has signed last and the store does not say so yet.
						if a.name != "detach" && !slices.Contains([]string{"it is closed", "the store is broken", "it was started anew, without keys"}, name) {
							t.Errorf("%s again needs what it did not before: %v", a.name, err)
						}
					}
				}
				s.world.ctx = good
				s.at.crash()
				s.drain()
				s.at.reopen()
				if got := s.shape(); got != done && name != "the store is broken" {
					t.Errorf("%s again has changed something:\n%sbefore\n%s", a.name, got, done)
				}
				if a.name != "cancel online" {
					s.refused(s.at.RemoveFingerprint(s.ctx, 4711, askedOnce), licensing.InvalidParameter)
				}
				s.checkPromises()
				s.end()
			}
		})
	}
}

// What had nothing to do is remembered like what had: it stays so when there would be
// something to do, also over a restart.
func TestNothingToDoAgain(t *testing.T) {
	for _, i := range idles() {
		for name, between := range map[string]func(*stage){
			"at once":         func(*stage) {},
			"after a crash":   func(s *stage) { s.at.reopen() },
			"after a restart": func(s *stage) { s.at.restart() },
		} {
			t.Run(i.name+", "+name, func(t *testing.T) {
				s := i.stage(t)
				s.ok(i.run(s))
				between(s)
				i.undo(s)
				s.at.unchanged(func() {
					for range 2 {
						s.ok(i.run(s))
					}
					s.refused(s.at.RemoveFingerprint(s.ctx, s.laptop.id, askedOnce), licensing.InvalidParameter)
					s.refused(s.at.ForgetCancelled(s.ctx, 1<<40, askedOnce), licensing.InvalidParameter)
				})
				s.checkPromises()
			})
		}
	}
}

// What has nothing to do costs an entry under a request key, once, and none without.
func TestNothingToDoCosts(t *testing.T) {
	for _, i := range idles() {
		s := i.stage(t)
		before := s.at.entries()
		for range 3 {
			s.ok(i.run(s))
		}
		if n := s.at.entries() - before; n != 1 {
			t.Errorf("%s: %d entries", i.name, n)
		}
	}
	s := newStage(t)
	env, err := s.laptop.Environment(s.ctx)
	s.ok(err)
	d := s.office.lend(s.laptop, 1)
	s.laptop.giveBack(d.LicenseID)
	s.office.unchanged(func() {
		s.ok(s.office.AddFingerprint(s.ctx, licensing.FingerprintFields{Fingerprint: env.Fingerprint}, nil))
	})
	s.laptop.unchanged(func() { s.laptop.giveBack(d.LicenseID) })
}

// A second caller under a request key who does not wait for the first is not told that
// nothing happened.
func TestAskedBesideTheFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStage(t)
		s.office.keys[0].SetDelay(0, time.Second)
		first := make(chan error, 1)
		go func() {
			_, err := s.detachOnce()
			first <- err
		}()
		synctest.Wait() // it waits for the key
		for _, patience := range []time.Duration{0, 10 * time.Millisecond} {
			ctx, cancel := context.WithTimeout(s.ctx, patience)
			_, err := s.office.Detach(ctx, s.office.request(s.laptop, 1), askedOnce)
			cancel()
			s.refused(err, licensing.ErrUnknown)
		}
		s.ok(<-first)
		s.end()
	})
}

// Who gave up in flight and asks again with no time left is not told that it did not
// happen.
func TestAskedAgainWithoutTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStage(t)
		s.office.keys[0].SetDelay(0, time.Second)
		ctx, cancel := context.WithTimeout(s.ctx, 10*time.Millisecond)
		defer cancel()
		for range 5 {
			_, err := s.office.Detach(ctx, s.office.request(s.laptop, 1), askedOnce)
			s.refused(err, licensing.ErrUnknown)
			time.Sleep(time.Second) // until it is out
		}
		_, err := s.detachOnce()
		s.ok(err)
		if n := len(s.office.look().Detached); n != 1 {
			t.Errorf("%d licenses are out", n)
		}
		s.end()
	})
}
