package licensing

import (
	"bytes"
	"cmp"
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/sojournlm/sojourn/internal/document"
	"github.com/sojournlm/sojourn/internal/ledger"
	"github.com/sojournlm/sojourn/internal/peer"
)

// station is an address at which a manager may be.
type station struct {
	address   string
	fixed     bool          // given in the settings, asked always
	heard     bool          // in this run; guarded by peers.mu
	announced time.Time     // when last; guarded by peers.mu
	asking    lock          // one poll at a time
	wake      chan struct{} // it was announced again

	now seen // guarded by peers.mu
	way way  // guarded by peers.mu
}

func newStation(address string, now time.Duration) *station {
	return &station{address: address, wake: make(chan struct{}, 1), way: way{since: now}}
}

// way is how an address has done as a way to the manager there. That it was greeted there
// says little: who passes messages on may do so with greetings, and keep what moves seats.
type way struct {
	leads bool          // what was asked there last was answered
	fails bool          // or was not
	since time.Duration // when that failed, or when the address was found, by the steady clock
}

// compare puts those that lead there first, then those that failed, or were found, longest
// ago: each has its turn.
func (a way) compare(b way) int {
	rank := func(yes bool) int {
		if yes {
			return 1
		}
		return 0
	}
	return cmp.Or(rank(b.leads)-rank(a.leads), cmp.Compare(a.since, b.since), rank(a.fails)-rank(b.fails))
}

// seen is what is known of the manager at an address.
type seen struct {
	computer *document.Fingerprint // who answered there last; nil: nobody ever did
	silent   time.Time             // since when; zero while it answers
	late     time.Time             // since when a list has waited in vain for an answer that is still out; zero for none
	before   bool                  // all this was seen in an earlier run
	tried    bool                  // and it was asked in this one, in vain
	rests    bool                  // no manager ever answered there, and none is counted on
	own      bool                  // this very manager answers there
	problem  error                 // why it is silent, or does not tell its keys
	ahead    int64                 // its clock, seconds
	keys     []remoteKey           // ordered by id
	had      []uint64              // the ids of its keys, where it was seen before
	told     int                   // what they came in, bytes
	polled   time.Duration         // by the steady clock; when it answered last, 0 where its news are out of date
	took     time.Duration         // to answer then
}

// sight is a station as it was seen at one moment.
type sight struct {
	*station
	seen
}

// has reports whether the manager there has told of a key.
func (s seen) has(key uint64) bool {
	return slices.Contains(s.had, key) || slices.ContainsFunc(s.keys, func(k remoteKey) bool { return k.ID == key })
}

// quiet reports whether nothing is heard from there: it is silent, or a list has waited in
// vain for an answer that comes sooner as a rule.
func (s seen) quiet() bool {
	return !s.silent.IsZero() || !s.late.IsZero() && s.took < listWithin/2
}

// age is how old the sight's news are.
func (s sight) age(clock ledger.Wall) time.Duration { return clock.Elapsed() - s.polled }

// watch asks at an address again and again, until it is given up. What it waits is
// counted from one question to the next.
func (p *peers) watch(s *station) {
	failures := 0
	for {
		begin := time.Now()
		err := p.poll(p.ctx, s, 0)
		if err == nil {
			failures = 0
		} else {
			failures++
		}
		p.mu.Lock()
		s.now.rests = !s.fixed && s.now.computer == nil && failures >= maxVisits
		alone := s.now.rests && time.Since(s.announced) >= restAfter
		if !s.fixed && (errors.Is(err, errOwn) || errors.Is(err, errSame) || failures >= maxVisits && !s.heard) && p.at[s.address] == s {
			delete(p.at, s.address)
		}
		p.mu.Unlock()
		wait := askEvery
		switch {
		case errors.Is(err, errOwn):
			wait = askAtMost
		case alone:
			wait = restFor
		case failures > 0:
			wait = min(askAgain<<min(failures-1, 10), askAtMost)
		}
		timer := time.NewTimer(max(askAgain/4, wait+rand.N(askJitter)-time.Since(begin)))
		select {
		case <-timer.C:
		case <-s.wake:
			timer.Stop()
		case <-p.ctx.Done():
			timer.Stop()
			return
		}
		p.mu.Lock()
		gone := p.at[s.address] != s
		p.mu.Unlock()
		if gone {
			return
		}
	}
}

