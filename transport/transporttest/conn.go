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

func connCases() []testCase {
	return append(exchangeCases(), endCases()...)
}

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
					if seen, err := b.seen(c); err != nil || seen && !e.Sent {
						return fmt.Errorf("abandoned in flight: the key has seen the request: %v, but Sent is %v (%w)", seen, e.Sent, err)
					}
					return nil
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
					if e := (*transport.Error)(nil); errors.As(err, &e) && e.Sent {
						return errors.New("the error says it was sent")
					}
					return b.answers(c)
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
					if e := (*transport.Error)(nil); errors.As(err, &e) && e.Sent {
						return errors.New("the error says it was sent")
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

func endCases() []testCase {
	return []testCase{
		{
			name:     "Unplugged",
			sentence: "When the key is unplugged, an exchange in flight and all later ones fail with [ErrNoKey], also after it is plugged in again.",
			hands:    true,
			run: func(b *bench) error {
				return b.with(func(c transport.Conn) error {
					if err := errors.Join(b.answers(c), b.Unplug(b.Keys[0])); err != nil {
						return err
					}
					if err := b.fails(c, transport.ErrNoKey); err != nil {
						return err
					}
					if err := b.Plug(b.Keys[0]); err != nil {
						return err
					}
					if err := b.fails(c, transport.ErrNoKey); err != nil {
						return fmt.Errorf("after it was plugged in again: %w", err)
					}
					if err := b.with(b.answers); err != nil {
						return fmt.Errorf("opened again: %w", err)
					}
					return b.fails(c, transport.ErrNoKey)
				})
			},
		},
		{
			name:     "Ended",
			sentence: "Ended reports whether all exchanges from now on fail with [ErrNoKey] or [ErrClosed].",
			hands:    true,
			run:      func(b *bench) error { return b.with(b.knowsItsEnd) },
		},
		{
			name:     "UnpluggedInFlight",
			sentence: "When the key is unplugged, an exchange in flight and all later ones fail with [ErrNoKey], also after it is plugged in again.",
			hands:    true,
			slow:     true,
			run: func(b *bench) error {
				return b.with(func(c transport.Conn) error {
					o := b.fly(b.ctx, c, b.info(), func() { b.Unplug(b.Keys[0]) })
					return errors.Join(b.is(o.err, "exchange", transport.ErrNoKey), o.promptly())
				})
			},
		},
		{
			name:     "StaysUsable",
			sentence: "After any failure but ErrNoKey and [ErrClosed] the Conn stays usable.",
			run: func(b *bench) error {
				return b.with(func(c transport.Conn) error {
					if _, err := c.Exchange(b.ended(), b.info()); err == nil {
						return errors.New("a context that has ended was not noticed")
					}
					if _, err := c.Exchange(b.ctx, make([]byte, transport.MaxFrame+1)); err == nil {
						return errors.New("a request that is too long was sent")
					}
					return b.settles(c)
				})
			},
		},
		{
			name:     "Close",
			sentence: "Close ends the connection and lets the key be opened again.",
			run: func(b *bench) error {
				for range 3 {
					c, err := b.open(0)
					if err != nil {
						return err
					}
					if err := errors.Join(b.answers(c), c.Close()); err != nil {
						return err
					}
				}
				return nil
			},
		},
		{
			name:     "CloseInFlight",
			sentence: "An exchange in flight and all later ones fail with [ErrClosed].",
			slow:     true,
			run: func(b *bench) error {
				return b.with(func(c transport.Conn) error {
					o := b.fly(b.ctx, c, b.info(), func() { c.Close() })
					return errors.Join(b.is(o.err, "exchange", transport.ErrClosed), o.promptly())
				})
			},
		},
		{
			name:     "Closed",
			sentence: "An exchange in flight and all later ones fail with [ErrClosed].",
			run: func(b *bench) error {
				return b.with(func(c transport.Conn) error {
					if err := errors.Join(b.answers(c), c.Close()); err != nil {
						return err
					}
					if err := b.fails(c, transport.ErrClosed); err != nil {
						return err
					}
					if err := b.with(b.answers); err != nil {
						return fmt.Errorf("opened again: %w", err)
					}
					return b.fails(c, transport.ErrClosed)
				})
			},
		},
		{
			name:     "CloseTwice",
			sentence: "Closing twice is harmless, and closing after the key was unplugged is too.",
			hands:    true,
			run:      closeTwice,
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
		b.is(second.err, "exchange", context.DeadlineExceeded), second.promptly(),
		b.is(first.err, "exchange", context.Canceled), first.promptly(),
	)
}

func closeTwice(b *bench) error {
	return b.with(func(c transport.Conn) error {
		for range 3 {
			if err := c.Close(); err != nil {
				return err
			}
		}
		second, err := b.open(0)
		if err != nil {
			return err
		}
		if err := c.Close(); err != nil {
			return err
		}
		if err := b.answers(second); err != nil {
			return fmt.Errorf("closing a connection ended the next one: %w", err)
		}
		if err := b.Unplug(b.Keys[0]); err != nil {
			return err
		}
		return errors.Join(second.Close(), second.Close())
	})
}

// knowsItsEnd looks at what a Conn that is an Ender says while it lives, when its key
// was put in anew and the bus was looked through, and when it is closed.
func (b *bench) knowsItsEnd(c transport.Conn) error {
	e, ok := c.(transport.Ender)
	if !ok {
		return nil
	}
	if err := b.answers(c); err != nil || e.Ended() {
		return fmt.Errorf("it answers (%v), and has ended: %v", err, e.Ended())
	}
	if err := errors.Join(b.Unplug(b.Keys[0]), b.Plug(b.Keys[0]), b.lists(b.Keys...)); err != nil {
		return err
	}
	if !e.Ended() {
		return errors.New("the key was put in anew, and it has not ended")
	}
	return b.with(func(c transport.Conn) error {
		if err := c.Close(); err != nil {
			return err
		}
		if !c.(transport.Ender).Ended() {
			return errors.New("it is closed, and has not ended")
		}
		return nil
	})
}
