package memory_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"pgregory.net/rapid"

	"github.com/sojournlm/sojourn/storage"
	"github.com/sojournlm/sojourn/storage/memory"
	"github.com/sojournlm/sojourn/storage/storagetest"
)

// shelf keeps memory stores by name; taking one again gives its clone.
func shelf() storagetest.Open {
	var mu sync.Mutex
	stores := make(map[string]*memory.Store)
	return func(dir string) (storage.Store, error) {
		mu.Lock()
		defer mu.Unlock()
		s := memory.New()
		if old := stores[dir]; old != nil {
			s = old.Clone()
		}
		stores[dir] = s
		return s, nil
	}
}

func TestStore(t *testing.T) {
	storagetest.Run(t, shelf(), nil)
}

func TestCloneIsIndependent(t *testing.T) {
	ctx := t.Context()
	s := memory.New()
	set := func(s *memory.Store, value string) {
		t.Helper()
		err := s.Update(ctx, func(w storage.Writer) error { return w.Put("a", []byte(value)) })
		if err != nil {
			t.Fatal(err)
		}
	}
	get := func(s *memory.Store) (value string) {
		t.Helper()
		err := s.View(ctx, func(r storage.Reader) error {
			got, err := r.Get("a")
			value = string(got)
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		return value
	}

	set(s, "yesterday")
	yesterday := s.Clone()
	set(s, "today")
	again := yesterday.Clone()
	set(again, "another")
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if got := get(yesterday); got != "yesterday" {
		t.Errorf("the clone has %q, want what was there when it was made", got)
	}
	if got := get(s.Clone()); got != "today" {
		t.Errorf("the clone of a closed store has %q, want what was there in the end", got)
	}
}

func TestCloneBesideUpdates(t *testing.T) {
	ctx := t.Context()
	s := memory.New()
	var wg sync.WaitGroup
	for i := range 4 {
		wg.Go(func() {
			for j := range 50 {
				key := fmt.Sprintf("%d/%d", i, j)
				err := s.Update(ctx, func(w storage.Writer) error { return w.Put(key, []byte(key)) })
				if err != nil {
					t.Error(err)
				}
				clone := s.Clone()
				err = clone.Update(ctx, func(w storage.Writer) error {
					if _, err := w.Get(key); err != nil {
						return err
					}
					return w.Delete(key)
				})
				if err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	n := 0
	err := s.View(ctx, func(r storage.Reader) error {
		for _, err := range r.Scan("") {
			if err != nil {
				return err
			}
			n++
		}
		return nil
	})
	if err != nil || n != 200 {
		t.Errorf("%d keys and %v, want 200", n, err)
	}
}

// TestModel compares a store with a plain map, over random Updates, refusals,
// and clones that are put back.
func TestModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		ctx := context.Background()
		s, model := memory.New(), map[string]string{}
		backup, backupModel := s.Clone(), map[string]string{}
		key := rapid.StringMatching(`[a-c]{1,3}`)
		for range rapid.IntRange(1, 30).Draw(t, "steps") {
			switch rapid.SampledFrom([]string{"update", "update", "refused", "backup", "restore"}).Draw(t, "step") {
			case "backup":
				backup, backupModel = s.Clone(), maps.Clone(model)
			case "restore":
				s, model = backup.Clone(), maps.Clone(backupModel)
			case "refused":
				_ = s.Update(ctx, func(w storage.Writer) error {
					return errors.Join(w.Put(key.Draw(t, "key"), []byte("no")), errors.New("no"))
				})
			case "update":
				err := s.Update(ctx, func(w storage.Writer) error {
					for range rapid.IntRange(0, 5).Draw(t, "writes") {
						k := key.Draw(t, "key")
						if rapid.Bool().Draw(t, "delete") {
							delete(model, k)
							if err := w.Delete(k); err != nil {
								return err
							}
							continue
						}
						model[k] = rapid.String().Draw(t, "value")
						if err := w.Put(k, []byte(model[k])); err != nil {
							return err
						}
					}
					return same(w, model)
				})
				if err != nil {
					t.Fatal(err)
				}
			}
			if err := s.View(ctx, func(r storage.Reader) error { return same(r, model) }); err != nil {
				t.Fatal(err)
			}
		}
	})
}

// same says whether Scan of several prefixes shows what is in model.
func same(r storage.Reader, model map[string]string) error {
	for _, prefix := range []string{"", "a", "b", "bc", "ccc"} {
		var want []storage.Pair
		for _, key := range slices.Sorted(maps.Keys(model)) {
			if strings.HasPrefix(key, prefix) {
				want = append(want, storage.Pair{Key: key, Value: []byte(model[key])})
			}
		}
		var got []storage.Pair
		for pair, err := range r.Scan(prefix) {
			if err != nil {
				return err
			}
			got = append(got, pair)
		}
		if diff := cmp.Diff(want, got, cmpopts.EquateEmpty()); diff != "" {
			return fmt.Errorf("Scan(%q), want -, got +:\n%s", prefix, diff)
		}
	}
	return nil
}

func ExampleNew() {
	ctx := context.Background()
	store := memory.New()
	defer store.Close()

	err := store.Update(ctx, func(w storage.Writer) error {
		return w.Put("greeting", []byte("hello"))
	})
	if err != nil {
		fmt.Println(err)
	}
	err = store.View(ctx, func(r storage.Reader) error {
		for pair, err := range r.Scan("greet") {
			if err != nil {
				return err
			}
			fmt.Printf("%s: %s\n", pair.Key, pair.Value)
		}
		return nil
	})
	if err != nil {
		fmt.Println(err)
	}
	// Output: greeting: hello
}

func BenchmarkUpdate(b *testing.B) {
	ctx := b.Context()
	s := memory.New()
	value := make([]byte, 1024)
	for i := 0; b.Loop(); i++ {
		err := s.Update(ctx, func(w storage.Writer) error {
			return w.Put(fmt.Sprintf("%09d", i), value)
		})
		if err != nil {
			b.Fatal(err)
		}
	}
}
