// Package memory keeps a [storage.Store] in memory: for tests, and for what need
// not outlive its process.
package memory

import (
	"context"
	"fmt"
	"iter"
	"strings"
	"sync"

	"github.com/tidwall/btree"

	"github.com/sojournlm/sojourn/storage"
)

// A Store is a [storage.Store] in memory. It is safe for concurrent use.
//
// It keeps the whole contract but one promise: nothing survives the process.
// [Store.Clone] stands in for opening it anew.
type Store struct {
	gate *storage.Gate

	mu   sync.Mutex // guards the field and Copy of its map, which marks the original too
	tree *tree      // the committed state, never changed once it is here
}

// tree is a copy-on-write map. Values are strings, so that no caller's slice is
// ever shared.
type tree = btree.Map[string, string]

// New is an empty store.
func New() *Store {
	return &Store{gate: storage.NewGate(), tree: new(tree)}
}

// Clone is an independent, open store with the contents of this one as of now:
// yesterday's store, to be put back later. It takes the same time at any size.
// The clone of a closed store has what was there in the end.
func (s *Store) Clone() *Store {
	return &Store{gate: storage.NewGate(), tree: s.copy()}
}

func (s *Store) copy() *tree {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.tree.Copy()
}

// View implements [storage.Store].
func (s *Store) View(ctx context.Context, fn func(storage.Reader) error) error {
	if err := s.gate.Enter(ctx); err != nil {
		return &storage.Error{Op: "view", Err: err}
	}
	defer s.gate.Leave()
	tx := &reader{ctx: ctx, tree: s.copy()}
	defer tx.end()
	return fn(tx)
}

// Update implements [storage.Store].
func (s *Store) Update(ctx context.Context, fn func(storage.Writer) error) error {
	if err := s.gate.Enter(ctx); err != nil {
		return &storage.Error{Op: "update", Err: err}
	}
	defer s.gate.Leave()
	if err := s.gate.Lock(ctx); err != nil {
		return &storage.Error{Op: "update", Err: err}
	}
	defer s.gate.Unlock()

	tx := &writer{reader: reader{ctx: ctx, tree: s.copy()}}
	defer tx.end()
	if err := fn(tx); err != nil {
		return err
	}
	if tx.spoiled != nil {
		return tx.spoiled
	}
	if err := ctx.Err(); err != nil {
		return &storage.Error{Op: "update", Err: err}
	}
	s.mu.Lock()
	s.tree = tx.tree
	s.mu.Unlock()
	return nil
}

// Close implements [storage.Store]. The memory is freed with the Store itself.
func (s *Store) Close() error {
	s.gate.Shut()
	return nil
}

// reader is what a View is given.
type reader struct {
	ctx     context.Context
	tree    *tree
	done    bool
	spoiled error // the first failure; an Update does not outlive it
}

func (r *reader) end() { r.done = true }

// fail notes and gives the failure of a method.
func (r *reader) fail(op, key string, err error) error {
	err = &storage.Error{Op: op, Key: key, Err: err}
	if r.spoiled == nil {
		r.spoiled = err
	}
	return err
}

// usable says whether the function may still use its transaction.
func (r *reader) usable() error {
	if r.done {
		return storage.ErrDone
	}
	return r.ctx.Err()
}

// check is usable and whether key is a key.
func (r *reader) check(key string) error {
	if err := r.usable(); err != nil {
		return err
	}
	return storage.CheckKey(key)
}

func (r *reader) Get(key string) ([]byte, error) {
	if err := r.check(key); err != nil {
		return nil, r.fail("get", key, err)
	}
	value, ok := r.tree.Get(key)
	if !ok {
		return nil, &storage.Error{Op: "get", Key: key, Err: storage.ErrNotFound}
	}
	return []byte(value), nil
}

func (r *reader) Scan(prefix string) iter.Seq2[storage.Pair, error] {
	return func(yield func(storage.Pair, error) bool) {
		if err := r.usable(); err != nil {
			yield(storage.Pair{}, r.fail("scan", prefix, err))
			return
		}
		// A copy, so that what the function writes meanwhile is not seen.
		pairs := r.tree.Copy().Iter()
		for ok := pairs.Seek(prefix); ok && strings.HasPrefix(pairs.Key(), prefix); ok = pairs.Next() {
			if !yield(storage.Pair{Key: pairs.Key(), Value: []byte(pairs.Value())}, nil) {
				return
			}
			if err := r.usable(); err != nil {
				yield(storage.Pair{}, r.fail("scan", prefix, err))
				return
			}
		}
	}
}

// writer is what an Update is given: a reader whose tree is its own.
type writer struct {
	reader
	writes, bytes int
}

func (w *writer) Put(key string, value []byte) error {
	err := w.check(key)
	if err == nil {
		err = storage.CheckValue(value)
	}
	if err == nil {
		err = w.count(len(key) + len(value))
	}
	if err != nil {
		return w.fail("put", key, err)
	}
	w.tree.Set(key, string(value))
	return nil
}

func (w *writer) Delete(key string) error {
	err := w.check(key)
	if err == nil {
		err = w.count(len(key))
	}
	if err != nil {
		return w.fail("delete", key, err)
	}
	w.tree.Delete(key)
	return nil
}

// count refuses what another store might refuse, so that a test on this one
// finds it.
func (w *writer) count(bytes int) error {
	w.writes++
	w.bytes += bytes
	if w.writes > storage.MaxWrites || w.bytes > storage.MaxUpdate {
		return fmt.Errorf("%w: an Update of more than %d writes or %d bytes", storage.ErrTooLarge, storage.MaxWrites, storage.MaxUpdate)
	}
	return nil
}
