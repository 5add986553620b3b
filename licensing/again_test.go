package licensing_test

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sojournlm/sojourn/licensing"
	"github.com/sojournlm/sojourn/storage"
	"github.com/sojournlm/sojourn/storage/memory"
	"github.com/sojournlm/sojourn/storage/storagetest"
	"github.com/sojournlm/sojourn/transport"
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

// heldUp is a store of which an update can be made to wait, and then to fail.
type heldUp struct {
	storage.Store
	mu   sync.Mutex
	next chan error // the next update waits for what it comes to; nil: none does
}

// hold lets the next update wait until end is called.
func (s *heldUp) hold() (end func(error)) {
	next := make(chan error, 1)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.next = next
	return func(err error) { next <- err }
}

func (s *heldUp) Update(ctx context.Context, fn func(storage.Writer) error) error {
	s.mu.Lock()
	next := s.next
	s.next = nil
	s.mu.Unlock()
	if next != nil {
		if err := <-next; err != nil {
			return err
		}
	}
	return s.Store.Update(ctx, fn)
}

// abandoned is a stage in a bubble where who detached once gave up while the batch was
// being stored: it is until end is called.
func abandoned(t *testing.T) (s *stage, end func(error)) {
	s = &stage{world: newWorld(t)}
	disk := &heldUp{Store: memory.New()}
	s.office = s.world.officeOn(disk, feature(1, 3))
	s.laptop = s.world.laptop("LAPTOP", s.office)
	end = disk.hold()
	ctx, cancel := context.WithCancel(s.ctx)
	given := make(chan error, 1)
	go func() {
		_, err := s.office.Detach(ctx, s.office.request(s.laptop, 1), askedOnce)
		given <- err
	}()
	synctest.Wait()
	cancel()
	s.refused(<-given, licensing.ErrUnknown)
	return s, end
}

// Who gave up while his request was being stored has not given its key back: it is
// good for nothing else before it is known what became of the request, and the very
// request waits for its answer. Other requests do not wait.
func TestAskAgainWhileItIsStored(t *testing.T) {
	for name, c := range map[string]struct {
		fate     error // of the first request
		rename   error // what the other request comes to; nil: it is done
		detached int
	}{
		"it happens":         {nil, licensing.InvalidParameter, 1},
		"it does not happen": {storage.ErrFull, nil, 0},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s, end := abandoned(t)
				defer s.end()
				renamed := make(chan error, 1)
				go func() { renamed <- s.renameOnce() }()
				synctest.Wait()
				impatient, cancel := context.WithTimeout(s.ctx, time.Second)
				defer cancel()
				_, err := s.office.Detach(impatient, s.office.request(s.laptop, 1), askedOnce)
				s.refused(err, licensing.ErrUnknown)
				s.ok(s.office.EditFingerprint(s.ctx, licensing.FingerprintFields{LMSID: &s.laptop.id, HostName: new("ANOTHER")},
					&licensing.ChangeOptions{RequestKey: "twice"}))
				select {
				case err := <-renamed:
					t.Fatalf("the key was used for something else before anything is known: %v", err)
				default:
				}
				end(c.fate)
				err = <-renamed
				if c.rename == nil {
					s.ok(err)
				} else {
					s.refused(err, c.rename)
				}
				synctest.Wait() // what is stored is signed
				if n := len(s.office.look().Detached); n != c.detached {
					t.Errorf("%d licenses are out, want %d", n, c.detached)
				}
				if _, err := s.detachOnce(); c.rename != nil {
					s.ok(err)
				} else {
					s.refused(err, licensing.InvalidParameter)
				}
				if n := len(s.office.look().Detached); n != c.detached {
					t.Errorf("%d licenses are out then, want %d", n, c.detached)
				}
			})
		})
	}
}

// The very request, asked for again while it is being stored, gets its answer.
func TestJoinWhileItIsStored(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, end := abandoned(t)
		defer s.end()
		const many = 3
		joined := make(chan *licensing.Detached, many)
		for range many {
			go func() {
				d, err := s.detachOnce()
				if err != nil {
					t.Error(err)
				}
				joined <- d
			}()
		}
		synctest.Wait()
		end(nil)
		out := s.office.look
		for range many {
			if d := <-joined; d != nil && d.LicenseID != out().Detached[0].ID {
				t.Errorf("license %d, want %d", d.LicenseID, out().Detached[0].ID)
			}
		}
		if n := len(out().Detached); n != 1 {
			t.Errorf("%d licenses are out", n)
		}
	})
}

// The request key of a pool license that may be in its key is good for nothing else:
// never do both requests happen.
func TestAskAgainWhileTheKeyTakesIt(t *testing.T) {
	happened := map[string]int{}
	for n := range 12 {
		s := newStage(t)
		file := s.office.pool(feature(1, 5))
		for range 20 {
			s.office.keys[0].FailNth(n, simulator.LoseReply)
		}
		first := s.office.Install(s.ctx, file, askedOnce)
		renamed := s.renameOnce()
		if certain := first != nil && !errors.Is(first, licensing.ErrUnknown); certain != (renamed == nil) {
			t.Errorf("call %d: after %v another request under the key gets %v", n, first, renamed)
		}
		installed := s.office.Install(s.ctx, file, askedOnce)
		for range 50 { // until the key is well again
			if errors.Is(installed, licensing.ErrUnknown) {
				installed = s.office.Install(s.ctx, file, askedOnce)
			}
		}
		features := s.office.look().Features
		switch {
		case renamed == nil:
			happened["rename"]++
			s.refused(installed, licensing.InvalidParameter)
			if features[0].Max != 3 {
				t.Errorf("call %d: both happened", n)
			}
		default:
			happened["install"]++
			s.refused(renamed, licensing.InvalidParameter)
			s.ok(installed)
			if features[0].Max != 5 {
				t.Errorf("call %d: %d seats", n, features[0].Max)
			}
		}
		s.checkPromises()
	}
	if happened["install"] == 0 {
		t.Error("the key never took it")
	}
	t.Log(happened)
}

