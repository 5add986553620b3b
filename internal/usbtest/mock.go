//go:build linux

package usbtest

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/sojournlm/sojourn/internal/gadget"
)

// mock is a kernel of paper: the files that libusb and libudev look for, and sockets
// where their system calls are answered.
type mock struct {
	dir       string
	listeners []net.Listener

	mu      sync.Mutex
	ports   [lastAddress + 1]*mockPort // by address: what was plugged in there last
	address int                        // of the last device
	events  uint64
	quiet   bool
}

const (
	mockBus                   = 1
	firstAddress, lastAddress = 2, 127
)

func newMock(dir string) (*mock, error) {
	for _, d := range []string{"sys/bus/usb/devices", "sys/class", "sys/devices", "dev/.node", "dev/bus/usb/001", "ioctl/dev/bus/usb/001", "run/udev/data"} {
		if err := os.MkdirAll(filepath.Join(dir, d), 0o755); err != nil {
			return nil, err
		}
	}
	m := &mock{dir: dir, address: firstAddress - 1}
	if err := m.answer("_default", passThrough); err != nil {
		return nil, err
	}
	for a := firstAddress; a <= lastAddress; a++ {
		if err := m.answer(filepath.Join("dev", node(a)), func(conn net.Conn) { m.port(a).serve(conn) }); err != nil {
			m.close()
			return nil, err
		}
	}
	return m, nil
}

// answer answers the system calls that arrive at a socket. All sockets are there from
// the first device to the last: the preload library looks for a device's after it has
// opened the device, and ends the whole program where it finds that it is closed.
func (m *mock) answer(name string, serve func(net.Conn)) error {
	ln, err := net.Listen("unix", filepath.Join(m.dir, "ioctl", name))
	if err != nil {
		return err
	}
	m.listeners = append(m.listeners, ln)
	go accept(ln, serve)
	return nil
}

func (m *mock) close() {
	for _, ln := range m.listeners {
		ln.Close()
	}
}

// port is what is plugged in at an address, or was last. Nobody opens a device where
// none ever was.
func (m *mock) port(address int) *mockPort {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.ports[address]
}

func (m *mock) Devices() string { return filepath.Join(m.dir, "sys/bus/usb/devices") }
func (m *mock) Real() bool      { return false }

// WithoutUdev runs f on a machine where nobody tells libusb of what is plugged in. In
// the machine tier it is always so.
func WithoutUdev(f func()) {
	m, ok := current.(*mock)
	if !ok {
		f()
		return
	}
	m.setQuiet(true)
	defer m.setQuiet(false)
	f()
}

func (m *mock) setQuiet(quiet bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.quiet = quiet
}

// SameAddress lets the next device that is plugged in have the address of the last one,
// when that is out, as some operating systems do. In the machine tier it does nothing.
func SameAddress() {
	if m, ok := current.(*mock); ok {
		m.mu.Lock()
		defer m.mu.Unlock()
		m.address--
	}
}

// accept returns when the listener is closed and all who were served have gone.
func accept(ln net.Listener, serve func(net.Conn)) {
	var wg sync.WaitGroup
	defer wg.Wait()
	for {
		conn, err := ln.Accept()
		if err != nil {
			return
		}
		wg.Go(func() {
			defer conn.Close()
			serve(conn)
		})
	}
}

// mockPort is a device as the mocked kernel shows it.
type mockPort struct {
	mock    *mock
	device  *gadget.Device
	address int
	name    string // "1-2"
	node    string // "bus/usb/001/002"
	gate    gate

	mu      sync.Mutex
	gone    bool
	handles int     // that are open
	owner   *handle // who has claimed the interface
}

// Plug implements [Stack].
func (m *mock) Plug(d *gadget.Device) (Port, error) {
	a := m.freeAddress()
	p := &mockPort{mock: m, device: d, address: a, name: fmt.Sprintf("%d-%d", mockBus, a), node: node(a)}
	if err := p.show(); err != nil {
		return nil, err
	}
	return p, nil
}

// node is the name of a device's node.
func node(address int) string { return fmt.Sprintf("bus/usb/%03d/%03d", mockBus, address) }

// freeAddress gives the next address that nothing has.
func (m *mock) freeAddress() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	for {
		m.address = max(firstAddress, (m.address+1)%(lastAddress+1))
		if _, err := os.Lstat(filepath.Join(m.Devices(), fmt.Sprintf("%d-%d", mockBus, m.address))); err != nil {
			return m.address
		}
	}
}