// errLate says that no answer has come in the time that a list waits.
var errLate = errors.New("it has not answered yet")

// errOwn says that this very manager answers at an address, and errSame that one does
// that answers at enough others.
var (
	errOwn  = errors.New("this manager itself answers there")
	errSame = errors.New("a manager answers there that answers at other addresses too")
)

// poll asks a manager who it is and for its keys, unless somebody else did less
// than fresh ago.
func (p *peers) poll(ctx context.Context, s *station, fresh time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, askWithin)
	defer cancel()
	if err := s.asking.acquire(ctx); err != nil {
		return err
	}
	defer s.asking.release()
	elapsed := p.manager.opts.Clock.Elapsed
	p.mu.Lock()
	young := fresh > 0 && s.now.polled > 0 && s.now.silent.IsZero() && elapsed()-s.now.polled < fresh
	p.mu.Unlock()
	if young {
		return nil
	}
	began := time.Now()
	g, err := p.self.Greet(ctx, p.opts.Exchange, s.address)
	if err == nil && g.Is(p.self.Sign.Public().(ed25519.PublicKey)) {
		p.mu.Lock()
		defer p.mu.Unlock()
		was := s.now.computer
		if s.now = (seen{own: true, polled: max(1, elapsed())}); was != nil {
			p.miss(was, errOwn)
		}
		return errOwn
	}
	var keys []remoteKey
	var told int
	var problem error // with what it tells, though it answers
	if err == nil {
		keys, told, problem = p.inventory(ctx, s.address, g)
		if silence, ok := errors.AsType[*peer.Error](problem); ok && silence.Sent {
			err = problem
		}
	}
	if p.ctx.Err() != nil {
		return p.ctx.Err() // that is no silence
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	was := &s.now
	if was.own = false; err != nil {
		if was.silent.IsZero() {
			was.silent = p.manager.opts.Clock.Now()
			p.manager.opts.Logger.Info("a manager is silent", "address", s.address, "error", err)
		}
		was.problem, was.tried, was.late = err, true, time.Time{}
		if was.computer != nil {
			p.miss(was.computer, err)
		}
		return err
	}
	if problem != nil && (was.problem == nil || was.problem.Error() != problem.Error()) {
		p.manager.opts.Logger.Info("a manager does not tell its keys", "address", s.address, "host", g.Fingerprint.Computer.HostName, "error", problem)
	}
	if was.computer == nil || !sameKeys(was.computer, g.Fingerprint) {
		p.reportConflict(g.Fingerprint)
	}
	same, all := 0, told
	var failed *station // of the same the one that did so longest ago
	for _, o := range p.at {
		if o == s || o.fixed {
			continue
		}
		all += o.now.told
		if o.now.computer != nil && sameKeys(o.now.computer, g.Fingerprint) {
			same++
			if o.way.fails && (failed == nil || o.way.since < failed.way.since) {
				failed = o
			}
		}
	}
	if !s.fixed && same >= maxSame {
		if failed == nil || p.at[s.address] != s { // none, or it had to make room itself
			return errSame
		}
		delete(p.at, failed.address)
	}
	if !s.fixed && all > maxTold {
		keys, told, problem = nil, 0, errors.New("what the managers on the network tell of their keys is too much")
	}
	last := was.computer
	s.now = seen{
		computer: g.Fingerprint, problem: problem, ahead: g.Ahead, keys: keys, told: told,
		polled: max(1, elapsed()), took: time.Since(began),
	}
	s.heard = true
	p.meet(s)
	if last != nil && !sameKeys(last, g.Fingerprint) {
		s.way = way{since: elapsed()}
		p.miss(last, errors.New("another manager answers where it was"))
	}
	p.manager.intents.kick()
	return nil
}

