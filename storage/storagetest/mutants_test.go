package storagetest_test

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sojournlm/sojourn/storage"
	"github.com/sojournlm/sojourn/storage/memory"
	"github.com/sojournlm/sojourn/storage/storagetest"
)

// TestMutants tests the suite: each mutant breaks one sentence, and the case of
// that sentence must notice. Each case must have one.
func TestMutants(t *testing.T) {
	all := mutants()
	for _, c := range storagetest.Cases() {
		if len(all[c.Name]) == 0 {
			t.Errorf("no mutant breaks what %s stands for", c.Name)
		}
		for name, m := range all[c.Name] {
			t.Run(c.Name+"/"+name, func(t *testing.T) {
				// In a bubble, a mutant that hangs is found at once.
				synctest.Test(t, func(t *testing.T) {
					err := c.Check(t.Context(), shelf(m), breakIt())
					var failure *storagetest.Failure
					if !errors.As(err, &failure) {
						t.Errorf("the mutant survives: %v", err)
					}
				})
			})
		}
		delete(all, c.Name)
	}
	for name := range all {
		t.Errorf("there are mutants for %s, which is no case", name)
	}
}

// mutants are flawed stores, by the case that kills them.
func mutants() map[string]map[string]mutant {
	all := readerMutants()
	for _, more := range []map[string]map[string]mutant{writerMutants(), updateMutants(), lifeMutants()} {
		for name, m := range more {
			all[name] = m
		}
	}
	return all
}

// each is Scan with every pair changed or left out.
func each(change func(storage.Pair) (storage.Pair, bool)) func(*tx, string) iter.Seq2[storage.Pair, error] {
	return func(t *tx, prefix string) iter.Seq2[storage.Pair, error] {
		return func(yield func(storage.Pair, error) bool) {
			for pair, err := range t.r.Scan(prefix) {
				keep := true
				if err == nil {
					pair, keep = change(pair)
				}
				if keep && !yield(pair, err) {
					return
				}
			}
		}
	}
}

// sorted is Scan in another order.
func sorted(compare func(a, b string) int) func(*tx, string) iter.Seq2[storage.Pair, error] {
	return func(t *tx, prefix string) iter.Seq2[storage.Pair, error] {
		return func(yield func(storage.Pair, error) bool) {
			var pairs []storage.Pair
			for pair, err := range t.r.Scan(prefix) {
				if err != nil {
					yield(storage.Pair{}, err)
					return
				}
				pairs = append(pairs, pair)
			}
			slices.SortFunc(pairs, func(a, b storage.Pair) int { return compare(a.Key, b.Key) })
			for _, pair := range pairs {
				if !yield(pair, nil) {
					return
				}
			}
		}
	}
}