func (p *mockPort) path(parts ...string) string {
	return filepath.Join(append([]string{p.mock.dir}, parts...)...)
}

func (p *mockPort) sys() string { return "sys/devices/mock/usb1/" + p.name }

func (p *mockPort) link() string {
	return p.path("dev/.node", fmt.Sprintf("bus_usb_%03d_%03d", mockBus, p.address))
}

// minor is the number of the device's node.
func (p *mockPort) minor() int { return (mockBus-1)*128 + p.address - 1 }

// show puts the device where it is looked for.
func (p *mockPort) show() error {
	d := p.device.Descriptors()
	device := append(append([]byte(nil), d.Device...), make([]byte, max(0, 18-len(d.Device)))...)
	speed := "480"
	if p.device.Speed() == gadget.FullSpeed {
		speed = "12"
	}
	serial := ""
	if len(d.Strings) > 2 {
		serial = d.Strings[2]
	}
	intf := p.name + ":1.0/"
	if err := os.MkdirAll(p.path(p.sys(), intf), 0o755); err != nil {
		return err
	}
	for name, text := range map[string]string{
		"busnum": fmt.Sprint(mockBus), "devnum": fmt.Sprint(p.address), "speed": speed, "bConfigurationValue": "1", "bNumInterfaces": " 1",
		"idVendor":  fmt.Sprintf("%04x", binary.LittleEndian.Uint16(device[8:])),
		"idProduct": fmt.Sprintf("%04x", binary.LittleEndian.Uint16(device[10:])),
		"serial":    serial, "uevent": p.properties(),
		intf + "bInterfaceClass":    fmt.Sprintf("%02x", gadget.InterfaceClass),
		intf + "bInterfaceSubClass": fmt.Sprintf("%02x", gadget.InterfaceSubClass),
		intf + "bInterfaceProtocol": fmt.Sprintf("%02x", gadget.InterfaceProtocol),
	} {
		if err := os.WriteFile(p.path(p.sys(), name), []byte(text+"\n"), 0o644); err != nil {
			return err
		}
	}
	if err := os.WriteFile(p.path(p.sys(), "descriptors"), append(append([]byte(nil), d.Device...), d.Configuration...), 0o644); err != nil {
		return err
	}
	// A pipe, not a file: whether it can be written to tells libusb, which waits for
	// that, whether a transfer has ended.
	if err := unix.Mkfifo(p.path("dev", p.node), 0o666); err != nil {
		return err
	}
	if err := p.gate.open(p.path("dev", p.node)); err != nil {
		return err
	}
	p.mock.mu.Lock()
	p.mock.ports[p.address] = p
	p.mock.mu.Unlock()
	if err := errors.Join(
		os.Symlink(fmt.Sprintf("189:%d", p.minor()), p.link()),
		os.Symlink("../../../../bus/usb", p.path(p.sys(), "subsystem")),
		os.Symlink("../../../devices/mock/usb1/"+p.name, filepath.Join(p.mock.Devices(), p.name)),
	); err != nil {
		return err
	}
	p.mock.tell("add", p)
	return nil
}

// properties are what a uevent says of the device.
func (p *mockPort) properties() string {
	return fmt.Sprintf("MAJOR=189\nMINOR=%d\nDEVNAME=%s\nDEVTYPE=usb_device\nBUSNUM=%03d\nDEVNUM=%03d",
		p.minor(), p.node, mockBus, p.address)
}

// opened and closed count those who have the device open. The gate is theirs until the
// last of a device that is gone.
func (p *mockPort) opened() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.handles++
}

func (p *mockPort) closed() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.handles--; p.gone && p.handles == 0 {
		p.gate.close()
	}
}

// Unplug implements [Port].
func (p *mockPort) Unplug() error {
	p.opened()
	defer p.closed()
	p.mu.Lock()
	first := !p.gone
	p.gone = true
	p.mu.Unlock()
	p.device.Unplug()
	if !first {
		return nil
	}
	err := os.Remove(filepath.Join(p.mock.Devices(), p.name))
	p.mock.tell("remove", p)
	return errors.Join(err, os.RemoveAll(p.path(p.sys())), os.Remove(p.path("dev", p.node)), os.Remove(p.link()))
}
