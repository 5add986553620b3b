package netlab

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"syscall"
)

// setns is the system call's number, which package syscall does not name on
// every machine.
var setns = map[string]uintptr{"amd64": 308, "arm64": 268, "riscv64": 268, "loong64": 268}[runtime.GOARCH]

// enter runs fn in a namespace and gives its error.
func enter(ns string, fn func() error) error {
	if setns == 0 {
		return fmt.Errorf("netlab: the number of setns is not known for %s", runtime.GOARCH)
	}
	done := make(chan error, 1)
	go func() {
		// Never unlocked: the thread ends with this goroutine, and nobody else
		// finds himself on another host.
		runtime.LockOSThread()
		f, err := os.Open(filepath.Join(netnsDir, ns))
		if err != nil {
			done <- fmt.Errorf("netlab: %w", err)
			return
		}
		defer f.Close()
		if _, _, errno := syscall.RawSyscall(setns, f.Fd(), syscall.CLONE_NEWNET, 0); errno != 0 {
			done <- fmt.Errorf("netlab: entering %s: %w", ns, errno)
			return
		}
		done <- fn()
	}()
	return <-done
}
