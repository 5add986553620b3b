package licensing_test

import (
	"bytes"
	"crypto/ed25519"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/sojournlm/sojourn/licensing"
	"github.com/sojournlm/sojourn/storage"
	"github.com/sojournlm/sojourn/storage/memory"
	"github.com/sojournlm/sojourn/transport/simulator"
)

// deafen has a key lose whatever is asked of it, until it is drained.
func deafen(key *simulator.Key) {
	for range 40 {
		key.FailNth(0, simulator.LoseRequest)
	}
}

// What is stored and not signed may lie ahead of a clock that was put back. Until time
// tells what becomes of it, its request key is good for nothing else, and what was asked
// is in doubt.
func TestRequestKeyAheadOfTheClock(t *testing.T) {
	for name, c := range map[string]struct {
		anchor     func(s *stage) *simulator.Key
		ask, other func(s *stage) error
		happened   func(s *stage) (ask, other bool)
	}{
		"a detach": {
			func(s *stage) *simulator.Key { return s.office.keys[0] },
			func(s *stage) error { _, err := s.detachOnce(); return err },
			(*stage).renameOnce,
			func(s *stage) (bool, bool) { v := s.office.look(); return len(v.Detached) > 0, v.renamed() },
		},
		"an edit": {
			func(s *stage) *simulator.Key { return s.office.safe },
			(*stage).renameOnce,
			func(s *stage) error { _, err := s.detachOnce(); return err },
			func(s *stage) (bool, bool) { v := s.office.look(); return v.renamed(), len(v.Detached) > 0 },
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := newStage(t)
			s.turn(30 * time.Minute)
			deafen(c.anchor(s))
			s.refused(c.ask(s), licensing.ErrUnknown)
			s.office.crash()
			s.drain()
			s.office.watch.shift(-20 * time.Minute)
			s.office.reopen()
			for range 2 {
				s.refused(c.other(s), licensing.InvalidParameter)
				s.refused(c.ask(s), licensing.ErrUnknown)
			}
			s.turn(20 * time.Minute)
			s.refused(c.other(s), licensing.InvalidParameter)
			s.ok(c.ask(s))
			if ask, other := c.happened(s); !ask || other {
				t.Errorf("what was asked happened: %v, the other: %v", ask, other)
			}
			s.checkPromises()
		})
	}
}

// renamed reports whether [stage.renameOnce] happened.
func (v scene) renamed() bool {
	for _, c := range v.Computers {
		if c.HostName == "RENAMED" {
			return true
		}
	}
	return false
}

// An older store does not know what was asked since. It says neither that this has not
// happened, nor gives the request key away; the newest one has the answer.
func TestRequestKeyOfAStorePutBack(t *testing.T) {
	for name, c := range map[string]struct{ ask, other func(*stage) error }{
		"a pool's": {func(s *stage) error { _, err := s.detachOnce(); return err }, (*stage).renameOnce},
		"its own":  {(*stage).renameOnce, func(s *stage) error { _, err := s.detachOnce(); return err }},
	} {
		t.Run(name, func(t *testing.T) {
			s := newStage(t)
			yesterday := s.office.backup()
			s.ok(c.ask(s))
			newest := s.office.backup()
			s.office.putBack(yesterday)
			for range 2 {
				s.refused(c.ask(s), licensing.ErrUnknown, licensing.ErrRolledBack, licensing.StorageCorrupted)
				s.refused(c.other(s), licensing.ErrRolledBack)
			}
			s.office.putBack(newest)
			s.office.unchanged(func() {
				s.ok(c.ask(s))
				s.refused(c.other(s), licensing.InvalidParameter)
			})
			s.checkPromises()
		})
	}
}

// spoil damages the record of a batch and gives what mends it. The program is dead.
func (m *machine) spoil(suffix string) (mend func()) {
	w := m.w
	w.Helper()
	var key string
	var whole []byte
	w.ok(m.disk.Update(w.ctx, func(disk storage.Writer) error {
		for p, err := range disk.Scan("pool/") {
			if err != nil {
				return err
			}
			if strings.HasSuffix(p.Key, suffix) {
				key, whole = p.Key, bytes.Clone(p.Value)
			}
		}
		bad := bytes.Clone(whole)
		bad[len(bad)/2] ^= 1
		return disk.Put(key, bad)
	}))
	return func() {
		w.Helper()
		w.ok(m.disk.Update(w.ctx, func(disk storage.Writer) error { return disk.Put(key, whole) }))
	}
}

