package licensing

import (
	"context"
	"errors"
	"sync"

	"github.com/sojournlm/sojourn/detach"
	"github.com/sojournlm/sojourn/internal/document"
	"github.com/sojournlm/sojourn/internal/ledger"
)

// claims makes one request key mean one request in all ledgers: who asks under
// a key has it to himself until he is answered.
type claims struct {
	mu   sync.Mutex
	held map[document.Hash]chan struct{} // closed when the key is free again
}

// claim takes a request's key for one change and refuses it where any ledger
// knows it for another request, or may come to know it: a batch has it that is
// stored and in doubt. The caller calls release when he is answered.
func (m *Manager) claim(ctx context.Context, request document.RequestKey) (release func(), err error) {
	if request.Key == (document.Hash{}) {
		return func() {}, nil
	}
	if release, err = m.claims.take(ctx, request.Key); err != nil {
		return nil, err
	}
	err = unused(m.local, func(s *detach.Local, now int64) error {
		_, err := s.Asked(request, now)
		return err
	})
	for _, s := range m.rack.all() {
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
	release, taken := c.seize(key)
	return release, taken == nil
}

// seize takes a key, or gives what is closed when it is free again.
func (c *claims) seize(key document.Hash) (release func(), taken <-chan struct{}) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if taken, waiting := c.held[key]; waiting {
		return nil, taken
	}
	if c.held == nil {
		c.held = make(map[document.Hash]chan struct{})
	}
	free := make(chan struct{})
	c.held[key] = free
	return func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		delete(c.held, key)
		close(free)
	}, nil
}

func (c *claims) take(ctx context.Context, key document.Hash) (release func(), err error) {
	for {
		release, taken := c.seize(key)
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
