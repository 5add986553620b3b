package licensing

import (
	"bytes"
	"cmp"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/sojournlm/sojourn/internal/document"
	"github.com/sojournlm/sojourn/storage"
)

// hint is what the store remembers of a manager that was found. It stands in no
// ledger and gives nobody any power: what counts is what that one signs when it is
// heard again.
type hint struct {
	Version     uint32   `cbor:"1,keyasint"`
	Fingerprint []byte   `cbor:"2,keyasint"`
	Addresses   []string `cbor:"3,keyasint"` // where it was found, ordered
	Silent      int64    `cbor:"4,keyasint"` // since when, Unix seconds; 0: it answered last
	Keys        []uint64 `cbor:"5,keyasint"` // that it told of, ordered
}

const (
	hintVersion = 1
	hintPrefix  = "found/"
	maxHint     = 12 << 10 // in bytes; all of them fit in one Update

	maxFamiliar = maxStations      // managers that stay known
	keepEvery   = 10 * time.Second // and what changes about them is stored at most so often
	maxDropped  = 1000             // records that are none are deleted at one start
)

// familiar is a manager that stays known, wherever it is and whether or not it
// answers.
type familiar struct {
	computer *document.Fingerprint
	silent   time.Time // since when; zero while it answers
	problem  error     // why it is silent
	at       []string  // addresses where it was found, ordered
	keys     []uint64  // that it told of last, ordered
	stored   []byte    // what the store has of it, nil: nothing
}

func (f *familiar) key() string { return hintKey(f.computer.Computer.Sign) }

func hintKey(public []byte) string { return hintPrefix + hex.EncodeToString(public) }

func (f *familiar) hint() []byte {
	h := hint{Version: hintVersion, Fingerprint: f.computer.Bytes(), Addresses: f.at, Keys: f.keys}
	if !f.silent.IsZero() {
		h.Silent = min(max(1, f.silent.Unix()), document.MaxTime)
	}
	return document.Encode(h)
}

// parseHint reads what the store has under a key, and believes none of it.
func parseHint(key string, b []byte) (*familiar, error) {
	var h hint
	if err := document.Decode("found computer", b, maxHint, &h); err != nil {
		return nil, err
	}
	if h.Version != hintVersion {
		return nil, fmt.Errorf("found computer: version %d, want %d", h.Version, hintVersion)
	}
	c, err := document.ParseFingerprint(h.Fingerprint)
	if err != nil {
		return nil, err
	}
	f := &familiar{computer: c, at: h.Addresses, keys: h.Keys, stored: b}
	switch {
	case f.key() != key:
		return nil, errors.New("found computer: it stands under the key of another")
	case h.Silent < 0 || h.Silent > document.MaxTime:
		return nil, fmt.Errorf("found computer: silent since %d, out of range", h.Silent)
	case len(h.Addresses) > maxSame || !ascending(h.Addresses):
		return nil, errors.New("found computer: too many addresses, or not in their places")
	case len(h.Keys) > maxRemoteKeys || !ascending(h.Keys):
		return nil, errors.New("found computer: too many keys, or not in their places")
	}
	for _, address := range h.Addresses {
		if !storable(address) {
			return nil, errors.New("found computer: an address is none")
		}
	}
	for _, id := range h.Keys {
		if !document.ValidID(id) || id > 0xFFFFFFFF {
			return nil, fmt.Errorf("found computer: %d is no id of a key", id)
		}
	}
	if h.Silent > 0 {
		f.silent = time.Unix(h.Silent, 0)
	}
	return f, nil
}

func ascending[T cmp.Ordered](list []T) bool {
	for i := range list {
		if i > 0 && list[i-1] >= list[i] {
			return false
		}
	}
	return true
}

func storable(address string) bool { return address != "" && document.CheckText(address) == nil }

// errNotYet is why a manager that an earlier run has found is silent.
var errNotYet = errors.New("it has not answered since this manager was started")

