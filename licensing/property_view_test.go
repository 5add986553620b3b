package licensing_test

import (
	"cmp"
	"maps"
	"slices"

	"github.com/sojournlm/sojourn/internal/document"
	"github.com/sojournlm/sojourn/licensing"
)

// view is everything a manager shows without being asked to change anything.
type view struct {
	pool      map[uint32]licensing.Feature // of its own key, by number; nil while there is none
	out       map[uint64]licensing.DetachedLicense
	cancelled map[uint64]bool
	installed map[uint64][]uint32 // features by short id

	// stored is what is shown of a pool whose key has not been here: up to one batch
	// behind.
	stored map[uint64]licensing.DetachedLicense
}

// look reads a manager's lists and holds them against themselves.
func (p *player) look() (v view) {
	w := p.world
	v = view{out: map[uint64]licensing.DetachedLicense{}, cancelled: map[uint64]bool{}, installed: map[uint64][]uint32{}}
	features, err := p.Features(w.ctx(), licensing.Filter{})
	w.ok(p.name+" lists features", err)
	for f := range features.All() {
		switch {
		case p.key == nil || f.Key != p.key.ID():
			v.installed[f.Key] = append(v.installed[f.Key], f.Number)
		case !p.loaded && f.Inaccessible:
			v.stored = map[uint64]licensing.DetachedLicense{}
		case v.pool == nil:
			v.pool = map[uint32]licensing.Feature{}
			fallthrough
		default:
			v.pool[f.Number] = f
		}
		if f.Key == 0 || f.Free+f.Detached != f.Max+f.Overdrawn || f.Free > 0 && f.Overdrawn > 0 {
			w.failf("%s shows a feature whose seats do not add up: %+v", p.name, f)
		}
	}
	list, err := p.ListDetached(w.ctx(), licensing.Filter{})
	w.ok(p.name+" lists detached licenses", err)
	var order []licensing.DetachedLicense
	for l := range list.All() {
		v.out[l.ID] = l
		order = append(order, l)
	}
	if len(order) != list.Total || len(v.out) != list.Total {
		w.failf("%s lists %d detached licenses, %d of them different, and says that there are %d", p.name, len(order), len(v.out), list.Total)
	}
	if !slices.IsSortedFunc(order, func(a, b licensing.DetachedLicense) int {
		return cmp.Or(a.Issued.Compare(b.Issued), cmp.Compare(a.ID, b.ID))
	}) {
		w.failf("%s lists detached licenses out of order: %v", p.name, order)
	}
	if v.stored != nil {
		v.stored, v.out = v.out, v.stored
	}
	given, err := p.ListCancelled(w.ctx(), licensing.Page{})
	w.ok(p.name+" lists cancelled licenses", err)
	for c := range given.All() {
		v.cancelled[c.ID] = true
	}
	if len(v.cancelled) != given.Total {
		w.failf("%s lists %d cancelled licenses and says that there are %d", p.name, len(v.cancelled), given.Total)
	}
	return v
}

// observe holds what a manager shows against the model. Changes in doubt that
// show are no longer in doubt.
func (p *player) observe() {
	if !p.up() {
		return
	}
	w := p.world
	v := p.look()
	p.local.read(p.wall(), p.clock.off)
	if v.pool != nil {
		if !p.loaded {
			p.loaded = true
			p.pool.span.open(w.now, p.clock.off, w.now)
		}
		p.pool.span.read(p.wall(), p.clock.off)
	}
	p.doubts = slices.DeleteFunc(p.doubts, func(d *doubt) bool {
		shows := d.shows(v)
		if shows {
			d.happen(v)
		}
		return shows
	})
	p.latest = v
	p.observeRecipient(v)
	p.observeStored(v)
	if v.pool != nil {
		p.observePool(v)
	} else if len(v.out) > 0 {
		w.failf("%s has no pool and lists detached licenses %v", p.name, v.out)
	}
}

