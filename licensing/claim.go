package licensing

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"

	"github.com/sojournlm/sojourn/detach"
	"github.com/sojournlm/sojourn/internal/document"
	"github.com/sojournlm/sojourn/internal/ledger"
)

// claims makes one request key mean one request in all ledgers: who asks under
// a key has it to himself until he is answered, or until it can be seen what became
// of what he no longer waits for.
type claims struct {
	mu   sync.Mutex
	held map[document.Hash][]<-chan struct{} // the key is free again when all are closed
	left []document.Hash                     // those whose callers have left
}

// claim takes a request's key for one change and refuses it where the ledgers
// know it for another request, or may come to know it: a batch has it that is
// stored and in doubt. served says that it is another manager's. The caller calls
// release when he is answered, and says whether he may have left something that nobody
// waits for any more. Only that keeps the key: what hangs elsewhere does not.
func (m *Manager) claim(ctx context.Context, request document.RequestKey, served bool) (release func(left bool), err error) {
	if request.Key == (document.Hash{}) {
		return func(bool) {}, nil
	}
	leaving := false
	free, err := m.claims.take(ctx, request.Key, func() []<-chan struct{} {
		if !leaving {
			return nil
		}
		return m.unseen()
	})
	if err != nil {
		// Somebody asks under this key. It may be the very request.
		return nil, errors.Join(ErrUnknown, err)
	}
	err = m.told(request).refusal(served)
	if err != nil {
		free()
		return nil, err
	}
	return func(left bool) { leaving = left; free() }, nil
}

// unseen gives what the ledgers close when it can be seen what became of the commands
// they have of callers who have left.
func (m *Manager) unseen() (until []<-chan struct{}) {
	if c := m.local.Unseen(); c != nil {
		until = append(until, c)
	}
	for _, s := range m.rack.all() {
		if pool, _ := s.served(); pool != nil {
			if c := pool.Unseen(); c != nil {
				until = append(until, c)
			}
		}
	}
	return until
}

// told is what all ledgers together tell of a request.
type told struct {
	known  bool  // one has it
	maybe  bool  // one may turn out to have it
	other  error // one has its key for another request, or may turn out to
	hidden error // why one may have more than it shows
}

func (m *Manager) told(request document.RequestKey) (all told) {
	add(&all, m.local, func(s *detach.Local, now int64) (bool, error) { return s.Asked(request, now) })
	for _, s := range m.rack.all() {
		pool := s.askable()
		if pool != nil {
			add(&all, pool, func(p *detach.Pool, _ int64) (bool, error) { return p.Asked(request) })
		}
		all.hidden = cmp.Or(all.hidden, s.hides())
		very, other := s.carries(request)
		all.maybe, all.other = all.maybe || very, cmp.Or(all.other, other)
	}
	return all
}

// add asks the state of a ledger that is in doubt, if any, and then the one that is not.
func add[S ledger.State[S]](all *told, l *ledger.Ledger[S], asked func(s S, now int64) (bool, error)) {
	doubtful, some := l.Doubtful()
	state, now := l.Read()
	known, other := asked(state, now.Unix)
	all.known, all.other = all.known || known, cmp.Or(all.other, other)
	if some {
		maybe, other := asked(doubtful, now.Unix)
		all.maybe, all.other = all.maybe || maybe, cmp.Or(all.other, other)
	}
}

// refusal says why the request's key is not good for it, or nil. A ledger that has the
// very request outweighs one that has another: the key had lapsed there before, and is
// known again because the clock was put back. While a ledger may have more than it shows,
// a key that none shows is good for nothing: it may be known there. That does not hold
// for another manager's requests, which minds its own request keys.
func (all told) refusal(served bool) error {
	switch {
	case all.known:
		return nil
	case all.other != nil && all.maybe:
		return &doubted{all.other}
	case all.other != nil:
		return all.other
	case all.hidden != nil && !all.maybe && !served:
		return &doubted{all.hidden}
	}
	return nil
}

// hides is nil, or why the pool's ledger may have request keys that it does not show.
func (s *slot) hides() error {
	s.mu.Lock()
	pool, unread, garbled, err := cmp.Or(s.pool, s.stored), s.unread, s.garbled, s.err
	s.mu.Unlock()
	var why error
	switch {
	case pool != nil:
		why = pool.Hides()
		if errors.Is(why, ErrUnknown) || // then the store takes no other request either
			errors.Is(why, ErrRolledBack) && pool.Position().Seq == 0 { // or the key was used elsewhere before it came
			why = nil
		}
	case unread && ofStore(err):
		why = err
	case unread:
		why = fmt.Errorf("%w: what is stored of its pool cannot be read", ErrDamaged)
	}
	switch {
	case why != nil:
		return s.hiding(why, adviceOf(why))
	case garbled != nil:
		return s.hiding(fmt.Errorf("what is stored of a pool license on its way cannot be read: %w", garbled),
			"Plug that key in: when its pool can be used again, it shows what became of that license.")
	}
	return nil
}

