package licensing

import (
	"context"
	"crypto/ed25519"
	"errors"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/sojournlm/sojourn/internal/document"
	"github.com/sojournlm/sojourn/internal/peer"
)

// Peers are the settings by which a manager finds other managers, shows their
// keys as its own, and gives and takes seats online. Others are who their keys
// say, wherever they are found; nothing that comes from them is believed but
// what a vendor's or a key's signature bears out. Those that were found stay among
// the known computers until the manager is closed.
type Peers struct {
	// Exchange carries one message to the manager at an address and brings its
	// answer; lmhttp.Exchange does over HTTP. It must be set.
	Exchange func(ctx context.Context, address string, message []byte) (answer []byte, err error)

	// Addresses are asked always, such as http://10.0.0.5:3189.
	Addresses []string

	// Browse calls found with the address of each manager it hears of, until ctx
	// ends; discovery.Browse does by DNS-SD. Nil: nobody is looked for.
	Browse func(ctx context.Context, found func(address string)) error

	// AdmitFound lets every computer that was found by itself take seats from the
	// keys here. False: only those added by hand may.
	AdmitFound bool
}

const (
	askEvery  = 4 * time.Second  // a manager that answers is asked again, plus up to askJitter
	askJitter = time.Second      // what is asked of many at once is spread by
	askAgain  = time.Second      // after a failure, doubled with each one more
	askAtMost = 8 * time.Second  // and at most, plus up to askJitter
	askWithin = 2 * time.Second  // an exchange while polling is given up
	actWithin = 15 * time.Second // an exchange that moves a seat is given up, before those give up who wait for it

	listWithin = time.Second // a list waits for others no longer
	listFresh  = time.Second // and not at all for what is younger

	maxStations = 256      // addresses that are asked
	maxSame     = 4        // addresses of one manager that was found
	maxTold     = 16 << 20 // bytes of keys that all managers that were found tell together
)

// peers is the other managers as this one sees them.
type peers struct {
	manager *Manager
	opts    Peers
	self    peer.Self
	door    *peer.Door
	ctx     context.Context
	cancel  context.CancelFunc

	group  sync.WaitGroup
	mu     sync.Mutex
	closed bool // nothing more is spawned
	at     map[string]*station
}

// station is an address at which a manager may be.
type station struct {
	address string
	fixed   bool // given in the settings, asked always
	asking  lock // one poll at a time

	now seen // guarded by peers.mu
}

// start makes the manager known to others and begins to look for them.
func (m *Manager) startPeers() {
	if m.opts.Peers == nil || m.self.identity == nil {
		return
	}
	p := &peers{manager: m, opts: *m.opts.Peers, at: make(map[string]*station)}
	p.self = peer.Self{
		Sign: m.self.identity.Sign,
		Now:  func() int64 { return m.opts.Clock.Now().Unix() },
		Fingerprint: func() *document.Fingerprint {
			state, _ := m.local.Read()
			return state.Book().Local().Fingerprint
		},
	}
	p.door = peer.NewDoor(p.self, m.opts.Clock.Elapsed, m.serve)
	p.ctx, p.cancel = context.WithCancel(context.Background())
	m.peers = p
	for _, address := range p.opts.Addresses {
		p.found(address, true)
	}
	if browse := p.opts.Browse; browse != nil {
		p.spawn(func() {
			if err := browse(p.ctx, func(address string) { p.found(address, false) }); err != nil && p.ctx.Err() == nil {
				m.opts.Logger.Warn("the network is not searched for other managers", "error", err)
			}
		})
	}
}

// close ends all that goes on with others.
func (p *peers) close() {
	if p == nil {
		return
	}
	p.mu.Lock()
	p.closed = true
	p.mu.Unlock()
	p.cancel()
	p.group.Wait()
}

// spawn runs f in a goroutine that close waits for.
func (p *peers) spawn(f func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.closed {
		p.group.Go(f)
	}
}

// found begins to ask at an address, unless it is asked already. Where too many
// are, the one that was found by itself and has been silent longest is given up.
func (p *peers) found(address string, fixed bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if s := p.at[address]; s != nil || p.closed {
		return
	}
	if len(p.at) >= maxStations {
		var oldest *station
		for _, s := range p.at {
			if !s.fixed && !s.now.silent.IsZero() && (oldest == nil || s.now.silent.Before(oldest.now.silent)) {
				oldest = s
			}
		}
		if oldest == nil {
			p.manager.opts.Logger.Warn("too many managers on the network; one more is not asked", "address", address)
			return
		}
		delete(p.at, oldest.address)
	}
	s := &station{address: address, fixed: fixed}
	p.at[address] = s
	p.group.Go(func() { p.watch(s) })
}

