package transporttest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/sojournlm/sojourn/internal/wire"
	"github.com/sojournlm/sojourn/transport"
)

func exchangeCases() []testCase {
	return []testCase{
		{
			name:     "ConnConcurrent",
			sentence: "Its methods may be called from several goroutines; exchanges are made one at a time.",
			run:      func(b *bench) error { return b.with(b.manyExchanges) },
		},
		{
			name:     "Exchange",
			sentence: "Exchange sends one request frame and waits for its response frame.",
			run: func(b *bench) error {
				return b.with(func(c transport.Conn) error {
					if err := b.mark(c); err != nil {
						return err
					}
					// The longest request there is.
					if err := b.stage(c, 1, wire.MaxPiece); err != nil {
						return fmt.Errorf("the longest frame: %w", err)
					}
					return b.answers(c)
				})
			},
		},
		{
			name:     "Slices",
			sentence: "Neither slice is kept or written to by the Conn afterwards.",
			run:      func(b *bench) error { return b.with(b.slices) },
		},
		{
			name:     "ExchangeError",
			sentence: "On failure the error is an *[Error], whose Sent is true unless the key has certainly not seen the request.",
			slow:     true,
			run: func(b *bench) error {
				return b.with(func(c transport.Conn) error {
					if err := b.mark(c); err != nil {
						return err
					}
					o := b.abandon(c, b.piece())
					var e *transport.Error
					if !errors.As(o.err, &e) || e.Key != b.Keys[0] || e.Op != "exchange" {
						return fmt.Errorf("abandoned in flight: %T %v", o.err, o.err)
					}
					return b.admits(c, o.err)
				})
			},
		},
		{
			name:     "TooLong",
			sentence: "A request of more than [MaxFrame] bytes fails with [ErrTooLong] and is not sent.",
			run: func(b *bench) error {
				return b.with(func(c transport.Conn) error {
					if err := b.mark(c); err != nil {
						return err
					}
					request := append(b.piece(), make([]byte, transport.MaxFrame)...)
					_, err := c.Exchange(b.ctx, request[:transport.MaxFrame+1])
					if err := b.is(err, "exchange", transport.ErrTooLong); err != nil {
						return err
					}
					if err := denies(err); err != nil {
						return err
					}
					return b.answers(c)
				})
			},
		},
		{
			name:     "Lost",
			sentence: "A response that is lost or not whole, as far as the Conn can tell, is [ErrGarbled].",
			lose:     true,
			run: func(b *bench) error {
				return b.with(func(c transport.Conn) error {
					if err := b.mark(c); err != nil {
						return err
					}
					b.Lose(b.Keys[0])
					_, err := c.Exchange(b.ctx, b.piece())
					return errors.Join(b.is(err, "exchange", transport.ErrGarbled), b.admits(c, err))
				})
			},
		},
		{
			name:     "ContextEnds",
			sentence: "When the context ends, Exchange returns promptly with an error that wraps ctx.Err().",
			slow:     true,
			run: func(b *bench) error {
				return b.with(func(c transport.Conn) error {
					o := b.abandon(c, b.info())
					return errors.Join(b.is(o.err, "exchange", context.Canceled), o.promptly())
				})
			},
		},
		{
			name:     "ContextEndsInTurn",
			sentence: "When the context ends, Exchange returns promptly with an error that wraps ctx.Err().",
			slow:     true,
			run:      func(b *bench) error { return b.with(b.abandonInTurn) },
		},
		{
			name:     "ContextEnded",
			sentence: "When it has ended before, nothing is sent.",
			run: func(b *bench) error {
				return b.with(func(c transport.Conn) error {
					if err := b.mark(c); err != nil {
						return err
					}
					_, err := c.Exchange(b.ended(), b.piece())
					if err := b.is(err, "exchange", context.Canceled); err != nil {
						return err
					}
					if err := denies(err); err != nil {
						return err
					}
					if seen, err := b.seen(c); err != nil || seen {
						return fmt.Errorf("the key has seen it: %v (%w)", seen, err)
					}
					return nil
				})
			},
		},
		{
			name:     "Abandoned",
			sentence: "The response to an abandoned request may come as that to a later one, but does not stay in the way: callers tell them apart by the frames' sequence numbers, and ask again.",
			slow:     true,
			run: func(b *bench) error {
				return b.with(func(c transport.Conn) error {
					for range 3 {
						if o := b.abandon(c, b.info()); o.err == nil {
							return errors.New("the exchange was not abandoned")
						}
					}
					if err := b.settles(c); err != nil {
						return err
					}
					return b.answers(c)
				})
			},
		},
	}
}

// manyExchanges has many talk to the key at once: each gets its own answer.
func (b *bench) manyExchanges(c transport.Conn) error {
	const callers = 8
	var (
		wg        sync.WaitGroup
		requests  [callers]wire.Frame
		responses [callers][]byte
		errs      [callers]error
	)
	for i := range callers {
		op := wire.OpInfo
		if i%2 == 0 {
			op = wire.OpCheckpoint
		}
		requests[i] = b.request(op, nil)
		wg.Go(func() { responses[i], errs[i] = c.Exchange(b.ctx, requests[i].Encode()) })
	}
	wg.Wait()
	for i := range callers {
		if errs[i] == nil {
			_, errs[i] = matches(requests[i], responses[i])
		}
	}
	return errors.Join(errs[:]...)
}

// slices looks at what becomes of an exchange's slices after it.
func (b *bench) slices(c transport.Conn) error {
	request := b.info()
	before := bytes.Clone(request)
	first, err := c.Exchange(b.ctx, request)
	if err != nil {
		return err
	}
	if !bytes.Equal(request, before) {
		return errors.New("the request was written to")
	}
	kept := bytes.Clone(first)
	clear(request) // whoever kept it has nothing now
	for range 3 {
		response, err := c.Exchange(b.ctx, b.info())
		if err != nil {
			return err
		}
		clear(response)
		if err := b.answers(c); err != nil {
			return fmt.Errorf("after the last response was written to: %w", err)
		}
	}
	if !bytes.Equal(first, kept) {
		return errors.New("a response was written to by a later exchange")
	}
	return nil
}

// abandonInTurn gives up an exchange that waits for the one before it.
func (b *bench) abandonInTurn(c transport.Conn) error {
	var second outcome
	ctx, cancel := context.WithCancel(b.ctx)
	defer cancel()
	var wg sync.WaitGroup
	first := b.fly(ctx, c, b.info(), func() {
		request := b.info()
		wg.Go(func() { second = b.abandonSoon(c, request) })
		wg.Wait()
		cancel()
	})
	wg.Wait()
	return errors.Join(
		b.is(second.err, "exchange", context.DeadlineExceeded), second.promptly(), denies(second.err),
		b.is(first.err, "exchange", context.Canceled), first.promptly(),
	)
}
