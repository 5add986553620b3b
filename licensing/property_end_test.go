package licensing_test

import (
	"bytes"
	"context"
	"errors"
	"slices"

	"pgregory.net/rapid"

	"github.com/sojournlm/sojourn/device"
	"github.com/sojournlm/sojourn/internal/document"
	"github.com/sojournlm/sojourn/licensing"
	"github.com/sojournlm/sojourn/storage"
	"github.com/sojournlm/sojourn/storage/memory"
)

func shortOf(s *seat) uint64 { return uint64(document.ShortID(s.id)) }

// backup copies a computer's store, to be put back later.
func (w *play) backup(t *rapid.T) {
	p := pick(t, "computer", w.players)
	w.note("%s: the store is copied", p.name)
	p.backup = p.disk.Clone()
}

// restore puts an older store under a manager: promise 6. Then the newest one
// is put back, for it was only a try.
func (w *play) restore(t *rapid.T) {
	p := w.running(t, w.players)
	if p.backup == nil || !p.calm() || p.key != nil && (!p.plugged() || !p.loaded) {
		t.SkipNow()
	}
	own := !bytes.Equal(head(p.backup, "manager"), head(p.disk, "manager"))
	pool := p.key != nil && !bytes.Equal(head(p.backup, p.poolName()), head(p.disk, p.poolName()))
	if !own && !pool {
		t.SkipNow()
	}
	newest := p.disk
	p.crash()
	if !p.signed() {
		w.start(p) // a batch waits for its signature: until then the store before it is as good
		return
	}
	w.note("%s: an older store is put back", p.name)
	p.disk = p.backup.Clone()
	was := p.local
	w.ok(p.name+" on an older store", p.boot())
	w.probe(p, own)
	p.crash()
	w.note("%s: the newest store is put back", p.name)
	p.disk, p.local = newest, was
	w.start(p)
}

// signed reports whether the anchors of a computer that is down know the newest
// batches in its store.
func (p *player) signed() bool {
	ctx := p.world.ctx()
	own := must(p.safe.Checkpoint(ctx)).Head
	if !bytes.Contains(head(p.disk, "manager"), own[:]) {
		return false
	}
	if p.key == nil {
		return true
	}
	key := must(device.Open(ctx, p.bus, p.key.BusID()))
	defer key.Close()
	pool := must(key.Checkpoint(ctx)).Head
	return bytes.Contains(head(p.disk, p.poolName()), pool[:])
}

// probe asks everything of a manager whose store is an older one, at least its
// pool's part.
func (w *play) probe(p *player, own bool) {
	refused := func(what string, err error) {
		if !errors.Is(err, licensing.ErrRolledBack) || !errors.Is(err, licensing.StorageCorrupted) {
			w.failf("%s: %s on an older store: %v", p.name, what, err)
		}
	}
	ctx := w.ctx()
	if p.key != nil {
		_, err := p.Detach(ctx, licensing.DetachRequest{
			Offline: true, Key: p.key.ID(), Recipient: w.players[0].lmsID, Duration: 1e9,
			Features: []licensing.Selector{{ProductNumber: playProduct, FeatureNumber: 1}},
		}, nil)
		refused("detach", err)
		for _, l := range w.mail {
			if l.right() == p && (l.seat == nil || l.returns) {
				refused("install", p.Install(ctx, l.file, nil))
			}
		}
	}
	if !own {
		return
	}
	for f := range uint32(2) {
		_, err := p.Check(ctx, playVendor, playProduct, f+1)
		refused("check", err)
	}
	for _, l := range w.mail {
		refused("install", p.Install(ctx, l.file, nil))
	}
	for _, s := range w.seats {
		_, err := p.CancelDetach(ctx, licensing.CancelRequest{Offline: true, License: s.id}, nil)
		refused("cancel", err)
		refused("forget", p.ForgetCancelled(ctx, s.id, nil))
	}
}

func (p *player) poolName() string { return "pool/" + hex8(p.key.ID()) }

func hex8(id uint64) string {
	const digits = "0123456789abcdef"
	b := make([]byte, 8)
	for i := range b {
		b[i] = digits[id>>(28-4*i)&15]
	}
	return string(b)
}

// head is what the store says is a ledger's newest batch.
func head(s *memory.Store, ledger string) (value []byte) {
	must(0, s.View(context.Background(), func(r storage.Reader) (err error) {
		if value, err = r.Get(ledger + "/head"); errors.Is(err, storage.ErrNotFound) {
			return nil
		}
		return err
	}))
	return value
}

// finish puts everything right and looks once more: nothing is in doubt any
// longer, everything verifies, and in the end all seats come home.
func (w *play) finish() {
	w.note("the end: everything is put right")
	for _, p := range w.players {
		p.crash()
		p.clock.shift(max(p.wall(), p.pool.span.hi, p.local.hi) - p.wall()) // no clock behind what was recorded
	}
	for _, p := range w.players {
		if p.key != nil {
			p.drain()
		}
		w.start(p)
		p.doubts = nil
	}
	w.verify()
	for _, l := range slices.Backward(slices.Clone(w.mail)) {
		w.installAt(l.right(), l, nil)
	}
	for _, l := range slices.Clone(w.mail) {
		w.installAt(l.right(), l, nil)
	}
	w.verify()
	w.let(11 * 86400)
	for _, p := range w.players {
		p.observe()
		for _, f := range p.latest.pool {
			if f.Detached > 0 {
				w.failf("%s: seats of feature %d are still away after all licenses have died: %d", p.name, f.Number, f.Detached)
			}
		}
		for f := range uint32(2) {
			w.checkAt(p, f+1)
		}
	}
	w.verify()
}

// drain has all faults of the key happen that still wait, and plugs it in.
func (p *player) drain() {
	p.key.FailWrite(1 << 30) // takes the place of another
	for _, a := range p.armed {
		for a != p.cut && !a.Fired() {
			must(0, p.key.Plug())
			conn := must(p.bus.Open(p.world.ctx(), p.key.BusID()))
			conn.Exchange(p.world.ctx(), []byte("nothing"))
			conn.Close()
		}
	}
	p.armed, p.cut = nil, nil
	must(0, p.key.Plug())
}

func (w *play) verify() {
	for _, p := range w.players {
		p.observe()
		_, err := p.Verify(w.ctx())
		w.ok(p.name+" verifies", err)
	}
}
