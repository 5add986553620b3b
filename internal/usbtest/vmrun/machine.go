//go:build linux

package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// machine is a virtual machine and what runs in it.
type machine struct {
	kernel  string
	args    []string // the program and its arguments
	extra   []string // files
	modules []string
	gadget  bool
	limit   time.Duration
	memory  int
	verbose bool

	image   string // the compressed kernel
	version string
}

const emulator = "qemu-system-x86_64"

// Kernel modules, in the order in which they are loaded.
var (
	modules = []string{
		"drivers/usb/common/usb-common", "drivers/usb/core/usbcore",
		"drivers/usb/usbip/usbip-core", "drivers/usb/usbip/vhci-hcd",
	}
	gadgetModules = []string{
		"fs/configfs/configfs", "drivers/usb/gadget/udc/udc-core", "drivers/usb/gadget/libcomposite",
		"drivers/usb/gadget/function/usb_f_fs", "drivers/usb/gadget/udc/dummy_hcd",
	}
)

// check reports what is missing on this computer.
func (m *machine) check() error {
	if _, err := exec.LookPath(emulator); err != nil {
		return fmt.Errorf("%w (Debian: apt install qemu-system-x86)", err)
	}
	images, _ := filepath.Glob(filepath.Join(m.kernel, "boot/vmlinuz-*"))
	if len(images) != 1 {
		return fmt.Errorf("there are %d kernels in -kernel %q, want 1: fetch-kernel, beside vmrun's source, gets one", len(images), m.kernel)
	}
	m.image = images[0]
	m.version = strings.TrimPrefix(filepath.Base(m.image), "vmlinuz-")
	return nil
}

// Lines by which the machine tells how far it is.
const (
	startLine = "VMRUN-START"
	exitLine  = "VMRUN-EXIT "
)

var exitCode = regexp.MustCompile(exitLine + `(\d+)`)

// run boots the machine and gives the program's exit code.
func (m *machine) run() (code int, err error) {
	vmlinux, err := unpackKernel(m.image, filepath.Join(m.kernel, "vmlinux-"+m.version))
	if err != nil {
		return 0, err
	}
	dir, err := os.MkdirTemp("", "vmrun-")
	if err != nil {
		return 0, err
	}
	defer os.RemoveAll(dir)
	files := redirect(m.args)
	initrd, back := filepath.Join(dir, "initrd"), filepath.Join(dir, "back")
	if err := m.pack(initrd); err != nil {
		return 0, err
	}
	parameters := "console=ttyS0 panic=-1 oops=panic mitigations=off"
	if !m.verbose {
		parameters += " quiet loglevel=3"
	}
	cmd := exec.Command(emulator, "-accel", "tcg", "-M", "q35", "-cpu", "max", "-m", strconv.Itoa(m.memory),
		"-nodefaults", "-display", "none", "-no-reboot",
		"-chardev", "stdio,id=console,signal=off", "-serial", "chardev:console", "-serial", "file:"+back,
		"-kernel", vmlinux, "-initrd", initrd, "-append", parameters)
	cmd.Stderr = os.Stderr
	runtime.LockOSThread() // the machine dies with this thread, however that ends
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	console, err := cmd.StdoutPipe()
	if err != nil {
		return 0, err
	}
	if err := cmd.Start(); err != nil {
		return 0, err
	}
	timer := time.AfterFunc(m.limit, func() {
		fmt.Fprintln(os.Stderr, "vmrun: ended after", m.limit)
		cmd.Process.Kill()
	})
	defer timer.Stop()
	code, err = m.listen(console)
	io.Copy(io.Discard, console)
	cmd.Wait()
	if err != nil {
		return 0, err
	}
	return code, bringBack(back, files)
}

// listen shows what the program prints, until it is done.
func (m *machine) listen(console io.Reader) (code int, err error) {
	started := false
	var boot []string
	lines := bufio.NewScanner(console)
	lines.Buffer(nil, 16<<20)
	for lines.Scan() {
		line := strings.TrimRight(lines.Text(), "\r")
		if found := exitCode.FindStringSubmatch(line); found != nil {
			return strconv.Atoi(found[1])
		}
		switch {
		case strings.Contains(line, startLine):
			started = true
		case started || m.verbose:
			fmt.Println(line)
		default:
			boot = append(boot, line)
		}
	}
	if started {
		return 0, errors.Join(errors.New("the machine ended before the program"), lines.Err())
	}
	return 0, fmt.Errorf("the machine did not start the program:\n%s", strings.Join(boot, "\n"))
}
