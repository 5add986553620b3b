package licensing_test

import (
	"context"
	"crypto/ed25519"
	"errors"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sojournlm/sojourn/device"
	"github.com/sojournlm/sojourn/fingerprint"
	"github.com/sojournlm/sojourn/licensing"
	"github.com/sojournlm/sojourn/licensing/issuer"
	"github.com/sojournlm/sojourn/storage"
	"github.com/sojournlm/sojourn/storage/memory"
	"github.com/sojournlm/sojourn/storage/storagetest"
	"github.com/sojournlm/sojourn/transport"
	"github.com/sojournlm/sojourn/transport/simulator"
)

const (
	worldVendor  = 1368487351
	worldProduct = 29
	worldKey     = 0x51000001 // of the first computer with a key; the next ones count on
)

// world is a vendor and computers to break. Unlike licensingtest's, its
// computers crash, and everything they stand on can fail.
type world struct {
	testing.TB
	ctx      context.Context
	vendor   ed25519.PrivateKey
	machines []*machine
}

// worldBegin is what all clocks show first.
var worldBegin = time.Date(2026, time.March, 2, 9, 0, 0, 0, time.UTC)

func newWorld(t testing.TB) *world {
	_, vendor, err := ed25519.GenerateKey(nil)
	w := &world{TB: t, ctx: context.Background(), vendor: vendor}
	w.ok(err)
	t.Cleanup(w.end)
	return w
}

// end lets go of everything. Who makes many worlds in one test calls it early.
func (w *world) end() {
	for _, m := range w.machines {
		m.crash()
		m.safe.Close()
		m.disk.Close()
	}
	w.machines = nil
}

// machine is a computer: what the manager on it stands on, and the manager.
type machine struct {
	*licensing.Manager                                   // nil while it is down
	live               atomic.Pointer[licensing.Manager] // the same, for the network
	w                  *world
	name               string
	id                 uint64 // lmsId
	opts               licensing.Options

	watch *watch
	disk  storage.Store // what lasts when the program dies
	store *severable    // what the program sees of it

	vault  *simulator.Bus
	safe   *simulator.Key // the anchor, outside the disk
	anchor *device.Key    // the program's connection to it

	bus  *simulator.Bus
	keys []*simulator.Key
	sold uint64 // counter of the latest pool license

	opening func() // called when all is there that the program starts on; nil: nothing
}

// feature is a detachable feature of the world's product.
func feature(number, seats uint32) issuer.Feature {
	return issuer.Feature{Number: number, Name: "feature", Seats: seats, Detachable: true}
}

// laptop makes a computer without a key that is known to the offices.
func (w *world) laptop(name string, offices ...*machine) *machine {
	w.Helper()
	m := w.bare(name, memory.New())
	w.ok(m.boot())
	for _, o := range offices {
		w.ok(o.know(m))
	}
	return m
}

// office makes a computer with a key that holds a pool of these features.
func (w *world) office(features ...issuer.Feature) *machine {
	w.Helper()
	return w.officeOn(memory.New(), features...)
}

func (w *world) officeOn(disk storage.Store, features ...issuer.Feature) *machine {
	w.Helper()
	m := w.bare("OFFICE", disk)
	m.addKey(worldKey)
	w.ok(m.boot())
	w.ok(m.Install(w.ctx, m.pool(features...), nil))
	return m
}

// bare makes a computer on which nothing runs yet.
func (w *world) bare(name string, disk storage.Store) *machine {
	m := &machine{
		w: w, name: name, disk: disk,
		watch: &watch{wall: worldBegin},
		vault: simulator.New(), bus: simulator.New(),
	}
	var err error
	m.safe, err = m.vault.Add(simulator.Config{
		KeyID: 1, Model: uint8(licensing.ModelDL),
		Vendor: worldVendor, VendorPublic: w.vendor.Public().(ed25519.PublicKey),
	})
	w.ok(err)
	m.opts = licensing.Options{
		Vendors:  map[uint32]ed25519.PublicKey{worldVendor: w.vendor.Public().(ed25519.PublicKey)},
		Buses:    []transport.Bus{m.bus},
		HostName: name,
		Hardware: machineOf(name),
		Clock:    m.watch,
	}
	w.machines = append(w.machines, m)
	return m
}

