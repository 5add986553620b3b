package licensing_test

import (
	"bytes"
	"crypto/ed25519"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/sojournlm/sojourn/licensing"
	"github.com/sojournlm/sojourn/storage"
	"github.com/sojournlm/sojourn/storage/memory"
	"github.com/sojournlm/sojourn/transport"
	"github.com/sojournlm/sojourn/transport/simulator"
)

// barred holds a manager to what it may do while what it stands on contradicts
// itself: it can be read, and refuses every change and grant by that error.
func (m *machine) barred(reason error) {
	w := m.w
	w.Helper()
	want := m.look()
	var id uint64 = 1 << 40
	_, check := m.check(1)
	_, verify := m.Verify(w.ctx)
	w.faulty(nil, check, reason)
	w.faulty(nil, verify, reason)
	for _, opts := range []*licensing.ChangeOptions{nil, {RequestKey: "never used before"}} {
		_, cancel := m.CancelDetach(w.ctx, licensing.CancelRequest{Offline: true, License: id}, opts)
		w.faulty(opts, cancel, reason)
		w.faulty(opts, m.Install(w.ctx, licensing.Buffer("x"), opts), reason)
		w.faulty(opts, m.ForgetCancelled(w.ctx, id, opts), reason)
		w.faulty(opts, m.AddFingerprint(w.ctx, licensing.FingerprintFields{}, opts), reason)
		w.faulty(opts, m.EditFingerprint(w.ctx, licensing.FingerprintFields{LMSID: &id}, opts), reason)
		w.faulty(opts, m.RemoveFingerprint(w.ctx, id, opts), reason)
		if len(m.keys) > 0 {
			_, err := m.Detach(w.ctx, m.request(m, 1), opts)
			w.faulty(opts, err, reason)
		}
	}
	if diff := cmp.Diff(want, m.look()); diff != "" {
		w.Errorf("%s: what was refused changed something:\n%s", m.name, diff)
	}
}

// faulty fails the test unless an error is that of a store at fault. It leaves nothing in
// doubt without a request key. Under one that no ledger shows it does, for the store may
// lack what was asked under it; but where only the anchor was lost, all is there.
func (w *world) faulty(opts *licensing.ChangeOptions, err error, reason error) {
	w.Helper()
	w.refused(err, reason, licensing.StorageCorrupted)
	want := opts != nil && reason != licensing.ErrAnchorLost
	if doubt := errors.Is(err, licensing.ErrUnknown); doubt != want {
		w.Errorf("options %+v: it is said to be in doubt: %v, want %v: %v", opts, doubt, want, err)
	}
	if want && !strings.Contains(err.Error(), "may have happened before") {
		w.Errorf("it does not say that it may have happened: %v", err)
	}
}

// poolBarred is barred for a pool alone.
func (m *machine) poolBarred(to *machine, file licensing.Buffer, reason error) {
	w := m.w
	w.Helper()
	for _, opts := range []*licensing.ChangeOptions{nil, {RequestKey: "never used before"}} {
		_, err := m.Detach(w.ctx, m.request(to, 2), opts)
		w.faulty(opts, err, reason)
		w.faulty(opts, m.Install(w.ctx, file, opts), reason)
	}
	_, err := m.Verify(w.ctx)
	w.refused(err, reason)
	keys, err := m.Keys(w.ctx, licensing.Filter{Key: new(m.keys[0].ID())})
	w.ok(err)
	for k := range keys.All() {
		if k.Problem == "" {
			w.Errorf("the key's problem is not listed")
		}
	}
}

// backup is the disk as it is now.
func (m *machine) backup() *memory.Store { return m.disk.(*memory.Store).Clone() }

// putBack crashes the program and starts it on another disk.
func (m *machine) putBack(disk *memory.Store) {
	m.w.Helper()
	m.crash()
	m.disk = disk
	m.w.ok(m.boot())
}

// Yesterday's store of a recipient gives no license back its life.
func TestStorePutBackOnRecipient(t *testing.T) {
	s := newStage(t)
	lent := s.office.lend(s.laptop, 1)
	yesterday := s.laptop.backup()
	back := s.laptop.giveBack(lent.LicenseID)
	s.ok(s.office.Install(s.ctx, back, nil))
	today := s.laptop.backup()

	s.laptop.putBack(yesterday.Clone())
	s.laptop.barred(licensing.ErrRolledBack)
	s.laptop.reopen() // it does not go away by itself
	s.laptop.barred(licensing.ErrRolledBack)
	s.laptop.putBack(memory.New())
	if _, err := s.laptop.check(1); !errors.Is(err, licensing.ErrRolledBack) {
		t.Errorf("an empty store in the place of the old one: %v", err)
	}

	s.laptop.putBack(today)
	s.checkPromises()
	s.refused(s.laptop.Install(s.ctx, lent.License, nil), licensing.InvalidUpdateOrAlreadyInstalled)
}

