//go:build !(darwin || dragonfly || freebsd || linux || netbsd || openbsd || windows)

package firmware

import (
	"errors"
	"fmt"
	"os"
)

// lock refuses: without a lock two programs could each keep a truth of their own.
func lock(*os.File) error {
	return fmt.Errorf("locking files: %w", errors.ErrUnsupported)
}

func syncDir(string) error { return nil }
