package licensing_test

import (
	"errors"
	"slices"
	"time"

	"pgregory.net/rapid"

	"github.com/sojournlm/sojourn/licensing"
	"github.com/sojournlm/sojourn/storage/storagetest"
	"github.com/sojournlm/sojourn/transport/simulator"
)

func (w *play) pass(t *rapid.T) {
	d := pick(t, "seconds", []int64{1, 1, 25, 25, 300, 300, 660, 660, 3600, 3600, 25 * 3600, 5 * 86400})
	if len(w.seats) > 0 && rapid.IntRange(0, 2).Draw(t, "up to an end") == 0 {
		s := pick(t, "license", w.seats)
		d = pick(t, "end", []int64{s.death, s.until}) - w.now - int64(rapid.IntRange(0, 1).Draw(t, "a second before"))
	}
	if d <= 0 || w.now-w.began > 380*86400 {
		t.SkipNow()
	}
	w.let(d)
}

// let lets time pass.
func (w *play) let(d int64) {
	w.note("%v pass", time.Duration(d)*time.Second)
	w.now += d
	for _, p := range w.players {
		p.clock.pass(d)
		if p.up() {
			p.local.pass(d, p.wall())
			if p.loaded {
				p.pool.span.pass(d, p.wall())
			}
		}
	}
}

// turn turns the wall clock of a computer: back as far as anybody likes, forward
// by little, or right.
func (w *play) turn(t *rapid.T) {
	if !w.turned {
		t.SkipNow()
	}
	p := pick(t, "computer", w.players)
	d := pick(t, "shift", []int64{-86400, -7200, -1800, -400, -30, 30, 400, 1800, -p.clock.off})
	if p.clock.off+d > 3000 {
		t.SkipNow()
	}
	w.note("%s: the wall clock is turned by %v", p.name, time.Duration(d)*time.Second)
	p.clock.shift(d)
}

func (w *play) sell(t *rapid.T) {
	o := pick(t, "origin", w.origins())
	max := map[uint32]uint32{1: uint32(rapid.IntRange(0, 4).Draw(t, "seats of 1"))}
	if o == w.players[1] && rapid.Bool().Draw(t, "with 2") {
		max[2] = uint32(rapid.IntRange(0, 4).Draw(t, "seats of 2"))
	}
	l := o.sell(max)
	w.note("the vendor makes pool %d of %s: %v", l.counter, o.name, max)
	if o.up() && rapid.IntRange(0, 3).Draw(t, "carried later") > 0 {
		w.installAt(o, l, nil)
	}
}

func (w *play) restart(t *rapid.T) {
	p := w.running(t, w.players)
	calm := p.calm()
	mark := p.local.lo
	err := p.Close(w.ctx())
	w.note("%s: closed: %v", p.name, err)
	switch {
	case err == nil && calm: // a manager that refuses changes records nothing
		p.local.mark = mark
	case calm:
		w.failf("%s: close: %v", p.name, err)
	}
	p.Manager = nil
	w.start(p)
}

func (w *play) crash(t *rapid.T) {
	p := w.running(t, w.players)
	w.note("%s crashes", p.name)
	p.crash()
	if rapid.Bool().Draw(t, "and starts again") {
		w.start(p)
	}
}

func (w *play) boot(t *rapid.T) {
	w.start(pick(t, "computer", slices.DeleteFunc(slices.Clone(w.players), (*player).up)))
}

// start opens a manager again. Where nothing stands in the way of that, all that
// was in doubt is decided.
func (w *play) start(p *player) {
	p.armed = slices.DeleteFunc(p.armed, (*simulator.Armed).Fired)
	// A batch that a fault left unsigned waits for a clock that is behind it.
	waits := p.rough && p.wall() < max(p.local.hi, p.pool.span.hi)
	p.rough = len(p.armed) > 0 || waits
	err := p.boot()
	w.note("%s starts: %v", p.name, summary(err))
	if err != nil {
		// A batch that the anchor did not see may lie ahead of a clock that was
		// turned back meanwhile.
		if !p.rough && !(w.turned && errors.Is(err, licensing.RTCError)) {
			w.failf("%s does not start: %v", p.name, err)
		}
		return
	}
	p.observe()
	if !p.rough && !w.turned {
		p.doubts = slices.DeleteFunc(p.doubts, func(d *doubt) bool { return !d.inPool || p.loaded })
	}
	if p.plugged() && !p.rough && !p.loaded {
		w.failf("%s has its key and shows no pool", p.name)
	}
}

func (w *play) plug(t *rapid.T) {
	p := pick(t, "origin", w.origins())
	if p.plugged() {
		w.note("%s: the key is pulled out", p.name)
		p.key.Unplug()
		return
	}
	w.note("%s: the key is put in", p.name)
	must(0, p.key.Plug())
	p.rough = true // a connection was lost
	if p.up() && rapid.Bool().Draw(t, "looked for") {
		_, err := p.Keys(w.ctx(), licensing.Filter{})
		w.ok(p.name+" looks for keys", err)
	}
}

func (w *play) keyFault(t *rapid.T) {
	p := pick(t, "origin", w.origins())
	n := rapid.IntRange(0, 4).Draw(t, "exchange")
	fault := pick(t, "fault", append(simulator.Faults(), simulator.None))
	p.rough = true
	if fault == simulator.None {
		w.note("%s: the key loses power in write %d", p.name, n)
		p.armed = slices.DeleteFunc(p.armed, func(a *simulator.Armed) bool { return a == p.cut })
		p.cut = p.key.FailWrite(n)
		p.armed = append(p.armed, p.cut)
		return
	}
	w.note("%s: fault %d in exchange %d of the key", p.name, fault, n)
	p.armed = append(p.armed, p.key.FailNth(n, fault))
}

func (w *play) diskFault(t *rapid.T) {
	p := w.running(t, w.players)
	n := rapid.IntRange(0, 6).Draw(t, "call")
	p.rough = true
	if rapid.IntRange(0, 2).Draw(t, "anchor") == 0 {
		count, acts := rapid.IntRange(1, 4).Draw(t, "calls"), rapid.Bool().Draw(t, "acts")
		w.note("%s: the anchor fails from call %d, %d calls, acting all the same: %v", p.name, n, count, acts)
		p.anchor.fail(n, count, acts)
		return
	}
	kind := pick(t, "kind", storagetest.Kinds())
	if kind != storagetest.Refuse {
		n %= 2
	}
	w.note("%s: the store fails at call %d: %v", p.name, n, kind)
	p.store.failNth(n, kind)
}
