package licensing

import (
	"bytes"
	"context"
	"errors"
	"sync"
	"time"

	"github.com/sojournlm/sojourn/internal/document"
	"github.com/sojournlm/sojourn/internal/peer"
)

// Peers are the settings by which a manager finds other managers, shows their
// keys as its own, and gives and takes seats online. Others are who their keys
// say, wherever they are found; nothing that comes from them is believed but
// what a vendor's or a key's signature bears out. Those that were found stay among
// the known computers, also over restarts, and where they are too many, those that
// were silent longest are given up, and before them those in whose place another answers.
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

	failAside  = 10 * time.Minute // one that gave nothing usable comes after others that are believed alike
	blameAfter = askWithin / 2    // and who was given less time than this is not blamed

	restAfter = 5 * time.Minute  // an address at which no manager ever answered, and that was not announced for so long,
	restFor   = 10 * time.Minute // is left alone

	maxStations = 256      // addresses that are asked
	maxVisits   = 5        // questions at one where nobody has answered in this run
	maxSame     = 4        // addresses of one manager that was found; one that fails makes room for a new one
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

	standing
	familiar map[string]*familiar // all that stay known, by public key
	dropped  []string             // records that the store is to delete
	news     chan struct{}        // the store may have to be told something
}

// start makes the manager known to others and begins to look for them.
func (m *Manager) startPeers(ctx context.Context) {
	if m.opts.Peers == nil || m.self.identity == nil {
		return
	}
	p := &peers{manager: m, opts: *m.opts.Peers, at: make(map[string]*station), standing: newStanding(), news: make(chan struct{}, 1)}
	p.self = peer.Self{
		Sign: m.self.identity.Sign,
		Now:  func() int64 { return m.opts.Clock.Now().Unix() },
		Fingerprint: func() *document.Fingerprint {
			state, _ := m.local.Read()
			return state.Book().Local().Fingerprint()
		},
	}
	p.door = peer.NewDoor(p.self, m.opts.Clock.Elapsed, m.share, m.serve)
	p.ctx, p.cancel = context.WithCancel(context.Background())
	m.peers = p
	p.restore(ctx)
	for _, address := range p.opts.Addresses {
		if p.at[address] == nil && len(p.at) < maxStations {
			s := newStation(address, 0)
			s.fixed, s.heard = true, true
			p.at[address] = s
		}
	}
	p.revisit()
	for _, s := range p.at {
		p.spawn(func() { p.watch(s) })
	}
	p.spawn(p.keep)
	if browse := p.opts.Browse; browse != nil {
		p.spawn(func() {
			if err := browse(p.ctx, p.found); err != nil && p.ctx.Err() == nil {
				m.opts.Logger.Warn("the network is not searched for other managers", "error", err)
			}
		})
	}
}

// close ends all that goes on with others, and what an operation waits for of them,
// and stores what is known.
func (p *peers) close(ctx context.Context) {
	if p == nil {
		return
	}
	p.mu.Lock()
	p.closed = true
	p.mu.Unlock()
	p.cancel()
	p.group.Wait()
	p.store(ctx)
}

// enter gives a context for an exchange that ends with ctx, after within, or when the
// peers are closed, which waits until leave is called.
func (p *peers) enter(ctx context.Context, within time.Duration) (inner context.Context, leave func(), err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return nil, nil, errors.New("the manager is being closed")
	}
	p.group.Add(1)
	inner, cancel := context.WithTimeout(ctx, within)
	stop := context.AfterFunc(p.ctx, cancel)
	return inner, func() {
		stop()
		cancel()
		p.group.Done()
	}, nil
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
func (p *peers) found(address string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if s := p.at[address]; s != nil || p.closed {
		if s != nil {
			alone := s.now.rests && time.Since(s.announced) >= restAfter
			s.heard, s.announced = true, time.Now()
			if alone {
				select {
				case s.wake <- struct{}{}:
				default: // it is being woken
				}
			}
		}
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
	s := newStation(address, p.manager.opts.Clock.Elapsed())
	s.heard, s.announced = true, time.Now()
	p.at[address] = s
	p.group.Go(func() { p.watch(s) })
}

// reportConflict tells the operator of a manager that claims an lmsId which is
// known by other keys. p.mu is held.
func (p *peers) reportConflict(f *document.Fingerprint) {
	state, _ := p.manager.local.Read()
	known, ok := state.Book().Computer(f.Computer.ID)
	clash := ok && !sameKeys(known.Fingerprint(), f)
	for _, other := range p.familiar {
		clash = clash || other.computer.Computer.ID == f.Computer.ID && !sameKeys(other.computer, f)
	}
	if clash {
		p.manager.opts.Logger.Warn("two managers claim one lmsId with different keys", "lmsId", f.Computer.ID, "host", f.Computer.HostName)
	}
}

func sameKeys(a, b *document.Fingerprint) bool {
	return a.Computer.ID == b.Computer.ID && bytes.Equal(a.Computer.Sign, b.Computer.Sign) && bytes.Equal(a.Computer.Seal, b.Computer.Seal)
}
