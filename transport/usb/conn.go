//go:build cgo && gousb

package usb

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/google/gousb"

	"github.com/sojournlm/sojourn/transport"
)

// conn is a connection to a key.
type conn struct {
	bus   *Bus
	id    transport.KeyID
	at    plugged
	claim *claim
	turn  chan struct{} // holds one token while no exchange is under way

	life life

	// What follows needs the token.
	buffer   []byte
	state    state
	settling chan error // nil while the claim is not being brought to a known state

	closing sync.Once
	err     error // of closing
}

// state is what the next exchange must do first.
type state int

const (
	clean  state = iota
	unsure       // an exchange was not seen to its end
	halted       // an endpoint is halted
)

// maxStale is how many answers to earlier requests are dropped before the one that
// was asked for.
const maxStale = 4

func newConn(b *Bus, key named, claim *claim) *conn {
	c := &conn{bus: b, id: key.id, at: key.plugged, claim: claim, turn: make(chan struct{}, 1)}
	c.turn <- struct{}{}
	c.life.begin(b.opts.Timeout)
	// Larger than any frame behind a packet that was left of an earlier one, and full
	// packets: whatever fits ends with a short one.
	packets := transport.MaxFrame/claim.place.maxPacket + 2
	c.buffer = make([]byte, packets*claim.place.maxPacket)
	return c
}

var (
	errSilent   = fmt.Errorf("%w: the key did not answer in time", transport.ErrGarbled)
	errTooLong  = fmt.Errorf("%w: it is longer than any answer", transport.ErrGarbled)
	errEmpty    = fmt.Errorf("%w: it is empty", transport.ErrGarbled)
	errStale    = fmt.Errorf("%w: only answers to earlier requests came", transport.ErrGarbled)
	errNotWhole = fmt.Errorf("%w: the request was not sent whole", transport.ErrGarbled)
)

// Exchange implements [transport.Conn].
func (c *conn) Exchange(ctx context.Context, request []byte) ([]byte, error) {
	select {
	case <-c.turn:
		defer func() { c.turn <- struct{}{} }()
	case <-c.life.done:
		return nil, c.fail(c.life.why(), false)
	case <-ctx.Done():
		return nil, c.fail(ctx.Err(), false)
	}
	work := c.life.fly(ctx)
	defer c.life.landed()
	switch {
	case c.life.why() != nil:
		return nil, c.fail(c.life.why(), false)
	case ctx.Err() != nil:
		return nil, c.fail(ctx.Err(), false)
	case len(request) > transport.MaxFrame:
		return nil, c.fail(transport.ErrTooLong, false)
	}
	if err := c.settle(work); err != nil {
		return nil, c.fail(c.reason(ctx, err), false)
	}
	c.state = unsure
	sent, err := c.send(work, request)
	if err != nil {
		return nil, c.fail(c.reason(ctx, err), sent)
	}
	answer, err := c.receive(work, request)
	if err != nil {
		return nil, c.fail(c.reason(ctx, err), true)
	}
	c.state = clean
	return bytes.Clone(answer), nil
}

// settle brings the key to a known state after an exchange that went wrong. libusb's
// calls for that end when they like, so they are made by a goroutine of the bus: an
// exchange that may not wait for it leaves it to the next one, or to Close.
func (c *conn) settle(work context.Context) error {
	for c.state != clean {
		mine := c.settling == nil
		if mine {
			settled, was := make(chan error, 1), c.state
			c.bus.calls.Go(func() { settled <- c.claim.settle(was, c.life.why) })
			c.settling = settled
		}
		select {
		case err := <-c.settling:
			c.settling = nil
			if err == nil {
				c.state = clean
			} else if mine {
				return err
			}
		case <-work.Done():
			return gousb.TransferCancelled
		}
	}
	return nil
}