// Yesterday's store of an origin gives no seat back.
func TestStorePutBackAtOrigin(t *testing.T) {
	s := newStage(t)
	before := s.office.lend(s.laptop, 1)
	yesterday := s.office.backup()
	s.office.detach(s.laptop, 2)
	today := s.office.backup()
	back := s.laptop.giveBack(before.LicenseID)

	s.office.putBack(yesterday.Clone()) // the manager's own ledger is the same in both
	s.office.poolBarred(s.laptop, back, licensing.ErrRolledBack)
	s.office.barred(licensing.ErrRolledBack)
	s.office.putBack(today.Clone())
	s.checkPromises()

	s.ok(s.office.RemoveFingerprint(s.ctx, s.laptop.id, nil))
	s.office.putBack(today)
	s.office.barred(licensing.ErrRolledBack)
}

// A store that was put back is one store: where the key of one pool finds it out,
// the other pools and the manager's own ledger change nothing either.
func TestStorePutBackBarsAll(t *testing.T) {
	s := newStage(t)
	other := s.office.addKey(worldKey + 0x100)
	s.ok(s.office.Install(s.ctx, s.office.poolOf(other, feature(1, 3)), nil))
	yesterday := s.office.backup() // of a program that runs: no signature of the newest batches
	s.office.detach(s.laptop, 1)
	s.office.putBack(yesterday)
	req := s.office.request(s.laptop, 1)
	req.Key = other.ID()
	_, err := s.office.Detach(s.ctx, req, nil)
	s.refused(err, licensing.ErrRolledBack, licensing.StorageCorrupted)
	s.office.barred(licensing.ErrRolledBack)
}

// The manager's own ledger is shielded by its pool's key too: when store and
// anchor are put back together, the key has seen more.
func TestStoreAndAnchorPutBack(t *testing.T) {
	s := newStage(t)
	yesterday := s.office.backup()
	old, err := s.office.safe.Snapshot()
	s.ok(err)
	tablet := s.world.laptop("TABLET", s.office)
	s.office.detach(tablet, 1)
	// The thief keeps the pool's ledger of today, so that it fits its key.
	mixed := yesterday.Clone()
	s.ok(mixed.Update(s.ctx, func(w storage.Writer) error {
		return s.office.disk.View(s.ctx, func(r storage.Reader) error {
			for p, err := range r.Scan("pool/") {
				if err == nil {
					err = w.Put(p.Key, p.Value)
				}
				if err != nil {
					return err
				}
			}
			return nil
		})
	}))
	s.office.crash()
	s.ok(s.office.safe.Restore(old))
	s.office.putBack(mixed)
	s.office.barred(licensing.ErrRolledBack)
}

// A key that is put back to an older state vouches for nothing.
func TestKeyPutBack(t *testing.T) {
	s := newStage(t)
	lent := s.office.lend(s.laptop, 1)
	old, err := s.office.keys[0].Snapshot()
	s.ok(err)
	oldStore := s.office.backup()
	s.office.detach(s.laptop, 2)
	back := s.laptop.giveBack(lent.LicenseID)
	s.ok(s.office.Install(s.ctx, back, nil))
	ahead := s.office.backup()
	s.office.crash()

	s.ok(s.office.keys[0].Restore(old))
	s.ok(s.office.boot()) // two batches ahead of the key
	s.office.poolBarred(s.laptop, back, licensing.ErrAnchorLost)

	s.office.putBack(oldStore) // the key and its store of then: another story begins
	tablet := s.world.laptop("TABLET", s.office)
	s.office.detach(tablet, 2)
	s.office.detach(tablet, 1)
	s.office.putBack(ahead)
	if _, err := s.office.Detach(s.ctx, s.office.request(s.laptop, 2), nil); !errors.Is(err, licensing.ErrForked) && !errors.Is(err, licensing.ErrRolledBack) {
		t.Errorf("two stories: %v", err)
	}
}

