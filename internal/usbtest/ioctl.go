//go:build linux

package usbtest

import (
	"encoding/binary"
	"io"
	"net"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/sojournlm/sojourn/internal/gadget"
)

// Messages of umockdev's sockets: three native words each. A client asks for a
// system call; the server reads and writes the client's memory, and says how the
// call ended.
const (
	askCall    = 1
	sayDone    = 3 // result, errno
	sayReal    = 4 // make the real call
	sayRead    = 5 // address, length: the bytes come
	sayWrite   = 6 // address, length, and the bytes
	sayNothing = 0
)

// The calls on a usbfs node that libusb makes (linux/usbdevice_fs.h).
const (
	callSetInterface    = 0x80085504
	callSetConfig       = 0x80045505
	callGetDriver       = 0x41045508
	callSubmit          = 0x8038550a
	callDiscard         = 0x550b
	callReap            = 0x4008550c
	callReapNow         = 0x4008550d
	callClaim           = 0x8004550f
	callRelease         = 0x80045510
	callReset           = 0x5514
	callCapabilities    = 0x8004551a
	callDisconnectClaim = 0x8108551b
	callSpeed           = 0x551f

	// Empty packets, transfers of any size, reaping after a disconnect.
	capabilities = 0x01 | 0x04 | 0x10

	urbControl    = 2
	urbZeroPacket = 0x40
)

// client is one side of a socket. Its methods fail only when the client is gone;
// then the next read fails too.
type client struct{ net.Conn }

func (c client) next() (words [3]uint64, err error) {
	var b [24]byte
	if _, err = io.ReadFull(c, b[:]); err != nil {
		return words, err
	}
	for i := range words {
		words[i] = binary.NativeEndian.Uint64(b[8*i:])
	}
	return words, nil
}

func (c client) say(word, a, b uint64, data ...byte) {
	m := make([]byte, 0, 24+len(data))
	for _, w := range []uint64{word, a, b} {
		m = binary.NativeEndian.AppendUint64(m, w)
	}
	c.Write(append(m, data...))
}

func (c client) done()             { c.say(sayDone, 0, sayNothing) }
func (c client) fail(e unix.Errno) { c.say(sayDone, ^uint64(0), uint64(e)) }

func (c client) read(address, n uint64) []byte {
	b := make([]byte, n)
	if n > 0 {
		c.say(sayRead, address, n)
		io.ReadFull(c, b)
	}
	return b
}

func (c client) word(address uint64) uint32 { return binary.NativeEndian.Uint32(c.read(address, 4)) }

func (c client) write(address uint64, b []byte) {
	if len(b) > 0 {
		c.say(sayWrite, address, uint64(len(b)), b...)
	}
}

// passThrough lets all calls be made as they are.
func passThrough(conn net.Conn) {
	c := client{conn}
	for {
		if _, err := c.next(); err != nil {
			return
		}
		c.say(sayReal, 0, 0)
		r, err := c.next()
		if err != nil {
			return
		}
		c.say(sayDone, r[1], r[2])
	}
}

// handle is a usbfs node that somebody has open.
type handle struct {
	client
	port *mockPort

	mu     sync.Mutex
	live   map[uint64]*transfer // by the address of its struct usbdevfs_urb
	ready  []*transfer
	closed bool
}

// transfer is a URB of usbfs.
type transfer struct {
	address, buffer uint64
	control         bool
	urb             *gadget.URB
	status          gadget.Status
	n               int
	in              []byte
}

func (p *mockPort) serve(conn net.Conn) {
	p.opened()
	defer p.closed()
	h := &handle{client: client{conn}, port: p, live: map[uint64]*transfer{}}
	defer h.end()
	for {
		words, err := h.next()
		if err != nil {
			return
		}
		if words[0] != askCall {
			h.fail(unix.EBADF)
			continue
		}
		h.call(words[1], words[2])
	}
}

// end is what closing the node does.
func (h *handle) end() {
	h.port.free(h)
	h.drop(unlinkedByClose)
	h.mu.Lock()
	defer h.mu.Unlock()
	h.closed = true
	h.port.gate.count(-len(h.ready))
	h.ready = nil
}

const unlinkedByClose = gadget.Status(-int32(unix.ENOENT))

// drop takes all transfers back but control ones.
func (h *handle) drop(status gadget.Status) {
	h.mu.Lock()
	var live []*transfer
	for _, t := range h.live {
		live = append(live, t)
	}
	h.mu.Unlock()
	for _, t := range live {
		if !t.control && h.port.device.Cancel(t.urb) {
			h.finish(t, status, 0, nil)
		}
	}
}

func (h *handle) finish(t *transfer, status gadget.Status, n int, in []byte) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.closed {
		return
	}
	t.status, t.n, t.in = status, n, in
	delete(h.live, t.address)
	h.ready = append(h.ready, t)
	h.port.gate.count(1)
}

func (p *mockPort) isGone() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.gone
}

// claim gives the interface to one handle. There is one interface.
func (p *mockPort) claim(by *handle) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.owner == nil {
		p.owner = by
	}
	return p.owner == by
}

func (p *mockPort) free(by *handle) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.owner != by {
		return false
	}
	p.owner = nil
	return true
}

// reset resets the port, whoever asks. The kernel takes the interface from who has it
// first, with the transfers that are under way.
func (p *mockPort) reset() {
	p.mu.Lock()
	owner := p.owner
	p.owner = nil
	p.mu.Unlock()
	if owner != nil {
		owner.drop(unlinkedByClose)
	}
	p.device.ResetPort()
}