// refresh asks for news and waits for them a short while: all that answered last,
// and those that an earlier run has found and this one has not asked yet, or all anew that
// are silent or do not tell their keys too. Whom a list has waited for in vain no list
// waits for again until that answer has come or was given up.
func (p *peers) refresh(ctx context.Context, all bool) {
	if p == nil {
		return
	}
	began := p.manager.opts.Clock.Now()
	patience := time.NewTimer(listWithin)
	defer patience.Stop()
	asked, done := make(map[*station]sight), make(chan *station, maxStations)
	for _, s := range p.stations() {
		stale := s.before && !s.tried || s.silent.IsZero() && (s.polled == 0 || s.age(p.manager.opts.Clock) >= listFresh)
		fresh := listFresh
		switch {
		case !all || s.problem == nil || s.rests:
		case s.silent.IsZero(): // what keeps it from telling may be over since a moment ago
			stale, fresh = true, 0
		default:
			stale = true
		}
		if stale && (all || s.late.IsZero()) {
			asked[s.station] = s
			p.spawn(func() {
				p.poll(p.ctx, s.station, fresh)
				done <- s.station
			})
		}
	}
	for len(asked) > 0 {
		select {
		case s := <-done:
			delete(asked, s)
		case <-patience.C:
			p.late(asked, began)
			return
		case <-ctx.Done():
			return
		case <-p.ctx.Done():
			return
		}
	}
}

// late notes those that were waited for in vain since began, unless they have answered or
// turned silent just now.
func (p *peers) late(asked map[*station]sight, began time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for s, was := range asked {
		if s.now.silent.IsZero() && s.now.late.IsZero() && s.now.polled == was.polled {
			s.now.late = began
		}
	}
}

// went notes how an address has done with what was asked there since began, which err came
// of. That whoever asked has left before it had time to is not its fault.
func (p *peers) went(ctx context.Context, s *station, began time.Time, err error) {
	refused, answered := errors.AsType[*peer.Refused](err)
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case err == nil, answered && refused.Code != GetResponseFailed:
		s.way.leads, s.way.fails = true, false
	case ctx.Err() == nil || time.Since(began) >= blameAfter:
		s.way = way{fails: true, since: p.manager.opts.Clock.Elapsed()}
	}
}

// changed says that what a manager told last is out of date.
func (p *peers) changed(s *station) {
	p.mu.Lock()
	defer p.mu.Unlock()
	s.now.polled = 0
}

// stations gives what is seen of all addresses, those in the settings first.
func (p *peers) stations() []sight {
	if p == nil {
		return nil
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	var all []sight
	for _, s := range p.at {
		if !s.now.own {
			all = append(all, sight{s, s.now})
		}
	}
	slices.SortFunc(all, func(a, b sight) int {
		switch {
		case a.fixed != b.fixed && a.fixed:
			return -1
		case a.fixed != b.fixed:
			return 1
		}
		return cmp.Compare(a.address, b.address)
	})
	return all
}

// managers gives one sight for each manager that is known, by lmsId, then public
// key: the same one may be found at several addresses, and of those one that
// answers counts. Those that are at none any more are silent.
func (p *peers) managers() []sight {
	if p == nil {
		return nil
	}
	var all []sight
	for _, s := range p.stations() {
		if s.computer == nil {
			continue
		}
		at := slices.IndexFunc(all, func(o sight) bool { return sameKeys(o.computer, s.computer) })
		switch {
		case at < 0:
			all = append(all, s)
		case !all[at].silent.IsZero() && (s.silent.IsZero() || s.silent.After(all[at].silent)):
			all[at] = s
		}
	}
	p.mu.Lock()
	for _, f := range p.familiar {
		if !f.silent.IsZero() && !slices.ContainsFunc(all, func(o sight) bool { return sameKeys(o.computer, f.computer) }) {
			all = append(all, sight{&station{}, seen{computer: f.computer, silent: f.silent, problem: f.problem, had: f.keys, before: true}})
		}
	}
	p.mu.Unlock()
	slices.SortStableFunc(all, func(a, b sight) int {
		x, y := a.computer.Computer, b.computer.Computer
		return cmp.Or(cmp.Compare(x.ID, y.ID), slices.Compare(x.Sign, y.Sign))
	})
	return all
}

// of gives the sights of the manager with a public key, in the order in which it is to be
// asked there: those that answer first, then by how they have done as ways to it.
func (p *peers) of(public []byte) []sight {
	if p == nil {
		return nil
	}
	var all []sight
	for _, s := range p.stations() {
		if s.computer != nil && bytes.Equal(s.computer.Computer.Sign, public) {
			all = append(all, s)
		}
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	slices.SortStableFunc(all, func(a, b sight) int {
		return cmp.Or(a.silent.Compare(b.silent), a.way.compare(b.way))
	})
	return all
}

// name is a manager for people.
func (s sight) name() string {
	if s.computer == nil {
		return s.address
	}
	return fmt.Sprintf("%s (lmsId %d)", s.computer.Computer.HostName, s.computer.Computer.ID)
}