// An anchor that is put back, lost or another computer's vouches for nothing.
func TestAnchorPutBack(t *testing.T) {
	s := newStage(t)
	lent := s.office.lend(s.laptop, 1)
	old, err := s.laptop.safe.Snapshot()
	s.ok(err)
	s.laptop.giveBack(lent.LicenseID)
	s.ok(s.laptop.ForgetCancelled(s.ctx, lent.LicenseID, nil))
	s.laptop.crash()
	s.ok(s.laptop.safe.Restore(old))
	s.ok(s.laptop.boot())
	s.laptop.barred(licensing.ErrAnchorLost)

	// A new anchor in its place.
	s.laptop.crash()
	s.laptop.vault = simulator.New()
	s.laptop.safe, err = s.laptop.vault.Add(simulator.Config{
		KeyID: 1, Model: 1, Vendor: worldVendor, VendorPublic: s.vendor.Public().(ed25519.PublicKey),
	})
	s.ok(err)
	s.ok(s.laptop.boot())
	s.laptop.barred(licensing.ErrAnchorLost)
}

// Two stories that begin alike, with the anchor put back in between: the one that
// the anchor did not see last grants nothing.
func TestAnchorForked(t *testing.T) {
	s := newStage(t)
	one, two := s.office.detach(s.laptop, 1), s.office.detach(s.laptop, 2)
	disk := s.laptop.backup()
	anchor, err := s.laptop.safe.Snapshot()
	s.ok(err)
	s.ok(s.laptop.Install(s.ctx, one.License, nil))
	first := s.laptop.backup()
	s.laptop.crash()
	s.ok(s.laptop.safe.Restore(anchor))
	s.laptop.putBack(disk)
	s.ok(s.laptop.Install(s.ctx, two.License, nil))
	s.laptop.putBack(first)
	s.laptop.barred(licensing.ErrForked)
}

// Two computers whose stores were swapped, each with its own anchor.
func TestStoresSwapped(t *testing.T) {
	s := newStage(t)
	s.tablet = s.world.laptop("TABLET", s.office)
	s.office.lend(s.laptop, 1)
	s.office.lend(s.tablet, 2)
	s.laptop.restart()
	s.laptop.crash()
	s.tablet.crash()
	s.laptop.disk, s.tablet.disk = s.tablet.disk, s.laptop.disk
	s.ok(s.laptop.boot())
	s.ok(s.tablet.boot())
	for _, m := range []*machine{s.laptop, s.tablet} {
		_, err := m.check(1)
		if !errors.Is(err, licensing.ErrAnchorLost) && !errors.Is(err, licensing.ErrForked) && !errors.Is(err, licensing.ErrRolledBack) {
			t.Errorf("%s: %v", m.name, err)
		}
		m.barred(errors.Unwrap(firstSentinel(err)))
	}
}

// firstSentinel wraps the sentinel that an error is about, for who expects one of
// several.
func firstSentinel(err error) error {
	for _, s := range []error{licensing.ErrAnchorLost, licensing.ErrForked, licensing.ErrRolledBack, licensing.ErrDamaged} {
		if errors.Is(err, s) {
			return fmt.Errorf("%w", s)
		}
	}
	return errors.New("no sentinel")
}

// Two managers on one key: the second cannot have it while the first does, and
// the one whose store did not follow never changes anything again.
func TestTwoManagersOnOneKey(t *testing.T) {
	s := newStage(t)
	copied := s.office.backup()
	anchor, err := s.office.safe.Snapshot()
	s.ok(err)

	second := s.bare("SECOND", copied)
	second.bus, second.keys, second.sold = s.office.bus, s.office.keys, s.office.sold
	second.opts.Buses = []transport.Bus{second.bus}
	s.ok(second.safe.Restore(anchor)) // the thief copies the anchor as well
	s.ok(second.boot())
	_, err = second.Detach(s.ctx, second.request(s.laptop, 1), nil)
	checkError(t, err) // the key is open elsewhere

	lent := s.office.lend(s.laptop, 1)
	s.office.crash()
	second.crash()
	s.ok(second.boot())
	second.poolBarred(s.laptop, s.laptop.giveBack(lent.LicenseID), licensing.ErrRolledBack)
	second.crash()

	// A third one without any store.
	third := s.bare("THIRD", memory.New())
	third.keys, third.opts.Buses = s.office.keys, []transport.Bus{s.office.bus}
	s.ok(third.boot())
	s.ok(third.know(s.laptop))
	_, err = third.Detach(s.ctx, third.request(s.laptop, 1), nil)
	s.refused(err, licensing.ErrRolledBack)
	third.crash()

	s.office.reopen()
	s.checkPromises()
}

