package licensing

import (
	"context"
	"errors"
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

// claim takes a request's key for one change and refuses it where any ledger
// knows it for another request, or may come to know it: a batch has it that is
// stored and in doubt. The caller calls release when he is answered.
func (m *Manager) claim(ctx context.Context, request document.RequestKey) (release func(), err error) {
	if request.Key == (document.Hash{}) {
		return func() {}, nil
	}
	release, err = m.claims.take(ctx, request.Key, m.unseen)
	if err != nil {
		// Somebody asks under this key. It may be the very request.
		return nil, errors.Join(ErrUnknown, err)
	}
	err = unused(m.local, func(s *detach.Local, now int64) error {
		_, err := s.Asked(request, now)
		return err
	})
	for _, s := range m.rack.all() {
		if err == nil {
			err = s.carries(request)
		}
		if pool := s.shown(); pool != nil && err == nil {
			err = unused(pool, func(p *detach.Pool, _ int64) error {
				_, err := p.Asked(request)
				return err
			})
		}
	}
	if err != nil {
		release()
		return nil, err
	}
	return release, nil
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

// unused asks the state that is in doubt, if any, and then the one that is not.
func unused[S ledger.State[S]](l *ledger.Ledger[S], ask func(s S, now int64) error) error {
	doubtful, some := l.Doubtful()
	state, now := l.Read()
	if some {
		if err := ask(doubtful, now.Unix); err != nil {
			return err
		}
	}
	return ask(state, now.Unix)
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

// doubting makes an error say that the request may have happened after all: it
// was asked for under a request key, and a ledger that may have taken it before
// has not been able to tell yet. What the rules refuse is certain: they decide
// when all that was in doubt is settled.
func doubting(err error, request document.RequestKey, its interface{ InDoubt() bool }) error {
	if err == nil || request.Key == (document.Hash{}) || errors.Is(err, ErrUnknown) {
		return err
	}
	refusal, ruled := errors.AsType[*detach.Refusal](err)
	if ruled && refusal.Code != NoService && refusal.Code != StorageCorrupted || !its.InDoubt() {
		return err
	}
	return errors.Join(ErrUnknown, err)
}
