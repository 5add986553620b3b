package licensing_test

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"errors"
	"log/slog"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/sojournlm/sojourn/internal/document"
	"github.com/sojournlm/sojourn/licensing"
	"github.com/sojournlm/sojourn/licensing/issuer"
	"github.com/sojournlm/sojourn/storage"
	"github.com/sojournlm/sojourn/storage/memory"
	"github.com/sojournlm/sojourn/transport/simulator"
)

// leftAnnounced ends the office while a pool license is announced, and takes its key away.
func (s *stage) leftAnnounced() (file licensing.Buffer) {
	s.Helper()
	file = s.office.pool(feature(1, 5))
	for n := 0; len(s.office.announced()) == 0; n++ {
		s.doubtful(file, n)
	}
	s.office.crash()
	s.office.keys[0].Unplug()
	return file
}

// announced gives the keys of the store under which pool licenses are announced.
func (m *machine) announced() (keys []string) {
	m.w.Helper()
	m.w.ok(m.disk.View(m.w.ctx, func(r storage.Reader) error {
		for p, err := range r.Scan("pool/") {
			if err != nil {
				return err
			}
			if strings.HasSuffix(p.Key, "/announced") {
				keys = append(keys, p.Key)
			}
		}
		return nil
	}))
	return keys
}

// alike fails the test unless what is refused under a request key that was never used
// has the code that it has without one, and is not in doubt.
func (w *world) alike(what string, code licensing.Code, try func(*licensing.ChangeOptions) error) {
	w.Helper()
	for _, opts := range []*licensing.ChangeOptions{nil, {RequestKey: "never used for " + what}} {
		err := try(opts)
		w.refused(err, code)
		if errors.Is(err, licensing.ErrUnknown) {
			w.Errorf("%s, options %+v: it is said to be in doubt: %v", what, opts, err)
		}
	}
}

// A request key that was never used leaves nothing in doubt.
func TestFreshKeyIsCertain(t *testing.T) {
	install := func(m *machine, file licensing.Buffer) func(*licensing.ChangeOptions) error {
		return func(opts *licensing.ChangeOptions) error { return m.Install(m.w.ctx, file, opts) }
	}
	detach := func(s *stage) func(*licensing.ChangeOptions) error {
		return func(opts *licensing.ChangeOptions) error {
			_, err := s.office.Detach(s.ctx, s.office.request(s.laptop, 1), opts)
			return err
		}
	}
	t.Run("forged", func(t *testing.T) {
		s := newStage(t)
		_, other, err := ed25519.GenerateKey(nil)
		s.ok(err)
		genuine := s.vendor
		s.vendor = other
		forged := s.office.pool(feature(1, 99))
		s.vendor = genuine
		s.alike("a forged license", licensing.InvalidDigest, install(s.office, forged))
	})
	t.Run("pulled out", func(t *testing.T) {
		s := newStage(t)
		file := s.office.pool(feature(1, 9))
		s.office.keys[0].Unplug()
		s.alike("a pool license", licensing.NoService, install(s.office, file))
		s.office.crash()
		s.ok(s.office.boot())
		s.alike("a pool license after a restart", licensing.NoService, install(s.office, file))
	})
	t.Run("recipient unknown", func(t *testing.T) {
		s := newStage(t)
		unknown := func(key uint64) func(*licensing.ChangeOptions) error {
			return func(opts *licensing.ChangeOptions) error {
				r := s.office.request(s.laptop, 1)
				r.Recipient, r.Key = 1<<40, key
				_, err := s.office.Detach(s.ctx, r, opts)
				return err
			}
		}
		s.alike("a detach", licensing.NoResultsFound, unknown(worldKey))
		s.alike("a detach from an unknown key", licensing.NoResultsFound, unknown(4711))
		s.office.keys[0].Unplug()
		s.alike("a detach from a key that is pulled out", licensing.NoResultsFound, unknown(worldKey))
	})
	t.Run("anchor lost", func(t *testing.T) {
		s := newStage(t)
		old, err := s.office.keys[0].Snapshot()
		s.ok(err)
		s.office.detach(s.laptop, 1)
		s.office.detach(s.laptop, 2)
		s.office.crash()
		s.ok(s.office.keys[0].Restore(old))
		s.ok(s.office.boot())
		s.alike("a pool license", licensing.StorageCorrupted, install(s.office, s.office.pool(feature(1, 9))))
		s.alike("a detach", licensing.StorageCorrupted, detach(s))
	})
	t.Run("vendor not trusted", func(t *testing.T) {
		s := newStage(t)
		lent := s.office.lend(s.laptop, 2)
		back := s.laptop.giveBack(lent.LicenseID)
		k := &licensing.ChangeOptions{RequestKey: "k"}
		s.ok(detach(s)(k))
		file := s.office.pool(feature(1, 9))
		trusted := s.office.opts.Vendors
		s.office.opts.Vendors = nil
		s.office.reopen()
		s.alike("a detach", licensing.InvalidDigest, detach(s))
		s.alike("a return", licensing.InvalidDigest, install(s.office, back))
		s.alike("a pool license", licensing.InvalidDigest, install(s.office, file))
		s.refused(detach(s)(k), licensing.ErrUnknown) // what was asked before was answered
		s.refused(s.office.RemoveFingerprint(s.ctx, s.laptop.id, k), licensing.InvalidParameter)
		s.office.opts.Vendors = trusted
		s.office.reopen()
		s.ok(detach(s)(k))
		s.ok(s.office.Install(s.ctx, back, nil))
		s.checkPromises()
	})
}