// Two managers that write one store find each other out before anything is lost.
func TestTwoManagersOnOneStore(t *testing.T) {
	s := newStage(t)
	second := s.bare("OFFICE", s.office.disk)
	anchor, err := s.office.safe.Snapshot()
	s.ok(err)
	s.ok(second.safe.Restore(anchor))
	s.ok(second.boot())
	tablet := s.world.laptop("TABLET", s.office)
	before := s.office.look()
	second.crashless(func(m *licensing.Manager) error {
		env, err := tablet.Environment(s.ctx)
		s.ok(err)
		return m.AddFingerprint(s.ctx, licensing.FingerprintFields{Fingerprint: env.Fingerprint, HostName: new("X")}, nil)
	}, licensing.ErrForked)
	second.crash()
	s.office.reopen()
	if diff := cmp.Diff(before, s.office.look()); diff != "" {
		t.Errorf("the first one lost something:\n%s", diff)
	}
	s.checkPromises()
}

// crashless calls f, which must be refused, now and when asked again.
func (m *machine) crashless(f func(*licensing.Manager) error, reason error) {
	m.w.Helper()
	m.w.refused(f(m.Manager), reason)
	m.w.refused(f(m.Manager), reason)
	_, err := m.check(1)
	m.w.refused(err, reason)
}

// Whatever byte of the store is damaged: it is noticed, or does not matter. A
// manager on a damaged store can be opened and read, and Verify says it.
func TestDamagedStore(t *testing.T) {
	s := newStage(t)
	lent := s.office.lend(s.laptop, 1)
	s.office.lend(s.laptop, 2)
	s.laptop.giveBack(lent.LicenseID)
	s.office.restart()
	s.laptop.restart()
	for _, m := range []*machine{s.office, s.laptop} {
		whole, want := m.backup(), m.look()
		var pairs []storage.Pair
		s.ok(whole.View(s.ctx, func(r storage.Reader) error {
			for p, err := range r.Scan("") {
				if err != nil {
					return err
				}
				pairs = append(pairs, p)
			}
			return nil
		}))
		noticed := 0
		for _, p := range pairs {
			for _, at := range []int{0, len(p.Value) / 3, len(p.Value) - 1, -1} {
				damaged := whole.Clone()
				s.ok(damaged.Update(s.ctx, func(w storage.Writer) error {
					if at < 0 {
						return w.Delete(p.Key)
					}
					v := bytes.Clone(p.Value)
					v[at] ^= 0x10
					return w.Put(p.Key, v)
				}))
				m.crash()
				m.disk = damaged
				if err := m.boot(); err != nil {
					t.Errorf("%s, %s damaged at %d: it does not open: %v", m.name, p.Key, at, err)
					continue
				}
				_, err := m.Verify(s.ctx)
				if err != nil {
					noticed++
					checkError(t, err)
					continue
				}
				if diff := cmp.Diff(want, m.look()); diff != "" {
					t.Errorf("%s, %s damaged at %d, is not noticed:\n%s", m.name, p.Key, at, diff)
				}
			}
		}
		if noticed == 0 {
			t.Error("no damage was noticed at all")
		}
		m.putBack(whole)
	}
	s.checkPromises()
}

// A request that is in the newest batch of a store that contradicts its anchor may have
// happened. The error says so, and why nothing can be told.
func TestDoubtfulInAStorePutBack(t *testing.T) {
	s := newStage(t)
	k := &licensing.ChangeOptions{RequestKey: "k"}
	name := licensing.FingerprintFields{LMSID: &s.laptop.id, HostName: new("RENAMED")}
	s.ok(s.office.EditFingerprint(s.ctx, name, k))
	yesterday := s.office.backup() // the signature of the newest batch is not in it yet
	s.ok(s.office.RemoveFingerprint(s.ctx, s.laptop.id, nil))
	s.office.putBack(yesterday)
	err := s.office.EditFingerprint(s.ctx, name, k)
	s.refused(err, licensing.ErrUnknown, licensing.ErrRolledBack, licensing.StorageCorrupted)
	if !strings.Contains(err.Error(), "rolled back") || !strings.Contains(err.Error(), "may have happened before") {
		t.Errorf("it says %q", err)
	}
	s.office.barred(licensing.ErrRolledBack)
}
