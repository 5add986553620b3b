//go:build cgo && gousb

package usb

import (
	"context"
	"sync"
	"time"
)

// life is how long a connection lasts, and how long its exchange in flight may take.
// A timer for each exchange would cost more than all else that is done here for it,
// so there is one that looks from time to time.
type life struct {
	limit time.Duration // for an exchange
	done  chan struct{} // closed when the connection has ended

	mu       sync.Mutex
	cause    error              // then: ErrNoKey or ErrClosed
	cancel   context.CancelFunc // of the exchange in flight, nil for none
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
func (l *life) fly(ctx context.Context) (work context.Context, landed func()) {
	work, cancel := context.WithCancel(ctx)
	l.mu.Lock()
	defer l.mu.Unlock()
	l.cancel, l.deadline = cancel, time.Now().Add(l.limit)
	if l.timer == nil && l.cause == nil {
		l.timer = time.AfterFunc(l.limit, l.look)
	}
	return work, func() {
		l.mu.Lock()
		l.cancel = nil
		l.mu.Unlock()
		cancel()
	}
}

// look ends an exchange that is over its time, and looks again when the one in
// flight might be.
func (l *life) look() {
	l.mu.Lock()
	defer l.mu.Unlock()
	left := time.Until(l.deadline)
	switch {
	case l.timer == nil: // the connection has ended
	case l.cancel == nil:
		l.timer = nil
	case left > 0:
		l.timer.Reset(left)
	default:
		l.cancel()
		l.timer = nil
	}
}
