package badgerstore_test

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	badger "github.com/dgraph-io/badger/v4"
	"pgregory.net/rapid"

	"github.com/sojournlm/sojourn/storage"
	"github.com/sojournlm/sojourn/storage/badgerstore"
)

// TestVersions: Badger may drop what nobody sees, all of it, and nothing else.
func TestVersions(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		last := rapid.Uint64Range(0, 3).Draw(t, "last")
		discarded := uint64(0)
		v := badgerstore.NewVersions(last, func(n uint64) {
			if n < discarded {
				t.Fatalf("%d is to be dropped, and %d was", n, discarded)
			}
			discarded = n
		})
		var seen []uint64 // by open Views
		t.Repeat(map[string]func(*rapid.T){
			"begin": func(t *rapid.T) {
				if seen = append(seen, v.Begin()); seen[len(seen)-1] != last {
					t.Fatalf("a View sees %d, want %d", seen[len(seen)-1], last)
				}
			},
			"end": func(t *rapid.T) {
				if len(seen) == 0 {
					t.Skip()
				}
				i := rapid.IntRange(0, len(seen)-1).Draw(t, "view")
				v.End(seen[i])
				seen = slices.Delete(seen, i, i+1)
			},
			"commit": func(t *rapid.T) {
				if n := v.Next(); n <= last {
					t.Fatalf("an Update makes %d after %d", n, last)
				}
				last = v.Next()
				v.Made(last)
			},
			"": func(t *rapid.T) {
				if want := slices.Min(append(slices.Clone(seen), last)); discarded != want {
					t.Fatalf("with Views of %d and the last at %d, %d is to be dropped, want %d", seen, last, discarded, want)
				}
			},
		})
	})
}

// TestOldVersions: what was overwritten or deleted stays as long as a View sees
// it, and goes when none does.
func TestOldVersions(t *testing.T) {
	dir := t.TempDir()
	s := mustOpen(t, dir, anywhere)
	// A few tables, each made by a Close, so that there is one to merge others
	// with.
	for range 5 {
		put(t, s, "a", "0")
		put(t, s, "b", "0")
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		s = mustOpen(t, dir, anywhere)
	}
	if err := s.Compact(); err != nil {
		t.Fatal(err)
	}
	if n := s.Tables(); n != 1 {
		t.Fatalf("there are %d tables, want them merged into one", n)
	}
	const times = 50
	err := s.View(t.Context(), func(r storage.Reader) error {
		for i := range times {
			put(t, s, "a", fmt.Sprint(i+1))
			_, _ = get(t, s, "a") // a View that ends before the older one
		}
		if err := s.Update(t.Context(), func(w storage.Writer) error { return w.Delete("b") }); err != nil {
			return err
		}
		compact(t, s)
		if n := s.Versions("a"); n < 2 {
			t.Errorf("%d versions are there beside a View that sees an old one", n)
		}
		for _, key := range []string{"a", "b"} {
			if got, err := r.Get(key); err != nil || string(got) != "0" {
				t.Errorf("the View sees %q, %v; want what was there when it began", got, err)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	put(t, s, "a", "last")
	compact(t, s)
	if n := s.Versions("a"); n != 1 {
		t.Errorf("%d versions are kept that nobody sees", n-1)
	}
	if n := s.Versions("b"); n != 0 {
		t.Errorf("%d versions are kept of a key that was deleted", n)
	}
	if got, err := get(t, s, "a"); got != "last" || err != nil {
		t.Errorf("the store has %q, %v", got, err)
	}
}

// compact has Badger make a table of all that was written and merge it with the
// others.
func compact(t *testing.T, s *badgerstore.Store) {
	t.Helper()
	filler := strings.Repeat("f", storage.MaxValue/2)
	before := s.Tables()
	for range 70 { // of half a MiB, where 32 MiB make a table
		put(t, s, "filler", filler)
	}
	for deadline := time.Now().Add(time.Minute); s.Tables() == before; runtime.Gosched() {
		if time.Now().After(deadline) {
			t.Fatal("Badger made no table")
		}
	}
	if err := s.Compact(); err != nil {
		t.Fatal(err)
	}
}

// TestOwnVersions: a directory in which Badger has numbered its versions on its
// own, as it did for stores of before, is a store like any other; and the other
// way round.
func TestOwnVersions(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "store")
	own := func(do func(txn *badger.Txn) error) {
		t.Helper()
		if err := os.MkdirAll(dir, 0o700); err != nil {
			t.Fatal(err)
		}
		db, err := badgerstore.OwnVersions(dir)
		if err != nil {
			t.Fatal(err)
		}
		if err := db.Update(do); err != nil {
			t.Error(err)
		}
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	}
	shows := func(s *badgerstore.Store, want string) {
		t.Helper()
		var got strings.Builder
		err := s.View(t.Context(), func(r storage.Reader) error {
			for pair, err := range r.Scan("") {
				if err != nil {
					return err
				}
				fmt.Fprintf(&got, "%s=%.9s ", pair.Key, pair.Value)
			}
			return nil
		})
		if got.String() != want || err != nil {
			t.Errorf("the store shows %q, %v; want %q", got.String(), err, want)
		}
	}
	long := strings.Repeat("long", storage.MaxValue/4) // lies in the value log
	own(func(txn *badger.Txn) error {
		for _, pair := range [][2]string{{"a", "1"}, {"b", "1"}, {"c", "1"}, {"d", long}} {
			if err := txn.Set(badgerstore.Stored(pair[0], pair[1])); err != nil {
				return err
			}
		}
		return nil
	})
	for n := 2; n < 12; n += 2 {
		old := fmt.Sprint(n)
		own(func(txn *badger.Txn) error {
			c, _ := badgerstore.Stored("c", "")
			if err := txn.Delete(c); err != nil {
				return err
			}
			return txn.Set(badgerstore.Stored("b", old))
		})
		s := mustOpen(t, dir, anywhere)
		shows(s, fmt.Sprintf("a=%d b=%s d=longlongl ", n-1, old))
		put(t, s, "a", fmt.Sprint(n+1))
		put(t, s, "c", "back")
		shows(s, fmt.Sprintf("a=%d b=%s c=back d=longlongl ", n+1, old))
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
}
