//go:build linux

package usbtest

import (
	"io"
	"net"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/sojournlm/sojourn/internal/gadget"
)

// Two have a device open: what one of them has to reap keeps waking it, whatever the
// other does, and wakes nobody once it is reaped or given up.
func TestGate(t *testing.T) {
	node := filepath.Join(t.TempDir(), "node")
	if err := unix.Mkfifo(node, 0o600); err != nil {
		t.Fatal(err)
	}
	port := &mockPort{}
	if err := port.gate.open(node); err != nil {
		t.Fatal(err)
	}
	defer port.gate.close()
	open := func() *handle {
		server, program := net.Pipe()
		t.Cleanup(func() { server.Close() })
		go io.Copy(io.Discard, program)
		return &handle{client: client{server}, port: port, live: map[uint64]*transfer{}}
	}
	fd, err := unix.Open(node, unix.O_RDWR|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)

	one, other := open(), open()
	ends := func(h *handle) func() {
		return func() { h.finish(&transfer{}, gadget.StatusOK, 0, nil) }
	}
	reaps := func(h *handle) func() { return func() { h.reap(0) } }
	for _, step := range []struct {
		what string
		do   func()
		wake bool
	}{
		{"nothing", func() {}, false},
		{"a transfer of one ends", ends(one), true},
		{"the other reaps nothing", reaps(other), true},
		{"a transfer of the other ends", ends(other), true},
		{"the other reaps it", reaps(other), true},
		{"the other reaps nothing again", reaps(other), true},
		{"the other closes", other.end, true},
		{"a transfer of the closed one ends", ends(other), true},
		{"one reaps", reaps(one), false},
		{"another transfer of one ends", ends(one), true},
		{"one closes", one.end, false},
	} {
		step.do()
		polled := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLOUT}}
		if _, err := unix.Poll(polled, 0); err != nil {
			t.Fatal(err)
		}
		if got := polled[0].Revents&unix.POLLOUT != 0; got != step.wake {
			t.Errorf("%s: wakes %v, want %v", step.what, got, step.wake)
		}
	}
}
