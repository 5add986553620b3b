package storagetest_test

import (
	"bytes"
	"context"
	"iter"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/sojournlm/sojourn/storage"
	"github.com/sojournlm/sojourn/storage/storagetest"
)

// TestUnlimited holds the suite to asking for no more than the contract: a store
// passes that takes Updates of any size, and is made without a Gate.
func TestUnlimited(t *testing.T) {
	var disks sync.Map
	storagetest.Run(t, func(dir string) (storage.Store, error) {
		d, _ := disks.LoadOrStore(dir, &disk{})
		return &unlimited{disk: d.(*disk), writing: make(chan struct{}, 1)}, nil
	}, nil)
}

// disk is what outlives an unlimited store. The map is never changed.
type disk struct {
	mu   sync.Mutex
	data map[string][]byte
}

func (d *disk) read() map[string][]byte {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.data
}

// unlimited runs one Update at a time, on a copy of all there is.
type unlimited struct {
	disk    *disk
	writing chan struct{}

	mu     sync.Mutex
	closed bool
	under  sync.WaitGroup
}

func (u *unlimited) enter(ctx context.Context) error {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.closed {
		return storage.ErrClosed
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	u.under.Add(1)
	return nil
}

func (u *unlimited) View(ctx context.Context, fn func(storage.Reader) error) error {
	if err := u.enter(ctx); err != nil {
		return err
	}
	defer u.under.Done()
	v := &view{ctx: ctx, data: u.disk.read()}
	defer func() { v.done = true }()
	return fn(struct{ storage.Reader }{v})
}

func (u *unlimited) Update(ctx context.Context, fn func(storage.Writer) error) error {
	if err := u.enter(ctx); err != nil {
		return err
	}
	defer u.under.Done()
	select {
	case u.writing <- struct{}{}:
		defer func() { <-u.writing }()
	case <-ctx.Done():
		return ctx.Err()
	}
	v := &view{ctx: ctx, data: maps.Clone(u.disk.read())}
	if v.data == nil {
		v.data = make(map[string][]byte)
	}
	defer func() { v.done = true }()
	if err := fn(v); err != nil {
		return err
	}
	v.done = true
	if v.spoiled != nil {
		return v.spoiled
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	u.disk.mu.Lock()
	defer u.disk.mu.Unlock()
	u.disk.data = v.data
	return nil
}

func (u *unlimited) Close() error {
	u.mu.Lock()
	u.closed = true
	u.mu.Unlock()
	u.under.Wait()
	return nil
}

// view is the Reader and the Writer of an unlimited store.
type view struct {
	ctx     context.Context
	data    map[string][]byte
	done    bool
	spoiled error
}

// may is why a call may not be made, or nil. It spoils the Update.
func (v *view) may(err error) error {
	switch {
	case v.done:
		return storage.ErrDone
	case v.ctx.Err() != nil:
		err = v.ctx.Err()
	}
	if v.spoiled == nil {
		v.spoiled = err
	}
	return err
}

func (v *view) Get(key string) ([]byte, error) {
	if err := v.may(storage.CheckKey(key)); err != nil {
		return nil, err
	}
	value, ok := v.data[key]
	if !ok {
		return nil, storage.ErrNotFound
	}
	return append([]byte{}, value...), nil
}

func (v *view) Scan(prefix string) iter.Seq2[storage.Pair, error] {
	return func(yield func(storage.Pair, error) bool) {
		if err := v.may(nil); err != nil {
			yield(storage.Pair{}, err)
			return
		}
		seen := maps.Clone(v.data)
		for _, key := range slices.Sorted(maps.Keys(seen)) {
			if !strings.HasPrefix(key, prefix) {
				continue
			}
			if err := v.may(nil); err != nil {
				yield(storage.Pair{}, err)
				return
			}
			if !yield(storage.Pair{Key: key, Value: append([]byte{}, seen[key]...)}, nil) {
				return
			}
		}
	}
}

func (v *view) Put(key string, value []byte) error {
	err := storage.CheckKey(key)
	if err == nil {
		err = storage.CheckValue(value)
	}
	if err := v.may(err); err != nil {
		return err
	}
	v.data[key] = bytes.Clone(value)
	return nil
}

func (v *view) Delete(key string) error {
	if err := v.may(storage.CheckKey(key)); err != nil {
		return err
	}
	delete(v.data, key)
	return nil
}