// hiding is a reason why request keys are not to be had, and what can be done meanwhile.
func (s *slot) hiding(why error, mend string) error {
	return &advised{fmt.Errorf("what was asked of key %d is not all known: %w", s.info.ID, why), fmt.Sprintf(
		"Look at the lists whether this has happened, and if not, ask without a request key. None that was not used before is taken until key %d is in order. %s",
		s.info.ID, mend)}
}

// try takes a key that is free.
func (c *claims) try(key document.Hash) (release func(), free bool) {
	release, taken := c.seize(key, nil)
	return release, taken == nil
}

// seize takes a key, or gives what is closed when it may be free again. What after
// gives, when the key is released, keeps it until that is closed.
func (c *claims) seize(key document.Hash, after func() []<-chan struct{}) (release func(), taken <-chan struct{}) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if taken := firstOpen(c.held[key]); taken != nil {
		return nil, taken
	}
	if c.held == nil {
		c.held = make(map[document.Hash][]<-chan struct{})
	}
	free := make(chan struct{})
	c.held[key] = []<-chan struct{}{free}
	return func() {
		var until []<-chan struct{}
		if after != nil {
			until = after()
		}
		c.mu.Lock()
		defer c.mu.Unlock()
		close(free)
		c.held[key] = until
		c.left = slices.DeleteFunc(append(c.left, key), func(key document.Hash) bool {
			over := firstOpen(c.held[key]) == nil
			if over {
				delete(c.held, key)
			}
			return over
		})
	}, nil
}

// firstOpen gives the first channel that is not closed, nil where all are.
func firstOpen(all []<-chan struct{}) <-chan struct{} {
	for _, c := range all {
		select {
		case <-c:
		default:
			return c
		}
	}
	return nil
}

func (c *claims) take(ctx context.Context, key document.Hash, after func() []<-chan struct{}) (release func(), err error) {
	for {
		release, taken := c.seize(key, after)
		if taken == nil {
			return release, nil
		}
		select {
		case <-taken:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// doubting makes an error say that the request may have happened after all: a ledger
// knows the request, and only its answer could not be had, or may come to know it. What
// the rules refuse is certain: they decide when all that was in doubt is settled.
func doubting(err error, request document.RequestKey, its interface {
	mayHold(document.RequestKey) bool
}) error {
	if err == nil || errors.Is(err, ErrUnknown) || ruled(err) || !its.mayHold(request) {
		return err
	}
	return &doubted{err}
}

// doubted is why nothing can be done or told now about a request that may have happened.
type doubted struct{ reason error }

func (d *doubted) Error() string   { return d.reason.Error() }
func (d *doubted) Unwrap() []error { return []error{ErrUnknown, d.reason} }

// ruled reports whether an error is the rules' word about a request, and not about what
// kept it from them.
func ruled(err error) bool {
	refusal, ok := errors.AsType[*detach.Refusal](err)
	if !ok {
		return false
	}
	switch refusal.Code {
	case NoService, StorageCorrupted, DongleNotFound, ServerNotFound:
		return false
	}
	return true
}

// mayHold says whether the manager's own ledger knows a request or may come to, or may
// have known it before the store was put back.
func (m *Manager) mayHold(request document.RequestKey) bool {
	if request.Key == (document.Hash{}) {
		return false
	}
	return m.distrust.Load() != nil || m.local.MayHold(func(s *detach.Local, now ledger.Moment) bool {
		asked, _ := s.Asked(request, now.Unix)
		return asked
	})
}

// mayHold says whether the ledger in a slot knows a request or may come to, or the key
// may have the pool license that it brought.
func (s *slot) mayHold(request document.RequestKey) bool {
	if request.Key == (document.Hash{}) {
		return false
	}
	s.mu.Lock()
	pool, unread, garbled, a := cmp.Or(s.pool, s.stored), s.unread, s.garbled, s.announced
	s.mu.Unlock()
	if garbled != nil {
		return true
	}
	brought := a != nil && a.request == request
	if pool == nil {
		return unread || brought
	}
	return pool.MayHold(func(p *detach.Pool, _ ledger.Moment) bool {
		asked, _ := p.Asked(request)
		return asked || brought && a.beyond(p)
	})
}

// ledgers are all that a manager has.
type ledgers struct{ m *Manager }

// mayHold says whether any ledger knows a request or may come to.
func (l ledgers) mayHold(request document.RequestKey) bool {
	return l.m.mayHold(request) || slices.ContainsFunc(l.m.rack.all(), func(s *slot) bool { return s.mayHold(request) })
}

// enter commits a change of the manager's own ledger under a request, unless that has
// made it before.
func (m *Manager) enter(ctx context.Context, request document.RequestKey, decide func(s *detach.Local, now int64) ([][]byte, error)) error {
	state, now := m.local.Read()
	if before, err := state.Asked(request, now.Unix); before || err != nil {
		return err
	}
	_, err := m.local.Do(ctx, func(s *detach.Local, now ledger.Moment) ([][]byte, error) { return decide(s, now.Unix) })
	return doubting(err, request, m)
}
