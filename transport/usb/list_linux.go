//go:build cgo && gousb

package usb

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
)

// sysfsRoot is where Linux shows what is plugged in. Tests have it elsewhere.
var sysfsRoot = "/sys/bus/usb/devices"

func newLister(o Options, start func(func())) (lister, error) {
	return newSysfs(sysfsRoot, o, start), nil
}

// sysfs lists keys without libusb, whose own list stands still where no udev runs,
// and without opening them, so that a key without permission is listed too.
type sysfs struct {
	root string
	opts Options
	seen map[string]seen // by place
	keys looks[link, *plugged]
}

// seen is what a device at a place is, as the kernel tells at once. It stands until
// something else is plugged in there.
type seen struct {
	stamp   stamp
	address int
	ours    bool // it has the ids of a key
	hazard  bool
	settled bool // false while the kernel is still taking it in
}

// link is a place in the list, until something else is plugged in there.
type link struct {
	place   string
	inode   uint64
	address int
}

func newSysfs(root string, o Options, start func(func())) *sysfs {
	return &sysfs{root: root, opts: o, keys: looks[link, *plugged]{start: start}}
}

func (s *sysfs) forget(p plugged) { s.keys.forget(func(l link) bool { return l.place == p.place }) }

func (s *sysfs) silent() int { return s.keys.silent }

func (s *sysfs) close() error { return nil }

func (s *sysfs) hazard() error {
	for place, d := range s.seen {
		if d.hazard {
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
	now := map[string]seen{}
	var ours []link
	for _, e := range entries {
		place := e.Name()
		if place[0] < '0' || place[0] > '9' || strings.Contains(place, ":") {
			continue // a root hub or an interface
		}
		at, ok := stampOf(e)
		if !ok {
			continue // gone again
		}
		d := s.seen[place]
		if d.stamp != at || !d.settled {
			d = s.see(place)
			d.stamp = at
		}
		now[place] = d
		if d.ours {
			ours = append(ours, link{place, at.inode, d.address})
		}
	}
	s.seen = now
	var keys []plugged
	for _, key := range s.keys.list(ours, s.look) {
		if key != nil {
			keys = append(keys, *key)
		}
	}
	return keys, nil
}

// see asks the kernel for what it tells without waiting for the device. That may be gone
// again by now.
func (s *sysfs) see(place string) seen {
	vendor, product := s.number(place, "idVendor", 16), s.number(place, "idProduct", 16)
	address := s.number(place, "devnum", 10)
	return seen{
		address: address,
		ours:    vendor == int(s.opts.Vendor) && product == int(s.opts.Product),
		hazard:  hazardous(s.bytes(place, "descriptors")),
		settled: vendor >= 0 && product >= 0 && address >= 0,
	}
}

// look looks for a key's interface at what is plugged in at a place; nil where it has none.
// The kernel tells some of it only when it has done with the device, which for one that
// does not answer takes seconds.
func (s *sysfs) look(at link) (key *plugged, settled bool) {
	place := at.place
	// The directories of interfaces come one by one, and each before what is in it.
	want := s.number(place, "bNumInterfaces", 10)
	interfaces, err := filepath.Glob(filepath.Join(s.root, place, place+":*"))
	settled = err == nil && want > 0 && len(interfaces) == want
	p := plugged{place: place, bus: s.number(place, "busnum", 10), address: s.number(place, "devnum", 10), serial: printable(s.text(place, "serial"))}
	for _, at := range interfaces {
		name := filepath.Join(place, filepath.Base(at))
		is := [3]int{
			s.number(name, "bInterfaceClass", 16),
			s.number(name, "bInterfaceSubClass", 16),
			s.number(name, "bInterfaceProtocol", 16),
		}
		if slices.Contains(is[:], -1) {
			settled = false
		}
		if is == [3]int{class, subClass, protocol} && p.bus > 0 && p.address > 0 {
			key = &p
		}
	}
	return key, settled
}

// stamp tells one link in a directory from a later one of the same name. To look at
// it is far cheaper than to read what is behind it, and keys are listed before each
// change of a pool. The kernel gives a link another time also when it has forgotten for
// want of memory that it was asked before.
type stamp struct {
	inode         uint64
	seconds, nano int64
}

func stampOf(e fs.DirEntry) (stamp, bool) {
	info, err := e.Info()
	if err != nil {
		return stamp{}, false
	}
	stat, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return stamp{}, false
	}
	return stamp{stat.Ino, int64(stat.Ctim.Sec), int64(stat.Ctim.Nsec)}, true
}

// hazardous tells descriptors that gousb panics on; what the devices before it in the
// list were asked for is then never given back. One kind has an interface that comes back
// after another one: libusb gives one without settings. In the other one an interface has
// endpoints, and before the first of them is a descriptor that does not end: libusb stops
// there, and gives a number of endpoints, and none.
func hazardous(descriptors []byte) bool {
	const configuration, intf, endpoint = 2, 4, 5
	seen, last := map[byte]bool{}, -1
	missing := false // endpoints are to come
	end := 0         // of the configuration, as it says, counted from the end of all
	b := descriptors
	for ; len(b) >= 2 && b[0] >= 2; b = b[b[0]:] {
		n := int(b[0])
		if missing && (n > len(b) || len(b)-n < end && len(b) > end+1) {
			return true
		}
		if n > len(b) {
			return false
		}
		switch {
		case b[1] == configuration:
			clear(seen)
			last, missing = -1, false
			if n > 3 {
				end = max(0, len(b)-int(binary.LittleEndian.Uint16(b[2:])))
			}
		case b[1] == intf && n > 4:
			number := b[2]
			if seen[number] && last != int(number) {
				return true
			}
			seen[number], last = true, int(number)
			missing = b[4] > 0
		case b[1] == endpoint:
			missing = false
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
