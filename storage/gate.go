package storage

import (
	"context"
	"fmt"
	"sync"
)

// A Gate is the life of a [Store], for its implementation: who may come in, one
// writer at a time, nobody after ErrUnknown or Close. It is safe for concurrent
// use.
//
// A View is what stands between Enter and Leave; an Update calls Lock and
// Unlock as well. What Gate refuses is a bare reason; the store puts it into an
// [*Error].
type Gate struct {
	writer chan struct{} // holds a token while an Update has the lock

	mu      sync.Mutex
	running int           // functions between Enter and Leave
	broken  error         // why nothing works any more; wraps ErrUnknown
	closed  bool          // Shut was called
	idle    chan struct{} // closed when closed is set and running is 0
}

// NewGate is a Gate that is open.
func NewGate() *Gate {
	return &Gate{writer: make(chan struct{}, 1), idle: make(chan struct{})}
}

// Enter lets a function in or says why not: ctx has ended, the store is closed
// or broken. Each Enter that returned nil is followed by one Leave.
func (g *Gate) Enter(ctx context.Context) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	switch {
	case g.closed:
		return ErrClosed
	case g.broken != nil:
		return g.broken
	case ctx.Err() != nil:
		return ctx.Err()
	}
	g.running++
	return nil
}

// Leave lets a function out.
func (g *Gate) Leave() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.running--
	if g.closed && g.running == 0 {
		close(g.idle)
	}
}

// Lock waits until no other function that has entered holds the lock, or says
// why it did not: ctx has ended, or the store broke meanwhile. Each Lock that
// returned nil is followed by one Unlock.
func (g *Gate) Lock(ctx context.Context) error {
	select {
	case g.writer <- struct{}{}:
	case <-ctx.Done():
		return ctx.Err()
	}
	if err := g.Check(ctx); err != nil {
		g.Unlock()
		return err
	}
	return nil
}

// Unlock lets the next writer go on.
func (g *Gate) Unlock() { <-g.writer }

// Break closes the gate for an outcome that is not known, and is the error that
// is given from now on: it wraps ErrUnknown and cause. The first cause stays.
func (g *Gate) Break(cause error) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.broken == nil {
		g.broken = fmt.Errorf("%w: %w", ErrUnknown, cause)
	}
	return g.broken
}

// Check says whether a function that has entered may go on: nil, or that ctx
// has ended, or that the store broke. A Shut does not disturb it.
func (g *Gate) Check(ctx context.Context) error {
	g.mu.Lock()
	broken := g.broken
	g.mu.Unlock()
	if broken != nil {
		return broken
	}
	return ctx.Err()
}

// Shut closes the gate for good and waits until all functions have left.
func (g *Gate) Shut() {
	g.mu.Lock()
	if !g.closed {
		g.closed = true
		if g.running == 0 {
			close(g.idle)
		}
	}
	g.mu.Unlock()
	<-g.idle
}
