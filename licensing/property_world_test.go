package licensing_test

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"fmt"
	"strings"
	"time"

	"pgregory.net/rapid"

	"github.com/sojournlm/sojourn/fingerprint"
	"github.com/sojournlm/sojourn/internal/document"
	"github.com/sojournlm/sojourn/licensing"
	"github.com/sojournlm/sojourn/licensing/issuer"
	"github.com/sojournlm/sojourn/storage/memory"
	"github.com/sojournlm/sojourn/transport"
	"github.com/sojournlm/sojourn/transport/simulator"
)

const (
	playVendor  = 1368487351
	playProduct = 7
	grantLength = 10 * 60 // seconds
)

// play is one run of the property: a vendor, the computers, every file that was
// ever made, and what happened so far.
type play struct {
	t       *rapid.T
	vendor  ed25519.PrivateKey
	began   int64
	now     int64 // true time, Unix seconds
	turned  bool  // this run turns clocks
	players []*player
	seats   []*seat
	mail    []*letter
	asked   []*asked // detaches under request keys
	serial  int
	history []string
}

// letter is a carried file.
type letter struct {
	file    licensing.Buffer
	seat    *seat   // of a license or return
	returns bool    // it is the return
	pool    *player // of a pool license: whose key it is for
	counter uint64
	max     map[uint32]uint32
}

// asked is a detach that was asked for under a request key.
type asked struct {
	key string
	at  *player
	req licensing.DetachRequest
}

// player is a computer: what it consists of, what the hands did to it, and what
// the model knows of it.
type player struct {
	*licensing.Manager
	world *play
	name  string
	lmsID uint64

	disk   *memory.Store
	store  *pullable
	safe   *licensing.AnchorFile
	anchor *failing
	clock  *turnable
	bus    *simulator.Bus
	key    *simulator.Key // nil on a laptop
	armed  []*simulator.Armed
	cut    *simulator.Armed // the one of them that is a power cut

	local  span
	pool   poolModel
	loaded bool // the pool's ledger is open
	rough  bool // something was done to it since it was opened, so an error may come at any time
	doubts []*doubt
	latest view
	backup *memory.Store
}

// doubt is a change of which it is not known whether it happened. It may show
// until something else was answered by the same ledger.
type doubt struct {
	inPool  bool
	inKey   bool   // the key may have it, and the pool follows when the key is read
	request string // key of a detach
	shows   func(view) bool
	happen  func(view)
}

func newPlay(t *rapid.T) *play {
	seed := bytes.Repeat([]byte{7}, ed25519.SeedSize)
	w := &play{t: t, vendor: ed25519.NewKeyFromSeed(seed), began: time.Date(2026, time.March, 2, 9, 0, 0, 0, time.UTC).Unix()}
	w.now = w.began
	for i, name := range []string{"FIRST", "SECOND", "LAPTOP", "TABLET"} {
		p := &player{world: w, name: name, disk: memory.New(), clock: &turnable{now: w.now}, bus: simulator.New()}
		w.players = append(w.players, p)
		p.safe = must(licensing.OpenAnchor(w.ctx(), ""))
		if i < 2 {
			p.key = must(p.bus.Add(simulator.Config{
				KeyID: uint64(0x51000001 + i), Model: uint8(licensing.ModelSign),
				Vendor: playVendor, VendorPublic: w.vendor.Public().(ed25519.PublicKey),
			}))
		}
		must(0, p.boot())
		env := must(p.Environment(w.ctx()))
		p.lmsID = env.LMSID
	}
	for _, o := range w.origins() {
		for _, r := range w.recipients() {
			if r != o {
				env := must(r.Environment(w.ctx()))
				must(0, o.AddFingerprint(w.ctx(), licensing.FingerprintFields{Fingerprint: env.Fingerprint}, nil))
			}
		}
		max := map[uint32]uint32{1: 3}
		if o == w.players[1] {
			max[2] = 2
		}
		l := o.sell(max)
		must(0, o.Install(w.ctx(), l.file, nil))
		o.took(l)
		o.rough = false
	}
	return w
}

