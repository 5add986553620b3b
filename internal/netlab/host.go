package netlab

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"os/exec"
)

// Host is one computer of a lab: a network namespace with a loopback interface
// and eth0. It is safe for concurrent use.
type Host struct {
	lab  *Lab
	name string // of its port on the switch
	ns   string
	a4   netip.Addr
	a6   netip.Addr
}

func newHost(l *Lab, prefix string, i int) *Host {
	n := byte(i + 1)
	return &Host{
		lab: l, name: fmt.Sprintf("h%d", n), ns: fmt.Sprintf("%sh%d", prefix, n),
		a4: netip.AddrFrom4([4]byte{10, 77, 0, n}),
		a6: netip.AddrFrom16([16]byte{0xfd, 0x77, 15: n}),
	}
}

// Name is the host's name in its lab: h1, h2 and so on.
func (h *Host) Name() string { return h.name }

// Addr is the host's IPv4 address, Addr6 its IPv6 address.
func (h *Host) Addr() netip.Addr  { return h.a4 }
func (h *Host) Addr6() netip.Addr { return h.a6 }

// commands give the host its addresses. No address waits for duplicates of
// itself: nobody else is there.
func (h *Host) commands() string {
	return fmt.Sprintf(`link set lo up
link set eth0 addrgenmode none
link set eth0 up
addr add %s/24 dev eth0
addr add %s/64 dev eth0 nodad
addr add fe80::%x/64 dev eth0 nodad
`, h.a4, h.a6, h.a4.As4()[3])
}

// Command is a command that will run on the host. Its process is the program
// itself, so killing it kills the program. It reaches the host a moment after
// it has started: a lab taken down in that moment may miss it.
func (h *Host) Command(ctx context.Context, name string, args ...string) *exec.Cmd {
	return exec.CommandContext(ctx, "ip", append([]string{"netns", "exec", h.ns, name}, args...)...)
}

// Do runs fn, by this process, so that the sockets it makes are the host's for
// good. It must leave making them to no other goroutine.
func (h *Host) Do(fn func() error) error { return enter(h.ns, fn) }

// DialContext connects from the host, by this process: an http.Transport of the
// test can take it. The address is a literal one: a lab has no name server.
func (h *Host) DialContext(ctx context.Context, network, address string) (net.Conn, error) {
	if _, err := netip.ParseAddrPort(address); err != nil {
		return nil, fmt.Errorf("netlab: dial a literal address and port: %w", err)
	}
	var conn net.Conn
	err := h.Do(func() (err error) {
		conn, err = new(net.Dialer).DialContext(ctx, network, address)
		return err
	})
	return conn, err
}

// Listen listens on the host, by this process; port 0 chooses one.
func (h *Host) Listen(ctx context.Context, port int) (net.Listener, error) {
	var listener net.Listener
	err := h.Do(func() (err error) {
		listener, err = new(net.ListenConfig).Listen(ctx, "tcp", netip.AddrPortFrom(h.a4, uint16(port)).String())
		return err
	})
	return listener, err
}

// Unplug pulls the host's cable at the switch: its eth0 stays configured and
// has no carrier. Plug puts it back.
func (h *Host) Unplug() { h.port("down") }
func (h *Host) Plug()   { h.port("up") }

func (h *Host) port(state string) {
	if out, err := ip("-n", h.lab.switchNS, "link", "set", h.name, state); err != nil {
		h.lab.t.Errorf("netlab: host %s's port %s: %v: %s", h.name, state, err, out)
	}
}
