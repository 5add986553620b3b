//go:build linux

package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// boot is the first process of the machine: it sets up what the program needs, runs
// it, and ends the machine.
func boot() {
	code := 125
	if err := setUp(); err != nil {
		fmt.Println("vmrun:", err)
	} else {
		code = runProgram()
	}
	fmt.Printf("%s%d\n", exitLine, code)
	unix.Sync()
	unix.Reboot(unix.LINUX_REBOOT_CMD_RESTART) // with QEMU's -no-reboot it ends
}

func setUp() error {
	for _, fs := range [][2]string{{"proc", "/proc"}, {"sysfs", "/sys"}, {"devtmpfs", "/dev"}, {"tmpfs", "/tmp"}, {"tmpfs", "/run"}, {"tmpfs", "/var"}} {
		if err := unix.Mount(fs[0], fs[1], fs[0], 0, ""); err != nil {
			return fmt.Errorf("mount %s: %w", fs[1], err)
		}
	}
	if err := os.Mkdir("/var/run", 0o755); err != nil {
		return err
	}
	if err := loopback(); err != nil {
		return err
	}
	list, err := os.ReadFile(filepath.Join(modulesPath, "list"))
	if err != nil {
		return err
	}
	for _, name := range strings.Fields(string(list)) {
		if err := load(filepath.Join(modulesPath, name), parameters[name]); err != nil {
			return fmt.Errorf("module %s: %w", name, err)
		}
	}
	return nil
}

// parameters are those of modules: a hub that falls asleep takes its time to wake up.
var parameters = map[string]string{"usbcore.ko": "autosuspend=-1"}

func load(name, parameters string) error {
	f, err := os.Open(name)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := unix.FinitModule(int(f.Fd()), parameters, 0); err != nil && !errors.Is(err, unix.EEXIST) {
		return err
	}
	return nil
}

// loopback brings up the one network there is.
func loopback() error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	request, err := unix.NewIfreq("lo")
	if err != nil {
		return err
	}
	request.SetUint16(unix.IFF_UP | unix.IFF_RUNNING)
	return unix.IoctlIfreq(fd, unix.SIOCSIFFLAGS, request)
}

func runProgram() (code int) {
	var args []string
	if b, err := os.ReadFile(argumentsPath); err == nil && len(b) > 0 {
		args = strings.Split(string(b), "\x00")
	}
	cmd := exec.Command(programPath, args...)
	cmd.Dir = workPath
	cmd.Env = []string{"HOME=/tmp", "TMPDIR=/tmp", "PATH=/usr/sbin:/usr/bin:/sbin:/bin", "USB_TEST_MACHINE=1", "USB_TEST_REQUIRE=1"}
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	fmt.Println(startLine)
	if err := cmd.Run(); err != nil && cmd.ProcessState == nil {
		fmt.Println("vmrun:", err)
		return 125
	}
	if err := sendBack(); err != nil {
		fmt.Println("vmrun:", err)
		return 125
	}
	if code := cmd.ProcessState.ExitCode(); code >= 0 {
		return code
	}
	fmt.Println("vmrun:", cmd.ProcessState)
	return 125
}

// sendBack sends the files in outDir over the second serial line.
func sendBack() error {
	entries, err := os.ReadDir(outDir)
	if err != nil || len(entries) == 0 {
		return err
	}
	line, err := os.OpenFile("/dev/ttyS1", os.O_WRONLY|unix.O_NOCTTY, 0)
	if err != nil {
		return err
	}
	defer line.Close()
	raw, err := unix.IoctlGetTermios(int(line.Fd()), unix.TCGETS)
	if err != nil {
		return err
	}
	raw.Oflag &^= unix.OPOST
	if err := unix.IoctlSetTermios(int(line.Fd()), unix.TCSETS, raw); err != nil {
		return err
	}
	for _, e := range entries {
		name := filepath.Join(outDir, e.Name())
		b, err := os.ReadFile(name)
		if err != nil {
			return err
		}
		if _, err := fmt.Fprintf(line, "%s %d\n%s", name, len(b), b); err != nil {
			return err
		}
	}
	return unix.IoctlSetInt(int(line.Fd()), unix.TCSBRK, 1) // until all is out
}
