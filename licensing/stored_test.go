package licensing_test

import (
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sojournlm/sojourn/licensing"
	"github.com/sojournlm/sojourn/storage"
	"github.com/sojournlm/sojourn/storage/memory"
)

// without starts the manager again while its first key is not plugged in.
func (m *machine) without(end func()) {
	m.w.Helper()
	end()
	m.crash()
	m.keys[0].Unplug()
	m.w.ok(m.boot())
}

// ends closes the program in good order.
func (m *machine) ends() { m.w.Helper(); m.w.ok(m.Close(m.w.ctx)) }

// stored is all that the disk holds.
func (m *machine) stored() (all []storage.Pair) {
	m.w.Helper()
	m.w.ok(m.disk.View(m.w.ctx, func(r storage.Reader) error {
		for p, err := range r.Scan("pool/") {
			if err != nil {
				return err
			}
			all = append(all, p)
		}
		return nil
	}))
	return all
}

// key is how the first key is listed.
func (m *machine) key() licensing.Key {
	m.w.Helper()
	list := collect[licensing.Key](m.w)(m.Keys(m.w.ctx, licensing.Filter{Key: new(m.keys[0].ID())}))
	if len(list) != 1 {
		m.w.Fatalf("key %d is listed %d times", m.keys[0].ID(), len(list))
	}
	return list[0]
}

// A key that was not plugged in when the program started is pulled out like any
// other: what is stored of its pool can be read and its files fetched, and nothing
// is changed.
func TestKeyThatIsAwayAtTheStart(t *testing.T) {
	s := newStage(t)
	lent := s.office.detach(s.laptop, 1)
	before := s.office.look()
	s.office.without(s.office.ends)
	stored := s.office.stored()

	want := before
	for i := range want.Features {
		want.Features[i].Inaccessible = true
	}
	if diff := cmp.Diff(want, s.office.look()); diff != "" {
		t.Errorf("without the key (-before +now):\n%s", diff)
	}
	if k := s.office.key(); !k.Inaccessible || k.Problem != "" || k.Vendor != worldVendor || k.Products != 1 {
		t.Errorf("the key is listed as %+v", k)
	}
	file, err := s.office.DownloadDetached(s.ctx, lent.LicenseID)
	s.ok(err)
	s.ok(s.laptop.Install(s.ctx, file, nil))
	back := s.laptop.giveBack(lent.LicenseID)
	_, err = s.office.Detach(s.ctx, s.office.request(s.laptop, 2), nil)
	s.refused(err, licensing.NoService)
	s.refused(s.office.Install(s.ctx, back, nil), licensing.NoService)
	s.refused(s.office.Install(s.ctx, s.office.pool(feature(1, 99)), nil), licensing.NoService)
	stranger := s.office.request(s.laptop, 1)
	stranger.Key++
	_, err = s.office.Detach(s.ctx, stranger, nil)
	s.refused(err, licensing.DongleNotFound)
	report, err := s.office.Verify(s.ctx)
	if s.ok(err); !slices.Equal(report.Unread, []uint64{s.office.keys[0].ID()}) {
		t.Errorf("verify: %+v", report)
	}

	s.turn(25 * time.Hour)
	if list := s.office.look(); len(list.Detached) != 0 || s.office.free(1) != 3 {
		t.Errorf("after its death time a license is shown: %+v", list.Detached)
	}
	if _, err := s.office.DownloadDetached(s.ctx, lent.LicenseID); !errors.Is(err, licensing.DetachedLicenseNotFound) {
		t.Errorf("download of a dead license: %v", err)
	}
	if diff := cmp.Diff(stored, s.office.stored()); diff != "" {
		t.Errorf("without the key something of its pool was written:\n%s", diff)
	}

	s.ok(s.office.keys[0].Plug())
	s.office.detach(s.laptop, 2)
	if k := s.office.key(); k.Inaccessible || k.Model != licensing.ModelSign {
		t.Errorf("the key is listed as %+v", k)
	}
	s.checkPromises()
}

