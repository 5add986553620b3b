package licensingtest

import (
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sojournlm/sojourn/fingerprint"
	"github.com/sojournlm/sojourn/licensing"
	"github.com/sojournlm/sojourn/licensing/issuer"
	"github.com/sojournlm/sojourn/storage/memory"
	"github.com/sojournlm/sojourn/transport"
	"github.com/sojournlm/sojourn/transport/simulator"
)

// Vendor is the public code of a world's vendor, whose text is DEMONVK.
const Vendor = 1368487351

// World is a vendor, a clock and the computers of a test. It is safe for
// concurrent use.
type World struct {
	Clock *Clock

	vendor ed25519.PrivateKey

	mu        sync.Mutex
	computers []*Computer
	offices   int
}

// New makes a world without computers, on a fixed day. Close it at the end.
func New() *World {
	_, vendor, err := ed25519.GenerateKey(nil)
	must(err)
	return &World{
		Clock:  &Clock{wall: time.Date(2026, time.March, 2, 9, 0, 0, 0, time.UTC)},
		vendor: vendor,
	}
}

// Close ends all managers.
func (w *World) Close() {
	w.mu.Lock()
	defer w.mu.Unlock()
	var errs []error
	for _, c := range w.computers {
		errs = append(errs, c.shut())
		if c.Cable != nil {
			errs = append(errs, c.Cable.key.Close())
		}
	}
	must(errors.Join(errs...))
	w.computers = nil
}

// Feature is a feature of a simulated pool. It may be detached.
type Feature struct {
	Product, Number uint32
	Seats           uint32
	ValidUpTo       time.Time // zero: for ever
}

// Office makes a computer with a key that holds a pool of these features.
func (w *World) Office(features ...Feature) *Computer {
	w.mu.Lock()
	w.offices++
	n := w.offices
	w.mu.Unlock()
	bus := simulator.New()
	key, err := bus.Add(simulator.Config{
		KeyID: uint64(0x51000000 + n), Vendor: Vendor, VendorPublic: w.vendor.Public().(ed25519.PublicKey),
		Model: uint8(licensing.ModelSign),
	})
	must(err)
	c := w.computer(fmt.Sprintf("OFFICE-%d", n), bus)
	c.KeyID = key.ID()
	c.Cable = &Cable{key}
	c.Sell(features...)
	return c
}

// Laptop makes a computer without a key and makes it known to the offices.
func (w *World) Laptop(name string, offices ...*Computer) *Computer {
	c := w.computer(name)
	env, err := c.Environment(context.Background())
	must(err)
	for _, o := range offices {
		must(o.AddFingerprint(context.Background(), licensing.FingerprintFields{Fingerprint: env.Fingerprint}, nil))
	}
	return c
}

// Computer is a computer with its own license manager. It is safe for
// concurrent use, except for Restart and Restore, during which nothing else may
// be asked of it.
type Computer struct {
	*licensing.Manager
	Name  string
	LMSID uint64
	KeyID uint64 // of its key, 0 for a laptop
	Cable *Cable // to its key, nil for a laptop

	world   *World
	network *network
	live    atomic.Pointer[licensing.Manager] // Manager, for the others
	buses   []transport.Bus
	store   *memory.Store
	anchor  *licensing.AnchorFile

	selling sync.Mutex // held from the count to the installation: a key takes higher counters only
	sold    uint64     // counter of the latest pool license
}

func (w *World) computer(name string, buses ...transport.Bus) *Computer {
	anchor, err := licensing.OpenAnchor(context.Background(), "")
	must(err)
	c := &Computer{Name: name, world: w, network: newNetwork(), buses: buses, store: memory.New(), anchor: anchor}
	c.start()
	env, err := c.Environment(context.Background())
	must(err)
	c.LMSID = env.LMSID
	w.mu.Lock()
	defer w.mu.Unlock()
	w.computers = append(w.computers, c)
	return c
}

func (c *Computer) start() {
	m, err := licensing.Open(context.Background(), c.store, c.anchor, &licensing.Options{
		Vendors:  map[uint32]ed25519.PublicKey{Vendor: c.world.vendor.Public().(ed25519.PublicKey)},
		Buses:    c.buses,
		Peers:    c.network.peers(),
		HostName: c.Name,
		Hardware: fingerprint.Static{{Name: fingerprint.MachineComponent, Value: c.Name}},
		Clock:    c.world.Clock,
	})
	must(err)
	c.Manager = m
	c.live.Store(m)
}

// shut ends the manager and what it stands on.
func (c *Computer) shut() error {
	ctx := context.Background()
	return errors.Join(c.Manager.Close(ctx), c.store.Close(), c.anchor.Close())
}

// Restart ends the manager and starts it again on the same data.
func (c *Computer) Restart() {
	must(c.Manager.Close(context.Background()))
	c.start()
}

// Backup is a copy of a computer's store.
type Backup struct{ store *memory.Store }

// Backup copies the store, but not what anchors it.
func (c *Computer) Backup() Backup { return Backup{c.store.Clone()} }

// Restore puts a copy of the store back and starts the manager on it, as
// somebody does who wants yesterday's seats.
func (c *Computer) Restore(b Backup) {
	must(c.Manager.Close(context.Background()))
	must(c.store.Close())
	c.store = b.store.Clone()
	c.start()
}

// Sell lets the vendor replace what the office's pool holds. It panics on a
// laptop, which has no pool.
func (c *Computer) Sell(features ...Feature) {
	if c.Cable == nil {
		panic(fmt.Sprintf("licensingtest: %s has no key that could hold a pool", c.Name))
	}
	c.selling.Lock()
	defer c.selling.Unlock()
	c.sold++
	pool := issuer.Pool{
		Key: uint32(c.KeyID), KeyPublic: c.Cable.key.Public(), Vendor: Vendor, Counter: c.sold, Issued: c.world.Clock.Now(),
	}
	products := make(map[uint32]int)
	for _, f := range features {
		i, known := products[f.Product]
		if !known {
			i = len(pool.Products)
			products[f.Product] = i
			pool.Products = append(pool.Products, issuer.Product{Number: f.Product, Name: fmt.Sprintf("product %d", f.Product)})
		}
		pool.Products[i].Features = append(pool.Products[i].Features, issuer.Feature{
			Number: f.Number, Name: fmt.Sprintf("feature %d", f.Number), Seats: f.Seats, Detachable: true, ValidUpTo: f.ValidUpTo,
		})
	}
	file, err := issuer.Sign(c.world.vendor, pool)
	must(err)
	must(c.Install(context.Background(), file, nil))
}

// Free is how many seats of a feature are in the office's pool.
func (c *Computer) Free(product, feature uint32) int {
	list, err := c.Features(context.Background(), licensing.Filter{Key: &c.KeyID, Product: &product, Feature: &feature})
	must(err)
	for f := range list.All() {
		return int(f.Free)
	}
	panic(fmt.Sprintf("licensingtest: %s has no feature %d of product %d", c.Name, feature, product))
}

// Cable is the cable between a computer and its key.
type Cable struct{ key *simulator.Key }

// Pull pulls the key out.
func (c *Cable) Pull() { c.key.Unplug() }

// Plug puts the key back in.
func (c *Cable) Plug() { must(c.key.Plug()) }

func must(err error) {
	if err != nil {
		panic("licensingtest: " + err.Error())
	}
}
