//go:build cgo && gousb

package usb

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// sysfsRoot is where Linux shows what is plugged in. Tests have it elsewhere.
var sysfsRoot = "/sys/bus/usb/devices"

func newLister(o Options) (lister, error) { return &sysfs{root: sysfsRoot, opts: o}, nil }

// sysfs lists keys without libusb, whose own list stands still where no udev runs,
// and without opening them, so that a key without permission is listed too.
type sysfs struct {
	root string
	opts Options
	seen map[string]look // by place
}

// look is what was found at a place, which stands until something else is plugged
// in there: then the address is another.
type look struct {
	address int
	key     *plugged // nil: no key
	hazard  bool
	settled bool // false while the kernel is still taking it in
}

func (s *sysfs) close() error { return nil }

func (s *sysfs) hazard() error {
	for place, l := range s.seen {
		if l.hazard {
			return fmt.Errorf("%w (it is at %s)", ErrNeighbour, place)
		}
	}
	return nil
}

func (s *sysfs) list() ([]plugged, error) {
	entries, err := os.ReadDir(s.root)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil // no USB at all
	}
	if err != nil {
		return nil, err
	}
	now := map[string]look{}
	var keys []plugged
	for _, e := range entries {
		place := e.Name()
		if place[0] < '0' || place[0] > '9' || strings.Contains(place, ":") {
			continue // a root hub or an interface
		}
		address := s.number(place, "devnum", 10)
		l := s.seen[place]
		if l.address != address || !l.settled {
			l = s.look(place, address)
		}
		now[place] = l
		if l.key != nil {
			keys = append(keys, *l.key)
		}
	}
	s.seen = now
	return keys, nil
}

// look looks at what is plugged in at a place. It may be gone again by now.
func (s *sysfs) look(place string, address int) look {
	l := look{address: address, hazard: hazardous(s.bytes(place, "descriptors")), settled: true}
	if s.number(place, "idVendor", 16) != int(s.opts.Vendor) || s.number(place, "idProduct", 16) != int(s.opts.Product) {
		return l
	}
	interfaces, err := filepath.Glob(filepath.Join(s.root, place, place+":*"))
	l.settled = err == nil && len(interfaces) > 0
	p := plugged{place: place, bus: s.number(place, "busnum", 10), address: address, serial: printable(s.text(place, "serial"))}
	for _, at := range interfaces {
		name := filepath.Join(place, filepath.Base(at))
		if s.number(name, "bInterfaceClass", 16) == class &&
			s.number(name, "bInterfaceSubClass", 16) == subClass &&
			s.number(name, "bInterfaceProtocol", 16) == protocol && p.bus > 0 && address > 0 {
			l.key = &p
		}
	}
	return l
}

// hazardous tells descriptors in which an interface comes back after another one.
// gousb then finds one without settings, and panics on that; what the devices before
// it in the list were asked for is never given back.
func hazardous(descriptors []byte) bool {
	const configuration, intf = 2, 4
	seen, last := map[byte]bool{}, -1
	for b := descriptors; len(b) >= 2 && b[0] >= 2 && int(b[0]) <= len(b); b = b[b[0]:] {
		switch {
		case b[1] == configuration:
			clear(seen)
			last = -1
		case b[1] == intf && b[0] > 2:
			number := b[2]
			if seen[number] && last != int(number) {
				return true
			}
			seen[number], last = true, int(number)
		}
	}
	return false
}

func (s *sysfs) text(place, attribute string) string {
	return strings.TrimSpace(string(s.bytes(place, attribute)))
}

// bytes is an attribute, empty where it is gone.
func (s *sysfs) bytes(place, attribute string) []byte {
	b, _ := os.ReadFile(filepath.Join(s.root, place, attribute))
	return b
}

// number is an attribute, or -1.
func (s *sysfs) number(place, attribute string, base int) int {
	n, err := strconv.ParseUint(s.text(place, attribute), base, 31)
	if err != nil {
		return -1
	}
	return int(n)
}
