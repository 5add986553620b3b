package licensing_test

import (
	"testing"

	"github.com/sojournlm/sojourn/licensing"
	"github.com/sojournlm/sojourn/storage"
	"github.com/sojournlm/sojourn/storage/memory"
	"github.com/sojournlm/sojourn/storage/storagetest"
)

// mixed is yesterday's store with today's pools in it.
func (s *stage) mixed(yesterday *memory.Store) *memory.Store {
	s.Helper()
	s.ok(yesterday.Update(s.ctx, func(w storage.Writer) error {
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
	return yesterday
}

// The manager's own ledger and its anchor were put back and told another story
// since, while the key was away. The key's witness tells, also where a read of the
// store fails for a moment at the start: a pool that was not held against the
// manager's ledger is not served.
func TestWitnessAfterABadMoment(t *testing.T) {
	s := newStage(t)
	yesterday := s.office.backup()
	old, err := s.office.safe.Snapshot()
	s.ok(err)
	s.office.detach(s.world.laptop("TABLET", s.office), 1)
	mixed := s.mixed(yesterday)
	s.office.crash()
	s.ok(s.office.safe.Restore(old))
	s.office.keys[0].Unplug()
	s.office.putBack(mixed)
	for _, name := range []string{"A", "B", "C"} {
		s.world.laptop(name, s.office)
	}
	s.office.crash()
	anchor, err := s.office.safe.Snapshot()
	s.ok(err)

	for _, here := range []bool{true, false} { // the key is here at the start
		for n := 0; ; n++ {
			s.office.crash()
			s.ok(s.office.safe.Restore(anchor))
			s.office.disk = mixed.Clone()
			if here {
				s.ok(s.office.keys[0].Plug())
			} else {
				s.office.keys[0].Unplug()
			}
			var f *storagetest.Faulty
			s.office.opening = func() { f = s.office.fail(n, storagetest.Refuse) }
			err := s.office.boot()
			s.ok(s.office.keys[0].Plug())
			if !f.Fired() {
				s.ok(err)
				break
			}
			if err != nil {
				continue // the next start will tell
			}
			_, err = s.office.Detach(s.ctx, s.office.request(s.laptop, 2), nil)
			s.refused(err, licensing.ErrForked)
			_, err = s.office.check(1)
			s.refused(err, licensing.ErrForked)
			if t.Failed() {
				t.Fatalf("where call %d fails at the start, the key here: %v", n, here)
			}
		}
	}
}