// doubtful installs the file under askedOnce while the key loses its replies from the
// nth on, and reports whether that left it in doubt.
func (s *stage) doubtful(file licensing.Buffer, n int) bool {
	s.Helper()
	var armed []*simulator.Armed
	for range 8 {
		armed = append(armed, s.office.keys[0].FailNth(n, simulator.LoseReply))
	}
	err := s.office.Install(s.ctx, file, askedOnce)
	for _, a := range armed {
		a.Disarm()
	}
	return errors.Is(err, licensing.ErrUnknown)
}

// The request key of a pool license in doubt means that one request, whatever comes in
// between: never do two requests under it happen.
func TestPoolKeyMeansOneRequest(t *testing.T) {
	for name, between := range map[string]func(s *stage, file licensing.Buffer, n int){
		"nothing":       func(*stage, licensing.Buffer, int) {},
		"restart":       func(s *stage, _ licensing.Buffer, _ int) { s.office.reopen() },
		"without a key": func(s *stage, file licensing.Buffer, _ int) { _ = s.office.Install(s.ctx, file, nil) },
		"a newer one fails": func(s *stage, _ licensing.Buffer, n int) {
			newer := s.office.pool(feature(1, 7), feature(2, 5))
			fault := simulator.PullFirst
			if n%2 == 0 {
				fault = simulator.Unplug
			}
			armed := s.office.keys[0].FailNth(n/2, fault)
			_ = s.office.Install(s.ctx, newer, nil)
			armed.Disarm()
			s.ok(s.office.keys[0].Plug())
		},
		"the key is away": func(s *stage, _ licensing.Buffer, _ int) {
			s.office.crash()
			s.office.keys[0].Unplug()
			s.ok(s.office.boot())
			s.refused(s.renameOnce(), licensing.InvalidParameter)
			_, err := s.office.Detach(s.ctx, s.office.request(s.laptop, 2), askedOnce)
			s.refused(err, licensing.InvalidParameter)
			s.ok(s.office.keys[0].Plug())
		},
	} {
		t.Run(name, func(t *testing.T) {
			doubts := 0
			for n := range 14 {
				for m := range 10 {
					s := newStage(t)
					file := s.office.pool(feature(1, 5), feature(2, 5))
					if !s.doubtful(file, n) {
						s.end()
						break
					}
					doubts++
					between(s, file, m)
					renamed := s.renameOnce()
					s.office.detach(s.laptop, 2)
					taken := s.office.look().Features[0].Max == 5
					if renamed == nil && taken {
						t.Errorf("reply %d, %d: both happened", n, m)
					}
					if again := s.office.Install(s.ctx, file, askedOnce); renamed != nil {
						s.ok(again)
					} else {
						s.refused(again, licensing.InvalidParameter)
					}
					if left := s.office.announced(); len(left) > 0 {
						t.Errorf("reply %d, %d: these stay announced: %q", n, m, left)
					}
					s.checkPromises()
					s.end()
					if name != "a newer one fails" {
						break
					}
				}
			}
			if doubts == 0 {
				t.Error("nothing was ever in doubt")
			}
		})
	}
}

