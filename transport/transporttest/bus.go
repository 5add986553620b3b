package transporttest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"

	"github.com/sojournlm/sojourn/transport"
)

func busCases() []testCase {
	return []testCase{
		{
			name:     "IDStays",
			sentence: "stays the same while the key stays where it is and across replugs of the same key.",
			hands:    true,
			run: func(b *bench) error {
				for range 3 {
					if err := b.lists(b.Keys...); err != nil {
						return err
					}
					if err := errors.Join(b.Unplug(b.Keys[0]), b.Plug(b.Keys[0])); err != nil {
						return err
					}
				}
				return b.with(b.answers)
			},
		},
		{
			name:     "BusConcurrent",
			sentence: "It is safe for concurrent use.",
			run:      manyOpen,
		},
		{
			name:     "BusContext",
			sentence: "A context that has ended makes its methods fail with an error that wraps ctx.Err().",
			run: func(b *bench) error {
				if _, err := b.Bus.Keys(b.ended()); !errors.Is(err, context.Canceled) {
					return fmt.Errorf("Keys: %v", err)
				}
				c, err := b.Bus.Open(b.ended(), b.Keys[0])
				if err == nil {
					c.Close()
				}
				return b.is(err, "open", context.Canceled)
			},
		},
		{
			name:     "KeysPlugged",
			sentence: "Keys lists the keys that are plugged in now, ordered by ID.",
			hands:    true,
			run: func(b *bench) error {
				last := len(b.Keys) - 1
				steps := []struct {
					do   func(transport.KeyID) error
					key  int
					want []transport.KeyID
				}{
					{b.Unplug, 0, b.Keys[1:]},
					{b.Plug, 0, b.Keys},
					{b.Unplug, last, b.Keys[:last]},
					{b.Plug, last, b.Keys},
				}
				if !slices.IsSorted(b.Keys) {
					return errors.New("the rig's keys are not ordered")
				}
				for _, s := range steps {
					if err := s.do(b.Keys[s.key]); err != nil {
						return err
					}
					if err := b.lists(s.want...); err != nil {
						return err
					}
				}
				return nil
			},
		},
		{
			name:     "KeysOpen",
			sentence: "A key that is open is listed too.",
			run: func(b *bench) error {
				return b.with(func(transport.Conn) error { return b.lists(b.Keys...) })
			},
		},
		{
			name:     "KeysNone",
			sentence: "None is an empty list, not an error.",
			hands:    true,
			run: func(b *bench) error {
				for _, id := range b.Keys {
					if err := b.Unplug(id); err != nil {
						return err
					}
				}
				return b.lists()
			},
		},
		{
			name:     "Open",
			sentence: "Open connects to a key.",
			run: func(b *bench) error {
				first, err := b.open(0)
				if err != nil {
					return err
				}
				defer first.Close()
				if len(b.Keys) == 1 {
					return b.answers(first)
				}
				second, err := b.open(1)
				if err != nil {
					return fmt.Errorf("another key: %w", err)
				}
				defer second.Close()
				return errors.Join(b.answers(second), b.answers(first))
			},
		},
		{
			name:     "OpenBusy",
			sentence: "A key has at most one connection: while one is open a second Open fails with [ErrBusy].",
			run: func(b *bench) error {
				return b.with(func(c transport.Conn) error {
					second, err := b.open(0)
					if err == nil {
						second.Close()
					}
					if err := b.is(err, "open", transport.ErrBusy); err != nil {
						return err
					}
					return b.answers(c)
				})
			},
		},
		{
			name:     "OpenNoKey",
			sentence: "A key that is not plugged in fails with [ErrNoKey].",
			hands:    true,
			run: func(b *bench) error {
				if err := b.Unplug(b.Keys[0]); err != nil {
					return err
				}
				_, err := b.open(0)
				if err := b.is(err, "open", transport.ErrNoKey); err != nil {
					return err
				}
				if _, err := b.Bus.Open(b.ctx, "a key that never was"); !errors.Is(err, transport.ErrNoKey) {
					return fmt.Errorf("unknown key: %v", err)
				}
				return nil
			},
		},
		{
			name:     "OpenFails",
			sentence: "On failure the error is an *[Error], and nothing stays open.",
			hands:    true,
			run: func(b *bench) error {
				_, err := b.Bus.Open(b.ended(), b.Keys[0])
				if e := (*transport.Error)(nil); !errors.As(err, &e) || e.Key != b.Keys[0] || e.Op != "open" {
					return fmt.Errorf("%T %v", err, err)
				}
				if err := b.Unplug(b.Keys[0]); err != nil {
					return err
				}
				if _, err := b.open(0); err == nil {
					return errors.New("opened a key that is not there")
				}
				if err := b.Plug(b.Keys[0]); err != nil {
					return err
				}
				return b.with(b.answers)
			},
		},
	}
}

// manyOpen has many open one key at once: one may, and all others are told.
func manyOpen(b *bench) error {
	const callers = 8
	var (
		wg    sync.WaitGroup
		mu    sync.Mutex
		conns []transport.Conn
		errs  []error
	)
	for range callers {
		wg.Go(func() {
			c, err := b.open(0)
			_, listErr := b.listed()
			mu.Lock()
			defer mu.Unlock()
			if err == nil {
				conns = append(conns, c)
			} else if !errors.Is(err, transport.ErrBusy) {
				errs = append(errs, err)
			}
			errs = append(errs, listErr)
		})
	}
	wg.Wait()
	for _, c := range conns {
		errs = append(errs, c.Close())
	}
	if len(conns) != 1 {
		errs = append(errs, fmt.Errorf("%d of %d callers opened the key", len(conns), callers))
	}
	return errors.Join(errs...)
}