// Damage in a pool hides what was asked under request keys. Until it is mended no key is
// good that is not known, wherever the pool's key is; those that are known, and changes
// without any, are as ever.
func TestRequestKeyHiddenByDamage(t *testing.T) {
	known := &licensing.ChangeOptions{RequestKey: "known"}
	for name, boot := range map[string]func(*stage){
		"the key is here": func(s *stage) { s.ok(s.office.boot()) },
		"the key is away": func(s *stage) { s.office.keys[0].Unplug(); s.ok(s.office.boot()) },
	} {
		t.Run(name, func(t *testing.T) {
			s := newStage(t)
			rename := func(opts *licensing.ChangeOptions) error {
				return s.office.EditFingerprint(s.ctx, licensing.FingerprintFields{LMSID: &s.laptop.id, HostName: new("ELSE")}, opts)
			}
			s.ok(rename(known))
			first, err := s.detachOnce()
			s.ok(err)
			s.office.detach(s.laptop, 2)
			s.office.crash()
			mend := s.office.spoil("/b/0000000000000002")
			boot(s)
			before := s.office.look().Computers
			for range 2 {
				_, err = s.detachOnce()
				s.refused(err, licensing.ErrUnknown)
				err = s.renameOnce()
				s.refused(err, licensing.ErrDamaged, licensing.StorageCorrupted)
				s.advises(err, worldKey, "without a request key", "Verify")
				s.ok(rename(known))
			}
			_, err = s.office.Detach(s.ctx, s.office.request(s.laptop, 1), known)
			s.refused(err, licensing.InvalidParameter)
			if now := s.office.look(); now.renamed() || len(now.Computers) != len(before) {
				t.Error("what was refused happened")
			}
			s.ok(rename(nil))
			s.office.crash()
			mend()
			s.office.reopen()
			s.office.unchanged(func() {
				again, err := s.detachOnce()
				if s.ok(err); again.LicenseID != first.LicenseID {
					t.Errorf("license %d, at first %d", again.LicenseID, first.LicenseID)
				}
				s.refused(s.renameOnce(), licensing.InvalidParameter)
			})
			s.ok(s.office.EditFingerprint(s.ctx, licensing.FingerprintFields{LMSID: &s.laptop.id, HostName: new("NEW")},
				&licensing.ChangeOptions{RequestKey: "new"}))
			s.checkPromises()
		})
	}
}

// advises fails the test unless an error's advice names a key and says this.
func (w *world) advises(err error, key uint64, words ...string) {
	w.Helper()
	e, ok := errors.AsType[*licensing.Error](err)
	if !ok {
		w.Fatalf("not an error of a manager: %v", err)
	}
	for _, word := range append(words, fmt.Sprintf("key %d", key)) {
		if !strings.Contains(e.Advice, word) {
			w.Errorf("%v: the advice lacks %q: %s", err, word, e.Advice)
		}
	}
}

// A key that was used elsewhere before it came has a ledger that is not here. That says
// nothing about the request keys of the other pools.
func TestRequestKeysBesideAForeignPool(t *testing.T) {
	s := newStage(t)
	lender := s.bare("LENDER", memory.New())
	key := lender.addKey(worldKey + 0x100)
	s.ok(lender.boot())
	s.ok(lender.Install(s.ctx, lender.pool(feature(1, 3)), nil))
	lender.crash()
	moved := s.office.addKey(key.ID())
	state, err := key.Snapshot()
	s.ok(err)
	s.ok(moved.Restore(state))
	from := s.office.request(s.laptop, 1)
	from.Key = moved.ID()
	for _, opts := range []*licensing.ChangeOptions{nil, {RequestKey: "moved"}} { // that may be in what the key has signed
		_, err = s.office.Detach(s.ctx, from, opts)
		s.faulty(opts, err, licensing.ErrRolledBack)
	}
	_, err = s.detachOnce()
	s.ok(err)
	s.ok(s.office.EditFingerprint(s.ctx, licensing.FingerprintFields{LMSID: &s.laptop.id, HostName: new("NEW")},
		&licensing.ChangeOptions{RequestKey: "new"}))
}

