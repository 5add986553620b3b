package badgerstore_test

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/sojournlm/sojourn/storage"
)

// TestFullDisk fills a disk to its last byte while a process has a store on it. Closing
// the store says so, and does not end the process; nothing is lost.
func TestFullDisk(t *testing.T) {
	if !amongOwnMounts(t) {
		return
	}
	disk := newDisk(t)
	disk.mount(t)
	dir := filepath.Join(disk.point, "store")
	t.Setenv(reserveVariable, strconv.Itoa(64<<20))
	p := start(t, dir)
	const writes = 20
	for n := 1; n <= writes; n++ {
		if _, err := fmt.Fprintln(p.in, n); err != nil || !p.out.Scan() {
			t.Fatalf("write %d: %v, %v", n, err, p.Wait())
		}
	}
	filler := filepath.Join(disk.point, "filler")
	fillDisk(t, filler)
	if err := p.in.Close(); err != nil {
		t.Fatal(err)
	}
	err := p.Wait()
	if said := p.errors.String(); err == nil || p.ProcessState.ExitCode() != 1 || !strings.Contains(said, storage.ErrFull.Error()) {
		t.Errorf("the process ended with %v: %.2000s", err, said)
	}
	if err := os.Remove(filler); err != nil {
		t.Fatal(err)
	}
	verify(t, dir, writes)
	disk.unmount(t)
}

// fillDisk makes a file that leaves nothing free on its disk.
func fillDisk(t *testing.T, name string) {
	t.Helper()
	f, err := os.Create(name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for size := 1 << 20; size > 0; {
		if _, err := f.Write(bytes.Repeat([]byte{1}, size)); errors.Is(err, unix.ENOSPC) {
			size /= 2
		} else if err != nil {
			t.Fatal(err)
		}
	}
	if err := f.Sync(); err != nil {
		t.Fatal(err)
	}
}
