package licensing_test

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/sojournlm/sojourn/internal/document"
	"github.com/sojournlm/sojourn/licensing"
	"github.com/sojournlm/sojourn/licensing/issuer"
	"github.com/sojournlm/sojourn/storage/memory"
	"github.com/sojournlm/sojourn/transport"
)

// Whatever the order in which files arrive, and however often, each counts at
// most once and the end is the same.
func TestFilesInAnyOrder(t *testing.T) {
	type post struct {
		name  string
		to    func(*stage) *machine
		file  func(*stage) licensing.Buffer
		twice bool
	}
	office := func(s *stage) *machine { return s.office }
	laptop := func(s *stage) *machine { return s.laptop }
	var back, newer, newest licensing.Buffer
	posts := []post{
		{"return", office, func(*stage) licensing.Buffer { return back }, false},
		{"return again", office, func(*stage) licensing.Buffer { return back }, true},
		{"license again", laptop, func(s *stage) licensing.Buffer { return s.lent.License }, true},
		{"pool", office, func(*stage) licensing.Buffer { return newer }, false},
		{"newer pool", office, func(*stage) licensing.Buffer { return newest }, false},
	}
	var first string
	for order := range permutations(len(posts)) {
		s := newStage(t)
		s.lent = s.office.lend(s.laptop, 1)
		back = s.laptop.giveBack(s.lent.LicenseID)
		newer, newest = s.office.pool(feature(1, 7)), s.office.pool(feature(1, 5))
		taken := map[string]bool{}
		for _, i := range order {
			p := posts[i]
			m := p.to(s)
			err := m.Install(s.ctx, p.file(s), nil)
			name := strings.TrimSuffix(p.name, " again")
			switch {
			case err != nil:
				s.refused(err, licensing.InvalidUpdateOrAlreadyInstalled)
			case taken[name] || name == "license" || name == "pool" && taken["newer pool"]:
				t.Errorf("order %v: %s counted twice", order, p.name)
			}
			taken[name] = taken[name] || err == nil
		}
		if !taken["return"] || !taken["newer pool"] {
			t.Errorf("order %v: a file never counted", order)
		}
		s.checkPromises()
		if shape := s.shape(); first == "" {
			first = shape
		} else if shape != first {
			t.Errorf("order %v ends with\n%sanother with\n%s", order, shape, first)
		}
		s.end()
		if t.Failed() {
			return
		}
	}
}

// permutations gives all orders of n things.
func permutations(n int) func(yield func([]int) bool) {
	return func(yield func([]int) bool) {
		order := make([]int, 0, n)
		var more func() bool
		more = func() bool {
			if len(order) == n {
				return yield(slices.Clone(order))
			}
			for i := range n {
				if slices.Contains(order, i) {
					continue
				}
				order = append(order, i)
				if !more() {
					return false
				}
				order = order[:len(order)-1]
			}
			return true
		}
		more()
	}
}

// After the story is over its files do nothing, in any order, on any computer,
// also after a restart.
func TestFilesReplayedAtTheEnd(t *testing.T) {
	s := newStage(t)
	s.tablet = s.world.laptop("TABLET", s.office)
	newer := s.office.pool(feature(1, 4), feature(2, 1))
	s.ok(s.office.Install(s.ctx, newer, nil))
	lent := s.office.lend(s.laptop, 1)
	again, err := s.office.DownloadDetached(s.ctx, lent.LicenseID)
	s.ok(err)
	back := s.laptop.giveBack(lent.LicenseID)
	s.ok(s.office.Install(s.ctx, back, nil))
	s.ok(s.laptop.ForgetCancelled(s.ctx, lent.LicenseID, nil))
	other := s.office.lend(s.tablet, 2)
	want := map[*machine][5]licensing.Code{ // in the order of files
		s.office: {licensing.InvalidUpdateOrAlreadyInstalled, licensing.HardwareIDMismatch, licensing.HardwareIDMismatch, licensing.InvalidUpdateOrAlreadyInstalled, licensing.HardwareIDMismatch},
		s.laptop: {licensing.StorageIDMismatch, licensing.InvalidUpdateOrAlreadyInstalled, licensing.InvalidUpdateOrAlreadyInstalled, licensing.StorageIDMismatch, licensing.HardwareIDMismatch},
		s.tablet: {licensing.StorageIDMismatch, licensing.HardwareIDMismatch, licensing.HardwareIDMismatch, licensing.StorageIDMismatch, licensing.InvalidUpdateOrAlreadyInstalled},
	}
	files := []licensing.Buffer{newer, lent.License, again, back, other.License}
	replay := func(orders int) {
		for m, codes := range want {
			m.unchanged(func() {
				for order := range permutations(len(files)) {
					if orders--; orders < 0 {
						return
					}
					for _, i := range order {
						s.refused(m.Install(s.ctx, files[i], nil), codes[i])
					}
				}
			})
		}
		s.checkPromises()
	}
	replay(360)
	for m := range want {
		m.reopen()
	}
	replay(3)
}

