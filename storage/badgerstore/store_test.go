package badgerstore_test

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sojournlm/sojourn/storage"
	"github.com/sojournlm/sojourn/storage/badgerstore"
	"github.com/sojournlm/sojourn/storage/storagetest"
)

// anywhere are the options of tests, which run on any disk.
var anywhere = &badgerstore.Options{Reserve: -1}

func TestStore(t *testing.T) {
	var hands sync.Map // by store
	opts := &storagetest.Options{
		Break: takeAway,
		Hold: func(s storage.Store) (held <-chan struct{}, release func()) {
			h, _ := hands.Load(s)
			return h.(*hand).hold(allWritten)
		},
	}
	if runtime.GOOS == "windows" {
		opts.Break = nil // an open directory stays where it is
	}
	storagetest.Run(t, func(dir string) (storage.Store, error) {
		h := new(hand)
		s, err := badgerstore.Open(dir, &badgerstore.Options{Reserve: -1, Logger: h.logger()})
		if err != nil {
			return nil, err
		}
		hands.Store(s, h)
		return s, nil
	}, opts)
}

// takeAway moves the directory of a store away. Badger notices when it begins
// its next log.
func takeAway(_ storage.Store, dir string) (mend func(), err error) {
	away := dir + ".away"
	return func() { os.Rename(away, dir) }, os.Rename(dir, away)
}

func mustOpen(t testing.TB, dir string, opts *badgerstore.Options) *badgerstore.Store {
	t.Helper()
	s, err := badgerstore.Open(dir, opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

func put(t testing.TB, s storage.Store, key, value string) {
	t.Helper()
	err := s.Update(context.Background(), func(w storage.Writer) error { return w.Put(key, []byte(value)) })
	if err != nil {
		t.Fatal(err)
	}
}

func get(t testing.TB, s storage.Store, key string) (value string, err error) {
	t.Helper()
	err = s.View(context.Background(), func(r storage.Reader) error {
		got, err := r.Get(key)
		value = string(got)
		return err
	})
	return value, err
}

func TestDirectory(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "a", "b")
	mustOpen(t, dir, anywhere)
	for _, made := range []string{dir, filepath.Dir(dir)} {
		info, err := os.Stat(made)
		if err != nil {
			t.Fatal(err)
		}
		if runtime.GOOS != "windows" && info.Mode().Perm() != 0o700 {
			t.Errorf("%s was made with %v, want 0700", made, info.Mode())
		}
	}
}

func TestOpenTwice(t *testing.T) {
	dir := t.TempDir()
	s := mustOpen(t, dir, anywhere)
	_, err := badgerstore.Open(dir, anywhere)
	if !errors.Is(err, badgerstore.ErrLocked) {
		t.Fatalf("a second Open gives %v, want ErrLocked", err)
	}
	if !strings.Contains(err.Error(), dir) {
		t.Errorf("the error %q does not name the directory", err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	mustOpen(t, dir, anywhere)
}

func TestReserve(t *testing.T) {
	dir := t.TempDir()
	free, err := badgerstore.FreeSpace(dir)
	if err != nil {
		t.Fatal(err)
	}
	s := mustOpen(t, dir, anywhere)
	put(t, s, "a", "1")
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}

	_, err = badgerstore.Open(dir, &badgerstore.Options{Reserve: int64(free) * 4})
	if !errors.Is(err, storage.ErrFull) {
		t.Errorf("Open with too little space gives %v, want ErrFull", err)
	}
	s = mustOpen(t, dir, &badgerstore.Options{Reserve: int64(free / 2 * 3)})
	for range 2 {
		err = s.Update(t.Context(), func(w storage.Writer) error { return w.Put("a", []byte("2")) })
		if !errors.Is(err, storage.ErrFull) || errors.Is(err, storage.ErrUnknown) {
			t.Errorf("Update with too little space gives %v, want ErrFull", err)
		}
		if got, err := get(t, s, "a"); got != "1" || err != nil {
			t.Errorf("after ErrFull the store has %q, %v", got, err)
		}
	}
}

// TestHang: a disk that never takes what Badger still has to write does not keep
// Close from returning.
func TestHang(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("an open directory stays where it is")
	}
	dir := filepath.Join(t.TempDir(), "store")
	s, err := badgerstore.Open(dir, anywhere)
	if err != nil {
		t.Fatal(err)
	}
	put(t, s, "a", "1")
	mend, err := takeAway(s, dir)
	if err != nil {
		t.Fatal(err)
	}
	defer mend()
	value := make([]byte, storage.MaxValue/2)
	for err == nil {
		err = s.Update(t.Context(), func(w storage.Writer) error { return w.Put("b", value) })
	}
	if !errors.Is(err, storage.ErrUnknown) {
		t.Fatalf("Update gives %v, want ErrUnknown", err)
	}
	s.SetPatience(time.Millisecond)
	first := s.Close()
	if first == nil || s.Close() != first {
		t.Errorf("Close gives %v, and then %v; want the same error", first, s.Close())
	}
	mend()
	if err := s.AwaitBadger(); err != nil {
		t.Error(err)
	}
	if got, err := get(t, mustOpen(t, dir, anywhere), "a"); got != "1" || err != nil {
		t.Errorf("the store opened anew has %q, %v", got, err)
	}
}

// TestCollect: space of the value log comes back, and nothing else changes.
func TestCollect(t *testing.T) {
	dir := t.TempDir()
	s := mustOpen(t, dir, anywhere)
	if s.Collect() {
		t.Error("an empty store gave a file back")
	}
	// Badger drops what was overwritten when it compacts tables, and makes a
	// table on Close.
	renew := func() {
		t.Helper()
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		s = mustOpen(t, dir, anywhere)
	}
	value := strings.Repeat("v", storage.MaxValue)
	put(t, s, "kept", value)
	for range 5 {
		for i := range 30 {
			put(t, s, fmt.Sprint("key", i%3), value)
		}
		renew()
	}
	for i := range 3 {
		put(t, s, fmt.Sprint("key", i), "short")
	}
	renew()
	before := logSize(t, dir)
	if err := s.Compact(); err != nil {
		t.Fatal(err)
	}
	for s.Collect() {
	}
	renew()
	if after := logSize(t, dir); after > before/2 {
		t.Errorf("the value log had %d MiB, and has %d", before>>20, after>>20)
	}
	if got, err := get(t, s, "kept"); got != value || err != nil {
		t.Errorf("a value of %d bytes comes back with %d, %v", len(value), len(got), err)
	}
	if got, err := get(t, s, "key1"); got != "short" || err != nil {
		t.Errorf("a value comes back as %q, %v", got, err)
	}
}

// logSize is the size of the value log.
func logSize(t *testing.T, dir string) (size int64) {
	t.Helper()
	logs, err := filepath.Glob(filepath.Join(dir, "*.vlog"))
	if err != nil {
		t.Fatal(err)
	}
	for _, log := range logs {
		info, err := os.Stat(log)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			t.Fatal(err)
		}
		if err == nil {
			size += info.Size()
		}
	}
	return size
}

