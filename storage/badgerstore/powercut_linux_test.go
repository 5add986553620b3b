package badgerstore_test

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/sojournlm/sojourn/storage"
)

// TestPowerCut cuts the power of a file system while a process writes to a store
// in it, and looks for every write that was acknowledged. Killing the process
// alone proves nothing: what it wrote stays with the system.
func TestPowerCut(t *testing.T) {
	if !amongOwnMounts(t) {
		return
	}
	disk := newDisk(t)
	acknowledged := 0
	for round := range 2 {
		disk.mount(t)
		dir := filepath.Join(disk.point, "store")
		if round > 0 {
			acknowledged = verify(t, dir, acknowledged)
		}
		p := start(t, dir)
		var feeder sync.WaitGroup
		feeder.Go(func() { // ends when the child is gone
			for n := acknowledged + 1; ; n++ {
				if _, err := fmt.Fprintln(p.in, n); err != nil {
					return
				}
			}
		})
		target := acknowledged + 800 // the store begins another log after some 600
		for p.out.Scan() {           // until the child has noticed
			n, err := strconv.Atoi(p.out.Text())
			if err != nil {
				t.Fatal(err)
			}
			if acknowledged = n; n == target {
				disk.cut(t)
			}
		}
		if err := p.Wait(); err == nil || !strings.Contains(p.errors.String(), storage.ErrUnknown.Error()) {
			t.Errorf("the child did not notice: %v, %q", err, p.errors.String())
		}
		feeder.Wait()
		if acknowledged < target {
			t.Fatalf("the child ended after %d writes, want %d", acknowledged, target)
		}
		disk.unmount(t)
	}
	disk.mount(t)
	verify(t, filepath.Join(disk.point, "store"), acknowledged)
	disk.unmount(t)
}

// mountsVariable is set in a process that sees mounts of its own.
const mountsVariable = "BADGERSTORE_TEST_MOUNTS"

// amongOwnMounts says whether nobody else sees what this process mounts. Where
// others may, it runs the test in a process where they do not: a program that
// begins meanwhile with mounts of its own has a copy of all there are, and keeps
// the file system alive that is to be mounted anew.
func amongOwnMounts(t *testing.T) bool {
	t.Helper()
	if os.Getenv(mountsVariable) != "" {
		return true
	}
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), exe, "-test.v", "-test.run=^"+t.Name()+"$")
	cmd.Env = append(os.Environ(), mountsVariable+"=1")
	cmd.SysProcAttr = &unix.SysProcAttr{Unshareflags: unix.CLONE_NEWNS}
	out, err := cmd.CombinedOutput()
	switch {
	case errors.Is(err, unix.EPERM):
		t.Skip("only root can mount a disk")
	case err != nil:
		t.Errorf("%v\n%s", err, out)
	case strings.Contains(string(out), "--- SKIP: "+t.Name()):
		t.Skipf("%s", out)
	case !strings.Contains(string(out), "--- PASS: "+t.Name()):
		t.Errorf("the test did not run: %s", out)
	}
	return false
}

// disk is a file system in a file.
type disk struct {
	image, point string
	mounted      bool
}

func newDisk(t *testing.T) *disk {
	t.Helper()
	dir := t.TempDir()
	d := &disk{image: filepath.Join(dir, "image"), point: filepath.Join(dir, "mounted")}
	if err := os.Mkdir(d.point, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(d.image, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(d.image, 1<<30); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.CommandContext(t.Context(), "mkfs.ext4", "-q", d.image).CombinedOutput(); err != nil {
		t.Skipf("no disk can be made here: %v %s", err, out)
	}
	t.Cleanup(func() {
		if d.mounted {
			_ = unix.Unmount(d.point, unix.MNT_DETACH)
		}
	})
	return d
}

func (d *disk) mount(t *testing.T) {
	t.Helper()
	if out, err := exec.CommandContext(t.Context(), "mount", "-o", "loop", d.image, d.point).CombinedOutput(); err != nil {
		t.Skipf("no disk can be mounted here: %v %s", err, out)
	}
	d.mounted = true
}

func (d *disk) unmount(t *testing.T) {
	t.Helper()
	if err := unix.Unmount(d.point, 0); err != nil {
		t.Fatal(err)
	}
	d.mounted = false
}

// cut stops the file system as a power cut does: its journal is not written out.
func (d *disk) cut(t *testing.T) {
	t.Helper()
	const (
		shutdown   = 0x8004587d // EXT4_IOC_SHUTDOWN
		noLogFlush = 2
	)
	point, err := os.Open(d.point)
	if err != nil {
		t.Fatal(err)
	}
	defer point.Close()
	if err := unix.IoctlSetPointerInt(int(point.Fd()), shutdown, noLogFlush); err != nil {
		t.Skipf("this system cannot cut the power: %v", err)
	}
}
