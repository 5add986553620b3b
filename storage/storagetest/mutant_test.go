package storagetest_test

import (
	"context"
	"iter"
	"sync"
	"sync/atomic"

	"github.com/sojournlm/sojourn/storage"
	"github.com/sojournlm/sojourn/storage/memory"
	"github.com/sojournlm/sojourn/storage/storagetest"
)

// mutant is a good store with a flaw: what is not nil takes the place of a
// method.
type mutant struct {
	kind   storagetest.Kind // how it breaks; Refuse means Keep
	view   func(*mutated, context.Context, func(storage.Reader) error) error
	update func(*mutated, context.Context, func(storage.Writer) error) error
	close  func(*mutated) error
	get    func(*tx, string) ([]byte, error)
	scan   func(*tx, string) iter.Seq2[storage.Pair, error]
	put    func(*tx, string, []byte) error
	delete func(*tx, string) error
	reopen func(*mutated) *memory.Store
}

// mutated is a store with the flaws of m. faulty is over bare and breaks when
// the suite wants it to.
type mutated struct {
	m       mutant
	bare    *memory.Store
	faulty  *storagetest.Faulty
	token   chan struct{} // for flaws in locking
	hold    hold
	closing atomic.Bool

	mu     sync.Mutex
	cache  map[string][]byte
	before *memory.Store
	early  *memory.Store
}

// shelf keeps mutated stores by name.
func shelf(m mutant) storagetest.Open {
	if m.kind == storagetest.Refuse {
		m.kind = storagetest.Keep
	}
	var mu sync.Mutex
	stores := make(map[string]*mutated)
	return func(dir string) (storage.Store, error) {
		mu.Lock()
		defer mu.Unlock()
		bare := memory.New()
		if old := stores[dir]; old != nil {
			bare = old.bare.Clone()
			if m.reopen != nil {
				bare = m.reopen(old)
			}
		}
		s := &mutated{
			m:     m,
			bare:  bare,
			token: make(chan struct{}, 1),
			cache: make(map[string][]byte),
		}
		s.faulty = storagetest.FailNth(&holdable{bare, &s.hold}, -1, m.kind)
		stores[dir] = s
		return s, nil
	}
}

func breakIt() *storagetest.Options {
	return &storagetest.Options{
		Break: func(s storage.Store, _ string) (func(), error) {
			s.(*mutated).faulty.Arm(3)
			return func() {}, nil
		},
		Hold: func(s storage.Store) (<-chan struct{}, func()) { return s.(*mutated).hold.arm() },
	}
}

// hold stops one commit.
type hold struct {
	mu            sync.Mutex
	held, release chan struct{} // nil when it is not armed
}

func (h *hold) arm() (held <-chan struct{}, release func()) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.held, h.release = make(chan struct{}), make(chan struct{})
	return h.held, sync.OnceFunc(func() { close(h.release) })
}

func (h *hold) commit() {
	h.mu.Lock()
	held, release := h.held, h.release
	h.held = nil
	h.mu.Unlock()
	if held != nil {
		close(held)
		<-release
	}
}

// holdable is a store whose commits can be held.
type holdable struct {
	*memory.Store
	hold *hold
}

func (h *holdable) Update(ctx context.Context, fn func(storage.Writer) error) error {
	c := &commitContext{Context: ctx}
	return h.Store.Update(c, func(w storage.Writer) error {
		if err := fn(w); err != nil {
			return err
		}
		if ctx.Err() == nil {
			c.begun.Store(true)
			h.hold.commit()
		}
		return nil
	})
}

// commitContext does not end any more when a commit has begun.
type commitContext struct {
	context.Context
	begun atomic.Bool
}

func (c *commitContext) Err() error {
	if c.begun.Load() {
		return nil
	}
	return c.Context.Err()
}

func (s *mutated) View(ctx context.Context, fn func(storage.Reader) error) error {
	flawed := func(r storage.Reader) error {
		t := &tx{s: s, r: r}
		err := fn(t)
		t.failed = err != nil
		return err
	}
	if s.m.view != nil {
		return s.m.view(s, ctx, flawed)
	}
	return s.faulty.View(ctx, flawed)
}

func (s *mutated) Update(ctx context.Context, fn func(storage.Writer) error) error {
	flawed := func(w storage.Writer) error { return fn(&tx{s: s, r: w, w: w}) }
	if s.m.update != nil {
		return s.m.update(s, ctx, flawed)
	}
	return s.faulty.Update(ctx, flawed)
}

func (s *mutated) Close() error {
	if s.m.close != nil {
		return s.m.close(s)
	}
	return s.shut()
}

func (s *mutated) shut() error {
	s.closing.Store(true)
	if err := s.faulty.Close(); err != nil {
		return err
	}
	return s.bare.Close()
}

// tx is the Reader or Writer of a mutated store.
type tx struct {
	s    *mutated
	r    storage.Reader
	w    storage.Writer // nil in a View
	puts int

	failed bool // the function of the View has failed
}

func (t *tx) Get(key string) ([]byte, error) {
	if t.s.m.get != nil {
		return t.s.m.get(t, key)
	}
	return t.r.Get(key)
}

func (t *tx) Scan(prefix string) iter.Seq2[storage.Pair, error] {
	if t.s.m.scan != nil {
		return t.s.m.scan(t, prefix)
	}
	return t.r.Scan(prefix)
}

func (t *tx) Put(key string, value []byte) error {
	t.puts++
	if t.s.m.put != nil {
		return t.s.m.put(t, key, value)
	}
	return t.w.Put(key, value)
}

func (t *tx) Delete(key string) error {
	if t.s.m.delete != nil {
		return t.s.m.delete(t, key)
	}
	return t.w.Delete(key)
}

// now is the value of key in the store as it is now.
func (t *tx) now(key string) (value []byte, err error) {
	err = t.s.bare.View(context.Background(), func(r storage.Reader) (err error) {
		value, err = r.Get(key)
		return err
	})
	return value, err
}

// write is a Put, or a Delete where value is nil.
type write struct {
	key   string
	value []byte
}

func (w write) apply(to storage.Writer) error {
	if w.value == nil {
		return to.Delete(w.key)
	}
	return to.Put(w.key, w.value)
}

// recorder counts what is got through it and notes what is written, without a
// copy of the values.
type recorder struct {
	storage.Writer
	gets   int
	writes []write
}

func (r *recorder) Get(key string) ([]byte, error) {
	r.gets++
	return r.Writer.Get(key)
}

func (r *recorder) Put(key string, value []byte) error {
	if value == nil {
		value = []byte{}
	}
	r.writes = append(r.writes, write{key, value})
	return r.Writer.Put(key, value)
}

func (r *recorder) Delete(key string) error {
	r.writes = append(r.writes, write{key, nil})
	return r.Writer.Delete(key)
}

// rehearse runs fn on a copy of the store and is what it writes.
func (s *mutated) rehearse(ctx context.Context, fn func(storage.Writer) error) ([]write, error) {
	var rec *recorder
	err := s.bare.Clone().Update(ctx, func(w storage.Writer) error {
		rec = &recorder{Writer: w}
		return fn(rec)
	})
	if err != nil {
		return nil, err
	}
	return rec.writes, nil
}

// replay makes the writes in a Writer.
func replay(writes []write) func(storage.Writer) error {
	return func(w storage.Writer) error {
		for _, write := range writes {
			if err := write.apply(w); err != nil {
				return err
			}
		}
		return nil
	}
}
