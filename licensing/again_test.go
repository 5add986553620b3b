package licensing_test

import (
	"errors"
	"testing"

	"github.com/sojournlm/sojourn/licensing"
	"github.com/sojournlm/sojourn/storage/storagetest"
	"github.com/sojournlm/sojourn/transport/simulator"
)

// detachOnce detaches under the request key.
func (s *stage) detachOnce() (*licensing.Detached, error) {
	return s.office.Detach(s.ctx, s.office.request(s.laptop, 1), askedOnce)
}

// doubted leaves a detach stored and not signed.
func (s *stage) doubted() {
	s.Helper()
	for range 20 {
		s.office.keys[0].FailNth(0, simulator.LoseReply)
	}
	_, err := s.detachOnce()
	s.refused(err, licensing.ErrUnknown)
}

// renameOnce asks for something else under the same request key.
func (s *stage) renameOnce() error {
	return s.office.EditFingerprint(s.ctx, licensing.FingerprintFields{LMSID: &s.laptop.id, HostName: new("RENAMED")}, askedOnce)
}

// What became of a detach is not known, and then its key is away or silent, also
// over a restart: asking again never says that it certainly did not happen, and
// the request key is good for no other request.
func TestAskAgainWithoutTheKey(t *testing.T) {
	away := func(s *stage) { s.office.keys[0].Unplug() }
	silent := func(s *stage) {
		for range 100 {
			s.office.keys[0].FailNth(0, simulator.LoseReply)
		}
	}
	for name, play := range map[string]func(*stage){
		"away":                   away,
		"away, removed":          func(s *stage) { s.ok(s.office.RemoveFingerprint(s.ctx, s.laptop.id, nil)); away(s) },
		"restarted while away":   func(s *stage) { s.office.crash(); away(s); s.ok(s.office.boot()) },
		"closed and away":        func(s *stage) { away(s); s.ok(s.office.Close(s.ctx)); s.office.crash(); s.ok(s.office.boot()) },
		"silent":                 silent,
		"restarted while silent": func(s *stage) { s.office.crash(); silent(s); s.ok(s.office.boot()) },
		"restarted, removed then": func(s *stage) {
			s.office.crash()
			away(s)
			s.ok(s.office.boot())
			s.ok(s.office.RemoveFingerprint(s.ctx, s.laptop.id, nil))
		},
		"its vendor is not trusted any more": func(s *stage) {
			s.office.crash()
			away(s)
			trusted := s.office.opts.Vendors
			s.office.opts.Vendors = nil
			s.ok(s.office.boot())
			s.office.opts.Vendors = trusted
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := newStage(t)
			s.doubted()
			play(s)
			for range 5 {
				_, err := s.detachOnce()
				s.refused(err, licensing.ErrUnknown)
			}
			if name != "its vendor is not trusted any more" {
				s.refused(s.renameOnce(), licensing.InvalidParameter)
			}
			s.office.crash()
			s.drain()
			s.drain()
			s.office.reopen()
			_, err := s.detachOnce()
			s.ok(err)
			if n := len(s.office.look().Detached); n != 1 {
				t.Errorf("%d licenses are out", n)
			}
			s.refused(s.renameOnce(), licensing.InvalidParameter)
			s.checkPromises()
		})
	}
}

// Who asks again gets the first answer, whether or not the key is there and the
// recipient still known: it happened.
func TestFirstAnswerAgain(t *testing.T) {
	for name, play := range map[string]func(*stage){
		"at once":           func(*stage) {},
		"recipient removed": func(s *stage) { s.ok(s.office.RemoveFingerprint(s.ctx, s.laptop.id, nil)) },
		"key pulled out":    func(s *stage) { s.office.keys[0].Unplug() },
		"key away since then": func(s *stage) {
			s.ok(s.office.Close(s.ctx))
			s.office.crash()
			s.office.keys[0].Unplug()
			s.ok(s.office.boot())
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := newStage(t)
			file := s.office.pool(feature(1, 4), feature(2, 2))
			under := &licensing.ChangeOptions{RequestKey: "pool"}
			s.ok(s.office.Install(s.ctx, file, under))
			first, err := s.detachOnce()
			s.ok(err)
			play(s)
			again, err := s.detachOnce()
			s.ok(err)
			if again.LicenseID != first.LicenseID || !again.Ends.Equal(first.Ends) {
				t.Errorf("license %d until %v, first %d until %v", again.LicenseID, again.Ends, first.LicenseID, first.Ends)
			}
			s.ok(s.office.Install(s.ctx, file, under))
			s.refused(s.renameOnce(), licensing.InvalidParameter)
			s.ok(s.laptop.Install(s.ctx, again.License, nil))
		})
	}
}

// A read of a store that failed says so: there is nothing that may have happened.
func TestReadsOfABrokenStore(t *testing.T) {
	s := newStage(t)
	d := s.office.detach(s.laptop, 1)
	s.office.fail(0, storagetest.Lose)
	_, err := s.office.Detach(s.ctx, s.office.request(s.laptop, 2), nil)
	s.refused(err, licensing.ErrUnknown)
	_, download := s.office.DownloadDetached(s.ctx, d.LicenseID)
	_, verify := s.office.Verify(s.ctx)
	for _, err := range []error{download, verify} {
		s.refused(err, licensing.StorageCorrupted)
		if errors.Is(err, licensing.ErrUnknown) {
			t.Errorf("it is said that this may have happened: %v", err)
		}
	}
}