// After a crash the newest batch has no stored signature: it is not shown, and who
// asks for it again is not told that it has not happened.
func TestKeyThatIsAwayAfterACrash(t *testing.T) {
	s := newStage(t)
	first := s.office.detach(s.laptop, 1)
	opts := &licensing.ChangeOptions{RequestKey: "trip"}
	newest, err := s.office.Detach(s.ctx, s.office.request(s.laptop, 2), opts)
	s.ok(err)
	s.office.without(s.office.crash)

	list := s.office.look().Detached
	if len(list) != 1 || list[0].ID != first.LicenseID {
		t.Errorf("without the key are listed %+v", list)
	}
	if _, err := s.office.DownloadDetached(s.ctx, newest.LicenseID); !errors.Is(err, licensing.DetachedLicenseNotFound) {
		t.Errorf("download of what is not known to be signed: %v", err)
	}
	_, err = s.office.Detach(s.ctx, s.office.request(s.laptop, 2), opts)
	s.refused(err, licensing.ErrUnknown, licensing.GetResponseFailed)
	_, err = s.office.Detach(s.ctx, s.office.request(s.laptop, 2), &licensing.ChangeOptions{RequestKey: "another"})
	s.refused(err, licensing.NoService)
	if errors.Is(err, licensing.ErrUnknown) {
		t.Errorf("what was never asked for is said to be in doubt: %v", err)
	}

	s.ok(s.office.keys[0].Plug())
	again, err := s.office.Detach(s.ctx, s.office.request(s.laptop, 2), opts)
	if s.ok(err); again.LicenseID != newest.LicenseID {
		t.Errorf("asked again, it gives license %d, not %d", again.LicenseID, newest.LicenseID)
	}
	s.checkPromises()
}

// Yesterday's store is not found out while its key is away. It changes nothing
// then, and the key finds it out.
func TestStorePutBackWithoutItsKey(t *testing.T) {
	s := newStage(t)
	lent := s.office.lend(s.laptop, 1)
	yesterday := s.office.backup()
	s.office.detach(s.laptop, 2)
	back := s.laptop.giveBack(lent.LicenseID)
	s.office.without(func() { s.office.disk = yesterday })
	_, err := s.office.Detach(s.ctx, s.office.request(s.laptop, 2), nil)
	s.refused(err, licensing.NoService)
	s.refused(s.office.Install(s.ctx, back, nil), licensing.NoService)
	s.ok(s.office.keys[0].Plug())
	s.office.poolBarred(s.laptop, back, licensing.ErrRolledBack)
	s.office.barred(licensing.ErrRolledBack)
}

// What is stored under a key's name and leads back to no trusted vendor, or does
// not add up, is not shown; the key is known all the same.
func TestStoredPoolThatCannotBeBelieved(t *testing.T) {
	for name, spoil := range map[string]func(*stage){
		"its vendor is not trusted": func(s *stage) { s.office.opts.Vendors = nil },
		"its signatures are gone": func(s *stage) {
			s.ok(s.office.disk.Update(s.ctx, func(w storage.Writer) error {
				for p, err := range w.Scan("pool/51000001/s/") {
					if err != nil {
						return err
					}
					if err := w.Delete(p.Key); err != nil {
						return err
					}
				}
				return nil
			}))
		},
		"it is that of another key": func(s *stage) {
			other := newWorld(t).officeOn(memory.New(), feature(1, 50))
			other.ends()
			s.ok(s.office.disk.Update(s.ctx, func(w storage.Writer) error {
				for _, p := range other.stored() {
					if err := w.Put(p.Key, p.Value); err != nil {
						return err
					}
				}
				return nil
			}))
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := newStage(t)
			s.office.detach(s.laptop, 1)
			s.office.without(func() { s.office.ends(); spoil(s) })
			if seen := s.office.look(); len(seen.Features)+len(seen.Detached) > 0 {
				t.Errorf("it is shown: %+v", seen)
			}
			if k := s.office.key(); !k.Inaccessible || k.Problem == "" {
				t.Errorf("the key is listed as %+v", k)
			}
			_, err := s.office.Detach(s.ctx, s.office.request(s.laptop, 2), nil)
			s.refused(err, licensing.NoService)
		})
	}
}