func readerMutants() map[string]map[string]mutant {
	return map[string]map[string]mutant{
		"missing": {
			"nil": {get: func(t *tx, key string) ([]byte, error) {
				value, err := t.r.Get(key)
				if errors.Is(err, storage.ErrNotFound) {
					return nil, nil
				}
				return value, err
			}},
			"other error": {get: func(t *tx, key string) ([]byte, error) {
				value, err := t.r.Get(key)
				if err != nil {
					err = errors.New("missing")
				}
				return value, err
			}},
		},
		"keys": {
			"zero-terminated": {put: func(t *tx, key string, value []byte) error {
				return t.w.Put(strings.TrimRight(key, "\x00")+"\x00", value)
			}},
			"reserved": {put: func(t *tx, key string, value []byte) error {
				if strings.HasPrefix(key, "!badger!") {
					return storage.ErrKey
				}
				return t.w.Put(key, value)
			}},
			"short": {put: func(t *tx, key string, value []byte) error { return t.w.Put(key[:min(len(key), 255)], value) }},
		},
		"bad-keys": {
			"not found": {get: func(t *tx, key string) ([]byte, error) {
				if storage.CheckKey(key) != nil {
					return nil, storage.ErrNotFound
				}
				return t.r.Get(key)
			}},
			"cut": {put: func(t *tx, key string, value []byte) error {
				return t.w.Put(key[:min(len(key), storage.MaxKey)], value)
			}},
			"ignored": {delete: func(t *tx, key string) error {
				if storage.CheckKey(key) != nil {
					return nil
				}
				return t.w.Delete(key)
			}},
		},
		"get-owned": {"shared": {get: func(t *tx, key string) ([]byte, error) {
			t.s.mu.Lock()
			defer t.s.mu.Unlock()
			if t.s.cache[key] == nil {
				value, err := t.r.Get(key)
				if err != nil {
					return nil, err
				}
				t.s.cache[key] = value
			}
			return t.s.cache[key], nil
		}}},
		"scan-owned": {"one buffer": {scan: func(t *tx, prefix string) iter.Seq2[storage.Pair, error] {
			var buffer []byte
			return each(func(p storage.Pair) (storage.Pair, bool) {
				buffer = append(buffer[:0], p.Value...)
				p.Value = buffer
				return p, true
			})(t, prefix)
		}}},
		"scan-prefix": {
			"only a beginning": {scan: func(t *tx, prefix string) iter.Seq2[storage.Pair, error] {
				return func(yield func(storage.Pair, error) bool) {
					for pair, err := range t.r.Scan("") {
						if (err != nil || pair.Key >= prefix) && !yield(pair, err) {
							return
						}
					}
				}
			}},
			"longer keys only": {scan: func(t *tx, prefix string) iter.Seq2[storage.Pair, error] {
				return each(func(p storage.Pair) (storage.Pair, bool) { return p, p.Key != prefix })(t, prefix)
			}},
			"no 0xff": {scan: each(func(p storage.Pair) (storage.Pair, bool) { return p, p.Key[0] != 0xff })},
		},
		"scan-order": {
			"descending": {scan: sorted(func(a, b string) int { return strings.Compare(b, a) })},
			"caseless": {scan: sorted(func(a, b string) int {
				return strings.Compare(strings.ToLower(a), strings.ToLower(b))
			})},
			"short first": {scan: sorted(func(a, b string) int { return len(a) - len(b) })},
		},
		"scan-steady": {"live": {scan: func(t *tx, prefix string) iter.Seq2[storage.Pair, error] {
			return func(yield func(storage.Pair, error) bool) {
				last := ""
				for more := true; more; {
					more = false
					for pair, err := range t.r.Scan(prefix) {
						if err != nil || pair.Key > last {
							last, more = pair.Key, err == nil
							if !yield(pair, err) {
								return
							}
							break
						}
					}
				}
			}
		}}},
		"scan-free": {
			"once": {scan: func(t *tx, prefix string) iter.Seq2[storage.Pair, error] {
				next, _ := iter.Pull2(t.r.Scan(prefix))
				return func(yield func(storage.Pair, error) bool) {
					for pair, err, ok := next(); ok && yield(pair, err); pair, err, ok = next() {
					}
				}
			}},
			"not left": {scan: func(t *tx, prefix string) iter.Seq2[storage.Pair, error] {
				return func(yield func(storage.Pair, error) bool) {
					for pair, err := range t.r.Scan(prefix) {
						yield(pair, err)
					}
				}
			}},
		},
		"scan-error": {
			"silent": {scan: func(t *tx, prefix string) iter.Seq2[storage.Pair, error] {
				return func(yield func(storage.Pair, error) bool) {
					for pair, err := range t.r.Scan(prefix) {
						if err != nil || !yield(pair, nil) {
							return
						}
					}
				}
			}},
			"goes on": {scan: func(t *tx, prefix string) iter.Seq2[storage.Pair, error] {
				return func(yield func(storage.Pair, error) bool) {
					for pair, err := range t.r.Scan(prefix) {
						if !yield(pair, err) || err != nil && !yield(pair, err) {
							return
						}
					}
				}
			}},
			"with a pair": {scan: func(t *tx, prefix string) iter.Seq2[storage.Pair, error] {
				return func(yield func(storage.Pair, error) bool) {
					for pair, err := range t.r.Scan(prefix) {
						if err != nil {
							pair.Key = prefix + "x"
						}
						if !yield(pair, err) {
							return
						}
					}
				}
			}},
		},
		"done": {
			"get": {get: func(t *tx, key string) ([]byte, error) {
				value, err := t.r.Get(key)
				if errors.Is(err, storage.ErrDone) {
					return t.now(key)
				}
				return value, err
			}},
			"put": {put: func(t *tx, key string, value []byte) error {
				err := t.w.Put(key, value)
				if errors.Is(err, storage.ErrDone) {
					return nil
				}
				return err
			}},
			"crash": {get: func(t *tx, key string) ([]byte, error) {
				value, err := t.r.Get(key)
				if errors.Is(err, storage.ErrDone) {
					panic("discarded")
				}
				return value, err
			}},
		},
	}
}

