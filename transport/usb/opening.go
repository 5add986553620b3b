//go:build cgo && gousb

package usb

import (
	"context"
	"errors"
	"slices"

	"github.com/sojournlm/sojourn/transport"
)

// opening is an attempt to open a key. libusb's calls end when they like, so a goroutine
// of the bus makes them, and goes on to the end of the one it is at when nobody waits
// any more.
type opening struct {
	bus    *Bus
	ctx    context.Context // of who waits
	id     transport.KeyID
	opened chan *conn
	failed chan error
}

// Open implements [transport.Bus]. Errors also wrap [ErrPermission], [ErrDriver],
// [ErrMemory], [ErrLibrary], [ErrForeign] and [ErrNeighbour]. An opening that was given
// up may still be at a call of libusb's; a later one of the same key waits for it.
func (b *Bus) Open(ctx context.Context, id transport.KeyID) (transport.Conn, error) {
	o := &opening{b, ctx, id, make(chan *conn), make(chan error, 1)}
	c, err := o.wait()
	if err != nil {
		return nil, &transport.Error{Op: "open", Key: id, Err: err}
	}
	return c, nil
}

func (o *opening) wait() (*conn, error) {
	if err := o.begin(); err != nil {
		return nil, err
	}
	select {
	case c := <-o.opened:
		return c, nil
	case err := <-o.failed:
		return nil, err
	case <-o.bus.done:
		return nil, transport.ErrClosed
	case <-o.ctx.Done():
		return nil, o.ctx.Err()
	}
}

// stop is nil, or why to open the key no further.
func (o *opening) stop() error {
	if o.bus.closed() {
		return transport.ErrClosed
	}
	return o.ctx.Err()
}

// begin starts the goroutine, when one before it that opens the same key has ended.
func (o *opening) begin() error {
	for {
		before, err := o.tryBegin()
		if before == nil {
			return err
		}
		select {
		case <-before:
		case <-o.bus.done:
			return transport.ErrClosed
		case <-o.ctx.Done():
			return o.ctx.Err()
		}
	}
}

func (o *opening) tryBegin() (before <-chan struct{}, err error) {
	b := o.bus
	b.mu.Lock()
	defer b.mu.Unlock()
	if err := o.stop(); err != nil {
		return nil, err
	}
	if before := b.opening[o.id]; before != nil {
		return before, nil
	}
	over := make(chan struct{})
	b.opening[o.id] = over
	b.calls.Go(func() {
		o.run()
		b.mu.Lock()
		delete(b.opening, o.id)
		b.mu.Unlock()
		close(over)
	})
	return nil, nil
}

func (o *opening) run() {
	c, err := o.open()
	if err != nil {
		o.failed <- err
		return
	}
	select {
	case o.opened <- c:
		return
	case <-o.bus.done:
	case <-o.ctx.Done():
	}
	c.Close() // nobody is left to tell
}

func (o *opening) open() (*conn, error) {
	b := o.bus
	found, err := b.look(o.ctx)
	if err != nil {
		return nil, err
	}
	at := slices.IndexFunc(found, func(n named) bool { return n.id == o.id })
	if at < 0 {
		return nil, transport.ErrNoKey
	}
	if err := b.hazard(); err != nil {
		return nil, err
	}
	claim, err := open(b.opts, found[at].plugged, o.stop)
	if errors.Is(err, errAnother) {
		b.lookAfresh(found[at].plugged)
	}
	if err != nil {
		return nil, err
	}
	c := newConn(b, found[at], claim)
	if err := b.remember(c); err != nil {
		return nil, errors.Join(err, claim.close())
	}
	return c, nil
}
