package storagetest_test

import (
	"context"
	"iter"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/sojournlm/sojourn/storage"
	"github.com/sojournlm/sojourn/storage/memory"
	"github.com/sojournlm/sojourn/storage/storagetest"
)

// TestOptimistic holds the suite to asking for no more than the contract: a
// store of another make passes, whose Updates run side by side.
func TestOptimistic(t *testing.T) {
	var mu sync.Mutex
	stores := make(map[string]*memory.Store)
	storagetest.Run(t, func(dir string) (storage.Store, error) {
		mu.Lock()
		defer mu.Unlock()
		kept := memory.New()
		if old := stores[dir]; old != nil {
			kept = old.Clone()
		}
		stores[dir] = kept
		return &optimistic{kept: kept, gate: storage.NewGate(), wrote: make(map[string]int)}, nil
	}, nil)
}

// optimistic runs each Update on a state of its own. When another has written
// meanwhile what it has read, it runs again.
type optimistic struct {
	gate *storage.Gate
	kept *memory.Store

	mu      sync.Mutex     // held by a commit
	commits int            // so far
	wrote   map[string]int // which of them wrote a key last
}

func (o *optimistic) View(ctx context.Context, fn func(storage.Reader) error) error {
	if err := o.gate.Enter(ctx); err != nil {
		return err
	}
	defer o.gate.Leave()
	return o.kept.View(ctx, fn)
}

func (o *optimistic) Update(ctx context.Context, fn func(storage.Writer) error) error {
	if err := o.gate.Enter(ctx); err != nil {
		return err
	}
	defer o.gate.Leave()
	for {
		began, state := o.state()
		var seen *tracker
		err := state.Update(ctx, func(w storage.Writer) error {
			seen = &tracker{Writer: w}
			return fn(seen)
		})
		if err != nil {
			return err
		}
		if done, err := o.commit(seen, began); done || err != nil {
			return err
		}
	}
}

func (o *optimistic) state() (began int, state *memory.Store) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.commits, o.kept.Clone()
}

// commit keeps what an Update has written that began after so many commits,
// unless one since has written what it has seen.
func (o *optimistic) commit(seen *tracker, began int) (done bool, err error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for key, n := range o.wrote {
		if n > began && seen.has(key) {
			return false, nil
		}
	}
	if err := o.kept.Update(context.Background(), replay(seen.writes)); err != nil {
		return false, err
	}
	o.commits++
	for _, write := range seen.writes {
		o.wrote[write.key] = o.commits
	}
	return true, nil
}

func (o *optimistic) Close() error {
	o.gate.Shut()
	return o.kept.Close()
}

// tracker notes what is read and written through it.
type tracker struct {
	storage.Writer
	keys, prefixes []string
	writes         []write
}

// has says whether the value of key, or that there is none, has been seen.
func (t *tracker) has(key string) bool {
	return slices.Contains(t.keys, key) ||
		slices.ContainsFunc(t.prefixes, func(prefix string) bool { return strings.HasPrefix(key, prefix) })
}

func (t *tracker) Get(key string) ([]byte, error) {
	t.keys = append(t.keys, key)
	return t.Writer.Get(key)
}

func (t *tracker) Scan(prefix string) iter.Seq2[storage.Pair, error] {
	t.prefixes = append(t.prefixes, prefix)
	return t.Writer.Scan(prefix)
}

func (t *tracker) Put(key string, value []byte) error {
	err := t.Writer.Put(key, value)
	if err == nil {
		t.writes = append(t.writes, write{key, append([]byte{}, value...)})
	}
	return err
}

func (t *tracker) Delete(key string) error {
	err := t.Writer.Delete(key)
	if err == nil {
		t.writes = append(t.writes, write{key, nil})
	}
	return err
}