func (w *play) ctx() context.Context { return context.Background() }

func (w *play) origins() []*player { return w.players[:2] }

func (w *play) recipients() []*player { return []*player{w.players[0], w.players[2], w.players[3]} }

// end lets go of everything, however the run ended.
func (w *play) end() {
	for _, p := range w.players {
		p.crash()
		p.safe.Close()
		if p.key != nil {
			p.key.Close()
		}
	}
}

func (w *play) note(format string, args ...any) {
	w.history = append(w.history, fmt.Sprintf(format, args...))
}

// failf ends the run with everything that led there.
func (w *play) failf(format string, args ...any) {
	w.t.Helper()
	w.t.Fatalf("%s\nafter:\n  %s", fmt.Sprintf(format, args...), strings.Join(w.history, "\n  "))
}

func (w *play) ok(what string, err error) {
	w.t.Helper()
	if err != nil {
		w.failf("%s: %v", what, err)
	}
}

// must is for what cannot fail.
func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

// boot opens the manager on the disk as it is.
func (p *player) boot() error {
	p.store = &pullable{store: p.disk}
	p.anchor = &failing{inner: p.safe}
	m, err := licensing.Open(p.world.ctx(), p.store, p.anchor, &licensing.Options{
		Vendors:     map[uint32]ed25519.PublicKey{playVendor: p.world.vendor.Public().(ed25519.PublicKey)},
		Buses:       []transport.Bus{p.bus},
		HostName:    p.name,
		Hardware:    fingerprint.Static{{Name: fingerprint.MachineComponent, Value: p.name}},
		GrantLength: grantLength * time.Second,
		Clock:       p.clock,
	})
	if err != nil {
		return err
	}
	p.Manager = m
	p.loaded = false
	p.local.open(p.world.now, p.clock.off, p.local.hi+20*60) // what an unclean end may cost
	return nil
}

// up reports whether the manager runs.
func (p *player) up() bool { return p.Manager != nil }

// crash takes from the program everything it stands on, and then its life:
// whatever it still does, does nothing.
func (p *player) crash() {
	if !p.up() {
		return
	}
	p.store.cut()
	p.anchor.cut()
	p.Close(p.world.ctx())
	p.Manager = nil
}

// calm reports whether nothing stands in the way of an answer: no fault waits,
// and nothing was done to the key or the store since the start.
func (p *player) calm() bool { return !p.rough && len(p.doubts) == 0 }

// plugged reports whether the key is in.
func (p *player) plugged() bool { return p.key != nil && p.key.Plugged() }

// wall is what the computer's wall clock shows.
func (p *player) wall() int64 { return p.world.now + p.clock.off }

// sell has the vendor make the next pool license.
func (p *player) sell(max map[uint32]uint32) *letter {
	w := p.world
	l := &letter{pool: p, counter: 1, max: max}
	for _, other := range w.mail {
		if other.pool == p {
			l.counter++
		}
	}
	product := issuer.Product{Number: playProduct, Name: "play"}
	for f, seats := range max {
		product.Features = append(product.Features, issuer.Feature{Number: f, Name: l.name(), Seats: seats, Detachable: true})
	}
	l.file = must(issuer.Sign(w.vendor, issuer.Pool{
		Key: uint32(p.key.ID()), KeyPublic: p.key.Public(), Vendor: playVendor,
		Counter: l.counter, Issued: time.Unix(w.now, 0), Products: []issuer.Product{product},
	}))
	w.mail = append(w.mail, l)
	return l
}

// name is what a pool license calls its features, so that it can be told by them.
func (l *letter) name() string { return fmt.Sprint("of update ", l.counter) }

// took makes a pool license what the model believes in.
func (p *player) took(l *letter) { p.pool.counter, p.pool.max = l.counter, l.max }

// returnOf reads a return.
func returnOf(file licensing.Buffer) *document.Return {
	return must(document.ParseReturn(must(document.Unwrap(file)).Body))
}