// What a key refuses for ever is not announced, or not for long: it leaves nothing.
func TestRefusedPoolLeavesNothing(t *testing.T) {
	s := &stage{world: newWorld(t)}
	annex := s.bare("ANNEX", memory.New())
	key := annex.addKey(worldKey + 1)
	public, stranger, err := ed25519.GenerateKey(nil)
	s.ok(err)
	genuine := annex.opts.Vendors[worldVendor]
	license := func(by ed25519.PrivateKey, vendor uint32, public ed25519.PublicKey) licensing.Buffer {
		file, err := issuer.Sign(by, issuer.Pool{
			Key: uint32(key.ID()), KeyPublic: public, Vendor: vendor, Counter: 1, Issued: annex.watch.Now(),
			Products: []issuer.Product{{Number: worldProduct, Name: "product", Features: []issuer.Feature{feature(1, 3)}}},
		})
		s.ok(err)
		return file
	}
	for _, c := range []struct {
		name string
		file licensing.Buffer
		code licensing.Code
	}{
		{"another vendor's", license(stranger, 4711, key.Public()), licensing.StorageIDMismatch},
		{"another key's", license(s.vendor, worldVendor, public), licensing.StorageIDMismatch},
		{"of a vendor whom only the program trusts", license(stranger, worldVendor, key.Public()), licensing.InvalidDigest},
	} {
		annex.opts.Vendors[4711], annex.opts.Vendors[worldVendor] = public, genuine
		if c.code == licensing.InvalidDigest {
			annex.opts.Vendors[worldVendor] = public
		}
		if annex.Manager == nil {
			s.ok(annex.boot())
		} else {
			annex.reopen()
		}
		s.alike(c.name, c.code, func(opts *licensing.ChangeOptions) error { return annex.Install(s.ctx, c.file, opts) })
		if left := annex.announced(); len(left) > 0 {
			t.Errorf("%s: these stay announced: %q", c.name, left)
		}
		report, err := annex.Verify(s.ctx)
		s.ok(err)
		if len(report.Unread) > 0 {
			t.Errorf("%s: not gone through are %d", c.name, report.Unread)
		}
	}
	annex.opts.Vendors[worldVendor] = genuine
	annex.reopen()
	s.ok(annex.Install(s.ctx, annex.pool(feature(1, 3)), nil))
	if left := annex.announced(); len(left) > 0 {
		t.Errorf("after it was taken these stay announced: %q", left)
	}
}

// An announcement that cannot be read may be of any request: the program starts, tells the
// log, and takes no new request key until the key is here and shows its pool. One that can
// be read bars its own.
func TestUnreadableAnnouncement(t *testing.T) {
	type record struct {
		Version uint32              `cbor:"1,keyasint"`
		License []byte              `cbor:"2,keyasint"`
		Request document.RequestKey `cbor:"3,keyasint"`
	}
	change := func(f func(r *record)) func([]byte) []byte {
		return func(b []byte) []byte {
			var r record
			if err := document.Decode("announcement", b, 1<<20, &r); err != nil {
				t.Fatal(err)
			}
			f(&r)
			return document.Encode(r)
		}
	}
	for name, spoil := range map[string]func([]byte) []byte{
		"as it was":        bytes.Clone,
		"nothing":          func([]byte) []byte { return nil },
		"cut short":        func(b []byte) []byte { return b[:len(b)-1] },
		"something after":  func(b []byte) []byte { return append(bytes.Clone(b), 0) },
		"too long":         func([]byte) []byte { return bytes.Repeat([]byte{0x81}, 1<<19) },
		"a later version":  change(func(r *record) { r.Version++ }),
		"no version":       change(func(r *record) { r.Version = 0 }),
		"no pool license":  change(func(r *record) { r.License = nil }),
		"half a license":   change(func(r *record) { r.License = r.License[:len(r.License)/2] }),
		"another key's":    change(func(r *record) { r.License = otherPool(t) }),
		"another document": func([]byte) []byte { return document.Encode(map[int]int{1: 1}) },
	} {
		t.Run(name, func(t *testing.T) {
			s := newStage(t)
			var log bytes.Buffer
			s.leftAnnounced()
			at := s.office.announced()[0]
			s.ok(s.office.disk.Update(s.ctx, func(w storage.Writer) error {
				b, err := w.Get(at)
				if err != nil {
					return err
				}
				return w.Put(at, spoil(b))
			}))
			s.office.opts.Logger = slog.New(slog.NewTextHandler(&log, nil))
			s.ok(s.office.boot())
			told := strings.Contains(log.String(), "cannot be read")
			if name == "as it was" {
				if s.refused(s.renameOnce(), licensing.InvalidParameter); told {
					t.Errorf("the log is told:\n%s", log.String())
				}
				return
			}
			err := s.renameOnce()
			why := licensing.ErrDamaged
			if strings.HasSuffix(name, "version") {
				why = licensing.ErrRules
			}
			s.refused(err, why, licensing.ErrUnknown)
			s.advises(err, worldKey, "without a request key", "Plug that key in")
			if !told {
				t.Error("the log is not told")
			}
			s.ok(s.office.keys[0].Plug())
			s.office.detach(s.laptop, 1)
			s.ok(s.renameOnce())
			if left := s.office.announced(); len(left) > 0 {
				t.Errorf("these stay announced: %q", left)
			}
			s.checkPromises()
		})
	}
}

