//go:build darwin || dragonfly || freebsd || linux || netbsd || openbsd

package firmware

import (
	"errors"
	"os"

	"golang.org/x/sys/unix"
)

// lock keeps other processes, and other openings in this one, from the file
// until it is closed.
func lock(f *os.File) error {
	err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
	if errors.Is(err, unix.EWOULDBLOCK) {
		return ErrLocked
	}
	return err
}

// syncDir makes a new file's name durable.
func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}