func TestLogger(t *testing.T) {
	var out strings.Builder
	handler := slog.NewTextHandler(&lockedWriter{w: &out}, &slog.HandlerOptions{Level: slog.LevelDebug})
	s, err := badgerstore.Open(t.TempDir(), &badgerstore.Options{Reserve: -1, Logger: slog.New(handler)})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(out.String(), "level=DEBUG msg=\"badger: ") || strings.Contains(out.String(), `\n"`) {
		t.Errorf("the log reads %s", out.String())
	}
}

func ExampleOpen() {
	dir, err := os.MkdirTemp("", "store-")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer os.RemoveAll(dir)
	store, err := badgerstore.Open(dir, &badgerstore.Options{Reserve: 1 << 20})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer store.Close()

	ctx := context.Background()
	err = store.Update(ctx, func(w storage.Writer) error {
		return w.Put("greeting", []byte("hello"))
	})
	if err != nil {
		fmt.Println(err)
	}
	err = store.View(ctx, func(r storage.Reader) error {
		value, err := r.Get("greeting")
		fmt.Printf("%s\n", value)
		return err
	})
	if err != nil {
		fmt.Println(err)
	}
	// Output: hello
}

func BenchmarkUpdate(b *testing.B) {
	for _, writes := range []int{1, 16, 256} {
		b.Run(fmt.Sprintf("writes=%d", writes), func(b *testing.B) {
			s := mustOpen(b, b.TempDir(), nil)
			value := make([]byte, 1024)
			n := 0
			for b.Loop() {
				err := s.Update(b.Context(), func(w storage.Writer) error {
					for range writes {
						n++
						if err := w.Put(fmt.Sprintf("%09d", n), value); err != nil {
							return err
						}
					}
					return nil
				})
				if err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "commits/s")
			b.ReportMetric(float64(b.N*writes)/b.Elapsed().Seconds(), "writes/s")
		})
	}
}

func BenchmarkView(b *testing.B) {
	view := func(b *testing.B, s storage.Store) {
		for b.Loop() {
			if _, err := get(b, s, "a"); err != nil {
				b.Fatal(err)
			}
		}
	}
	b.Run("alone", func(b *testing.B) {
		s := mustOpen(b, b.TempDir(), nil)
		put(b, s, "a", "1")
		view(b, s)
	})
	b.Run("beside Updates", func(b *testing.B) {
		s := mustOpen(b, b.TempDir(), nil)
		put(b, s, "a", "1")
		stop, stopped := make(chan struct{}), make(chan struct{})
		go func() {
			defer close(stopped)
			for {
				select {
				case <-stop:
					return
				default:
				}
				err := s.Update(context.Background(), func(w storage.Writer) error { return w.Put("b", []byte("2")) })
				if err != nil {
					b.Error(err)
					return
				}
			}
		}()
		view(b, s)
		close(stop)
		<-stopped
	})
}