// machineOf is the hardware of the computer with that name.
func machineOf(name string) fingerprint.Source {
	return fingerprint.Static{{Name: fingerprint.MachineComponent, Value: name}}
}

// failingSource is hardware that cannot be read.
type failingSource struct{}

func (failingSource) Components(context.Context) ([]fingerprint.Component, error) {
	return nil, errors.New("hardware: not readable")
}

// addKey plugs in one more key, without a clock.
func (m *machine) addKey(id uint64) *simulator.Key {
	m.w.Helper()
	key, err := m.bus.Add(simulator.Config{
		KeyID: id, Model: uint8(licensing.ModelSign),
		Vendor: worldVendor, VendorPublic: m.w.vendor.Public().(ed25519.PublicKey),
	})
	m.w.ok(err)
	m.keys = append(m.keys, key)
	return key
}

// boot starts the manager on what is there.
func (m *machine) boot() error {
	anchor, err := device.Open(m.w.ctx, m.vault, m.safe.BusID())
	if err != nil {
		return err
	}
	m.anchor, m.store = anchor, &severable{store: m.disk}
	if m.opening != nil {
		m.opening()
	}
	manager, err := licensing.Open(m.w.ctx, m.store, m.anchor, &m.opts)
	if err != nil {
		m.crash()
		return err
	}
	m.Manager = manager
	m.live.Store(manager)
	if env, err := m.Environment(m.w.ctx); err == nil {
		m.id = env.LMSID
	}
	return nil
}

// crash takes from the program all it stands on, and then its life: whatever it
// still does, does nothing.
func (m *machine) crash() {
	m.live.Store(nil)
	if m.store != nil {
		m.store.cut()
	}
	if m.anchor != nil {
		m.anchor.Close()
	}
	if m.Manager != nil {
		m.Manager.Close(m.w.ctx)
		m.Manager = nil
	}
	m.store, m.anchor = nil, nil
}

// reopen crashes the program and starts it again on what lasts, all plugged in.
func (m *machine) reopen() {
	m.w.Helper()
	m.crash()
	m.w.ok(m.safe.Plug())
	for _, k := range m.keys {
		m.w.ok(k.Plug())
	}
	m.w.ok(m.boot())
}

// restart ends the program in good order and starts it again.
func (m *machine) restart() {
	m.w.Helper()
	m.w.ok(m.Close(m.w.ctx))
	m.reopen()
}

// fail makes the n-th call to the store fail, until the program is opened anew.
func (m *machine) fail(n int, kind storagetest.Kind) *storagetest.Faulty {
	return m.store.fail(n, kind)
}

// know makes another computer known here.
func (m *machine) know(other *machine) error {
	env, err := other.Environment(m.w.ctx)
	if err != nil {
		return err
	}
	return m.AddFingerprint(m.w.ctx, licensing.FingerprintFields{Fingerprint: env.Fingerprint}, nil)
}

// pool is the vendor's next license for the first key.
func (m *machine) pool(features ...issuer.Feature) licensing.Buffer {
	m.w.Helper()
	return m.poolOf(m.keys[0], features...)
}

func (m *machine) poolOf(key *simulator.Key, features ...issuer.Feature) licensing.Buffer {
	m.w.Helper()
	m.sold++
	file, err := issuer.Sign(m.w.vendor, issuer.Pool{
		Key: uint32(key.ID()), KeyPublic: key.Public(), Vendor: worldVendor, Counter: m.sold, Issued: m.watch.Now(),
		Products: []issuer.Product{{Number: worldProduct, Name: "product", Features: features}},
	})
	m.w.ok(err)
	return file
}

// request asks for one seat of a feature of the first key, for a day.
func (m *machine) request(to *machine, number uint32) licensing.DetachRequest {
	return licensing.DetachRequest{
		Offline: true, Recipient: to.id, Key: m.keys[0].ID(), Duration: 24 * time.Hour,
		Features: []licensing.Selector{{ProductNumber: worldProduct, FeatureNumber: number}},
	}
}

