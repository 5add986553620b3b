package firmware

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"testing"

	"github.com/sojournlm/sojourn/internal/wire"
)

func openFile(t *testing.T, path string, g Geometry, binding [32]byte) *File {
	t.Helper()
	f, err := OpenFile(path, g, binding)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return f
}

// A file that somebody made before, for everybody to read, is for its owner alone when a
// private key comes in.
func TestEmptyFileOfOthers(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("has no such permissions")
	}
	path := filepath.Join(t.TempDir(), "key")
	if err := os.WriteFile(path, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	openFile(t, path, Geometry{Pages: 4, PageSize: 256, Endurance: 2}, [32]byte{})
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", info.Mode(), err)
	}
}

// Every body of flash holds to what Flash says.
func TestFlashBodies(t *testing.T) {
	g := Geometry{Pages: 4, PageSize: 256, Endurance: 2}
	for name, f := range map[string]Flash{
		"memory":   NewMemory(g),
		"file":     openFile(t, filepath.Join(t.TempDir(), "key"), g, [32]byte{}),
		"brownout": &Brownout{Flash: NewMemory(g)},
	} {
		t.Run(name, func(t *testing.T) {
			if pages, size := f.Size(); pages != 4 || size != 256 {
				t.Fatalf("%d pages of %d bytes", pages, size)
			}
			b := make([]byte, 256)
			read := func(page int) []byte {
				if err := f.Read(page, 0, b); err != nil {
					t.Fatal(err)
				}
				return b
			}
			if !blank(read(1)) {
				t.Error("a new flash is not erased")
			}
			if err := f.Program(1, 10, []byte("abc")); err != nil {
				t.Fatal(err)
			}
			if got := read(1); string(got[10:13]) != "abc" || !blank(got[:10]) || !blank(got[13:]) {
				t.Errorf("programmed: %x", got)
			}
			if f.Program(1, 12, []byte("x")) == nil {
				t.Error("a byte took two programmings")
			}
			if err := f.Program(1, 13, []byte("d")); err != nil {
				t.Error(err)
			}
			for left := uint32(2); left > 0; left-- {
				if n, err := f.ErasesLeft(1); err != nil || n != left {
					t.Errorf("%d erases left, %v, want %d", n, err, left)
				}
				if err := f.Erase(1); err != nil {
					t.Fatal(err)
				}
				if !blank(read(1)) {
					t.Error("erased, but not blank")
				}
			}
			if err := f.Program(1, 0, []byte("last")); err != nil {
				t.Fatal(err)
			}
			if err := f.Erase(1); !errors.Is(err, ErrWornOut) || string(read(1)[:4]) != "last" {
				t.Errorf("erased too often: %v, %q", err, b[:4])
			}
			if n, err := f.ErasesLeft(2); err != nil || n != 2 {
				t.Errorf("another page wore: %d, %v", n, err)
			}
			for _, c := range [][3]int{{-1, 0, 1}, {4, 0, 1}, {0, -1, 1}, {0, 256, 1}, {0, 250, 7}} {
				if f.Read(c[0], c[1], b[:c[2]]) == nil || f.Program(c[0], c[1], b[:c[2]]) == nil {
					t.Errorf("%v is outside", c)
				}
			}
			if f.Erase(4) == nil {
				t.Error("erased a page that is not there")
			}
		})
	}
}

func TestFileKeeps(t *testing.T) {
	path, binding := filepath.Join(t.TempDir(), "key"), [32]byte{9}
	f := openFile(t, path, KeyGeometry, binding)
	k := start(t, f, made)
	p := pool(t, k, 1, 30)
	if status, _ := install(t, k, p); status != wire.OK {
		t.Fatal(status)
	}
	for range 70 { // past the end of a page
		if status, _ := advance(t, k, checkpoint(t, k)); status != wire.OK {
			t.Fatal(status)
		}
	}
	id, stands, says := k.id, checkpoint(t, k), info(t, k)
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	f = openFile(t, path, Geometry{Pages: 9, PageSize: 512}, binding) // its own geometry counts
	k = start(t, f, made)
	if k.id != id || checkpoint(t, k) != stands || info(t, k) != says || !bytes.Equal(readBack(t, k), p) {
		t.Error("the key came back as another")
	}
	if runtime.GOOS != "windows" {
		if s, err := os.Stat(path); err != nil || s.Mode().Perm() != 0o600 {
			t.Errorf("%v, %v", s.Mode(), err)
		}
	}
}