// restore makes those known again that an earlier run has found, as silent ones. What
// the store has that is no such record is dropped. It is called before anybody asks.
func (p *peers) restore(ctx context.Context) {
	m := p.manager
	state, _ := m.local.Read()
	now := m.opts.Clock.Now()
	bad := 0
	err := m.store.View(ctx, func(r storage.Reader) error {
		p.familiar, p.dropped, bad = make(map[string]*familiar), nil, 0
		drop := func(key string) {
			if bad++; len(p.dropped) < maxDropped {
				p.dropped = append(p.dropped, key)
			}
		}
		for entry, err := range r.Scan(hintPrefix) {
			if err != nil {
				return err
			}
			f, err := parseHint(entry.Key, entry.Value)
			if err != nil || len(p.familiar) == maxFamiliar || bytes.Equal(f.computer.Computer.Sign, m.self.identity.Public()) {
				drop(entry.Key)
				continue
			}
			if known, ok := state.Book().Computer(f.computer.Computer.ID); ok && !sameKeys(known.Fingerprint(), f.computer) {
				drop(entry.Key)
				continue
			}
			if f.problem = errNotYet; f.silent.IsZero() || f.silent.After(now) {
				f.silent = now
			}
			p.familiar[string(f.computer.Computer.Sign)] = f
		}
		return nil
	})
	if err != nil {
		m.opts.Logger.Warn("the computers that were found before are not known", "error", err)
		p.familiar = make(map[string]*familiar)
	}
	if bad > 0 {
		p.noteChange()
		m.opts.Logger.Warn("records of computers that were found before are dropped: they cannot be used", "records", bad)
	}
}

// revisit asks where those were that an earlier run has found: at the addresses in
// the settings, and, where managers are looked for, at all.
func (p *peers) revisit() {
	for _, f := range p.familiars() {
		for _, address := range f.at {
			p.mu.Lock()
			s := p.at[address]
			if s == nil && p.opts.Browse != nil && len(p.at) < maxStations {
				s = newStation(address, p.manager.opts.Clock.Elapsed())
				p.at[address] = s
			}
			if s != nil && s.now.computer == nil {
				s.now = seen{computer: f.computer, silent: f.silent, problem: f.problem, had: f.keys, before: true}
			}
			p.mu.Unlock()
		}
	}
}

// familiars gives all that stay known, by public key.
func (p *peers) familiars() []*familiar {
	all := make([]*familiar, 0, len(p.familiar))
	for _, f := range p.familiar {
		all = append(all, f)
	}
	slices.SortFunc(all, func(a, b *familiar) int { return bytes.Compare(a.computer.Computer.Sign, b.computer.Computer.Sign) })
	return all
}

// familiarWith reports whether a computer is one of those that stay known.
func (p *peers) familiarWith(c *document.Fingerprint) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	f := p.familiar[string(c.Computer.Sign)]
	return f != nil && sameKeys(f.computer, c)
}

// meet notes that a manager answers at a station. p.mu is held.
func (p *peers) meet(s *station) {
	public := string(s.now.computer.Computer.Sign)
	f := p.familiar[public]
	if f == nil {
		if len(p.familiar) >= maxFamiliar && !p.makeRoom() {
			return
		}
		f = &familiar{}
		p.familiar[public] = f
	}
	f.computer, f.silent, f.problem = s.now.computer, time.Time{}, nil
	if s.now.problem == nil {
		f.keys = nil
		for _, k := range s.now.keys {
			f.keys = append(f.keys, k.ID)
		}
	}
	if storable(s.address) && !slices.Contains(f.at, s.address) {
		at := slices.Clone(f.at)
		if len(at) >= maxSame { // in the place of one where it does not answer, if any
			if old := slices.IndexFunc(at, func(a string) bool { return !p.answersAt(a, f.computer) }); old >= 0 {
				at = slices.Delete(at, old, old+1)
			}
		}
		if len(at) < maxSame {
			f.at = append(at, s.address)
			slices.Sort(f.at)
		}
	}
	if !bytes.Equal(f.hint(), f.stored) {
		p.noteChange()
	}
}

// answersAt reports whether a manager answers at an address, or was there in an earlier run
// and has not been asked yet. p.mu is held.
func (p *peers) answersAt(address string, c *document.Fingerprint) bool {
	s := p.at[address]
	return s != nil && s.now.computer != nil && sameKeys(s.now.computer, c) &&
		(s.now.silent.IsZero() || s.now.before && !s.now.tried)
}

// miss notes that a manager does not answer at a station any more, or another one
// does there. p.mu is held.
func (p *peers) miss(c *document.Fingerprint, problem error) {
	f := p.familiar[string(c.Computer.Sign)]
	if f == nil {
		return
	}
	for _, s := range p.at {
		if s.now.computer != nil && sameKeys(s.now.computer, c) && s.now.silent.IsZero() {
			return // elsewhere
		}
	}
	if f.silent.IsZero() {
		f.silent, f.problem = p.manager.opts.Clock.Now(), problem
	}
	if !bytes.Equal(f.hint(), f.stored) {
		p.noteChange()
	}
}