// detach is a detach that must succeed.
func (m *machine) detach(to *machine, number uint32) *licensing.Detached {
	m.w.Helper()
	d, err := m.Detach(m.w.ctx, m.request(to, number), nil)
	m.w.ok(err)
	return d
}

// lend detaches a seat and installs it.
func (m *machine) lend(to *machine, number uint32) *licensing.Detached {
	m.w.Helper()
	d := m.detach(to, number)
	m.w.ok(to.Install(m.w.ctx, d.License, nil))
	return d
}

// giveBack cancels a license and gives its return.
func (m *machine) giveBack(license uint64) licensing.Buffer {
	m.w.Helper()
	c, err := m.CancelDetach(m.w.ctx, licensing.CancelRequest{Offline: true, License: license}, nil)
	m.w.ok(err)
	return c.Return
}

func (m *machine) check(number uint32) (*licensing.Grant, error) {
	return m.Check(m.w.ctx, worldVendor, worldProduct, number)
}

// free is how many seats of a feature are in the pool of the first key.
func (m *machine) free(number uint32) int {
	m.w.Helper()
	for _, f := range m.look().Features {
		if f.Key == m.keys[0].ID() && f.Number == number {
			return int(f.Free)
		}
	}
	m.w.Fatalf("%s has no feature %d", m.name, number)
	return 0
}

// scene is what a manager shows of its state.
type scene struct {
	Features  []licensing.Feature
	Detached  []licensing.DetachedLicense
	Cancelled []licensing.CancelledLicense
	Computers []licensing.Computer
}

// look looks at everything without changing anything.
func (m *machine) look() scene {
	m.w.Helper()
	return scene{
		Features:  collect[licensing.Feature](m.w)(m.Features(m.w.ctx, licensing.Filter{})),
		Detached:  collect[licensing.DetachedLicense](m.w)(m.ListDetached(m.w.ctx, licensing.Filter{})),
		Cancelled: collect[licensing.CancelledLicense](m.w)(m.ListCancelled(m.w.ctx, licensing.Page{})),
		Computers: collect[licensing.Computer](m.w)(m.Fingerprints(m.w.ctx, "", licensing.Page{})),
	}
}

// entries is the length of all ledgers: what changes nothing leaves it as it is.
func (m *machine) entries() uint64 {
	m.w.Helper()
	report, err := m.Verify(m.w.ctx)
	m.w.ok(err)
	return report.Entries
}

// unchanged calls f, which must not change anything on the machine.
func (m *machine) unchanged(f func()) {
	m.w.Helper()
	before, entries := m.look(), m.entries()
	f()
	if diff := cmp.Diff(before, m.look()); diff != "" {
		m.w.Errorf("%s: what was refused changed something (-before +after):\n%s", m.name, diff)
	}
	if now := m.entries(); now != entries {
		m.w.Errorf("%s: what was refused added %d entries", m.name, now-entries)
	}
}

// turn lets time pass everywhere.
func (w *world) turn(d time.Duration) {
	for _, m := range w.machines {
		m.watch.turn(d)
	}
}

