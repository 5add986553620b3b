package licensing_test

import (
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/sojournlm/sojourn/detach"
	"github.com/sojournlm/sojourn/internal/document"
	"github.com/sojournlm/sojourn/licensing"
	"github.com/sojournlm/sojourn/licensing/issuer"
	"github.com/sojournlm/sojourn/storage/badgerstore"
	"github.com/sojournlm/sojourn/storage/storagetest"
	"github.com/sojournlm/sojourn/transport/simulator"
)

// strangers makes n computers known that exist on paper only.
func (m *machine) strangers(n int) []uint64 {
	m.w.Helper()
	ids := make([]uint64, n)
	var group sync.WaitGroup
	const workers = 16
	for worker := range workers {
		group.Go(func() {
			for i := worker; i < n; i += workers {
				id, err := detach.NewIdentity(rand.NewChaCha8([32]byte{byte(i), byte(i >> 8)}))
				if err == nil {
					var f *document.Fingerprint
					f, err = document.SignFingerprint(id.Sign, document.Recipient{
						ID: id.ID, HostName: fmt.Sprintf("PC-%05d", i), Sign: id.Public(), Seal: id.Seal.Public(),
					}, m.watch.Now().Unix())
					if err == nil {
						err = m.AddFingerprint(m.w.ctx, licensing.FingerprintFields{
							Fingerprint: document.Wrap(document.KindFingerprint, 0, id.ID, f.Bytes()),
						}, nil)
					}
				}
				if err != nil {
					m.w.Error(err)
					return
				}
				ids[i] = id.ID
			}
		})
	}
	group.Wait()
	return ids
}

