package storagetest_test

import (
	"context"
	"errors"
	"iter"
	"strings"

	"github.com/sojournlm/sojourn/storage"
)

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