// observeRecipient: what is installed and cancelled is what the model says.
func (p *player) observeRecipient(v view) {
	w := p.world
	shown := maps.Clone(v.installed)
	given := maps.Clone(v.cancelled)
	for _, s := range w.seats {
		short := uint64(document.ShortID(s.id))
		features, here := v.installed[short]
		if s.to != p {
			continue
		}
		delete(shown, short)
		if s.there == installed {
			if err := p.local.due(s.death, !here); err != nil {
				w.failf("%s: end of the installed license %v: %v", p.name, s, err)
			}
			if here && !slices.Equal(slices.Sorted(slices.Values(features)), s.features) {
				w.failf("%s shows license %v with features %v, want %v", p.name, s, features, s.features)
			}
		} else if here {
			w.failf("%s shows license %v as installed, it is %v", p.name, s, s.there)
		}
		if v.cancelled[s.id] != (s.there == cancelled) {
			w.failf("%s lists license %v as cancelled: %v, it is %v", p.name, s, v.cancelled[s.id], s.there)
		}
		delete(given, s.id)
	}
	if len(shown)+len(given) > 0 {
		w.failf("%s shows what was never there: installed %v, cancelled %v", p.name, shown, given)
	}
}

// observeStored: nothing is shown that was not made, and its file is still given.
func (p *player) observeStored(v view) {
	w := p.world
	for id, l := range v.stored {
		at := slices.IndexFunc(w.seats, func(s *seat) bool { return s.id == id && s.from == p })
		switch {
		case at < 0 && len(p.doubts) > 0:
			continue
		case at < 0:
			w.failf("%s, without its key, lists license %d, which was never made", p.name, id)
		}
		s := w.seats[at]
		if l.Recipient != s.to.lmsID || l.Seats != s.seats || l.Issued.Unix() != s.issued || l.Death.Unix() != s.death || !slices.Equal(numbersOf(l), s.features) {
			w.failf("%s, without its key, lists license %v as %+v", p.name, s, l)
		}
		if _, err := p.DownloadDetached(w.ctx(), id); err != nil && p.calm() {
			w.failf("%s, without its key, does not give license %v again: %v", p.name, s, err)
		}
	}
}

// observePool: promise 1, exactly as the model says.
func (p *player) observePool(v view) {
	w := p.world
	listed := func(s *seat) bool { _, ok := v.out[s.id]; return ok }
	known := 0
	for _, s := range w.seats {
		switch l, here := v.out[s.id]; {
		case s.from != p:
		case s.home && here:
			w.failf("%s lists license %v, which was given back", p.name, s)
		case s.home, s.maybeHome && !here:
		default:
			if err := p.pool.span.due(s.death, !here); err != nil {
				w.failf("%s: death of license %v: %v", p.name, s, err)
			}
			if !here {
				continue
			}
			known++
			if l.Recipient != s.to.lmsID || l.Seats != s.seats || l.Issued.Unix() != s.issued || l.Death.Unix() != s.death || !slices.Equal(numbersOf(l), s.features) {
				w.failf("%s lists license %v as %+v", p.name, s, l)
			}
		}
	}
	if known != len(v.out) {
		w.failf("%s lists %d detached licenses, of which only %d were made", p.name, len(v.out), known)
	}
	numbers := slices.Collect(maps.Keys(p.pool.max))
	for f := range v.pool {
		if !slices.Contains(numbers, f) {
			numbers = append(numbers, f)
		}
	}
	for _, f := range numbers {
		p.observeFeature(v.pool[f], f, listed)
	}
}

func (p *player) observeFeature(f licensing.Feature, number uint32, listed func(*seat) bool) {
	w := p.world
	var seats []*seat
	for _, s := range w.seats {
		if s.from == p {
			seats = append(seats, s)
		}
	}
	least, most := p.pool.away(seats, number, listed)
	max := p.pool.max[number]
	if f.Number == number && f.Max == max && f.Detached >= least && f.Detached <= most {
		return
	}
	if _, sold := p.pool.max[number]; f.Number != number && !sold && least == 0 {
		return
	}
	w.failf("%s: feature %d has %d seats with %d away, want %d seats with %d to %d away", p.name, number, f.Max, f.Detached, max, least, most)
}
