//go:build linux

package usbtest

import (
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/sojournlm/sojourn/internal/gadget"
	"github.com/sojournlm/sojourn/internal/usbip"
)

// machineVariable is set in the virtual machine.
const machineVariable = "USB_TEST_MACHINE"

const vhciDir = "/sys/devices/platform/vhci_hcd.0"

// enumeration is how long a kernel may take to know what was plugged in or out,
// under emulation on a busy computer.
const enumeration = 30 * time.Second

// vhci is the kernel's virtual host controller.
type vhci struct{}

func (vhci) Devices() string { return "/sys/bus/usb/devices" }
func (vhci) Real() bool      { return true }

// vhciPort is a port of the virtual controller's hub. The kernel speaks USB/IP on
// one end of a socket pair and the device answers on the other.
type vhciPort struct {
	number int
	device *gadget.Device
	serial string
	ended  chan struct{} // closed when the kernel has let go
}

// Plug implements [Stack].
func (vhci) Plug(d *gadget.Device) (Port, error) {
	p := &vhciPort{device: d, ended: make(chan struct{})}
	if s := d.Descriptors().Strings; len(s) > 2 {
		p.serial = s[2]
	}
	// A port that was just left becomes free in the background.
	err := poll(func() error { return p.attach() })
	if err != nil {
		return nil, err
	}
	return p, poll(p.known)
}

func (p *vhciPort) attach() error {
	number, err := freePort()
	if err != nil {
		return err
	}
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fds[0]) // the kernel keeps a reference of its own
	file := os.NewFile(uintptr(fds[1]), "usbip")
	conn, err := net.FileConn(file)
	file.Close()
	if err != nil {
		return err
	}
	line := fmt.Sprintf("%d %d %d %d", number, fds[0], usbip.DeviceID, usbip.SpeedCode(p.device.Speed()))
	if err := os.WriteFile(filepath.Join(vhciDir, "attach"), []byte(line), 0); err != nil {
		return errors.Join(err, conn.Close())
	}
	p.number = number
	go func() {
		defer close(p.ended)
		usbip.Stream(conn, p.device)
	}()
	return nil
}

// freePort finds a free port of the controller's hub for USB 2.
func freePort() (int, error) {
	const hub, free = "hs", "004"
	status, err := os.ReadFile(filepath.Join(vhciDir, "status"))
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(status)) {
		if f := strings.Fields(line); len(f) > 2 && f[0] == hub && f[2] == free {
			return strconv.Atoi(f[1])
		}
	}
	return 0, errors.New("usbtest: no port is free")
}

// known reports whether the kernel has finished taking the device in.
func (p *vhciPort) known() error {
	found, _ := filepath.Glob("/sys/bus/usb/devices/*/serial")
	for _, at := range found {
		dir := filepath.Dir(at)
		if attribute(dir, "serial") != p.serial || attribute(dir, "bConfigurationValue") == "" {
			continue
		}
		interfaces, _ := filepath.Glob(filepath.Join(dir, "*:*/bInterfaceProtocol"))
		all, _ := strconv.Atoi(attribute(dir, "bNumInterfaces"))
		bus, _ := strconv.Atoi(attribute(dir, "busnum"))
		address, _ := strconv.Atoi(attribute(dir, "devnum"))
		if _, err := os.Stat(fmt.Sprintf("/dev/bus/usb/%03d/%03d", bus, address)); err == nil && all > 0 && len(interfaces) == all {
			return nil
		}
	}
	return fmt.Errorf("usbtest: the kernel does not know the device %s", p.serial)
}

// Unplug implements [Port].
func (p *vhciPort) Unplug() error {
	select {
	case <-p.ended: // the device went by itself
	default:
		if err := os.WriteFile(filepath.Join(vhciDir, "detach"), []byte(strconv.Itoa(p.number)), 0); err != nil && !errors.Is(err, unix.EINVAL) {
			return err
		}
	}
	p.device.Unplug()
	return poll(func() error {
		if p.known() == nil {
			return fmt.Errorf("usbtest: the kernel still knows the device %s", p.serial)
		}
		return nil
	})
}

func attribute(dir, name string) string {
	b, _ := os.ReadFile(filepath.Join(dir, name))
	return strings.TrimSpace(string(b))
}

// poll asks again and again until the answer is nil.
func poll(ask func() error) error {
	end := time.Now().Add(enumeration)
	for {
		err := ask()
		if err == nil || time.Now().After(end) {
			return err
		}
		time.Sleep(2 * time.Millisecond)
	}
}
