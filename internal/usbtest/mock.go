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
	dir   string
	plain net.Listener // of calls on everything but devices

	mu      sync.Mutex
	address int // of the last device
	events  uint64
	quiet   bool
}

const mockBus = 1

func newMock(dir string) (*mock, error) {
	for _, d := range []string{"sys/bus/usb/devices", "sys/class", "sys/devices", "dev/.node", "dev/bus/usb/001", "ioctl/dev/bus/usb/001", "run/udev/data"} {
		if err := os.MkdirAll(filepath.Join(dir, d), 0o755); err != nil {
			return nil, err
		}
	}
	ln, err := net.Listen("unix", filepath.Join(dir, "ioctl/_default"))
	if err != nil {
		return nil, err
	}
	m := &mock{dir: dir, plain: ln, address: 1}
	go accept(ln, passThrough)
	return m, nil
}

func (m *mock) close()          { m.plain.Close() }
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
	ln      net.Listener
	gate    gate

	mu    sync.Mutex
	gone  bool
	owner *handle // who has claimed the interface
}

// Plug implements [Stack].
func (m *mock) Plug(d *gadget.Device) (Port, error) {
	a := m.freeAddress()
	p := &mockPort{mock: m, device: d, address: a, name: fmt.Sprintf("%d-%d", mockBus, a), node: fmt.Sprintf("bus/usb/%03d/%03d", mockBus, a)}
	if err := p.show(); err != nil {
		return nil, err
	}
	return p, nil
}

// freeAddress gives the next address that nothing has, from 2 to 127.
func (m *mock) freeAddress() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	for {
		m.address = max(2, (m.address+1)%128)
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
	ln, err := net.Listen("unix", p.path("ioctl/dev", p.node))
	if err != nil {
		p.gate.close()
		return err
	}
	p.ln = ln
	go func() {
		accept(ln, p.serve)
		p.gate.close()
	}()
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

// Unplug implements [Port].
func (p *mockPort) Unplug() error {
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
	return errors.Join(err, os.RemoveAll(p.path(p.sys())), os.Remove(p.path("dev", p.node)), os.Remove(p.link()), p.ln.Close())
}
