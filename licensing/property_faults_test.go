package licensing_test

import (
	"context"
	"crypto/ed25519"
	"errors"
	"sync"
	"time"

	"github.com/sojournlm/sojourn/internal/document"
	"github.com/sojournlm/sojourn/licensing"
	"github.com/sojournlm/sojourn/storage"
	"github.com/sojournlm/sojourn/storage/storagetest"
)

// errCut is what a program that has crashed gets from everything it stood on.
var errCut = errors.New("crashed")

// turnable is a computer's clocks.
type turnable struct {
	mu       sync.Mutex
	now, off int64
}

func (c *turnable) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return time.Unix(c.now+c.off, 0)
}

func (c *turnable) Elapsed() time.Duration {
	c.mu.Lock()
	defer c.mu.Unlock()
	return time.Duration(c.now) * time.Second
}

func (c *turnable) pass(d int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now += d
}

func (c *turnable) shift(d int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.off += d
}

// pullable is a store that a program loses when it crashes, and that can be made
// to fail while it is open.
type pullable struct {
	mu     sync.Mutex
	store  storage.Store
	faulty *storagetest.Faulty
	gone   bool
}

func (s *pullable) now() (storage.Store, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.gone {
		return nil, &storage.Error{Op: "use", Err: errCut}
	}
	return s.store, nil
}

func (s *pullable) cut() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.gone = true
}

// failNth makes the n-th call from now on fail.
func (s *pullable) failNth(n int, kind storagetest.Kind) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.faulty = storagetest.FailNth(s.store, n, kind)
	s.store = s.faulty
}

func (s *pullable) View(ctx context.Context, fn func(storage.Reader) error) error {
	store, err := s.now()
	if err != nil {
		return err
	}
	return store.View(ctx, fn)
}

func (s *pullable) Update(ctx context.Context, fn func(storage.Writer) error) error {
	store, err := s.now()
	if err != nil {
		return err
	}
	return store.Update(ctx, fn)
}

func (s *pullable) Close() error { return nil }

// failing is an anchor whose file cannot be reached for some calls, before or
// after it has done what was asked.
type failing struct {
	mu         sync.Mutex
	inner      licensing.Anchor
	from, upTo int // calls that fail
	acts       bool
	gone       bool
}

var errAnchor = errors.New("the anchor's file cannot be reached")

// next says what becomes of the next call.
func (a *failing) next() (acts bool, err error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.gone {
		return false, errCut
	}
	a.from, a.upTo = a.from-1, a.upTo-1
	if a.from < 0 && a.upTo >= 0 {
		return a.acts, errAnchor
	}
	return true, nil
}

func (a *failing) cut() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.gone = true
}

func (a *failing) fail(from, count int, acts bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.from, a.upTo, a.acts = from, from+count, acts
}

func (a *failing) Public() ed25519.PublicKey { return a.inner.Public() }

func (a *failing) Checkpoint(ctx context.Context) (c document.Checkpoint, err error) {
	acts, failed := a.next()
	if acts {
		c, err = a.inner.Checkpoint(ctx)
	}
	return c, errors.Join(failed, err)
}

func (a *failing) Advance(ctx context.Context, prev document.Hash, header []byte) (c document.Checkpoint, err error) {
	acts, failed := a.next()
	if acts {
		c, err = a.inner.Advance(ctx, prev, header)
	}
	return c, errors.Join(failed, err)
}
