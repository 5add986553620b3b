package storagetest_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"

	"github.com/sojournlm/sojourn/storage"
	"github.com/sojournlm/sojourn/storage/memory"
	"github.com/sojournlm/sojourn/storage/storagetest"
)

// move takes one of key "from" and adds it to key "to", with a look at all.
func move(ctx context.Context, s storage.Store, runs *int) error {
	err := s.View(ctx, func(r storage.Reader) error { _, err := r.Get("from"); return err })
	if err != nil {
		return err
	}
	return s.Update(ctx, func(w storage.Writer) error {
		*runs++
		sum := 0
		for pair, err := range w.Scan("") {
			if err != nil {
				return err
			}
			sum += len(pair.Value)
		}
		if sum != 3 {
			return fmt.Errorf("the sum is %d", sum)
		}
		from, err := w.Get("from")
		if err != nil {
			return err
		}
		if err := w.Put("from", from[1:]); err != nil {
			return err
		}
		to, err := w.Get("to")
		if err != nil {
			return err
		}
		if err := w.Delete("to"); err != nil {
			return err
		}
		return w.Put("to", append(to, 'x'))
	})
}

func filled(t *testing.T) *memory.Store {
	s := memory.New()
	err := s.Update(t.Context(), func(w storage.Writer) error {
		return errors.Join(w.Put("from", []byte("xxx")), w.Put("to", nil))
	})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func contents(t *testing.T, s storage.Store) string {
	var all string
	err := s.View(t.Context(), func(r storage.Reader) error {
		for pair, err := range r.Scan("") {
			if err != nil {
				return err
			}
			all += pair.Key + "=" + string(pair.Value) + " "
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

const (
	before = "from=xxx to= "
	after  = "from=xx to=x "
)

// TestFaultLoop runs an operation under each kind of failure at each place, and
// looks that every place was met and what became of the store.
func TestFaultLoop(t *testing.T) {
	// View, Get; Update, Scan twice, 2 Gets, 2 Puts, Delete, commit.
	places := map[storagetest.Kind]int{
		storagetest.Refuse: 11, storagetest.Lose: 1, storagetest.Keep: 1, storagetest.Rerun: 1,
	}
	for _, kind := range storagetest.Kinds() {
		t.Run(kind.String(), func(t *testing.T) {
			n := 0
			for ; ; n++ {
				inner := filled(t)
				f := storagetest.FailNth(inner, n, kind)
				runs := 0
				err := move(t.Context(), f, &runs)
				if !f.Fired() {
					if err != nil || contents(t, inner) != after || runs != 1 {
						t.Fatalf("without a failure: %v, %s, %d runs", err, contents(t, inner), runs)
					}
					break
				}
				look(t, f, kind, err, runs)
				if err := f.Close(); err != nil {
					t.Error(err)
				}
				want := before
				if kind == storagetest.Keep || kind == storagetest.Rerun {
					want = after
				}
				if got := contents(t, inner); got != want {
					t.Errorf("%v at %d: the store holds %s, want %s", kind, n, got, want)
				}
			}
			if n != places[kind] {
				t.Errorf("%v failed at %d places, want %d", kind, n, places[kind])
			}
		})
	}
}

// look says whether err is what kind gives, and whether f is broken or not.
func look(t *testing.T, f storage.Store, kind storagetest.Kind, err error, runs int) {
	t.Helper()
	next := f.View(t.Context(), func(storage.Reader) error { return nil })
	unknown := slices.Contains([]storagetest.Kind{storagetest.Lose, storagetest.Keep}, kind)
	if errors.Is(err, storage.ErrUnknown) != unknown || errors.Is(next, storage.ErrUnknown) != unknown {
		t.Errorf("%v gives %v, and then %v", kind, err, next)
	}
	if kind == storagetest.Rerun {
		if err != nil || runs != 2 {
			t.Errorf("%v gives %v after %d runs", kind, err, runs)
		}
	} else if !errors.Is(err, storagetest.ErrInjected) {
		t.Errorf("%v gives %v, want an injected failure", kind, err)
	}
}

// TestIgnoredFailure: an operation that overlooks a failure does not commit.
func TestIgnoredFailure(t *testing.T) {
	for n := 1; ; n++ { // 0 is the Update itself
		inner := filled(t)
		f := storagetest.FailNth(inner, n, storagetest.Refuse)
		err := f.Update(t.Context(), func(w storage.Writer) error {
			_, _ = w.Get("from")
			_ = w.Put("from", nil)
			_ = w.Delete("to")
			for range w.Scan("") {
			}
			return nil
		})
		if !f.Fired() {
			break
		}
		if !errors.Is(err, storagetest.ErrInjected) || contents(t, inner) != before {
			t.Errorf("failure at %d: %v, %s", n, err, contents(t, inner))
		}
	}
}

func ExampleFailNth() {
	ctx := context.Background()
	for n := 0; ; n++ {
		inner := memory.New()
		store := storagetest.FailNth(inner, n, storagetest.Refuse)
		err := store.Update(ctx, func(w storage.Writer) error {
			if err := w.Put("a", nil); err != nil {
				return err
			}
			return w.Put("b", nil)
		})
		keys := 0
		_ = inner.View(ctx, func(r storage.Reader) error {
			for range r.Scan("") {
				keys++
			}
			return nil
		})
		fmt.Println(keys, err)
		if !store.Fired() {
			break
		}
	}
	// Output:
	// 0 storage: update: injected failure
	// 0 storage: put "a": injected failure
	// 0 storage: put "b": injected failure
	// 0 storage: update: injected failure
	// 2 <nil>
}