func (h *handle) call(call, arg uint64) {
	switch call {
	case callReap, callReapNow:
		h.reap(arg)
		return
	case callDiscard:
		h.discard(arg)
		return
	}
	if h.port.isGone() {
		h.fail(unix.ENODEV)
		return
	}
	switch call {
	case callCapabilities:
		h.write(arg, binary.NativeEndian.AppendUint32(nil, capabilities))
		h.done()
	case callSpeed:
		h.say(sayDone, uint64(h.port.device.Speed())+2, 0)
	case callClaim, callDisconnectClaim:
		h.word(arg)
		if !h.port.claim(h) {
			h.fail(unix.EBUSY)
			return
		}
		h.done()
	case callRelease:
		h.word(arg)
		if !h.port.free(h) {
			h.fail(unix.EINVAL)
			return
		}
		h.drop(gadget.StatusGone)
		h.done()
	case callReset:
		h.port.reset()
		h.done()
	case callSetInterface, callSetConfig:
		h.done()
	case callGetDriver:
		h.fail(unix.ENODATA)
	case callSubmit:
		h.submit(arg)
	default:
		h.fail(unix.ENOTTY)
	}
}

// submit reads a struct usbdevfs_urb: type, endpoint, status at 4, flags at 8,
// buffer at 16, length at 24, actual length at 28.
func (h *handle) submit(address uint64) {
	raw := h.read(address, 56)
	length := uint64(binary.NativeEndian.Uint32(raw[24:]))
	t := &transfer{address: address, buffer: binary.NativeEndian.Uint64(raw[16:]), control: raw[0] == urbControl}
	u := &gadget.URB{Endpoint: raw[1], ZeroEnd: raw[8]&urbZeroPacket != 0}
	t.urb = u
	switch {
	case t.control:
		b := h.read(t.buffer, length)
		copy(u.Setup[:], b)
		u.Endpoint = u.Setup[0] & 0x80
		u.Data, u.Room = b[8:], len(b)-8
	case u.Endpoint&0x80 == 0:
		u.Data = h.read(t.buffer, length)
	default:
		u.Room = int(length)
	}
	if !t.control && !h.port.claim(h) { // one who has not claimed it does by using it
		h.fail(unix.EBUSY)
		return
	}
	u.Done = func(status gadget.Status, n int, in []byte) { h.finish(t, status, n, in) }
	h.mu.Lock()
	h.live[address] = t
	h.mu.Unlock()
	h.done()
	h.port.device.Submit(u)
}

func (h *handle) discard(address uint64) {
	h.mu.Lock()
	t := h.live[address]
	h.mu.Unlock()
	if t == nil || !h.port.device.Cancel(t.urb) {
		h.fail(unix.EINVAL)
		return
	}
	h.finish(t, unlinkedByClose, 0, nil)
	h.done()
}

// reap gives back one transfer that has ended.
func (h *handle) reap(arg uint64) {
	h.mu.Lock()
	var t *transfer
	if len(h.ready) > 0 {
		t, h.ready = h.ready[0], h.ready[1:]
		h.port.gate.count(-1)
	}
	h.mu.Unlock()
	switch {
	case t == nil && h.port.isGone():
		h.fail(unix.ENODEV)
		return
	case t == nil:
		h.fail(unix.EAGAIN)
		return
	}
	into := t.buffer
	if t.control {
		into += 8
	}
	h.write(into, t.in)
	h.write(t.address+4, binary.NativeEndian.AppendUint32(nil, uint32(t.status)))
	h.write(t.address+28, binary.NativeEndian.AppendUint32(nil, uint32(t.n)))
	h.write(arg, binary.NativeEndian.AppendUint64(nil, t.address))
	h.done()
}

// gate is a pipe that is full while nothing can be reaped, so that libusb, which
// waits until it can write to it, sleeps. All who have the node open have one pipe,
// so it is open while any of them has something to reap: who is woken for another's
// reaps nothing, and waits again.
type gate struct {
	mu    sync.Mutex
	fd    int // -1: closed
	full  bool
	ended int // transfers that can be reaped
}

var filling [4096]byte

func (g *gate) open(path string) (err error) {
	if g.fd, err = unix.Open(path, unix.O_RDWR|unix.O_NONBLOCK|unix.O_CLOEXEC, 0); err != nil {
		return err
	}
	unix.FcntlInt(uintptr(g.fd), unix.F_SETPIPE_SZ, len(filling))
	g.count(0)
	return nil
}

// count counts transfers that can be reaped now, or those that no longer can.
func (g *gate) count(n int) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.ended += n
	if full := g.ended == 0; full != g.full && g.fd >= 0 {
		g.fill(full)
	}
}

func (g *gate) fill(full bool) {
	var emptying [2 * len(filling)]byte
	for {
		var n int
		var err error
		if full {
			n, err = unix.Write(g.fd, filling[:])
		} else {
			n, err = unix.Read(g.fd, emptying[:])
		}
		if n <= 0 || err != nil {
			break
		}
	}
	g.full = full
}

// close closes the gate for good. Closing twice is harmless: one may still come to a
// device that is gone.
func (g *gate) close() {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.fd >= 0 {
		unix.Close(g.fd)
		g.fd = -1
	}
}