// send sends a request. It reports whether any of it may have gone out.
func (c *conn) send(ctx context.Context, request []byte) (sent bool, err error) {
	n, err := c.claim.out.WriteContext(ctx, request)
	if err == nil && n != len(request) {
		err = errNotWhole
	}
	if err == nil && n > 0 && n%c.claim.place.maxPacket == 0 {
		_, err = c.claim.out.WriteContext(ctx, nil) // nobody else ends it
		return true, err
	}
	return mayHaveGone(err), err
}

// receive gives the answer to the request. Those to earlier ones are dropped, as
// they can only be late. The answer lies in the buffer.
func (c *conn) receive(ctx context.Context, request []byte) ([]byte, error) {
	for range maxStale + 1 {
		n, err := c.claim.in.ReadContext(ctx, c.buffer)
		switch {
		case err != nil:
			return nil, err
		case n == len(c.buffer):
			return nil, errTooLong
		case n == 0:
			return nil, errEmpty
		}
		if answer := c.buffer[:n]; !stale(answer, request) {
			return answer, nil
		}
	}
	return nil, errStale
}

// Where a frame has its opcode, its sequence number and the length of its payload, in
// every version of the protocol.
const (
	opcodeAt   = 3
	sequenceAt = 4
	lengthAt   = 10
	headEnd    = 12
	checksum   = 2    // bytes behind the payload
	noRequest  = 0x80 // the opcode of "that was no request"
)

// stale tells an answer to another request. What is no whole frame is none: it may have
// the one that was asked for in it, behind a packet that was left of an earlier one.
func stale(answer, request []byte) bool {
	if len(answer) < headEnd || len(request) < headEnd || answer[opcodeAt] == noRequest ||
		len(answer) != headEnd+int(binary.BigEndian.Uint16(answer[lengthAt:]))+checksum {
		return false // whoever asked judges it
	}
	return binary.BigEndian.Uint32(answer[sequenceAt:]) != binary.BigEndian.Uint32(request[sequenceAt:])
}

// reason finds the meaning of an exchange's error, and what it is for the connection.
func (c *conn) reason(ctx context.Context, err error) error {
	switch status, _ := errors.AsType[gousb.TransferStatus](err); status {
	case gousb.TransferCancelled:
		switch {
		case c.life.why() != nil:
			return c.life.why()
		case ctx.Err() != nil:
			return ctx.Err()
		}
		return errSilent
	case gousb.TransferStall:
		c.state = halted
	}
	err = meaning(err)
	if errors.Is(err, transport.ErrNoKey) {
		c.life.end(transport.ErrNoKey)
	}
	return err
}

func (c *conn) fail(err error, sent bool) error {
	return &transport.Error{Op: "exchange", Key: c.id, Sent: sent, Err: err}
}

// Ended implements [transport.Ender]. That the key was pulled out is noticed by an
// exchange or when keys are listed.
func (c *conn) Ended() bool { return c.life.why() != nil }

// closeTime is how long Close waits for a call of libusb's to end. Tests have it
// otherwise.
var closeTime = 2 * time.Second

// errClosing is no loss: the key can be opened when the operating system is done.
var errClosing = errors.New("the operating system is still resetting the key, which is given back after that; " +
	"if it stays busy, plug it in again")

// Close implements [transport.Conn]. It waits for a reset that is under way, up to two
// seconds. One that takes longer is left to the bus, whose Close waits for it.
func (c *conn) Close() error {
	c.closing.Do(func() {
		c.life.end(transport.ErrClosed)
		<-c.turn // no transfer is under way now, and none begins
		c.err = c.letGo()
		c.bus.forget(c)
		c.turn <- struct{}{}
	})
	return c.err
}

// letGo closes the claim when nobody is at it any more.
func (c *conn) letGo() error {
	if c.settling == nil {
		return c.claim.close()
	}
	timer := time.NewTimer(closeTime)
	defer timer.Stop()
	select {
	case <-c.settling:
		return c.claim.close()
	case <-timer.C:
	}
	c.bus.calls.Go(func() {
		<-c.settling
		c.claim.close() // nobody is left to tell
	})
	return errClosing
}