// A key that was seen once is not unknown later, also where the program ended between
// the key's getting its first pool license and the first entry.
func TestFirstPoolWithoutTheKey(t *testing.T) {
	s := &stage{world: newWorld(t)}
	annex := s.bare("ANNEX", memory.New())
	key := annex.addKey(worldKey + 1)
	s.ok(annex.boot())
	file := annex.pool(feature(1, 3))
	install := func() error { return annex.Install(s.ctx, file, askedOnce) }
	announced := annex.fail(1, storagetest.Lose) // after the license was announced
	s.refused(install(), licensing.ErrUnknown)
	if !announced.Fired() {
		t.Fatal("no fault")
	}
	annex.crash()
	key.Unplug()
	s.ok(annex.boot())
	for range 2 {
		s.refused(install(), licensing.ErrUnknown)
	}
	_, err := annex.Detach(s.ctx, licensing.DetachRequest{
		Offline: true, Recipient: annex.id, Key: worldKey + 1, Duration: time.Hour,
		Features: []licensing.Selector{{ProductNumber: worldProduct, FeatureNumber: 1}},
	}, nil)
	s.refused(err, licensing.NoService)
	keys := collect[licensing.Key](s.world)(annex.Keys(s.ctx, licensing.Filter{}))
	if len(keys) != 1 || keys[0].ID != worldKey+1 || keys[0].Vendor != worldVendor || !keys[0].Inaccessible {
		t.Errorf("keys: %+v", keys)
	}
	annex.reopen()
	if err := install(); err != nil {
		s.refused(err, licensing.InvalidUpdateOrAlreadyInstalled)
	}
	if v := annex.look(); len(v.Features) != 1 {
		t.Errorf("features: %+v", v.Features)
	}
}

// hangingBus lets some exchanges through, and then hangs each as long as its context.
type hangingBus struct {
	transport.Bus
	through atomic.Int64
}

func (b *hangingBus) Open(ctx context.Context, id transport.KeyID) (transport.Conn, error) {
	c, err := b.Bus.Open(ctx, id)
	if err != nil {
		return nil, err
	}
	return &hangingConn{c, b}, nil
}

type hangingConn struct {
	transport.Conn
	bus *hangingBus
}

func (c *hangingConn) Exchange(ctx context.Context, request []byte) ([]byte, error) {
	if c.bus.through.Add(-1) < 0 {
		<-ctx.Done()
		return nil, &transport.Error{Op: "exchange", Sent: true, Err: ctx.Err()}
	}
	return c.Conn.Exchange(ctx, request)
}

// A key that hangs, with something that nobody waits for any more, does not keep the
// request keys of what is answered elsewhere.
func TestAskAgainWhileAnotherKeyHangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &stage{world: newWorld(t)}
		s.office = s.world.office(feature(1, 3))
		annex := s.world.bare("ANNEX", nil)
		s.world.machines = s.world.machines[:1] // no more than a second bus
		key := annex.addKey(worldKey + 1)
		bus := &hangingBus{Bus: annex.bus}
		bus.through.Store(1000)
		s.office.opts.Buses = append(s.office.opts.Buses, bus)
		s.office.reopen()
		s.ok(s.office.Install(s.ctx, annex.poolOf(key, feature(1, 3)), nil))
		s.laptop = s.world.laptop("LAPTOP", s.office)
		key.Unplug()
		collect[licensing.Key](s.world)(s.office.Keys(s.ctx, licensing.Filter{}))
		bus.through.Store(2) // it is opened, and then compared with its ledger
		s.ok(key.Plug())
		brief, cancel := context.WithTimeout(s.ctx, time.Second)
		defer cancel()
		_, _ = s.office.Keys(brief, licensing.Filter{})

		began := time.Now()
		patient, cancel := context.WithTimeout(s.ctx, time.Hour)
		defer cancel()
		var first *licensing.Detached
		for range 3 {
			s.ok(s.office.EditFingerprint(patient, licensing.FingerprintFields{LMSID: &s.laptop.id, HostName: new("RENAMED")}, askedOnce))
			d, err := s.office.Detach(patient, s.office.request(s.laptop, 1), &licensing.ChangeOptions{RequestKey: "k"})
			s.ok(err)
			if first == nil {
				first = d
			}
			if d == nil || d.LicenseID != first.LicenseID {
				t.Fatalf("asked again it gives %+v", d)
			}
		}
		if took := time.Since(began); took > 0 {
			t.Errorf("they waited %v for a key that is not theirs", took)
		}
		bus.through.Store(1000)
		end, cancel := context.WithTimeout(s.ctx, time.Second)
		defer cancel()
		_ = s.office.Close(end) // it gives the hanging exchange up
		key.Unplug()
	})
}