// An altered file is refused wherever it was altered, and changes nothing; the
// true one still counts afterwards.
func TestAlteredFiles(t *testing.T) {
	s := newStage(t)
	s.tablet = s.world.laptop("TABLET")
	env, err := s.tablet.Environment(s.ctx)
	s.ok(err)
	lent := s.office.lend(s.laptop, 1)
	back := s.laptop.giveBack(lent.LicenseID)
	second := s.office.detach(s.laptop, 2)
	install := func(m *machine) func(licensing.Buffer) error {
		return func(b licensing.Buffer) error { return m.Install(s.ctx, b, nil) }
	}
	for _, c := range []struct {
		name string
		at   *machine
		file licensing.Buffer
		take func(licensing.Buffer) error
	}{
		{"fingerprint", s.office, env.Fingerprint, func(b licensing.Buffer) error {
			return s.office.AddFingerprint(s.ctx, licensing.FingerprintFields{Fingerprint: b}, nil)
		}},
		{"license", s.laptop, second.License, install(s.laptop)},
		{"return", s.office, back, install(s.office)},
		{"pool", s.office, s.office.pool(feature(1, 9)), install(s.office)},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := *s.world
			w.TB = t
			take := func(what string, b licensing.Buffer) {
				err := c.take(b)
				if err == nil {
					t.Fatalf("%s: it was taken", what)
				}
				checkError(t, err)
				if !slices.ContainsFunc([]licensing.Code{
					licensing.InvalidParameter, licensing.InvalidDigest, licensing.StorageIDMismatch, licensing.HardwareIDMismatch,
				}, func(code licensing.Code) bool { return errors.Is(err, code) }) {
					t.Errorf("%s: %v", what, err)
				}
			}
			c.at.unchanged(func() {
				for i := range c.file {
					for bit := range 8 {
						b := bytes.Clone(c.file)
						b[i] ^= 1 << bit
						take(fmt.Sprintf("bit %d of byte %d flipped", bit, i), b)
					}
				}
				for n := range c.file {
					take(fmt.Sprintf("cut to %d bytes", n), c.file[:n])
				}
				take("a byte more", append(bytes.Clone(c.file), 0))
				take("twice", append(bytes.Clone(c.file), c.file...))
			})
			w.ok(c.take(c.file))
		})
	}
	s.turn(time.Hour)
	s.checkPromises()
}

// What is not a file of ours is refused as such, of whatever size.
func TestForeignBytes(t *testing.T) {
	s := newStage(t)
	env, err := s.laptop.Environment(s.ctx)
	s.ok(err)
	d := s.office.detach(s.laptop, 1)
	for name, b := range map[string]licensing.Buffer{
		"nothing":    nil,
		"text":       licensing.Buffer("license=1"),
		"json":       licensing.Buffer(`{"license":"AAAA"}`),
		"deep":       bytes.Repeat([]byte{0x81}, 1<<20),
		"zeros":      make([]byte, 64<<20),
		"long array": {0x9b, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff},
		"long bytes": {0x5b, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff},
		"endless":    {0x9f},
		"base64":     licensing.Buffer(env.Fingerprint.String()),
	} {
		t.Run(name, func(t *testing.T) {
			s.office.unchanged(func() {
				s.refused(s.office.Install(s.ctx, b, nil), licensing.InvalidParameter)
				s.refused(s.office.AddFingerprint(s.ctx, licensing.FingerprintFields{Fingerprint: b}, nil), licensing.InvalidParameter)
			})
		})
	}
	s.office.unchanged(func() {
		newer := envelope(t, d.License, func(e *document.Envelope) { e.Kind = 77 })
		s.refused(s.office.Install(s.ctx, newer, nil), licensing.InvalidDigest)
		s.refused(s.office.Install(s.ctx, env.Fingerprint, nil), licensing.InvalidParameter)
		s.refused(s.office.AddFingerprint(s.ctx, licensing.FingerprintFields{Fingerprint: d.License}, nil), licensing.InvalidParameter)
	})
}

