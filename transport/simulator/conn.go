package simulator

import (
	"bytes"
	"context"
	"errors"
	"sync"
	"time"

	"github.com/sojournlm/sojourn/internal/wire"
	"github.com/sojournlm/sojourn/transport"
)

// conn is a connection to a key.
type conn struct {
	key  *Key
	turn chan struct{} // holds one token while no exchange is under way

	once sync.Once
	done chan struct{} // closed when the connection has ended
	why  error         // then: ErrNoKey or ErrClosed
}

func (k *Key) open() (transport.Conn, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	switch {
	case k.program == nil:
		return nil, &transport.Error{Op: "open", Key: k.bus, Err: transport.ErrNoKey}
	case k.conn != nil:
		return nil, &transport.Error{Op: "open", Key: k.bus, Err: transport.ErrBusy}
	}
	c := &conn{key: k, turn: make(chan struct{}, 1), done: make(chan struct{})}
	c.turn <- struct{}{}
	k.conn = c
	return c, nil
}

func (c *conn) end(why error) {
	c.once.Do(func() {
		c.why = why
		close(c.done)
	})
}

// Ended implements [transport.Ender].
func (c *conn) Ended() bool {
	select {
	case <-c.done:
		return true
	default:
		return false
	}
}

// Close implements [transport.Conn].
func (c *conn) Close() error {
	c.key.mu.Lock()
	defer c.key.mu.Unlock()
	if c.key.conn == c {
		c.key.conn = nil
	}
	c.end(transport.ErrClosed)
	return nil
}

// The simulated wire takes what the protocol's frames can be.
var _ = [1]struct{}{}[transport.MaxFrame-wire.MaxFrame]

var errLost = errors.New("request was lost")

// Exchange implements [transport.Conn].
func (c *conn) Exchange(ctx context.Context, request []byte) ([]byte, error) {
	select {
	case <-c.turn:
		defer func() { c.turn <- struct{}{} }()
	case <-c.done:
		return nil, c.fail(c.why, false)
	case <-ctx.Done():
		return nil, c.fail(ctx.Err(), false)
	}
	if err := ctx.Err(); err != nil {
		return nil, c.fail(err, false)
	}
	if len(request) > transport.MaxFrame {
		return nil, c.fail(transport.ErrTooLong, false)
	}
	response, wait, err := c.key.exchange(c, request)
	if err != nil && !sent(err) {
		return nil, err
	}
	if err := c.wait(ctx, wait); err != nil {
		return nil, c.fail(err, true)
	}
	return response, err
}

// wait lets the key take its time. The key has acted already, as far as anybody
// can tell: until it has responded nobody else can ask it.
func (c *conn) wait(ctx context.Context, d time.Duration) error {
	if d <= 0 {
		return nil
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-c.done:
		return c.why
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (c *conn) fail(err error, sent bool) error {
	return &transport.Error{Op: "exchange", Key: c.key.bus, Sent: sent, Err: err}
}

func sent(err error) bool {
	var t *transport.Error
	return errors.As(err, &t) && t.Sent
}

// exchange brings a request to the key, with whatever goes wrong on the way. It
// gives the response and how long the key takes for it.
func (k *Key) exchange(c *conn, request []byte) (response []byte, wait time.Duration, err error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.conn != c {
		return nil, 0, c.fail(c.why, false)
	}
	k.count(request)
	fault := k.nextFault()
	switch fault.fault {
	case LoseRequest:
		return nil, 0, c.fail(errLost, false)
	case PullFirst:
		k.stop()
		return nil, 0, c.fail(transport.ErrNoKey, false)
	case SwallowRequest:
		return nil, k.busy(request), c.fail(transport.ErrGarbled, true)
	case GarbleRequest:
		request = garble(request)
	case CutPower:
		k.flash.CutAt(0, fault.tear)
	}
	wait = k.busy(request)
	response, powered := k.handle(request)
	if !powered {
		return nil, 0, c.fail(transport.ErrNoKey, true)
	}
	before := k.last
	k.last = response
	switch fault.fault {
	case LoseReply:
		return nil, wait, c.fail(transport.ErrGarbled, true)
	case GarbleReply:
		response = garble(response)
	case CutReply:
		response = response[:len(response)/2]
	case StaleReply:
		if response = before; response == nil {
			return nil, wait, c.fail(transport.ErrGarbled, true)
		}
	case Unplug:
		k.stop()
		return nil, 0, c.fail(transport.ErrNoKey, true)
	case Replug, CutPower:
		k.restart()
		return nil, 0, c.fail(transport.ErrNoKey, true)
	}
	return bytes.Clone(response), wait, nil
}

func (k *Key) count(request []byte) {
	name := "damaged"
	if f, err := wire.Parse(request); err == nil {
		name = f.Op.String()
	}
	k.counts[name]++
}
