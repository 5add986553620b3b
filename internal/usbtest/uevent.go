//go:build linux

package usbtest

import (
	"encoding/binary"
	"fmt"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// tell tells libudev of a device that came or went, as udev does: a datagram to
// every socket on which the preload library listens in place of the kernel's.
func (m *mock) tell(action string, p *mockPort) {
	m.mu.Lock()
	m.events++
	number, quiet := m.events, m.quiet
	m.mu.Unlock()
	if quiet {
		return
	}
	properties := fmt.Sprintf("ACTION=%s\nDEVPATH=%s\nSUBSYSTEM=usb\nSEQNUM=%d\n%s\n",
		action, strings.TrimPrefix(p.sys(), "sys"), number, p.properties())
	message := ueventHead(len(properties))
	message = append(message, strings.ReplaceAll(properties, "\n", "\x00")...)
	listeners, _ := filepath.Glob(filepath.Join(m.dir, "event*"))
	for _, l := range listeners {
		fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
		if err != nil {
			continue
		}
		// One that has been closed meanwhile is no loss.
		if unix.Connect(fd, &unix.SockaddrUnix{Name: l}) == nil {
			unix.Sendto(fd, message, 0, nil)
		}
		unix.Close(fd)
	}
}

// ueventHead is the head of libudev's monitor messages (struct
// udev_monitor_netlink_header), with the hashes by which listeners filter.
func ueventHead(n int) []byte {
	const size = 40
	h := make([]byte, size)
	copy(h, "libudev\x00")
	binary.BigEndian.PutUint32(h[8:], 0xfeedcafe)
	binary.NativeEndian.PutUint32(h[12:], size)
	binary.NativeEndian.PutUint32(h[16:], size)
	binary.NativeEndian.PutUint32(h[20:], uint32(n))
	binary.BigEndian.PutUint32(h[24:], murmur2("usb"))
	binary.BigEndian.PutUint32(h[28:], murmur2("usb_device"))
	return h
}

// murmur2 is MurmurHash2 with seed 0, by Austin Appleby.
func murmur2(s string) uint32 {
	const m, shift = 0x5bd1e995, 24
	h := uint32(len(s))
	b := []byte(s)
	for ; len(b) >= 4; b = b[4:] {
		k := binary.LittleEndian.Uint32(b) * m
		k ^= k >> shift
		h = h*m ^ k*m
	}
	for i := len(b) - 1; i >= 0; i-- {
		h ^= uint32(b[i]) << (8 * i)
	}
	if len(b) > 0 {
		h *= m
	}
	h ^= h >> 13
	h *= m
	return h ^ h>>15
}
