package badgerstore_test

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	badger "github.com/dgraph-io/badger/v4"

	"github.com/sojournlm/sojourn/storage"
	"github.com/sojournlm/sojourn/storage/badgerstore"
)

func TestForeignDirectories(t *testing.T) {
	write := func(name, content string) func(*testing.T, string) {
		return func(t *testing.T, dir string) {
			if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
	for name, c := range map[string]struct {
		prepare func(*testing.T, string)
		says    string
	}{
		"another program's files": {write("notes.txt", "hello"), "notes.txt"},
		"a store without its manifest": {func(t *testing.T, dir string) {
			s := mustOpen(t, dir, anywhere)
			put(t, s, "a", "1")
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
			if err := os.Remove(filepath.Join(dir, badger.ManifestFilename)); err != nil {
				t.Fatal(err)
			}
		}, "no manifest"},
		"another manifest": {write(badger.ManifestFilename, "Manifest-Version: 1.0\n"), "magic"},
		"a Badger database": {func(t *testing.T, dir string) {
			db, err := badger.Open(badger.DefaultOptions(dir).WithLogger(nil))
			if err != nil {
				t.Fatal(err)
			}
			if err := db.Close(); err != nil {
				t.Fatal(err)
			}
		}, "magic number"},
		"a folder inside": {func(t *testing.T, dir string) {
			if err := os.Mkdir(filepath.Join(dir, "DISCARD"), 0o700); err != nil {
				t.Fatal(err)
			}
		}, "DISCARD is not a file"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			c.prepare(t, dir)
			before := list(t, dir)
			s, err := badgerstore.Open(dir, anywhere)
			if err == nil {
				s.Close()
				t.Fatal("Open takes it")
			}
			if !strings.Contains(err.Error(), c.says) || !strings.Contains(err.Error(), dir) {
				t.Errorf("the error %q does not say %q and the directory", err, c.says)
			}
			if after := list(t, dir); !slices.Equal(before, after) {
				t.Errorf("Open made %q of %q", after, before)
			}
		})
	}

	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, dir := range []string{file, filepath.Join(file, "below"), "", "\x00"} {
		if s, err := badgerstore.Open(dir, anywhere); err == nil {
			s.Close()
			t.Errorf("Open takes %q", dir)
		}
	}
}

func list(t *testing.T, dir string) (names []string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, entry := range entries {
		names = append(names, entry.Name())
	}
	return names
}

func TestAbandonedFirstOpen(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "MANIFEST-REWRITE"), []byte("half"), 0o600); err != nil {
		t.Fatal(err)
	}
	put(t, mustOpen(t, dir, anywhere), "a", "1")
}

// TestEmptyLogs: what a power cut leaves of a log that was just begun.
func TestEmptyLogs(t *testing.T) {
	dir := t.TempDir()
	s := mustOpen(t, dir, anywhere)
	put(t, s, "a", "1")
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"00007.mem", "000007.vlog"} {
		if err := os.WriteFile(filepath.Join(dir, name), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	s = mustOpen(t, dir, anywhere)
	if got, err := get(t, s, "a"); got != "1" || err != nil {
		t.Errorf("the store has %q, %v", got, err)
	}
}

// TestDamage damages each file of a store in several ways. No damage ends the
// process or shows a value that was never written.
func TestDamage(t *testing.T) {
	intact := filepath.Join(t.TempDir(), "intact")
	written := fill(t, intact)
	untouched := filepath.Join(t.TempDir(), "untouched")
	if err := os.CopyFS(untouched, os.DirFS(intact)); err != nil {
		t.Fatal(err)
	}
	if right, failed := inspect(t, untouched, written); right != len(written) || failed != 0 {
		t.Fatalf("without damage %d values are right and %d fail, of %d", right, failed, len(written))
	}
	damages := map[string]func(path string, content []byte) error{
		"removed": func(path string, _ []byte) error { return os.Remove(path) },
		"emptied": func(path string, _ []byte) error { return os.Truncate(path, 0) },
		"halved":  func(path string, content []byte) error { return os.Truncate(path, int64(len(content)/2)) },
		"headless": func(path string, content []byte) error {
			return os.WriteFile(path, append(make([]byte, 16), content[min(16, len(content)):]...), 0o600)
		},
		"flipped": func(path string, content []byte) error {
			for i := 0; i < len(content); i += 97 {
				content[i] ^= 0x55
			}
			return os.WriteFile(path, content, 0o600)
		},
		"noise behind": func(path string, content []byte) error {
			return os.WriteFile(path, append(content, strings.Repeat("noise", 100)...), 0o600)
		},
		"a folder": func(path string, _ []byte) error {
			if err := os.Remove(path); err != nil {
				return err
			}
			return os.Mkdir(path, 0o700)
		},
	}
	for _, name := range list(t, intact) {
		if strings.HasPrefix(name, "000002.") {
			continue // like the first and the last of their kind
		}
		for _, how := range slices.Sorted(maps.Keys(damages)) {
			t.Run(name+" "+how, func(t *testing.T) {
				dir := filepath.Join(t.TempDir(), "damaged")
				if err := os.CopyFS(dir, os.DirFS(intact)); err != nil {
					t.Fatal(err)
				}
				path := filepath.Join(dir, name)
				content, err := os.ReadFile(path)
				if err != nil {
					t.Fatal(err)
				}
				if err := damages[how](path, content); err != nil {
					t.Fatal(err)
				}
				inspect(t, dir, written)
			})
		}
	}
}

// fill makes a store with every kind of file in dir, small ones, as a process
// leaves it that is killed; and is what it holds.
func fill(t *testing.T, dir string) map[string]string {
	t.Helper()
	written := make(map[string]string)
	live := filepath.Join(t.TempDir(), "live")
	for session := range 3 { // the first two leave a table each, the last a log
		s := mustOpen(t, live, anywhere)
		for i := range 20 {
			key := fmt.Sprintf("%d/%d", session, i)
			written[key] = string(valueOf(key))
			put(t, s, key, written[key])
		}
		key := fmt.Sprintf("%d/long", session)
		written[key] = strings.Repeat("0123456789abcdef", storage.MaxValue/16) // lies in the value log
		put(t, s, key, written[key])
		if session == 2 {
			break
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	for _, name := range list(t, live) {
		content, err := os.ReadFile(filepath.Join(live, name))
		if err != nil {
			t.Fatal(err)
		}
		if len(content) > 2<<20 { // a log is mostly zeros that were never written
			content = content[:2<<20]
		}
		if err := os.WriteFile(filepath.Join(dir, name), content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return written
}

// inspect opens the store in dir and reads all of it. It counts the values that
// are right, and those that cannot be read; no other may be seen.
func inspect(t *testing.T, dir string, written map[string]string) (right, failed int) {
	t.Helper()
	s, err := badgerstore.Open(dir, anywhere)
	if err != nil {
		if !strings.Contains(err.Error(), dir) {
			t.Errorf("the error %q does not name the directory", err)
		}
		t.Log(err)
		return 0, len(written)
	}
	defer s.Close()
	for key, want := range written {
		got, err := get(t, s, key)
		switch {
		case err != nil:
			failed++
		case got == want:
			right++
		default:
			t.Errorf("%q has a value of %d bytes that was never written", key, len(got))
		}
	}
	_ = s.View(t.Context(), func(r storage.Reader) error {
		for pair, err := range r.Scan("") {
			if err == nil && written[pair.Key] != string(pair.Value) {
				t.Errorf("Scan shows a pair that was never written: %q", pair.Key)
			}
		}
		return nil
	})
	return right, failed
}
