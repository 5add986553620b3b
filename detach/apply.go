package detach

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"slices"

	"github.com/sojournlm/sojourn/internal/document"
	"github.com/sojournlm/sojourn/internal/ledger"
)

// firstRevision is the revision of a license that was never extended.
const firstRevision = 1

// Apply folds one entry in. It refuses what contradicts the pool as it stands
// (a license twice, seats that are not there, a counter that does not rise) and
// then changes nothing; whether an entry is genuine is for Judge to say.
func (p *Pool) Apply(at ledger.Position, entry []byte) error {
	kind, body, err := document.ParseEntry(entry)
	if err != nil {
		return err
	}
	switch kind {
	case entryDetached:
		return p.applyDetached(at, body)
	case entryReturned:
		return p.applyReturned(at, body)
	case entryExpired:
		return p.applyExpired(at, body)
	case entryUpdated:
		return p.applyUpdated(at, body)
	case entryTimed:
		_, err := parseBody[timed]("time entry", body)
		return err
	}
	return fmt.Errorf("a pool's ledger has no entries of kind %d", kind)
}

func (p *Pool) applyDetached(at ledger.Position, body []byte) error {
	t, err := document.ParseTerms(body)
	if err != nil {
		return err
	}
	r, err := p.admit(at, t)
	if err != nil {
		return fmt.Errorf("license %d: %w", t.License, err)
	}
	r.number = p.freeNumber()
	p.remember(r)
	p.show(r)
	p.take(r)
	p.horizon = max(p.horizon, t.Death)
	return nil
}

// admit makes the record, without a number yet, of a new license that fits the pool.
func (p *Pool) admit(at ledger.Position, t document.Terms) (*Record, error) {
	head := p.Head()
	switch {
	case p.license == nil || t.Key != head.Key || t.Vendor != head.Vendor || t.Counter != head.Counter:
		return nil, errors.New("not made under the pool's present license")
	case t.Revision != firstRevision || t.Parent != 0:
		return nil, fmt.Errorf("revision %d of a license with parent %d, want the first of one without", t.Revision, t.Parent)
	case t.Issued > at.Time || t.Death <= at.Time:
		return nil, fmt.Errorf("lives from %d to %d, but entered at %d", t.Issued, t.Death, at.Time)
	case at.Index < 0 || int64(at.Index) > math.MaxUint32:
		return nil, fmt.Errorf("place %d in its batch", at.Index)
	}
	r := &Record{
		License: t.License, Issued: t.Issued, Duration: uint32(t.Duration), Seats: t.Seats,
		Seq: at.Seq, Index: uint32(at.Index), Recipient: p.recipient(t.Recipient),
		due: t.Death, choice: &choice{p.license, make([]uint16, len(t.Features))},
	}
	if p.short(document.ShortID(t.License)) != nil {
		return nil, errors.New("its short id is in use")
	}
	if t.Request.Key != (document.Hash{}) {
		request := t.Request // not all of t, which would be kept with it
		r.request = &request
		if err := p.unasked(t.Request); err != nil {
			return nil, err
		}
	}
	out := p.outFeatures(t.Recipient.ID)
	for i, ref := range t.Features {
		place, ok := p.find(ref)
		if !ok {
			return nil, fmt.Errorf("%s is not in the pool", nameRef(ref))
		}
		if free := p.Seats(&p.license.Features[place]).Free; free < t.Seats {
			return nil, fmt.Errorf("%s has %d seats free, %d are taken", nameRef(ref), free, t.Seats)
		}
		if out[ref] != nil {
			return nil, fmt.Errorf("%s is out to computer %d already", nameRef(ref), t.Recipient.ID)
		}
		r.features[i] = uint16(place)
	}
	if same, ok := p.choices.Get(chosen{choice: r.choice}); ok {
		r.choice = same.choice
	}
	return r, nil
}

// find gives a feature's place in the pool's present license.
func (p *Pool) find(ref document.FeatureRef) (int, bool) {
	if p.license == nil {
		return 0, false
	}
	return slices.BinarySearchFunc(p.license.Features, ref, func(f document.Feature, ref document.FeatureRef) int {
		return f.Ref().Compare(ref)
	})
}

// recipient gives what is remembered already of a computer, where it is the
// same, so that its licenses share it.
func (p *Pool) recipient(c document.Recipient) *document.Recipient {
	shared := &c
	p.out.Ascend(outTo{recipient: c.ID}, func(first outTo) bool {
		if first.recipient != c.ID {
			return false
		}
		if o := p.record(first.number).Recipient; o.HostName == c.HostName && bytes.Equal(o.Sign, c.Sign) &&
			bytes.Equal(o.Seal, c.Seal) && slices.Equal(o.Components, c.Components) {
			shared = o
		}
		return false
	})
	return shared
}

func (p *Pool) applyReturned(at ledger.Position, body []byte) error {
	b, err := parseBody[returned]("return entry", body)
	if err != nil {
		return err
	}
	r := p.License(b.License)
	if r == nil {
		return fmt.Errorf("license %d is given back, but it is not out", b.License)
	}
	if b.Until < 0 || b.Until > r.Death() {
		return fmt.Errorf("license %d is given back with grants until %d, but dies at %d", b.License, b.Until, r.Death())
	}
	if err := p.unasked(b.Request); err != nil {
		return fmt.Errorf("return of license %d: %w", b.License, err)
	}
	p.noteAsked(b.Request, r.Death(), at)
	p.noteReturn(r, at)
	p.forget(r)
	p.hide(r)
	if b.Until == 0 {
		p.give(r)
		p.keep(r)
		return nil
	}
	ending := *r
	ending.status, ending.due = isEnding, b.Until
	p.remember(&ending)
	return nil
}