// makeRoom gives up the manager that has been silent longest, one that another answered
// in place of before all. p.mu is held.
func (p *peers) makeRoom() bool {
	var oldest *familiar
	var displaced bool
	for _, f := range p.familiars() {
		if f.silent.IsZero() {
			continue
		}
		if d := p.displaced(f); oldest == nil || d && !displaced || d == displaced && f.silent.Before(oldest.silent) {
			oldest, displaced = f, d
		}
	}
	if oldest != nil {
		p.giveUp(oldest)
	}
	return oldest != nil
}

// displaced reports whether another manager has answered since wherever one was found: it
// may have been no more than a name of that one. p.mu is held.
func (p *peers) displaced(f *familiar) bool {
	return len(f.at) > 0 && !slices.ContainsFunc(f.at, func(address string) bool {
		s := p.at[address]
		return s == nil || s.now.computer == nil || sameKeys(s.now.computer, f.computer)
	})
}

// giveUp makes a manager unknown. p.mu is held.
func (p *peers) giveUp(f *familiar) {
	delete(p.familiar, string(f.computer.Computer.Sign))
	if f.stored != nil {
		p.dropped = append(p.dropped, f.key())
	}
	p.noteChange()
}

// forget makes a computer unknown that is silent: it was removed by hand. One that
// answers is found again anyway.
func (p *peers) forget(lmsID uint64) {
	if p == nil {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, f := range p.familiars() {
		if f.computer.Computer.ID != lmsID || f.silent.IsZero() {
			continue
		}
		p.giveUp(f)
		for _, s := range p.at {
			if s.now.computer != nil && sameKeys(s.now.computer, f.computer) {
				s.now = seen{silent: s.now.silent, problem: s.now.problem}
			}
		}
	}
}

// noteChange says that the store may have to be told something.
func (p *peers) noteChange() {
	select {
	case p.news <- struct{}{}:
	default: // it will be told
	}
}

// keep stores what changes about those that stay known, until the manager is closed.
func (p *peers) keep() {
	for {
		select {
		case <-p.news:
		case <-p.ctx.Done():
			return
		}
		p.store(p.ctx)
		timer := time.NewTimer(keepEvery)
		select {
		case <-timer.C:
		case <-p.ctx.Done():
			timer.Stop()
			return
		}
	}
}

// store brings the store to what is known now. One that claims an lmsId of another
// is not stored: the next run is to believe whom it knew first.
func (p *peers) store(ctx context.Context) {
	m := p.manager
	if m.refusal() != nil {
		return
	}
	state, _ := m.local.Read()
	p.mu.Lock()
	dropped := p.dropped
	type record struct {
		*familiar
		bytes []byte
	}
	put := make(map[string]record)
	owner := make(map[uint64]bool) // of an lmsId in the store
	all := p.familiars()
	for _, f := range all {
		owner[f.computer.Computer.ID] = owner[f.computer.Computer.ID] || f.stored != nil
	}
	for _, f := range all {
		id := f.computer.Computer.ID
		known, inBook := state.Book().Computer(id)
		if f.stored == nil && owner[id] || inBook && !sameKeys(known.Fingerprint(), f.computer) {
			continue
		}
		owner[id] = true
		if b := f.hint(); !bytes.Equal(b, f.stored) && len(b) <= maxHint {
			put[f.key()] = record{f, b}
		}
	}
	p.mu.Unlock()
	if len(put)+len(dropped) == 0 {
		return
	}
	err := m.store.Update(ctx, func(w storage.Writer) error {
		for _, key := range dropped {
			if err := w.Delete(key); err != nil && !errors.Is(err, storage.ErrNotFound) {
				return err
			}
		}
		for key, r := range put {
			if err := w.Put(key, r.bytes); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		if ctx.Err() == nil {
			m.opts.Logger.Warn("what was found on the network is not stored", "error", err)
		}
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.dropped = p.dropped[len(dropped):]
	for key, r := range put {
		if r.stored = r.bytes; p.familiar[string(r.computer.Computer.Sign)] != r.familiar { // given up meanwhile
			p.dropped = append(p.dropped, key)
			p.noteChange()
		}
	}
}
