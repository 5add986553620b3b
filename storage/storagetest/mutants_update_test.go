package storagetest_test

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/sojournlm/sojourn/storage"
	"github.com/sojournlm/sojourn/storage/memory"
)

func updateMutants() map[string]map[string]mutant {
	kept := mutant{update: func(s *mutated, ctx context.Context, fn func(storage.Writer) error) error {
		var failed error
		err := s.faulty.Update(ctx, func(w storage.Writer) error {
			failed = fn(w)
			return nil
		})
		if failed != nil {
			return failed
		}
		return err
	}}
	wrapping := func(err error) error {
		if err == nil {
			return nil
		}
		return fmt.Errorf("update: %w", err)
	}
	return map[string]map[string]mutant{
		"whole": {
			"kept": kept,
			"piecemeal": {
				view: func(s *mutated, ctx context.Context, fn func(storage.Reader) error) error {
					err := s.faulty.View(ctx, fn)
					select {
					case s.token <- struct{}{}:
					default:
					}
					return err
				},
				update: func(s *mutated, ctx context.Context, fn func(storage.Writer) error) error {
					writes, err := s.rehearse(ctx, fn)
					for _, write := range writes {
						if err := s.faulty.Update(ctx, func(w storage.Writer) error { return write.apply(w) }); err != nil {
							return err
						}
						for range 3 { // Views to have a look, if there are any
							select {
							case <-s.token:
							case <-time.After(time.Millisecond):
							}
						}
					}
					return err
				},
			},
		},
		"serializable": {"phantoms": {update: func(s *mutated, ctx context.Context, fn func(storage.Writer) error) error {
			// Who has only scanned is not held against those beside him.
			var rec *recorder
			err := s.bare.Clone().Update(ctx, func(w storage.Writer) error {
				rec = &recorder{Writer: w}
				return fn(rec)
			})
			if err != nil || rec.gets > 0 {
				return s.faulty.Update(ctx, fn)
			}
			return s.faulty.Update(ctx, replay(rec.writes))
		}}, "lost updates": {update: func(s *mutated, ctx context.Context, fn func(storage.Writer) error) error {
			writes, err := s.rehearse(ctx, fn)
			if err != nil {
				return err
			}
			return s.faulty.Update(ctx, replay(writes))
		}}},
		"rerun": {
			"on top": {update: func(s *mutated, ctx context.Context, fn func(storage.Writer) error) error {
				return s.faulty.Update(ctx, func(w storage.Writer) error {
					if err := fn(w); err != nil {
						return err
					}
					return fn(w)
				})
			}},
			"not at all": {update: func(*mutated, context.Context, func(storage.Writer) error) error { return nil }},
		},
		"view-error": {"wrapped": {view: func(s *mutated, ctx context.Context, fn func(storage.Reader) error) error {
			return wrapping(s.faulty.View(ctx, fn))
		}}},
		"update-error": {
			"wrapped": {update: func(s *mutated, ctx context.Context, fn func(storage.Writer) error) error {
				return wrapping(s.faulty.Update(ctx, fn))
			}},
			"kept": kept,
		},
		"panic": {
			"swallowed": {update: func(s *mutated, ctx context.Context, fn func(storage.Writer) error) (err error) {
				defer func() {
					if recover() != nil {
						err = errors.New("fn panicked")
					}
				}()
				return s.faulty.Update(ctx, fn)
			}},
			"kept": {update: func(s *mutated, ctx context.Context, fn func(storage.Writer) error) error {
				var rec *recorder
				returned := false
				defer func() {
					if !returned && rec != nil {
						_ = s.bare.Update(ctx, func(w storage.Writer) error { return rec.writes[0].apply(w) })
					}
				}()
				err := s.faulty.Update(ctx, func(w storage.Writer) error {
					rec = &recorder{Writer: w}
					return fn(rec)
				})
				returned = true
				return err
			}},
			"still locked": {update: func(s *mutated, ctx context.Context, fn func(storage.Writer) error) error {
				select {
				case s.token <- struct{}{}:
				case <-ctx.Done():
					return ctx.Err()
				}
				err := s.faulty.Update(ctx, fn)
				<-s.token
				return err
			}},
		},
		"spoiled": {
			"put": {put: func(t *tx, key string, value []byte) error {
				if err := storage.CheckKey(key); err != nil {
					return err
				}
				return t.w.Put(key, value)
			}},
			"get": {get: func(t *tx, key string) ([]byte, error) {
				if err := storage.CheckKey(key); err != nil {
					return nil, err
				}
				return t.r.Get(key)
			}},
			"by a missing key": {update: func(s *mutated, ctx context.Context, fn func(storage.Writer) error) error {
				return s.faulty.Update(ctx, func(w storage.Writer) error {
					strict := &strictWriter{Writer: w}
					if err := fn(strict); err != nil {
						return err
					}
					return strict.err
				})
			}},
		},
		"context": {
			"ignored": {update: func(s *mutated, ctx context.Context, fn func(storage.Writer) error) error {
				return s.faulty.Update(context.WithoutCancel(ctx), fn)
			}},
			"ignored in View": {view: func(s *mutated, ctx context.Context, fn func(storage.Reader) error) error {
				return s.faulty.View(context.WithoutCancel(ctx), fn)
			}},
			"stubborn": {update: func(s *mutated, ctx context.Context, fn func(storage.Writer) error) error {
				s.token <- struct{}{}
				defer func() { <-s.token }()
				return s.faulty.Update(ctx, fn)
			}},
		},
		"commit-goes-on": {"a look at the context behind it": {update: func(s *mutated, ctx context.Context, fn func(storage.Writer) error) error {
			err := s.faulty.Update(ctx, fn)
			if err == nil {
				time.Sleep(time.Millisecond) // a commit takes time
				err = ctx.Err()
			}
			return err
		}}},
		"commit-held": {"interrupted": {update: func(s *mutated, ctx context.Context, fn func(storage.Writer) error) error {
			begun := false
			err := s.faulty.Update(ctx, func(w storage.Writer) error {
				err := fn(w)
				begun = err == nil && ctx.Err() == nil
				return err
			})
			if begun && err == nil {
				err = ctx.Err()
			}
			return err
		}}},
		"snapshot": {"live": {get: func(t *tx, key string) ([]byte, error) {
			if t.w != nil {
				return t.w.Get(key)
			}
			return t.now(key)
		}}},
		"waitless": {"one lock": {
			view: func(s *mutated, ctx context.Context, fn func(storage.Reader) error) error {
				select {
				case s.token <- struct{}{}:
				case <-ctx.Done():
					return ctx.Err()
				}
				defer func() { <-s.token }()
				return s.faulty.View(ctx, fn)
			},
			update: func(s *mutated, ctx context.Context, fn func(storage.Writer) error) error {
				select {
				case s.token <- struct{}{}:
				case <-ctx.Done():
					return ctx.Err()
				}
				defer func() { <-s.token }()
				return s.faulty.Update(ctx, fn)
			},
		}},
		"waitless-commit": {
			"Views wait for it": {
				view: func(s *mutated, ctx context.Context, fn func(storage.Reader) error) error {
					s.token <- struct{}{} // whatever the context
					<-s.token
					return s.faulty.View(ctx, fn)
				},
				update: func(s *mutated, ctx context.Context, fn func(storage.Writer) error) error {
					begun := false
					defer func() {
						if begun {
							<-s.token
						}
					}()
					return s.faulty.Update(ctx, func(w storage.Writer) error {
						err := fn(w)
						if err == nil {
							s.token <- struct{}{}
							begun = true
						}
						return err
					})
				},
			},
			"Views see it early": {
				view: func(s *mutated, ctx context.Context, fn func(storage.Reader) error) error {
					s.mu.Lock()
					early := s.early
					s.mu.Unlock()
					if early != nil {
						return early.View(ctx, fn)
					}
					return s.faulty.View(ctx, fn)
				},
				update: func(s *mutated, ctx context.Context, fn func(storage.Writer) error) error {
					set := func(early *memory.Store) {
						s.mu.Lock()
						defer s.mu.Unlock()
						s.early = early
					}
					defer set(nil)
					return s.faulty.Update(ctx, func(w storage.Writer) error {
						rec := &recorder{Writer: w}
						if err := fn(rec); err != nil {
							return err
						}
						early := s.bare.Clone()
						set(early)
						return early.Update(ctx, replay(rec.writes))
					})
				},
			},
		},
	}
}

// strictWriter notes every failure of Get.
type strictWriter struct {
	storage.Writer
	err error
}

func (w *strictWriter) Get(key string) ([]byte, error) {
	value, err := w.Writer.Get(key)
	if err != nil && w.err == nil {
		w.err = err
	}
	return value, err
}
