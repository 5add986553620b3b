//go:build linux

package usbtest

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"syscall"
	"testing"

	"github.com/sojournlm/sojourn/internal/gadget"
)

// Stack is where devices are plugged in.
type Stack interface {
	// Plug plugs a device in and waits until the stack knows it.
	Plug(*gadget.Device) (Port, error)
	// Devices is the directory in which the kernel shows USB devices.
	Devices() string
	// Real reports whether the kernel is a real one.
	Real() bool
}

// Port is where one device is plugged in.
type Port interface {
	// Unplug pulls the device out, and waits until the stack knows it.
	Unplug() error
}

const (
	requireVariable = "USB_TEST_REQUIRE" // not empty: what a tier needs must be there
	mockVariable    = "UMOCKDEV_DIR"     // set in the mock tier
)

var (
	current Stack
	missing error // why there is none
)

// Main runs the tests of a package in the tier that the machine allows. It is called
// from TestMain, with flags parsed, and gives the exit code.
func Main(m *testing.M) int {
	if dir := os.Getenv(mockVariable); dir != "" {
		mock, err := newMock(dir)
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		defer mock.close()
		current = mock
		return m.Run()
	}
	if _, err := os.Stat(vhciDir + "/attach"); err == nil && os.Getpid() != 1 && os.Getenv(machineVariable) != "" {
		current = vhci{}
		return m.Run()
	}
	library, err := preload()
	if err == nil && isSet("test.fuzz") && !isSet("test.fuzzworker") {
		missing = errors.New("usbtest: the process that fuzzes has no USB, its workers have")
		return m.Run()
	}
	if err == nil {
		return again(library)
	}
	missing = err
	if os.Getenv(requireVariable) != "" {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return m.Run()
}

// Need gives the stack, and skips a test where there is none.
func Need(t testing.TB) Stack {
	t.Helper()
	if current == nil {
		t.Skip(missing)
	}
	return current
}

// isSet reports whether a flag of the testing package is neither empty nor false.
func isSet(name string) bool {
	f := flag.Lookup(name)
	return f != nil && f.Value.String() != f.DefValue
}

// preload finds umockdev's library.
func preload() (string, error) {
	for _, pattern := range []string{"/usr/lib/*/libumockdev-preload.so.0", "/usr/lib64/libumockdev-preload.so.0", "/usr/lib/libumockdev-preload.so.0"} {
		if found, _ := filepath.Glob(pattern); len(found) > 0 {
			return found[0], nil
		}
	}
	return "", fmt.Errorf("usbtest: no USB stack for tests: install umockdev, whose libumockdev-preload.so.0 is needed "+
		"(Debian: apt install umockdev), or run under vmrun; %s=1 makes this a failure", requireVariable)
}

// again runs this program once more with the library before all others. It ends
// together with this one, however that ends.
func again(library string) int {
	dir, err := os.MkdirTemp("/tmp", "umk") // short, for it ends up in the names of sockets
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	runtime.LockOSThread() // the child dies with this thread
	cmd := exec.Command("/proc/self/exe", os.Args[1:]...)
	cmd.Args[0] = os.Args[0]
	cmd.Env = append(os.Environ(), "LD_PRELOAD="+library, mockVariable+"="+dir, "SYSTEMD_DEVICE_VERIFY_SYSFS=0")
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	if isSet("test.fuzzworker") { // what it has from the process that fuzzes
		for fd := range uintptr(3) {
			cmd.ExtraFiles = append(cmd.ExtraFiles, os.NewFile(3+fd, "fuzz"))
		}
	}
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	signals := make(chan os.Signal, 4)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM, syscall.SIGQUIT)
	go func() {
		for s := range signals {
			cmd.Process.Signal(s)
		}
	}()
	cmd.Wait()
	signal.Stop(signals)
	close(signals)
	if code := cmd.ProcessState.ExitCode(); code >= 0 {
		return code
	}
	fmt.Fprintln(os.Stderr, "usbtest:", cmd.ProcessState)
	return 1
}