func writerMutants() map[string]map[string]mutant {
	return map[string]map[string]mutant{
		"put": {"first wins": {put: func(t *tx, key string, value []byte) error {
			if _, err := t.w.Get(key); err == nil {
				return nil
			}
			return t.w.Put(key, value)
		}}},
		"put-owned": {"late": {update: func(s *mutated, ctx context.Context, fn func(storage.Writer) error) error {
			return s.faulty.Update(ctx, func(w storage.Writer) error {
				rec := &recorder{Writer: w}
				if err := fn(rec); err != nil {
					return err
				}
				for _, write := range rec.writes {
					if err := write.apply(w); err != nil {
						return err
					}
				}
				return nil
			})
		}}},
		"values": {
			"64 KiB": {put: func(t *tx, key string, value []byte) error {
				return t.w.Put(key, value[:min(len(value), 65535)])
			}},
			"text": {put: func(t *tx, key string, value []byte) error {
				return t.w.Put(key, []byte(strings.ToValidUTF8(string(value), "?")))
			}},
		},
		"empty": {"missing": {put: func(t *tx, key string, value []byte) error {
			if len(value) == 0 {
				return t.w.Delete(key)
			}
			return t.w.Put(key, value)
		}}},
		"long-value": {"cut": {put: func(t *tx, key string, value []byte) error {
			return t.w.Put(key, value[:min(len(value), storage.MaxValue)])
		}}},
		"delete": {
			"nothing": {delete: func(*tx, string) error { return nil }},
			"emptied": {delete: func(t *tx, key string) error { return t.w.Put(key, nil) }},
		},
		"delete-missing": {
			"error": {delete: func(t *tx, key string) error {
				if _, err := t.w.Get(key); err != nil {
					return err
				}
				return t.w.Delete(key)
			}},
			"made": {delete: func(t *tx, key string) error {
				if _, err := t.w.Get(key); err != nil {
					return t.w.Put(key, nil)
				}
				return t.w.Delete(key)
			}},
		},
		"own-writes": {
			"get": {get: func(t *tx, key string) ([]byte, error) { return t.now(key) }},
			"scan": {scan: func(t *tx, prefix string) iter.Seq2[storage.Pair, error] {
				return func(yield func(storage.Pair, error) bool) {
					_ = t.s.bare.View(context.Background(), func(r storage.Reader) error {
						for pair, err := range r.Scan(prefix) {
							if !yield(pair, err) {
								break
							}
						}
						return nil
					})
				}
			}},
		},
		"large": {"few": {put: func(t *tx, key string, value []byte) error {
			if t.puts > storage.MaxWrites-1 {
				return storage.ErrTooLarge
			}
			return t.w.Put(key, value)
		}}},
		"larger": {
			"dropped": {put: func(t *tx, key string, value []byte) error {
				if t.puts > storage.MaxWrites {
					return nil
				}
				return t.w.Put(key, value)
			}},
			"other error": {put: func(t *tx, key string, value []byte) error {
				if t.puts > storage.MaxWrites {
					return errors.New("too many")
				}
				return t.w.Put(key, value)
			}},
		},
	}
}

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
		"serializable": {"lost updates": {update: func(s *mutated, ctx context.Context, fn func(storage.Writer) error) error {
			writes, err := s.rehearse(ctx, fn)
			if err != nil {
				return err
			}
			return s.faulty.Update(ctx, func(w storage.Writer) error {
				for _, write := range writes {
					if err := write.apply(w); err != nil {
						return err
					}
				}
				return nil
			})
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