// envelope changes the outside of a file.
func envelope(t testing.TB, b licensing.Buffer, change func(*document.Envelope)) licensing.Buffer {
	t.Helper()
	e, err := document.Unwrap(b)
	if err != nil {
		t.Fatal(err)
	}
	change(e)
	return document.Encode(e)
}

// A license opens on its recipient alone, whatever its outside says.
func TestWrongComputer(t *testing.T) {
	s := newStage(t)
	s.tablet = s.world.laptop("TABLET", s.office)
	d := s.office.detach(s.laptop, 1)
	for _, m := range []*machine{s.tablet, s.office} {
		m.unchanged(func() {
			s.refused(m.Install(s.ctx, d.License, nil), licensing.HardwareIDMismatch)
			readdressed := envelope(t, d.License, func(e *document.Envelope) { e.Recipient = m.id })
			s.refused(m.Install(s.ctx, readdressed, nil), licensing.InvalidDigest)
		})
	}
	// The same disk in another computer: the license is there and grants nothing.
	s.ok(s.laptop.Install(s.ctx, d.License, nil))
	thief := s.bare("THIEF", s.laptop.disk.(*memory.Store).Clone())
	thief.safe, thief.vault = s.laptop.safe, s.laptop.vault
	s.laptop.crash()
	s.ok(thief.boot())
	_, err := thief.check(1)
	s.refused(err, licensing.HardwareIDMismatch)
	thief.crash()
}

// A document counts only with a chain up to a vendor that the program trusts.
func TestWrongVendor(t *testing.T) {
	s := newStage(t)
	_, stranger, err := ed25519.GenerateKey(nil)
	s.ok(err)

	// A pool license for our key, signed by somebody else.
	forged, err := issuer.Sign(stranger, issuer.Pool{
		Key: worldKey, KeyPublic: s.office.keys[0].Public(), Vendor: worldVendor, Counter: 99, Issued: s.office.watch.Now(),
		Products: []issuer.Product{{Number: worldProduct, Features: []issuer.Feature{feature(1, 9999)}}},
	})
	s.ok(err)
	unknown, err := issuer.Sign(stranger, issuer.Pool{
		Key: worldKey, KeyPublic: s.office.keys[0].Public(), Vendor: 12345, Counter: 99, Issued: s.office.watch.Now(),
		Products: []issuer.Product{{Number: worldProduct, Features: []issuer.Feature{feature(1, 9999)}}},
	})
	s.ok(err)
	s.office.unchanged(func() {
		s.refused(s.office.Install(s.ctx, forged, nil), licensing.InvalidDigest)
		s.refused(s.office.Install(s.ctx, unknown, nil), licensing.InvalidDigest)
	})

	// A whole office of somebody else, with the same numbers.
	far := newWorld(t)
	far.vendor = stranger
	abroad := far.office(feature(1, 100))
	far.ok(abroad.know(s.laptop))
	d := abroad.detach(s.laptop, 1)
	s.laptop.unchanged(func() { s.refused(s.laptop.Install(s.ctx, d.License, nil), licensing.InvalidDigest) })

	// Its return, for a key whose id we have.
	agent := far.laptop("AGENT", abroad)
	back := agent.giveBack(abroad.lend(agent, 1).LicenseID)
	s.office.unchanged(func() { s.refused(s.office.Install(s.ctx, back, nil), licensing.InvalidDigest) })
	s.checkPromises()
}

// Two keys with the same id, both the vendor's: what belongs to one is refused
// by the other, on the bus too.
func TestKeyWithTheSameID(t *testing.T) {
	s := newStage(t)
	twins := newWorld(t)
	twins.vendor = s.vendor
	twin := twins.office(feature(1, 100))
	agent := twins.laptop("AGENT", twin)
	back := agent.giveBack(twin.lend(agent, 1).LicenseID)
	pool := twin.pool(feature(1, 100))
	s.office.sold++
	s.office.unchanged(func() {
		s.refused(s.office.Install(s.ctx, back, nil), licensing.InvalidDigest)
		if err := s.office.Install(s.ctx, pool, nil); err == nil {
			t.Error("a pool license for another key was taken")
		} else if !errors.Is(err, licensing.StorageIDMismatch) && !errors.Is(err, licensing.InvalidUpdateOrAlreadyInstalled) {
			t.Errorf("a pool license for another key: %v", err)
		}
	})
	twin.crash()

	s.office.crash()
	s.office.opts.Buses = []transport.Bus{s.office.bus, twin.bus}
	s.ok(s.office.boot())
	s.office.keys[0].Unplug()
	_, err := s.office.Detach(s.ctx, s.office.request(s.laptop, 1), nil)
	s.refused(err, licensing.NoService)
	s.ok(s.office.keys[0].Plug())
	s.office.detach(s.laptop, 1)
	s.checkPromises()
}