func TestFileRefuses(t *testing.T) {
	binding := [32]byte{9}
	fresh := func(t *testing.T) (string, []byte) {
		path := filepath.Join(t.TempDir(), "key")
		f := openFile(t, path, small, binding)
		k := start(t, f, anchor)
		advance(t, k, checkpoint(t, k))
		f.Close()
		b, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		return path, b
	}
	path, good := fresh(t)
	refused := func(t *testing.T, what string, b []byte, want error) {
		t.Helper()
		if err := os.WriteFile(path, b, 0o600); err != nil {
			t.Fatal(err)
		}
		if f, err := OpenFile(path, small, binding); !errors.Is(err, want) {
			t.Errorf("%s: %v, want %v", what, err, want)
			if err == nil {
				f.Close()
			}
		}
		if after, err := os.ReadFile(path); err != nil || !bytes.Equal(after, b) {
			t.Errorf("%s: the refused file was changed", what)
		}
	}
	for i := range 16 + 12 + 32 + 32 {
		bad := bytes.Clone(good)
		bad[i] ^= 0x10
		refused(t, "head damaged", bad, ErrDamaged)
	}
	refused(t, "foreign", []byte("not a key"), ErrDamaged)
	refused(t, "cut", good[:len(good)-1], ErrDamaged)
	refused(t, "cut to its head", good[:fileHead], ErrDamaged)
	refused(t, "cut in its head", good[:40], ErrDamaged)
	refused(t, "longer", append(bytes.Clone(good), 0), ErrDamaged)
	refused(t, "head lost", append(make([]byte, fileHead), good[fileHead:]...), ErrDamaged)
	if err := os.WriteFile(path, good, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := OpenFile(path, small, [32]byte{1}); !errors.Is(err, ErrBoundElsewhere) {
		t.Errorf("another computer: %v", err)
	}
	if _, err := OpenFile(filepath.Join(path, "below"), small, binding); err == nil {
		t.Error("opened a file below a file")
	}
	if _, err := OpenFile(path, Geometry{}, binding); err == nil {
		t.Error("opened without a geometry")
	}
}

// A file that was never finished, because the power failed while it was made, is
// made again.
func TestFileUnfinished(t *testing.T) {
	path := filepath.Join(t.TempDir(), "key")
	f := openFile(t, path, small, [32]byte{})
	f.Close()
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	copy(whole, make([]byte, fileHead))
	for n := 0; n <= len(whole); n += 100 {
		if err := os.WriteFile(path, whole[:n], 0o600); err != nil {
			t.Fatal(err)
		}
		f, err := OpenFile(path, small, [32]byte{})
		if err != nil {
			t.Fatalf("with %d bytes: %v", n, err)
		}
		start(t, f, anchor)
		f.Close()
	}
}

// After a failed write nothing is believed until the file is opened afresh.
func TestFileFails(t *testing.T) {
	path := filepath.Join(t.TempDir(), "key")
	f := openFile(t, path, small, [32]byte{})
	k := start(t, f, anchor)
	now := checkpoint(t, k)
	reader, err := os.Open(path) // cannot be written to
	if err != nil {
		t.Fatal(err)
	}
	defer reader.Close()
	writer := f.file
	f.file = reader
	if status, _ := advance(t, k, now); status != wire.FlashFailed {
		t.Fatal(status)
	}
	f.file = writer
	if status, _ := advance(t, k, now); status != wire.FlashFailed {
		t.Errorf("believed after a failed write: %v", status)
	}
	f.Close()
	if c := checkpoint(t, start(t, openFile(t, path, small, [32]byte{}), anchor)); c.Seq != 0 {
		t.Errorf("stands at %+v", c)
	}
}

// The test's own program, started again, tries to open a file that is open here.
func TestFileLocked(t *testing.T) {
	const name = "SOJOURN_TEST_KEY_FILE"
	if path := os.Getenv(name); path != "" {
		f, err := OpenFile(path, small, [32]byte{})
		if errors.Is(err, ErrLocked) {
			os.Exit(7)
		}
		f.Close()
		os.Exit(8)
	}
	path := filepath.Join(t.TempDir(), "key")
	f := openFile(t, path, small, [32]byte{})
	if _, err := OpenFile(path, small, [32]byte{}); !errors.Is(err, ErrLocked) {
		t.Errorf("in this process: %v", err)
	}
	try := func() int {
		cmd := exec.Command(os.Args[0], "-test.run=^TestFileLocked$")
		cmd.Env = append(os.Environ(), name+"="+path)
		cmd.Run()
		return cmd.ProcessState.ExitCode()
	}
	if got := try(); got != 7 {
		t.Errorf("another process while it is open: exit code %d", got)
	}
	f.Close()
	if got := try(); got != 8 {
		t.Errorf("another process after Close: exit code %d", got)
	}
}

// FuzzFileHead gives files as an enemy may leave them, with a head of any geometry
// that adds up or with bytes of any kind: one that is refused stays as it is, and
// one that is taken is as long as its geometry says.
func FuzzFileHead(f *testing.F) {
	g := Geometry{Pages: 4, PageSize: 256, Endurance: 2}
	path := filepath.Join(f.TempDir(), "key")
	whole, err := OpenFile(path, g, [32]byte{})
	if err != nil {
		f.Fatal(err)
	}
	whole.Close()
	made, err := os.ReadFile(path)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(true, uint32(4), uint32(256), uint32(2), made[fileHead:])
	f.Add(true, uint32(1<<31), uint32(1<<31), uint32(0), made[fileHead:])
	f.Add(true, uint32(0), uint32(0), uint32(1<<32-1), []byte{})
	f.Add(false, uint32(0), uint32(0), uint32(0), made)
	f.Add(false, uint32(0), uint32(0), uint32(0), made[:100])
	f.Add(false, uint32(0), uint32(0), uint32(0), []byte{})
	f.Fuzz(func(t *testing.T, adds bool, pages, size, endurance uint32, rest []byte) {
		b := rest
		if adds {
			b = append(head(Geometry{Pages: int(pages), PageSize: int(size), Endurance: endurance}, [32]byte{}), rest...)
		}
		path := filepath.Join(t.TempDir(), "key")
		if err := os.WriteFile(path, b, 0o600); err != nil {
			t.Fatal(err)
		}
		file, err := OpenFile(path, g, [32]byte{})
		now, failed := os.ReadFile(path)
		switch {
		case failed != nil:
			t.Fatal(failed)
		case err != nil && !bytes.Equal(now, b):
			t.Errorf("refused (%v), and changed", err)
		case err == nil:
			if pages, size := file.Size(); len(now) != fileHead+pages*(pageHead+size) {
				t.Errorf("%d pages of %d bytes in a file of %d", pages, size, len(now))
			}
			file.Close()
		}
	})
}
