//go:build cgo && gousb

package usb

import (
	"context"
	"sync"
	"time"
)

// life is how long a connection lasts, and how long its exchange in flight may take.
// A timer and a context for each exchange would cost more than all else that is done here
// for it. So there is one timer, which looks from time to time, and one context for all
// exchanges in a row whose callers' contexts end together, as those of a command do.
type life struct {
	limit time.Duration // for an exchange
	done  chan struct{} // closed when the connection has ended

	mu       sync.Mutex
	cause    error // then: ErrNoKey or ErrClosed
	work     context.Context
	cancel   context.CancelFunc // of work
	under    <-chan struct{}    // what work ends with: Done of the callers' contexts
	flying   bool               // an exchange is in flight
	deadline time.Time          // of that
	timer    *time.Timer        // nil while nobody looks
}

func (l *life) begin(limit time.Duration) { l.limit, l.done = limit, make(chan struct{}) }

// why is nil, or why the connection has ended.
func (l *life) why() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.cause
}

// end ends the connection, and the exchange in flight.
func (l *life) end(cause error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.cause != nil {
		return
	}
	l.cause = cause
	close(l.done)
	if l.cancel != nil {
		l.cancel()
	}
	if l.timer != nil {
		l.timer.Stop()
		l.timer = nil
	}
}

// fly gives an exchange a context that ends with the caller's, with the connection
// and after the limit. landed is to be called when the exchange is over.
func (l *life) fly(ctx context.Context) (work context.Context) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.work == nil || l.under != ctx.Done() || l.work.Err() != nil {
		if l.cancel != nil {
			l.cancel()
		}
		l.work, l.cancel = context.WithCancel(ctx)
		l.under = ctx.Done()
	}
	if l.cause != nil {
		l.cancel()
		return l.work
	}
	l.flying, l.deadline = true, time.Now().Add(l.limit)
	if l.timer == nil {
		l.timer = time.AfterFunc(l.limit, l.look)
	}
	return l.work
}

func (l *life) landed() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.flying = false
}

// look ends an exchange that is over its time, and looks again when the one in
// flight might be.
func (l *life) look() {
	l.mu.Lock()
	defer l.mu.Unlock()
	left := time.Until(l.deadline)
	switch {
	case l.timer == nil: // the connection has ended
	case !l.flying:
		l.cancel() // nobody's context is kept for long
		l.timer = nil
	case left > 0:
		l.timer.Reset(left)
	default:
		l.cancel()
		l.timer = nil
	}
}