// otherPool is a pool license for another key, as it is in its file.
func otherPool(t *testing.T) []byte {
	t.Helper()
	w := newWorld(t)
	m := w.bare("OTHER", memory.New())
	m.addKey(worldKey + 1)
	envelope, err := document.Unwrap(m.pool(feature(1, 1)))
	w.ok(err)
	license, err := envelope.Pool()
	w.ok(err)
	return license.Bytes()
}

// unreadable is a store in which announcements cannot be read once it is told so.
type unreadable struct {
	storage.Store
	now atomic.Bool
}

func (u *unreadable) View(ctx context.Context, fn func(storage.Reader) error) error {
	return u.Store.View(ctx, func(r storage.Reader) error { return fn(unreadableReader{r, u}) })
}

type unreadableReader struct {
	storage.Reader
	of *unreadable
}

func (r unreadableReader) Get(key string) ([]byte, error) {
	if r.of.now.Load() && strings.HasSuffix(key, "/announced") {
		return nil, &storage.Error{Op: "get", Key: key, Err: errors.New("injected failure")}
	}
	return r.Reader.Get(key)
}

// What is known of a pool license on its way stays known when its key comes: it is not
// first read again.
func TestAnnouncementWhenTheKeyComes(t *testing.T) {
	s := newStage(t)
	file := s.leftAnnounced()
	disk := &unreadable{Store: s.office.disk}
	s.office.disk = disk
	s.ok(s.office.boot())
	s.refused(s.renameOnce(), licensing.InvalidParameter)
	disk.now.Store(true)
	s.ok(s.office.keys[0].Plug())
	s.office.key() // it is looked for
	s.refused(s.renameOnce(), licensing.InvalidParameter)
	s.ok(s.office.Install(s.ctx, file, askedOnce))
	s.refused(s.renameOnce(), licensing.InvalidParameter)
	s.checkPromises()
}

// stubborn is a store that deletes no announcement the first few times.
type stubborn struct {
	storage.Store
	left atomic.Int64
}

type stubbornWriter struct {
	storage.Writer
	of *stubborn
}

func (w stubbornWriter) Delete(key string) error {
	if strings.HasSuffix(key, "/announced") && w.of.left.Add(-1) >= 0 {
		return &storage.Error{Op: "delete", Key: key, Err: errors.New("injected failure")}
	}
	return w.Writer.Delete(key)
}

func (u *stubborn) Update(ctx context.Context, fn func(storage.Writer) error) error {
	return u.Store.Update(ctx, func(w storage.Writer) error { return fn(stubbornWriter{w, u}) })
}

// Once the key has shown its pool, an announcement that cannot be read bars nothing any
// more, even where the store does not let go of it.
func TestUnreadableAnnouncementStays(t *testing.T) {
	s := newStage(t)
	s.leftAnnounced()
	at := s.office.announced()[0]
	s.ok(s.office.disk.Update(s.ctx, func(w storage.Writer) error { return w.Put(at, nil) }))
	disk := &stubborn{Store: s.office.disk}
	disk.left.Store(1)
	s.office.disk = disk
	s.ok(s.office.boot())
	s.refused(s.renameOnce(), licensing.ErrDamaged, licensing.ErrUnknown)
	s.ok(s.office.keys[0].Plug())
	s.office.detach(s.laptop, 1)
	s.ok(s.renameOnce())
	if left := s.office.announced(); len(left) != 1 || disk.left.Load() != 0 {
		t.Errorf("announced are %v", left)
	}
}