// Ten thousand licenses come home in their second and not before, and what comes
// home in one second is one entry.
func TestExpiry(t *testing.T) {
	const computers, features, waves = 100, 100, 10
	w := newWorld(t)
	var sold []issuer.Feature
	for i := range features {
		sold = append(sold, feature(uint32(i), computers))
	}
	office := w.office(sold...)
	ids := office.strangers(computers)
	if t.Failed() {
		return
	}
	// Each wave dies in one second: a thousand licenses.
	var group sync.WaitGroup
	const workers = 32
	for worker := range workers {
		group.Go(func() {
			for n := worker; n < computers*features; n += workers {
				wave := n % waves
				_, err := office.Detach(w.ctx, licensing.DetachRequest{
					Offline: true, Recipient: ids[n/features], Key: worldKey, Duration: time.Duration(wave+1) * time.Hour,
					Features: []licensing.Selector{{ProductNumber: worldProduct, FeatureNumber: uint32(n % features)}},
				}, nil)
				if err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	group.Wait()
	total := func() (free, detached int) {
		list, err := office.Features(w.ctx, licensing.Filter{})
		w.ok(err)
		for f := range list.All() {
			free, detached = free+int(f.Free), detached+int(f.Detached)
		}
		return free, detached
	}
	out := func() int {
		list, err := office.ListDetached(w.ctx, licensing.Filter{})
		w.ok(err)
		return list.Total
	}
	if free, detached := total(); free != 0 || detached != computers*features || out() != detached {
		t.Fatalf("%d seats are free, %d away, %d licenses out", free, detached, out())
	}
	entries := office.entries()
	laptop := w.laptop("LAPTOP")
	for wave := range waves {
		w.turn(time.Hour - time.Second)
		if _, detached := total(); detached != (waves-wave)*computers*features/waves {
			t.Fatalf("wave %d: %d seats are away a second before", wave, detached)
		}
		w.turn(time.Second)
		left := (waves - wave - 1) * computers * features / waves
		if free, detached := total(); detached != left || free != computers*features-left || out() != left {
			t.Fatalf("wave %d: %d seats are free, %d away, want %d away", wave, free, detached, left)
		}
		if wave == waves/2 {
			// A detach brings the batch in which all that is due is entered.
			w.ok(office.know(laptop))
			office.detach(laptop, 0)
			if now := office.entries(); now != entries+3 {
				t.Errorf("%d entries for a computer, a license and all that came home, want 3", now-entries)
			}
			w.ok(office.Install(w.ctx, laptop.returned(office), nil))
			office.reopen()
		}
	}
	if entries := office.entries() - entries; entries > 4 {
		t.Errorf("%d entries in all", entries)
	}
	w.checkPromises()
}

// returned installs the only license out to the computer and gives its return.
func (m *machine) returned(office *machine) licensing.Buffer {
	m.w.Helper()
	for _, d := range office.look().Detached {
		if d.Recipient == m.id {
			file, err := office.DownloadDetached(m.w.ctx, d.ID)
			m.w.ok(err)
			m.w.ok(m.Install(m.w.ctx, file, nil))
			return m.giveBack(d.ID)
		}
	}
	m.w.Fatalf("nothing is out to %s", m.name)
	return nil
}

// The same on Badger, with a crash in between: what is on the disk is all there.
func TestBadger(t *testing.T) {
	dir := t.TempDir() // which is to be there until the world has ended
	w := newWorld(t)
	open := func() *badgerstore.Store {
		store, err := badgerstore.Open(dir, nil)
		w.ok(err)
		return store
	}
	store := open()
	office := w.officeOn(store, feature(1, 2), feature(2, 1))
	laptop := w.laptop("LAPTOP", office)
	lent := office.lend(laptop, 1)
	office.keys[0].FailNth(0, simulator.PullFirst) // a batch that is stored and not signed
	_, err := office.Detach(w.ctx, office.request(laptop, 2), &licensing.ChangeOptions{RequestKey: "r"})
	w.refused(err, licensing.ErrUnknown)
	office.crash()
	w.ok(store.Close())
	office.disk = open()
	office.reopen()
	if office.free(1) != 1 || office.free(2) != 0 {
		t.Error("what was stored is not there")
	}
	d, err := office.Detach(w.ctx, office.request(laptop, 2), &licensing.ChangeOptions{RequestKey: "r"})
	w.ok(err)
	w.ok(laptop.Install(w.ctx, d.License, nil))
	w.ok(office.Install(w.ctx, laptop.giveBack(lent.LicenseID), nil))
	w.checkPromises()
	w.ok(office.Close(w.ctx))
}

// A program that goes on asking after its license has ended enters the end once, and
// that lasts: it does not come back with the wall clock.
func TestAskingAfterTheEnd(t *testing.T) {
	w := newWorld(t)
	office := w.office(feature(1, 3), feature(2, 3))
	laptop := w.laptop("LAPTOP", office)
	office.lend(laptop, 1)
	_, err := laptop.check(1)
	w.ok(err)
	ask := func(times int) uint64 {
		before, err := laptop.Verify(w.ctx)
		w.ok(err)
		for range times {
			laptop.watch.turn(time.Minute)
			_, err := laptop.check(1)
			w.refused(err, licensing.DetachedLicenseExpired)
		}
		after, err := laptop.Verify(w.ctx)
		w.ok(err)
		return after.Batches - before.Batches
	}
	laptop.watch.turn(25 * time.Hour)
	if n := ask(24 * 60); n != 1 {
		t.Errorf("asking for a day after the end made %d batches, want 1", n)
	}
	laptop.watch.shift(-30 * time.Hour)
	laptop.reopen()
	_, err = laptop.check(1)
	w.refused(err, licensing.DetachedLicenseExpired)
	// So it is where the end was entered by another change.
	laptop.watch.shift(30 * time.Hour)
	laptop.reopen()
	office.watch.turn(50 * time.Hour)
	office.lend(laptop, 1)
	laptop.watch.turn(25 * time.Hour)
	office.watch.turn(25 * time.Hour)
	office.lend(laptop, 2)
	if n := ask(60); n != 0 {
		t.Errorf("asking for an hour after an end that was entered made %d batches", n)
	}
}

// That a license has expired is said also where it cannot be recorded now. It is, as soon
// as the store takes it.
func TestExpiryNotRecorded(t *testing.T) {
	s := newStage(t)
	s.office.lend(s.laptop, 1)
	_, err := s.laptop.check(1)
	s.ok(err)
	s.turn(25 * time.Hour)
	before := s.laptop.entries()
	full := s.laptop.fail(0, storagetest.Refuse)
	_, err = s.laptop.check(1)
	if s.refused(err, licensing.DetachedLicenseExpired); !full.Fired() {
		t.Fatal("nothing was to be recorded")
	}
	if n := s.laptop.entries() - before; n != 0 {
		t.Errorf("%d entries of a store that refuses them", n)
	}
	for range 2 {
		_, err = s.laptop.check(1)
		s.refused(err, licensing.DetachedLicenseExpired)
	}
	if s.laptop.entries() == before {
		t.Error("it was not recorded then")
	}
}