// What another manager asks of a pool that is well does not wait for one that is damaged:
// it minds its own request keys. What it asked of the damaged one is in doubt.
func TestServedBesideADamagedPool(t *testing.T) {
	inBubble(t, func(w *world) {
		office, desk, laptop, n := across(w)
		other := office.addKey(worldKey + 0x100)
		w.ok(office.Install(w.ctx, office.poolOf(other, feature(1, 3)), nil))
		from := func(key uint64) licensing.DetachRequest {
			r := office.request(laptop, 1)
			r.Key = key
			return r
		}
		ask := func() error { _, err := desk.Detach(w.ctx, from(worldKey), askedOnce); return err }
		n.set(func(at, _ *machine, message []byte) fate {
			if at == desk && moves(message) {
				return answered
			}
			return arrives
		})
		w.refused(ask(), licensing.ErrUnknown)
		n.set(nil)
		office.detach(desk, 1)
		office.crash()
		mend := office.spoil("51000001/b/0000000000000002")
		w.ok(office.boot())
		w.turn(untilStale)
		time.Sleep(untilStale)
		w.await("the desk sees the other key", func() bool { return desk.sees(other.ID()) })
		for _, opts := range []*licensing.ChangeOptions{nil, {RequestKey: "well"}} {
			r := from(other.ID())
			if opts == nil { // online
				r.Offline, r.Recipient = false, desk.id
			}
			_, err := desk.Detach(w.ctx, r, opts)
			w.ok(err)
		}
		for range 2 {
			w.refused(ask(), licensing.ErrUnknown)
			w.refused(desk.RemoveFingerprint(w.ctx, laptop.id, askedOnce), licensing.InvalidParameter)
		}
		office.crash()
		mend()
		w.ok(office.boot())
		w.await("the office answers", func() bool { return ask() == nil })
		if out := office.look().Detached; len(out) != 4 {
			t.Errorf("out are %+v", out)
		}
		w.checkPromises()
	})
}

// A manager whose store is at fault by now does not have the last word about what was
// fetched from it: the request key stays with it, and it tells when all is back.
func TestFetchedFromAStorePutBack(t *testing.T) {
	for name, together := range map[string]bool{"the store alone": false, "store and key, with another anchor": true} {
		inBubble(t, func(w *world) {
			office, desk, laptop, n := across(w)
			ask := func() (*licensing.Detached, error) { return desk.Detach(w.ctx, office.request(laptop, 1), askedOnce) }
			free := func() error { return desk.RemoveFingerprint(w.ctx, laptop.id, askedOnce) }
			yesterday := office.backup()
			before, err := office.keys[0].Snapshot()
			w.ok(err)
			n.set(func(from, _ *machine, message []byte) fate {
				if from == desk && moves(message) {
					return answered
				}
				return arrives
			})
			_, err = ask()
			w.refused(err, licensing.ErrUnknown)
			n.set(nil)
			newest, anchor := office.backup(), office.safe
			after, err := office.keys[0].Snapshot()
			w.ok(err)
			office.crash()
			if together {
				w.ok(office.keys[0].Restore(before))
				office.safe, err = office.vault.Add(simulator.Config{
					KeyID: 2, Model: 1, Vendor: worldVendor, VendorPublic: w.vendor.Public().(ed25519.PublicKey),
				})
				w.ok(err)
			}
			office.putBack(yesterday)
			time.Sleep(untilStale)
			w.turn(untilStale)
			w.await("the desk sees the key", func() bool { return desk.sees(worldKey) })
			for range 3 {
				_, err = ask()
				w.refused(err, licensing.ErrUnknown)
				w.refused(free(), licensing.InvalidParameter)
			}
			_, err = office.Detach(w.ctx, office.request(laptop, 1), nil)
			w.refused(err, licensing.StorageCorrupted)
			office.crash()
			office.safe = anchor
			if together {
				w.ok(office.keys[0].Restore(after))
			}
			office.putBack(newest)
			w.await("the office answers", func() bool { _, err := ask(); return err == nil })
			if out := office.look().Detached; len(out) != 1 {
				t.Errorf("%s: out are %+v", name, out)
			}
			w.refused(free(), licensing.InvalidParameter)
		})
	}
}

