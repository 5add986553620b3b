package transporttest

import (
	"errors"
	"fmt"

	"github.com/sojournlm/sojourn/transport"
)

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
					before := b.count()
					o := b.fly(b.ctx, c, b.info(), func() { b.Unplug(b.Keys[0]) })
					return errors.Join(
						b.is(o.err, "exchange", transport.ErrNoKey), o.promptly(),
						admitted(b.count() > before, o.err),
					)
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
			name:     "LostStaysUsable",
			sentence: "After any failure but ErrNoKey and [ErrClosed] the Conn stays usable.",
			lose:     true,
			run: func(b *bench) error {
				return b.with(func(c transport.Conn) error {
					for range 3 {
						b.Lose(b.Keys[0])
						if _, err := c.Exchange(b.ctx, b.info()); err == nil {
							return errors.New("the response was lost, and there is no error")
						}
						if err := b.settles(c); err != nil {
							return err
						}
					}
					return b.answers(c)
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
					if err := b.mark(c); err != nil {
						return err
					}
					o := b.fly(b.ctx, c, b.piece(), func() { c.Close() })
					return errors.Join(
						b.is(o.err, "exchange", transport.ErrClosed), o.promptly(),
						b.with(func(again transport.Conn) error { return b.admits(again, o.err) }),
					)
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