// A return counts only when the recipient itself made it, as it is.
func TestForgedReturn(t *testing.T) {
	s := newStage(t)
	lent := s.office.lend(s.laptop, 1)
	_, err := s.laptop.check(1)
	s.ok(err)
	file := s.laptop.giveBack(lent.LicenseID)
	e, err := document.Unwrap(file)
	s.ok(err)
	genuine, err := e.Return()
	s.ok(err)
	now := s.office.watch.Now().Unix()
	if genuine.Until != now+60 {
		t.Fatalf("the return says that the last grant ends at %d, want %d", genuine.Until, now+60)
	}
	wrap := func(r *document.Return) licensing.Buffer {
		return document.Wrap(document.KindReturn, e.Origin, e.Recipient, r.Bytes())
	}
	_, somebody, err := ed25519.GenerateKey(nil)
	s.ok(err)
	for _, signer := range []ed25519.PrivateKey{somebody, s.vendor} {
		forged, err := document.SignReturn(signer, genuine.Proof, document.ReasonCancelled, now, 0)
		s.ok(err)
		s.office.unchanged(func() { s.refused(s.office.Install(s.ctx, wrap(forged), nil), licensing.InvalidDigest) })
	}
	hasty := *genuine
	hasty.Until = 0 // the seat would be free while a program still runs
	other := s.office.detach(s.laptop, 2)
	s.ok(s.laptop.Install(s.ctx, other.License, nil))
	e2, err := document.Unwrap(s.laptop.giveBack(other.LicenseID))
	s.ok(err)
	second, err := e2.Return()
	s.ok(err)
	mixed := *genuine
	mixed.Proof = second.Proof
	s.office.unchanged(func() {
		s.refused(s.office.Install(s.ctx, wrap(&hasty), nil), licensing.InvalidDigest)
		s.refused(s.office.Install(s.ctx, wrap(&mixed), nil), licensing.InvalidDigest)
	})
	s.ok(s.office.Install(s.ctx, file, nil))
	s.checkPromises()
}

// A file that came too late, or for a key that is not here, says so.
func TestLateAndLostFiles(t *testing.T) {
	s := newStage(t)
	late := s.office.detach(s.laptop, 1)
	lent := s.office.lend(s.laptop, 2)
	back := s.laptop.giveBack(lent.LicenseID)
	s.laptop.unchanged(func() {
		s.refused(s.laptop.Install(s.ctx, back, nil), licensing.StorageIDMismatch)
		s.refused(s.laptop.Install(s.ctx, s.office.pool(feature(1, 1)), nil), licensing.StorageIDMismatch)
	})
	s.ok(s.office.Install(s.ctx, back, nil))
	s.office.unchanged(func() {
		s.refused(s.office.Install(s.ctx, back, nil), licensing.InvalidUpdateOrAlreadyInstalled)
	})
	never := s.world.laptop("TABLET", s.office)
	unused := never.giveBack(s.office.lend(never, 1).LicenseID)

	s.turn(24 * time.Hour) // to the second of death
	s.laptop.unchanged(func() {
		s.refused(s.laptop.Install(s.ctx, late.License, nil), licensing.DetachedLicenseExpired)
	})
	s.office.unchanged(func() {
		s.refused(s.office.Install(s.ctx, back, nil), licensing.DetachedLicenseExpired)
		s.refused(s.office.Install(s.ctx, unused, nil), licensing.DetachedLicenseExpired)
		_, err := s.office.DownloadDetached(s.ctx, late.LicenseID)
		s.refused(err, licensing.DetachedLicenseNotFound)
	})
	if s.office.free(1) != 3 || s.office.free(2) != 1 {
		t.Error("the seats did not come home")
	}
	s.checkPromises()
}

// A context that has ended does not change anything, and says so.
func TestEndedContext(t *testing.T) {
	s := newStage(t)
	d := s.office.detach(s.laptop, 2)
	ended, cancel := context.WithCancel(s.ctx)
	cancel()
	s.office.unchanged(func() {
		_, err := s.office.Detach(ended, s.office.request(s.laptop, 1), nil)
		s.refused(err, context.Canceled)
	})
	s.laptop.unchanged(func() {
		s.refused(s.laptop.Install(ended, d.License, nil), context.Canceled)
	})
	s.office.detach(s.laptop, 1)
	s.ok(s.laptop.Install(s.ctx, d.License, nil))
	s.checkPromises()
}
