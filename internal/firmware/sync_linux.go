package firmware

import (
	"os"

	"golang.org/x/sys/unix"
)

// syncData makes the file's content durable. Its size never changes, so nothing
// else of it needs to be.
func syncData(f *os.File) error {
	for {
		if err := unix.Fdatasync(int(f.Fd())); err != unix.EINTR {
			return err
		}
	}
}