// A request key that has lapsed is good for something else. Where the clock is put back
// then, both requests are known again: each gets its own answer, and no third one any.
func TestLapsedRequestKeyComesBack(t *testing.T) {
	s := newStage(t)
	brief := s.office.request(s.laptop, 1)
	brief.Duration = time.Hour
	detach := func() (*licensing.Detached, error) { return s.office.Detach(s.ctx, brief, askedOnce) }
	d, err := detach()
	s.ok(err)
	s.turn(2 * time.Hour)
	s.ok(s.renameOnce())
	_, err = detach()
	s.refused(err, licensing.InvalidParameter)
	s.office.crash()
	s.office.watch.shift(-90 * time.Minute)
	s.office.reopen()
	s.office.unchanged(func() {
		for range 2 {
			s.ok(s.renameOnce())
			again, err := detach()
			if s.ok(err); again.LicenseID != d.LicenseID {
				t.Errorf("license %d, at first %d", again.LicenseID, d.LicenseID)
			}
			s.refused(s.office.RemoveFingerprint(s.ctx, s.laptop.id, askedOnce), licensing.InvalidParameter)
		}
	})
	s.checkPromises()
}

// The same where what was asked last is not signed yet: it is in doubt, though its key
// is known for something else.
func TestLapsedRequestKeyComesBackInDoubt(t *testing.T) {
	s := newStage(t)
	brief := s.office.request(s.laptop, 1)
	brief.Duration = time.Hour
	_, err := s.office.Detach(s.ctx, brief, askedOnce)
	s.ok(err)
	s.turn(2 * time.Hour)
	deafen(s.office.safe)
	s.refused(s.renameOnce(), licensing.ErrUnknown)
	s.office.crash()
	s.drain()
	s.office.watch.shift(-90 * time.Minute)
	s.office.reopen()
	for range 2 {
		s.refused(s.renameOnce(), licensing.ErrUnknown)
		s.refused(s.office.RemoveFingerprint(s.ctx, s.laptop.id, askedOnce), licensing.InvalidParameter)
	}
	s.turn(90 * time.Minute)
	s.ok(s.renameOnce())
	if !s.office.look().renamed() {
		t.Error("it has not happened")
	}
	s.checkPromises()
}

// A key that never comes back keeps a request key no longer than the license that it may
// have signed. When it comes back after all, that license has died, and what the request
// key was used for since stands.
func TestRequestKeyInDoubtLapses(t *testing.T) {
	s := newStage(t)
	brief := s.office.request(s.laptop, 1)
	brief.Duration = time.Hour
	deafen(s.office.keys[0])
	ask := func() error { _, err := s.office.Detach(s.ctx, brief, askedOnce); return err }
	s.refused(ask(), licensing.ErrUnknown)
	s.office.crash()
	s.drain()
	s.office.keys[0].Unplug()
	s.ok(s.office.boot())
	s.turn(59 * time.Minute)
	s.refused(s.renameOnce(), licensing.InvalidParameter)
	s.refused(ask(), licensing.ErrUnknown)
	s.turn(24 * time.Hour)
	s.ok(s.renameOnce())
	s.refused(ask(), licensing.InvalidParameter)
	s.ok(s.office.keys[0].Plug())
	s.office.reopen()
	s.office.unchanged(func() {
		s.ok(s.renameOnce())
		s.refused(ask(), licensing.InvalidParameter)
	})
	s.office.detach(s.laptop, 1) // that settles what was in doubt
	s.ok(s.renameOnce())
	if v := s.office.look(); len(v.Detached) != 1 {
		t.Errorf("%d licenses are out", len(v.Detached))
	}
	s.checkPromises()
}
