package transporttest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/sojournlm/sojourn/internal/wire"
	"github.com/sojournlm/sojourn/transport"
)

// bench is where a case works.
type bench struct {
	*Rig
	ctx context.Context
	seq uint32
}

func (b *bench) open(i int) (transport.Conn, error) { return b.Bus.Open(b.ctx, b.Keys[i]) }

// with opens the first key for do.
func (b *bench) with(do func(transport.Conn) error) error {
	c, err := b.open(0)
	if err != nil {
		return err
	}
	defer c.Close()
	return do(c)
}

// listed gives the ids that the bus lists.
func (b *bench) listed() ([]transport.KeyID, error) {
	infos, err := b.Bus.Keys(b.ctx)
	if err != nil {
		return nil, fmt.Errorf("Keys: %w", err)
	}
	ids := make([]transport.KeyID, len(infos))
	for i, k := range infos {
		ids[i] = k.ID
	}
	return ids, nil
}

func (b *bench) lists(want ...transport.KeyID) error {
	got, err := b.listed()
	if err == nil && !slices.Equal(got, want) {
		err = fmt.Errorf("Keys lists %q, want %q", got, want)
	}
	return err
}

func (b *bench) request(op wire.Op, payload []byte) wire.Frame {
	b.seq++
	return wire.Frame{Op: op, Seq: b.seq, Payload: payload}
}

func (b *bench) info() []byte { return b.request(wire.OpInfo, nil).Encode() }

// answers makes one exchange that must go well.
func (b *bench) answers(c transport.Conn) error {
	_, err := b.say(c, b.request(wire.OpInfo, nil))
	return err
}

// say makes one exchange and gives the answer to it.
func (b *bench) say(c transport.Conn, request wire.Frame) (wire.Frame, error) {
	response, err := c.Exchange(b.ctx, request.Encode())
	if err != nil {
		return wire.Frame{}, fmt.Errorf("Exchange: %w", err)
	}
	return matches(request, response)
}

func matches(request wire.Frame, response []byte) (wire.Frame, error) {
	f, err := wire.Parse(response)
	if err == nil && !f.Answers(request) {
		err = fmt.Errorf("answer %s %d to request %s %d", f.Op, f.Seq, request.Op, request.Seq)
	}
	return f, err
}

// settles makes exchanges until one is answered, as callers do that have
// abandoned one before.
func (b *bench) settles(c transport.Conn) error {
	var err error
	for range 3 {
		if err = b.answers(c); err == nil {
			return nil
		}
	}
	return fmt.Errorf("three exchanges later: %w", err)
}

// A key's memory for pieces of a document tells whether it has seen a request:
// a piece can only begin where the one before it ended.

// mark begins a document of one byte.
func (b *bench) mark(c transport.Conn) error {
	return b.stage(c, 0, 1)
}

// piece is a request that makes it nine bytes long.
func (b *bench) piece() []byte {
	return b.request(wire.OpStage, wire.Stage{Offset: 1, Data: make([]byte, 8)}.Encode()).Encode()
}

// seen reports whether the key has seen the piece.
func (b *bench) seen(c transport.Conn) (bool, error) {
	request := b.request(wire.OpStage, wire.Stage{Offset: 9, Data: []byte{0}}.Encode())
	for tries := 0; ; tries++ {
		f, err := b.say(c, request)
		if err == nil {
			return f.Status == wire.OK, nil
		}
		if tries == 3 {
			return false, err
		}
	}
}

// count is how many requests the key has seen, as far as the rig can tell.
func (b *bench) count() int {
	if b.Seen == nil {
		return 0
	}
	return b.Seen(b.Keys[0])
}

// admits holds the error of an exchange with a piece to saying that it was sent, if
// the key has seen it.
func (b *bench) admits(c transport.Conn, err error) error {
	seen, seenErr := b.seen(c)
	if seenErr != nil {
		return seenErr
	}
	return admitted(seen, err)
}

func admitted(seen bool, err error) error {
	if e, ok := errors.AsType[*transport.Error](err); ok && !e.Sent && seen {
		return fmt.Errorf("the key has seen the request, and the error says that it has not: %w", err)
	}
	return nil
}

// denies holds the error of an exchange to saying that nothing was sent.
func denies(err error) error {
	if e, ok := errors.AsType[*transport.Error](err); ok && e.Sent {
		return fmt.Errorf("the error says it was sent: %w", err)
	}
	return nil
}

func (b *bench) stage(c transport.Conn, offset uint32, n int) error {
	f, err := b.say(c, b.request(wire.OpStage, wire.Stage{Offset: offset, Data: make([]byte, n)}.Encode()))
	if err == nil && f.Status != wire.OK {
		err = f.Status
	}
	return err
}

// is holds an error to being an *[transport.Error] of the key that wraps want.
func (b *bench) is(err error, op string, want error) error {
	var e *transport.Error
	switch {
	case err == nil:
		return fmt.Errorf("no error, want %q", want)
	case !errors.Is(err, want):
		return fmt.Errorf("%w, want %q", err, want)
	case !errors.As(err, &e):
		return fmt.Errorf("%T, want *transport.Error", err)
	case e.Op != op || e.Key != b.Keys[0]:
		return fmt.Errorf("an error of %s of key %q, want %s of key %q", e.Op, e.Key, op, b.Keys[0])
	}
	return nil
}

// fails makes an exchange that must fail so.
func (b *bench) fails(c transport.Conn, want error) error {
	_, err := c.Exchange(b.ctx, b.info())
	return b.is(err, "exchange", want)
}

// outcome is how an exchange in flight ended.
type outcome struct {
	response []byte
	err      error
	took     time.Duration
}

// fly makes an exchange with a slowed key and does something to it while it is
// in flight.
func (b *bench) fly(ctx context.Context, c transport.Conn, request []byte, meanwhile func()) outcome {
	b.Slow(b.Keys[0], long)
	defer b.Slow(b.Keys[0], 0)
	done := make(chan struct{})
	timer := time.AfterFunc(inFlight, func() {
		defer close(done)
		meanwhile()
	})
	began := time.Now()
	response, err := c.Exchange(ctx, request)
	took := time.Since(began) - inFlight
	if !timer.Stop() {
		<-done
	}
	return outcome{response, err, took}
}

func (o outcome) promptly() error {
	if o.took > prompt {
		return fmt.Errorf("it took %v", o.took)
	}
	return nil
}

// abandon gives up an exchange in flight.
func (b *bench) abandon(c transport.Conn, request []byte) outcome {
	ctx, cancel := context.WithCancel(b.ctx)
	defer cancel()
	return b.fly(ctx, c, request, cancel)
}

// abandonSoon gives up an exchange by a deadline.
func (b *bench) abandonSoon(c transport.Conn, request []byte) outcome {
	ctx, cancel := context.WithTimeout(b.ctx, inFlight)
	defer cancel()
	began := time.Now()
	response, err := c.Exchange(ctx, request)
	return outcome{response, err, time.Since(began)}
}

// ended is a context that has ended.
func (b *bench) ended() context.Context {
	ctx, cancel := context.WithCancel(b.ctx)
	cancel()
	return ctx
}
