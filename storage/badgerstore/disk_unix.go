//go:build linux || darwin || freebsd

package badgerstore

import "golang.org/x/sys/unix"

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
