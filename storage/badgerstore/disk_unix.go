//go:build linux || darwin || freebsd

package badgerstore

import (
	"errors"
	"os"

	"golang.org/x/sys/unix"
)

// freeSpace is how many bytes this process may still write on the disk of dir.
func freeSpace(dir string) (uint64, error) {
	var stat unix.Statfs_t
	for {
		err := unix.Statfs(dir, &stat)
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			return 0, err
		}
		// FreeBSD counts below zero what only root may take.
		return uint64(max(int64(stat.Bavail), 0)) * uint64(stat.Bsize), nil
	}
}

// lockDir takes dir for this Store alone; the lock is gone when the process is.
func lockDir(dir string) (unlock func() error, err error) {
	d, err := os.Open(dir)
	if err != nil {
		return nil, err
	}
	err = unix.Flock(int(d.Fd()), unix.LOCK_EX|unix.LOCK_NB)
	if err != nil {
		if err == unix.EWOULDBLOCK {
			err = ErrLocked
		}
		return nil, errors.Join(err, d.Close())
	}
	return d.Close, nil
}

// syncDir makes the names in dir durable.
func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