// watch asks at an address again and again, until it is given up.
func (p *peers) watch(s *station) {
	failures := 0
	for {
		switch err := p.poll(p.ctx, s, 0); {
		case errors.Is(err, errOwn), errors.Is(err, errSame):
			p.mu.Lock()
			if p.at[s.address] == s {
				delete(p.at, s.address)
			}
			p.mu.Unlock()
			return
		case err != nil:
			failures++
		default:
			failures = 0
		}
		wait := askEvery
		if failures > 0 {
			wait = min(askAgain<<min(failures-1, 10), askAtMost)
		}
		timer := time.NewTimer(wait + rand.N(askJitter))
		select {
		case <-timer.C:
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
	young := fresh > 0 && s.now.polled > 0 && s.now.problem == nil && elapsed()-s.now.polled < fresh
	p.mu.Unlock()
	if young {
		return nil
	}
	g, err := p.self.Greet(ctx, p.opts.Exchange, s.address)
	if err == nil && g.Is(p.self.Sign.Public().(ed25519.PublicKey)) {
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
	if err != nil {
		if was.silent.IsZero() {
			was.silent = p.manager.opts.Clock.Now()
			p.manager.opts.Logger.Info("a manager is silent", "address", s.address, "error", err)
		}
		was.problem = err
		return err
	}
	if problem != nil && (was.problem == nil || was.problem.Error() != problem.Error()) {
		p.manager.opts.Logger.Info("a manager does not tell its keys", "address", s.address, "host", g.Fingerprint.Computer.HostName, "error", problem)
	}
	if was.computer == nil || !sameKeys(was.computer, g.Fingerprint) {
		p.reportConflict(g.Fingerprint)
	}
	same, all := 0, told
	for _, o := range p.at {
		if o == s || o.fixed {
			continue
		}
		all += o.now.told
		if o.now.computer != nil && sameKeys(o.now.computer, g.Fingerprint) {
			same++
		}
	}
	switch {
	case !s.fixed && same >= maxSame:
		return errSame
	case !s.fixed && all > maxTold:
		keys, told, problem = nil, 0, errors.New("what the managers on the network tell of their keys is too much")
	}
	s.now = seen{computer: g.Fingerprint, problem: problem, ahead: g.Ahead, keys: keys, told: told, polled: max(1, elapsed())}
	p.manager.intents.kick()
	return nil
}

// reportConflict tells the operator of a manager that claims an lmsId which is
// known by other keys. p.mu is held.
func (p *peers) reportConflict(f *document.Fingerprint) {
	state, _ := p.manager.local.Read()
	known, ok := state.Book().Computer(f.Computer.ID)
	clash := ok && !sameKeys(known.Fingerprint, f)
	for _, s := range p.at {
		other := s.now.computer
		clash = clash || other != nil && other.Computer.ID == f.Computer.ID && !sameKeys(other, f)
	}
	if clash {
		p.manager.opts.Logger.Warn("two managers claim one lmsId with different keys", "lmsId", f.Computer.ID, "host", f.Computer.HostName)
	}
}

// refresh asks for news and waits for them a short while: all that answered last,
// or those that are silent too.
func (p *peers) refresh(ctx context.Context, silentToo bool) {
	if p == nil {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, listWithin)
	defer cancel()
	asked, done := 0, make(chan struct{}, maxStations)
	for _, s := range p.stations() {
		stale := s.silent.IsZero() && (s.polled == 0 || s.problem != nil || s.age(p.manager.opts.Clock) >= listFresh)
		if stale || silentToo && !s.silent.IsZero() {
			asked++
			p.spawn(func() {
				p.poll(p.ctx, s.station, listFresh)
				done <- struct{}{}
			})
		}
	}
	for range asked {
		select {
		case <-done:
		case <-ctx.Done():
			return
		case <-p.ctx.Done():
			return
		}
	}
}

// changed says that what a manager told last is out of date.
func (p *peers) changed(s *station) {
	p.mu.Lock()
	defer p.mu.Unlock()
	s.now.polled = 0
}