// checkPromises holds everything that runs against the first two promises: no
// seat is minted or lost, and none works in two places. It asks for grants.
func (w *world) checkPromises() {
	w.Helper()
	out := map[uint64]uint64{} // license to recipient
	for _, m := range w.machines {
		if m.Manager == nil {
			continue
		}
		if _, err := m.Verify(w.ctx); err != nil {
			w.Errorf("%s: %v", m.name, err)
		}
		v := m.look()
		away := map[[2]uint64]uint32{}
		for _, d := range v.Detached {
			out[d.ID] = d.Recipient
			for _, f := range d.Features {
				away[[2]uint64{d.Origin, uint64(f.Number)}] += uint32(d.Seats)
			}
		}
		for _, f := range v.Features {
			if f.Free+f.Detached != f.Max+f.Overdrawn || f.Free != 0 && f.Overdrawn != 0 {
				w.Errorf("%s: feature %d of key %x: %d free + %d detached != %d + %d overdrawn", m.name, f.Number, f.Key, f.Free, f.Detached, f.Max, f.Overdrawn)
			}
			if listed := away[[2]uint64{f.Key, uint64(f.Number)}]; listed > f.Detached {
				w.Errorf("%s: feature %d of key %x: licenses for %d seats are out, %d are counted as detached", m.name, f.Number, f.Key, listed, f.Detached)
			}
		}
	}
	for _, m := range w.machines {
		if m.Manager == nil {
			continue
		}
		v := m.look()
		for _, f := range v.Features {
			g, err := m.check(f.Number)
			if err != nil {
				continue
			}
			if slices.ContainsFunc(v.Cancelled, func(c licensing.CancelledLicense) bool { return c.ID == g.LicenseID }) {
				w.Errorf("%s may run by license %d, which it gave back", m.name, g.LicenseID)
			}
			if recipient, ok := out[g.LicenseID]; !ok || recipient != m.id {
				w.Errorf("%s may run by license %d, which is not out to it", m.name, g.LicenseID)
			}
		}
	}
}

// ok fails the test at once when there is an error.
func (w *world) ok(err error) {
	w.Helper()
	if err != nil {
		w.Fatal(err)
	}
}

// refused is about an operation that must fail for all these reasons, with an
// error that helps.
func (w *world) refused(err error, reasons ...error) {
	w.Helper()
	checkError(w.TB, err)
	for _, reason := range reasons {
		if !errors.Is(err, reason) {
			w.Errorf("the error is not %v: %v", reason, err)
		}
	}
}

// checkError holds an error to what every error of a manager promises.
func checkError(t testing.TB, err error) {
	t.Helper()
	var e *licensing.Error
	switch {
	case err == nil:
		t.Error("it was not refused")
	case !errors.As(err, &e):
		t.Errorf("the error is a %T: %v", err, err)
	case e.Op == "" || e.Code == licensing.OK || e.Message == "" || e.Advice == "" || !errors.Is(err, e.Code):
		t.Errorf("the error does not say what happened and what to do: %#v", e)
	}
}

// collect gives everything in a list.
func collect[T any](w *world) func(*licensing.List[T], error) []T {
	return func(l *licensing.List[T], err error) []T {
		w.Helper()
		w.ok(err)
		return slices.Collect(l.All())
	}
}

// watch is a computer's clocks. They stand still until they are turned.
type watch struct {
	mu      sync.Mutex
	wall    time.Time
	elapsed time.Duration
}

func (c *watch) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.wall
}

func (c *watch) Elapsed() time.Duration {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.elapsed
}

// turn lets time pass.
func (c *watch) turn(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.wall, c.elapsed = c.wall.Add(d), c.elapsed+d
}

// shift sets the wall clock while no time passes.
func (c *watch) shift(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.wall = c.wall.Add(d)
}

// severable is a store that is taken from a program when it crashes, and that
// can be made to fail while it is open.
type severable struct {
	mu    sync.Mutex
	store storage.Store // nil: cut
}

var errSevered = errors.New("the program is dead")

func (s *severable) cut() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.store = nil
}

func (s *severable) fail(n int, kind storagetest.Kind) *storagetest.Faulty {
	s.mu.Lock()
	defer s.mu.Unlock()
	f := storagetest.FailNth(s.store, n, kind)
	s.store = f
	return f
}

func (s *severable) current() (storage.Store, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.store == nil {
		return nil, &storage.Error{Op: "use", Err: errSevered}
	}
	return s.store, nil
}

func (s *severable) View(ctx context.Context, fn func(storage.Reader) error) error {
	store, err := s.current()
	if err != nil {
		return err
	}
	return store.View(ctx, fn)
}

func (s *severable) Update(ctx context.Context, fn func(storage.Writer) error) error {
	store, err := s.current()
	if err != nil {
		return err
	}
	return store.Update(ctx, fn)
}

func (s *severable) Close() error { return nil }
