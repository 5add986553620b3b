package storagetest_test

import (
	"context"
	"errors"
	"fmt"

	"github.com/sojournlm/sojourn/storage"
	"github.com/sojournlm/sojourn/storage/memory"
	"github.com/sojournlm/sojourn/storage/storagetest"
)

func lifeMutants() map[string]map[string]mutant {
	return map[string]map[string]mutant{
		"durable": {"last one lost": {
			update: func(s *mutated, ctx context.Context, fn func(storage.Writer) error) error {
				before := s.bare.Clone()
				err := s.faulty.Update(ctx, fn)
				if err == nil {
					s.mu.Lock()
					s.before = before
					s.mu.Unlock()
				}
				return err
			},
			reopen: func(s *mutated) *memory.Store {
				if s.before != nil {
					return s.before
				}
				return s.bare.Clone()
			},
		}},
		"error": {
			"late look at the context": {update: func(s *mutated, ctx context.Context, fn func(storage.Writer) error) error {
				err := s.faulty.Update(context.WithoutCancel(ctx), fn)
				if err == nil {
					err = ctx.Err()
				}
				return err
			}},
			"all unknown": {update: func(s *mutated, ctx context.Context, fn func(storage.Writer) error) error {
				err := s.faulty.Update(ctx, fn)
				if err != nil {
					err = fmt.Errorf("%w: %w", storage.ErrUnknown, err)
				}
				return err
			}},
		},
		"unknown": {
			"writes go on": {update: func(s *mutated, ctx context.Context, fn func(storage.Writer) error) error {
				if s.faulty.Fired() {
					return s.bare.Update(ctx, fn)
				}
				return s.faulty.Update(ctx, fn)
			}},
			"reads go on": {view: func(s *mutated, ctx context.Context, fn func(storage.Reader) error) error {
				return s.bare.View(ctx, fn)
			}},
			"other error": {view: func(s *mutated, ctx context.Context, fn func(storage.Reader) error) error {
				err := s.faulty.View(ctx, fn)
				if errors.Is(err, storage.ErrUnknown) {
					err = storage.ErrClosed
				}
				return err
			}},
		},
		"unknown-whole": {
			"half": {kind: storagetest.Lose, update: func(s *mutated, ctx context.Context, fn func(storage.Writer) error) error {
				writes, _ := s.rehearse(ctx, fn)
				err := s.faulty.Update(ctx, fn)
				if errors.Is(err, storage.ErrUnknown) {
					_ = s.bare.Update(ctx, func(w storage.Writer) error { return writes[0].apply(w) })
				}
				return err
			}},
			"others lost": {reopen: func(*mutated) *memory.Store { return memory.New() }},
		},
		"closing": {
			"not waiting": {close: func(s *mutated) error {
				go s.shut()
				return nil
			}},
			"disturbed": {get: func(t *tx, key string) ([]byte, error) {
				if t.s.closing.Load() {
					return nil, storage.ErrClosed
				}
				return t.r.Get(key)
			}},
		},
		"closed": {
			"still open": {close: func(*mutated) error { return nil }},
			"other error": {view: func(s *mutated, ctx context.Context, fn func(storage.Reader) error) error {
				if s.closing.Load() {
					return errors.New("gone")
				}
				return s.faulty.View(ctx, fn)
			}},
		},
		"close-again": {
			"refused": {close: func(s *mutated) error {
				if s.closing.Load() {
					return storage.ErrClosed
				}
				return s.shut()
			}},
			"panic": {close: func(s *mutated) error {
				if s.closing.Load() {
					panic("close of a closed store")
				}
				return s.shut()
			}},
		},
	}
}