func (p *Pool) applyExpired(at ledger.Position, body []byte) error {
	b, err := parseExpired(at, body)
	if err != nil {
		return err
	}
	p.ended = max(p.ended, b.Time)
	p.forgetAsked(b.Time)
	p.forgetReturns(b.Time)
	for w, ok := p.deaths.Min(); ok && w.due <= b.Time; w, ok = p.deaths.Min() {
		r := p.record(w.number)
		p.forget(r)
		p.hide(r)
		if r.due <= b.Freed {
			p.give(r)
			continue
		}
		dead := *r
		dead.status = isDead
		p.remember(&dead)
	}
	for w, ok := p.ends.Min(); ok && w.due <= b.Freed; w, ok = p.ends.Min() {
		r := p.record(w.number)
		p.forget(r)
		switch r.status {
		case isDead:
			p.give(r)
		case isEnding:
			p.give(r)
			p.keep(r)
		}
	}
	return nil
}

func parseExpired(at ledger.Position, body []byte) (expired, error) {
	b, err := parseBody[expired]("expiry entry", body)
	switch {
	case err != nil:
	case b.Time > at.Time:
		err = fmt.Errorf("expires what is due at %d, but entered at %d", b.Time, at.Time)
	case b.Freed < 0 || b.Freed > b.Time:
		err = fmt.Errorf("frees what ended by %d, where licenses end that are due at %d", b.Freed, b.Time)
	}
	return b, err
}

func (p *Pool) applyUpdated(at ledger.Position, body []byte) error {
	license, request, err := parseUpdated(body)
	if err != nil {
		return err
	}
	if err := p.follows(license); err != nil {
		return err
	}
	if err := p.unasked(request); err != nil {
		return fmt.Errorf("pool license: %w", err)
	}
	p.noteAsked(request, at.Time+updateKnown, at)
	p.license = license
	return nil
}

func parseUpdated(body []byte) (*document.Pool, document.RequestKey, error) {
	b, err := parseBody[updated]("update entry", body)
	if err != nil {
		return nil, document.RequestKey{}, err
	}
	license, err := document.ParsePool(b.Pool)
	return license, b.Request, err
}

// unasked refuses a new entry under a request key that is in use.
func (p *Pool) unasked(request document.RequestKey) error {
	if before, err := p.Asked(request); before || err != nil {
		return errors.New("its request key is in use")
	}
	return nil
}

// remember and forget put a record among all that are remembered and take it
// away.
func (p *Pool) remember(r *Record) {
	p.put(r.number, r)
	p.shorts.Set(r.shortened())
	p.count(r.choice, 1)
	p.queue(r).Set(r.waiting())
	if r.request != nil {
		p.requests.Set(r)
	}
}

func (p *Pool) forget(r *Record) {
	p.put(r.number, nil)
	p.shorts.Delete(r.shortened())
	p.count(r.choice, -1)
	p.queue(r).Delete(r.waiting())
	if r.request != nil {
		p.requests.Delete(r)
	}
}

// queue is where a record waits for its time.
func (p *Pool) queue(r *Record) *tree[waiting] {
	if r.status == isOut {
		return p.deaths
	}
	return p.ends
}

// keep remembers the request of a license that is home until the license's
// death, so that asking again does not take the seats again.
func (p *Pool) keep(r *Record) {
	if r.request == nil {
		return
	}
	home := *r
	home.status, home.due = isHome, r.Death()
	p.remember(&home)
}

// show and hide put a license among those that are out and take it away.
func (p *Pool) show(r *Record) {
	p.out.Set(r.outTo())
	for tag := range r.tags() {
		l := p.numberList(tag)
		if _, there := p.list.Set(r.listed(l.list)); !there {
			l.n++
			p.lengths.Set(l)
		}
	}
}

func (p *Pool) hide(r *Record) {
	p.out.Delete(r.outTo())
	for tag := range r.tags() {
		l := p.numberList(tag)
		if _, there := p.list.Delete(r.listed(l.list)); there {
			l.n--
			p.lengths.Set(l)
		}
	}
}

// take and give move a license's seats out of the pool and back.
func (p *Pool) take(r *Record) {
	for _, at := range r.features {
		f := &r.pool.Features[at]
		p.taken.Set(taken{f, p.away(f.Ref()) + r.Seats})
	}
}

func (p *Pool) give(r *Record) {
	for _, at := range r.features {
		t, _ := p.taken.Get(taken{feature: &r.pool.Features[at]})
		t.seats -= r.Seats
		if t.seats == 0 {
			p.taken.Delete(t)
		} else {
			p.taken.Set(t)
		}
	}
}

// Timed gives the entry that records the time where something has ended since the
// time of an earlier entry: licenses, or the validity of features. It is nil where
// nothing has. What was seen to have ended does not come back with the wall clock.
func (p *Pool) Timed(since, now int64) [][]byte {
	ended := p.ended > since
	for f := range p.EachFeature() {
		ended = ended || f.ValidUpTo > since && f.ValidUpTo <= now
	}
	if !ended {
		return nil
	}
	return [][]byte{document.EncodeEntry(entryTimed, timed{})}
}

// Due gives the one entry for everything that time has made due by now:
// licenses that die, and request keys that need not be remembered; and, later
// than they by what clocks may differ ([Trust].Skew), seats of dead licenses and
// seats whose last grant has ended. It is nil where nothing is due.
func (p *Pool) Due(now int64) [][]byte {
	freed := max(0, now-p.trust.Skew)
	dying, some := p.deaths.Min()
	ending, more := p.ends.Min()
	lapse, any := p.lapses.Min()
	if !(some && dying.due <= now || more && ending.due <= freed || any && lapse.until <= now) {
		return nil
	}
	return [][]byte{document.EncodeEntry(entryExpired, expired{Time: now, Freed: freed})}
}
