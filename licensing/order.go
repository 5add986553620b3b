package licensing

import (
	"cmp"
	"context"
	"slices"
	"time"
)

// Whom to ask for what a key's manager alone can give, and for how long, is the same
// for a detach, a fetch, a return and a recall:
//
// Those come first that are believed most, of them those that answer, and of these
// those that gave what they were asked for last, who has proven to have the key before
// all; then who gave nothing usable, the one longest ago first, so that each has its
// turn. Only those that are believed as much as the first are asked at all. A refusal
// may be a lie, and the next is asked, unless it comes from who has proven to have the
// key.
//
// Whoever does not greet within askWithin has surely not got the request. Who has
// greeted has actWithin for it; who needs longer may have done it, so that nobody else
// is asked for a seat, and comes last the next time. A return harms nobody whoever has
// it: the others are given it meanwhile, all at once. What is silent already is asked
// together, and no longer than askWithin.

// trust says why a manager is believed to have the keys that it tells of: nothing
// proves it before a seat has come from there. Less is more.
type trust int

const (
	byHand   trust = iota // its fingerprint was added
	named                 // it has answered at an address in the settings in this run
	stranger              // it was found on the network
)

// claimant is a manager that says who it is and what keys it has.
type claimant struct {
	sight
	trust  trust
	blamed time.Duration // see [peers.blamed]
}

// standing is how managers that tell of keys have done in this run.
type standing struct {
	failed map[string]time.Duration // by public key: when who gave nothing usable was blamed
	proven map[uint64]string        // by key: the public key of who made a license that its vendor vouches for, last
}

func newStanding() standing {
	return standing{make(map[string]time.Duration), make(map[uint64]string)}
}

// disputes reports whether two claim one lmsId.
func (c claimant) disputes(o claimant) bool {
	return c.computer.Computer.ID == o.computer.Computer.ID && !sameKeys(c.computer, o.computer)
}

// bars reports whether c keeps o from being believed: it claims the same lmsId, and is
// believed more, or as much and is not silent where o answers.
func (c claimant) bars(o claimant) bool {
	return c.disputes(o) && (c.trust < o.trust || c.trust == o.trust && (c.silent.IsZero() || !o.silent.IsZero()))
}

// moved reports whether a manager is believed to have a key that was plugged in here:
// only where somebody named it, and it answers.
func (c claimant) moved(k *remoteKey) bool {
	return !k.Inaccessible && c.silent.IsZero() && c.trust < stranger
}

// known gives the managers that are known, and why they are believed. One that claims
// the lmsId of a computer that was added by hand is none.
func (m *Manager) known() []claimant {
	state, _ := m.local.Read()
	stations := m.peers.stations()
	var all []claimant
	for _, s := range m.peers.managers() {
		c := claimant{s, stranger, m.peers.blamed(s.computer.Computer.Sign)}
		known, ok := state.Book().Computer(s.computer.Computer.ID)
		switch {
		case ok && sameKeys(known.Fingerprint(), s.computer):
			c.trust = byHand
		case ok:
			continue
		case slices.ContainsFunc(stations, func(o sight) bool {
			// What the store says of an address is nobody's word.
			return o.fixed && !o.before && o.computer != nil && sameKeys(o.computer, s.computer)
		}):
			c.trust = named
		}
		all = append(all, c)
	}
	return all
}

// claimants gives the managers that may be asked, in their order. Of those that claim
// one lmsId the one that is believed most is one, and none where several are believed
// alike and answer.
func (m *Manager) claimants() []claimant {
	known := m.known()
	all := slices.DeleteFunc(slices.Clone(known), func(c claimant) bool {
		return slices.ContainsFunc(known, func(o claimant) bool { return o.bars(c) })
	})
	silent := func(c claimant) int {
		if c.silent.IsZero() {
			return 0
		}
		return 1
	}
	slices.SortStableFunc(all, func(a, b claimant) int {
		return cmp.Or(cmp.Compare(a.trust, b.trust), cmp.Compare(silent(a), silent(b)), cmp.Compare(a.blamed, b.blamed))
	})
	return all
}

// holders gives the managers that tell of a key, in their order, of those that are
// believed most only: a stranger does not stand in for a friend who is silent.
func (m *Manager) holders(key uint64) []claimant {
	local := m.rack.find(key)
	var all []claimant
	for _, c := range m.claimants() {
		if len(all) > 0 && c.trust != all[0].trust {
			break
		}
		if local == nil && c.has(key) || local != nil && slices.ContainsFunc(c.keys, func(k remoteKey) bool { return k.ID == key && c.moved(&k) }) {
			all = append(all, c)
		}
	}
	if at := slices.IndexFunc(all, func(c claimant) bool {
		return c.silent.IsZero() && c.blamed == 0 && m.peers.proved(c.computer.Computer.Sign, key)
	}); at > 0 {
		one := all[at]
		all = slices.Insert(slices.Delete(all, at, at+1), 0, one)
	}
	return all
}

// blame notes that a manager which was asked since began gave nothing usable. That
// whoever asked has left before it had time to is not its fault.
func (p *peers) blame(ctx context.Context, public []byte, began time.Time) {
	if p == nil {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	now := p.manager.opts.Clock.Elapsed()
	if ctx.Err() != nil && time.Since(began) < blameAfter {
		return
	}
	for k, at := range p.failed {
		if at+failAside <= now {
			delete(p.failed, k)
		}
	}
	if _, known := p.failed[string(public)]; !known && len(p.failed) >= maxFamiliar {
		var oldest string
		for k, at := range p.failed {
			if oldest == "" || at < p.failed[oldest] {
				oldest = k
			}
		}
		delete(p.failed, oldest)
	}
	p.failed[string(public)] = max(1, now)
}

// praise notes that a manager gave what it was asked for. Where key is not zero, that was
// a license for this very request, up to a vendor that is trusted here: it proves that the
// manager has this key. A receipt of a return does not, for whoever is given one can get it
// from the key's manager and pass it on.
func (p *peers) praise(public []byte, key uint64) {
	if p == nil {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.failed, string(public))
	if key != 0 {
		p.proven[key] = string(public)
	}
}

// proved reports whether a manager is the last that has proven to have a key.
func (p *peers) proved(public []byte, key uint64) bool {
	if p == nil {
		return false
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.proven[key] == string(public)
}

// blamed gives the steady clock of when a manager was blamed last, 0 where it was not
// or that is long ago.
func (p *peers) blamed(public []byte) time.Duration {
	if p == nil {
		return 0
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	at := p.failed[string(public)]
	if at+failAside <= p.manager.opts.Clock.Elapsed() {
		return 0
	}
	return at
}
