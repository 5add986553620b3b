package discovery

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"

	"golang.org/x/net/ipv4"
	"golang.org/x/net/ipv6"
)

const (
	port = 5353
	// maxPacket is the largest message of multicast DNS (RFC 6762, 17).
	maxPacket = 9000
	// hops says that a message comes from this link (RFC 6762, 11).
	hops = 255
)

// wire is one socket: one interface, one family of addresses. Windows does not
// tell over which interface a packet came, so that no two interfaces share one.
type wire struct {
	iface iface
	group *net.UDPAddr
	conn  *net.UDPConn
	// read says also whether the packet is ours to look at.
	read func([]byte) (n int, ours bool, err error)
}

func newWire(i iface, v4 bool) (*wire, error) {
	w := &wire{iface: i}
	var err error
	if v4 {
		w.group = &net.UDPAddr{IP: net.IPv4(224, 0, 0, 251), Port: port}
		if w.conn, err = net.ListenMulticastUDP("udp4", &i.Interface, w.group); err != nil {
			return nil, err
		}
		p := ipv4.NewPacketConn(w.conn)
		// Where the system cannot tell, nothing is left out.
		_ = p.SetControlMessage(ipv4.FlagInterface|ipv4.FlagDst, true)
		w.read = func(b []byte) (int, bool, error) {
			n, cm, _, err := p.ReadFrom(b)
			return n, cm == nil || cm.IfIndex == i.Index && cm.Dst.IsMulticast(), err
		}
		err = errors.Join(p.SetMulticastLoopback(true), p.SetMulticastTTL(hops))
	} else {
		w.group = &net.UDPAddr{IP: net.ParseIP("ff02::fb"), Port: port, Zone: i.Name}
		if w.conn, err = net.ListenMulticastUDP("udp6", &i.Interface, w.group); err != nil {
			return nil, err
		}
		p := ipv6.NewPacketConn(w.conn)
		_ = p.SetControlMessage(ipv6.FlagInterface|ipv6.FlagDst, true)
		w.read = func(b []byte) (int, bool, error) {
			n, cm, _, err := p.ReadFrom(b)
			return n, cm == nil || cm.IfIndex == i.Index && cm.Dst.IsMulticast(), err
		}
		err = errors.Join(p.SetMulticastLoopback(true), p.SetMulticastHopLimit(hops))
	}
	if err != nil {
		w.conn.Close()
		return nil, err
	}
	return w, nil
}

// send tells everybody on the wire. An interface that is just going away loses
// a packet as the network may, too: whoever watches the interfaces notices.
func (w *wire) send(packet []byte) {
	w.conn.SetWriteDeadline(time.Now().Add(time.Second))
	w.conn.WriteToUDP(packet, w.group)
}

// heard is a message and the wire, by its place, that it came over.
type heard struct {
	wire    int
	message message
}

// wires are the sockets of one look at the interfaces, and their readers.
type wires struct {
	list    []*wire
	heard   chan heard
	stop    context.CancelFunc
	reading sync.WaitGroup
}

// open listens on every interface; one that cannot is left out while another
// can. There are no wires where there is no interface.
func open(list []iface) (*wires, error) {
	ctx, stop := context.WithCancel(context.Background())
	w := &wires{heard: make(chan heard), stop: stop}
	var failed []error
	for _, i := range list {
		for _, v4 := range []bool{true, false} {
			if !i.has(v4) {
				continue
			}
			one, err := newWire(i, v4)
			if err != nil {
				failed = append(failed, fmt.Errorf("discovery: listening on UDP port %d of interface %s: %w", port, i.Name, err))
				continue
			}
			w.list = append(w.list, one)
		}
	}
	if len(w.list) == 0 {
		stop()
		return nil, errors.Join(failed...)
	}
	for n := range w.list {
		w.reading.Go(func() { w.listen(ctx, n) })
	}
	return w, nil
}

// listen reads one wire until it is closed.
func (w *wires) listen(ctx context.Context, n int) {
	packet := make([]byte, maxPacket)
	for {
		size, ours, err := w.list[n].read(packet)
		if ctx.Err() != nil {
			return
		}
		if err != nil {
			// Of no packet's making: an interface that went down, say.
			select {
			case <-ctx.Done():
				return
			case <-time.After(watchEvery):
			}
			continue
		}
		if !ours {
			continue
		}
		if m, err := parse(packet[:size]); err == nil {
			select {
			case <-ctx.Done():
				return
			case w.heard <- heard{n, m}:
			}
		}
	}
}

// close ends the readers and waits for them.
func (w *wires) close() {
	w.stop()
	for _, one := range w.list {
		one.conn.Close()
	}
	w.reading.Wait()
}
