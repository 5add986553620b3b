//go:build linux

package functionfs

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/sojournlm/sojourn/internal/gadget"
)

// Where the kernel is told of gadgets (configfs), and where it lists its device ports.
const (
	configRoot  = "/sys/kernel/config"
	gadgetsRoot = configRoot + "/usb_gadget"
	portsRoot   = "/sys/class/udc"
)

// Port finds the computer's device port: its first one.
func Port() (string, error) {
	ports, err := filepath.Glob(filepath.Join(portsRoot, "*"))
	if err == nil && len(ports) == 0 {
		err = errors.New("functionfs: this computer has no USB device port, or its driver is not loaded")
	}
	if err != nil {
		return "", err
	}
	return filepath.Base(ports[0]), nil
}

// Gadget is a key behind a device port.
type Gadget struct {
	dir   string // in configfs
	mount string
	undo  []func() error // in the order in which it was done

	control, out, in int // file descriptors
}

// Open makes the gadget of that name and shows it at the port. Close takes it away.
func Open(name, port string, c gadget.Config) (g *Gadget, err error) {
	g = &Gadget{dir: filepath.Join(gadgetsRoot, name)}
	defer func() {
		if err != nil {
			err = fmt.Errorf("functionfs: %w", errors.Join(err, g.Close()))
			g = nil
		}
	}()
	if err := g.describe(name, c); err != nil {
		return g, err
	}
	if err := g.openEndpoints(name); err != nil {
		return g, err
	}
	if err := g.write("UDC", port); err != nil {
		return g, err
	}
	// Taken away at first, so that nobody talks to what is being taken apart.
	g.undo = append(g.undo, func() error {
		err := g.write("UDC", "")
		if errors.Is(err, unix.ENODEV) {
			return nil
		}
		return err
	})
	return g, nil
}

// describe makes the gadget in configfs.
func (g *Gadget) describe(name string, c gadget.Config) error {
	if _, err := os.Stat(gadgetsRoot); err != nil {
		if err := unix.Mount("none", configRoot, "configfs", 0, ""); err != nil {
			return fmt.Errorf("%s is not there (modprobe libcomposite), and configfs cannot be mounted: %w", gadgetsRoot, err)
		}
	}
	d := gadget.Describe(c)
	le := binary.LittleEndian
	for _, dir := range []string{"", "strings/0x409", "configs/c.1", "functions/ffs." + name} {
		err := g.mkdir(dir)
		if dir == "" && errors.Is(err, fs.ErrExist) {
			return fmt.Errorf("%w: a program is this gadget, or was killed when it was; then take it apart: "+
				"cd %s; echo >UDC; umount -a -t functionfs; rm configs/*/key; rmdir configs/* functions/* strings/* %[2]s", err, g.dir)
		}
		if err != nil {
			return err
		}
	}
	for file, text := range map[string]string{
		"idVendor":                   fmt.Sprintf("%#04x", le.Uint16(d.Device[8:])),
		"idProduct":                  fmt.Sprintf("%#04x", le.Uint16(d.Device[10:])),
		"bcdUSB":                     "0x0200",
		"bDeviceClass":               "0xff",
		"strings/0x409/manufacturer": d.Strings[0],
		"strings/0x409/product":      d.Strings[1],
		"strings/0x409/serialnumber": d.Strings[2],
	} {
		if err := g.write(file, text); err != nil {
			return err
		}
	}
	link := filepath.Join(g.dir, "configs/c.1/key")
	if err := os.Symlink(filepath.Join(g.dir, "functions/ffs."+name), link); err != nil {
		return err
	}
	g.undo = append(g.undo, func() error { return os.Remove(link) })
	return nil
}

func (g *Gadget) mkdir(name string) error {
	dir := filepath.Join(g.dir, name)
	if err := os.Mkdir(dir, 0o755); err != nil {
		return err
	}
	g.undo = append(g.undo, func() error { return os.Remove(dir) })
	return nil
}

func (g *Gadget) write(name, text string) error {
	return os.WriteFile(filepath.Join(g.dir, name), []byte(text+"\n"), 0o644)
}

// openEndpoints mounts FunctionFS and tells it what the interface is.
func (g *Gadget) openEndpoints(name string) (err error) {
	if g.mount, err = os.MkdirTemp("", "functionfs-"); err != nil {
		return err
	}
	g.undo = append(g.undo, func() error { return os.Remove(g.mount) })
	if err := unix.Mount(name, g.mount, "functionfs", 0, ""); err != nil {
		return fmt.Errorf("mount functionfs: %w", err)
	}
	g.undo = append(g.undo, func() error { return unix.Unmount(g.mount, 0) })
	if g.control, err = g.open("ep0"); err != nil {
		return err
	}
	for _, message := range [][]byte{descriptors(), texts()} {
		if _, err := unix.Write(g.control, message); err != nil {
			return fmt.Errorf("describe the interface: %w", err)
		}
	}
	if g.out, err = g.open("ep1"); err != nil {
		return err
	}
	g.in, err = g.open("ep2")
	return err
}

func (g *Gadget) open(name string) (int, error) {
	fd, err := unix.Open(filepath.Join(g.mount, name), unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err == nil {
		g.undo = append(g.undo, func() error { return unix.Close(fd) })
	}
	return fd, err
}

// Headers of FunctionFS (linux/usb/functionfs.h).
const (
	descriptorsMagic = 3 // version 2
	stringsMagic     = 2
	hasFullSpeed     = 1
	hasHighSpeed     = 2
	descriptorCount  = 3 // an interface and two endpoints
)

func descriptors() []byte {
	le := binary.LittleEndian
	b := make([]byte, 8, 128)
	b = le.AppendUint32(b, hasFullSpeed|hasHighSpeed)
	b = le.AppendUint32(b, descriptorCount)
	b = le.AppendUint32(b, descriptorCount)
	b = append(b, gadget.Interface(gadget.FullSpeed)...)
	b = append(b, gadget.Interface(gadget.HighSpeed)...)
	return sized(b, descriptorsMagic)
}

// texts are no texts, in no language.
func texts() []byte { return sized(make([]byte, 16), stringsMagic) }

func sized(b []byte, magic uint32) []byte {
	binary.LittleEndian.PutUint32(b, magic)
	binary.LittleEndian.PutUint32(b[4:], uint32(len(b)))
	return b
}

// Close takes the gadget away. Serve does so itself when it ends.
func (g *Gadget) Close() error {
	var errs []error
	for len(g.undo) > 0 {
		last := len(g.undo) - 1
		errs = append(errs, g.undo[last]())
		g.undo = g.undo[:last]
	}
	return errors.Join(errs...)
}
