package gadget

import (
	"context"
	"errors"
	"slices"
	"sync"

	"github.com/sojournlm/sojourn/internal/wire"
	"github.com/sojournlm/sojourn/transport"
)

// Key is what is inside: it answers one request frame with one answer frame. It
// is a [transport.Conn] that somebody else closes.
type Key interface {
	Exchange(ctx context.Context, request []byte) ([]byte, error)
}

// Status is how a URB ended: 0, or a negative errno of Linux, which is what
// drivers there and USB/IP everywhere speak.
type Status int32

// The statuses of URBs.
const (
	StatusOK       Status = 0
	StatusUnlinked Status = -104 // ECONNRESET: taken back
	StatusStall    Status = -32  // EPIPE
	StatusOverflow Status = -75  // EOVERFLOW: more came than there was room for
	StatusGone     Status = -108 // ESHUTDOWN: the device is no longer there
)

// URB is one transfer that a computer asks of a device.
type URB struct {
	Endpoint byte    // address: bit 7 is set for IN; 0x00 or 0x80 for control
	Setup    [8]byte // of a control transfer
	Data     []byte  // of an OUT transfer
	Room     int     // for an IN transfer, in bytes
	ZeroEnd  bool    // the computer ends a full last packet with an empty one

	// Done is called once, unless the URB was cancelled before: how it ended, how
	// many bytes went over, and for an IN transfer the bytes. It must not call the
	// Device.
	Done func(status Status, n int, in []byte)

	sent  int // bytes of Data that the device has taken
	ended bool
	got   []byte
}

// Device is a key at the end of a cable. It is safe for concurrent use. Unplug it
// when it is no longer needed.
type Device struct {
	key         Key
	descriptors Descriptors
	maxPacket   int
	speed       Speed

	// Gone is called, in a goroutine of its own, when the key inside has lost its
	// power or the cable was pulled by a fault, and nobody called Unplug. Set it
	// before the device is used.
	Gone func()

	ctx    context.Context
	cancel context.CancelFunc
	wg     sync.WaitGroup // the command being carried out

	delivery sync.Mutex // held while completions are called, in their order

	mu        sync.Mutex
	completed []func()
	out, in   []*URB // that wait
	unheard   []*URB // control requests that are never answered, by a fault
	receiving Assembler
	waiting   []byte // a whole request that the key has not begun, nil for none
	working   bool
	life      int      // counts resets
	answer    [][]byte // packets on their way
	late      [][]byte // those of an answer that is held back by a fault
	halted    map[byte]bool
	gone      bool
	armed     []*Armed
	fault     *Armed // of the exchange under way
	counts    Counts

	ignores     func(setup [8]byte) bool // nil: none
	resetFault  ResetFault
	resetsLeft  int           // to which it happens
	portsWithin chan struct{} // port resets end when it is closed, nil: at once
}

// Counts is what has gone over the cable.
type Counts struct {
	Requests   int // whole request frames that reached the device
	Answers    int // whole answer frames that the computer has fetched
	Resets     int // by request
	Unheard    int // requests for a reset that were never answered
	PortResets int
}

// New makes a device around a key.
func New(key Key, c Config) *Device { return NewWith(key, c.Speed, Describe(c)) }

// NewWith makes a device that says of itself what it is told to, right or wrong.
func NewWith(key Key, speed Speed, d Descriptors) *Device {
	ctx, cancel := context.WithCancel(context.Background())
	return &Device{
		key: key, descriptors: d, maxPacket: speed.MaxPacket(), speed: speed,
		ctx: ctx, cancel: cancel, halted: map[byte]bool{},
	}
}

// Descriptors is what the device says of itself.
func (d *Device) Descriptors() Descriptors { return d.descriptors }

// Speed is how fast the device talks.
func (d *Device) Speed() Speed { return d.speed }

// Counts tells what has gone over the cable so far.
func (d *Device) Counts() Counts {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.counts
}

// Submit gives the device a transfer to do.
func (d *Device) Submit(u *URB) {
	d.mu.Lock()
	switch {
	case d.gone:
		d.complete(u, StatusGone, 0, nil)
	case u.Endpoint&0x7F == 0:
		d.control(u)
	case d.halted[u.Endpoint]:
		d.complete(u, StatusStall, 0, nil)
	case u.Endpoint == AddressOut:
		d.out = append(d.out, u)
	case u.Endpoint == AddressIn:
		d.in = append(d.in, u)
	default:
		d.complete(u, StatusStall, 0, nil)
	}
	d.move()
	d.mu.Unlock()
	d.deliver()
}

// Cancel takes a transfer back. It reports whether the transfer was still waiting;
// then Done is not called.
func (d *Device) Cancel(u *URB) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, queue := range []*[]*URB{&d.out, &d.in, &d.unheard} {
		if i := slices.Index(*queue, u); i >= 0 {
			*queue = slices.Delete(*queue, i, i+1)
			return true
		}
	}
	return false
}

// Unplug pulls the cable: transfers that wait end, later ones do too. It returns
// when the key has done what it was told. Unplugging twice is harmless.
func (d *Device) Unplug() {
	d.mu.Lock()
	d.vanish()
	d.mu.Unlock()
	d.cancel()
	d.deliver()
	d.wg.Wait()
}

// ResetPort is a reset of the bus: all endpoints are as after plugging in.
func (d *Device) ResetPort() {
	d.mu.Lock()
	d.counts.PortResets++
	d.begin()
	within := d.portsWithin
	d.mu.Unlock()
	if within != nil {
		<-within
	}
}

// begin brings the endpoints to their first state. The device is locked, as in all
// that follow.
func (d *Device) begin() {
	clear(d.halted)
	d.reset()
}

// reset drops what is under way.
func (d *Device) reset() {
	d.life++
	d.receiving, d.waiting, d.answer, d.fault = Assembler{}, nil, nil, nil
}

func (d *Device) vanish() {
	d.gone = true
	d.reset()
	for _, u := range slices.Concat(d.out, d.in, d.unheard) {
		d.complete(u, StatusGone, 0, nil)
	}
	d.out, d.in, d.unheard = nil, nil, nil
}

// pull is vanish by a fault or by the key itself: the owner is told.
func (d *Device) pull() {
	if d.gone {
		return
	}
	d.vanish()
	if d.Gone != nil {
		go d.Gone()
	}
}

func (d *Device) complete(u *URB, s Status, n int, in []byte) {
	d.completed = append(d.completed, func() { u.Done(s, n, in) })
}

// deliver calls the completions that have gathered, in their order. Nothing is
// locked but the delivery itself.
func (d *Device) deliver() {
	d.delivery.Lock()
	defer d.delivery.Unlock()
	for {
		d.mu.Lock()
		if len(d.completed) == 0 {
			d.mu.Unlock()
			return
		}
		done := d.completed[0]
		d.completed = d.completed[1:]
		d.mu.Unlock()
		done()
	}
}

// move lets packets go over the cable as far as they can.
func (d *Device) move() {
	for !d.gone && (d.receive() || d.start() || d.send()) {
	}
}

// receive takes one packet from the computer. While a whole request waits there is
// no room for more.
func (d *Device) receive() bool {
	if len(d.out) == 0 || d.waiting != nil {
		return false
	}
	u := d.out[0]
	rest := u.Data[u.sent:]
	packet := rest[:min(len(rest), d.maxPacket)]
	if u.sent == 0 && d.arrives() {
		return true
	}
	u.sent += len(packet)
	if frame := d.receiving.Packet(packet, d.maxPacket); frame != nil {
		d.counts.Requests++
		d.waiting = frame
	}
	switch {
	case d.fault.is(PullInRequest):
		d.pull()
	case u.sent < len(u.Data):
	case len(packet) == d.maxPacket && u.ZeroEnd && !u.ended:
		u.ended = true
	default:
		d.out = d.out[1:]
		d.complete(u, StatusOK, len(u.Data), nil)
	}
	return true
}

// start has the key act on the request that waits, when it is done with the one
// before and the answer to that is gone.
func (d *Device) start() bool {
	if d.waiting == nil || d.working || len(d.answer) > 0 {
		return false
	}
	frame, life := d.waiting, d.life
	d.waiting = nil
	frame, act := d.spoilRequest(frame)
	if !act {
		return true
	}
	d.working = true
	d.wg.Go(func() {
		answer, err := d.act(frame)
		d.mu.Lock()
		d.working = false
		switch {
		case errors.Is(err, transport.ErrNoKey) || errors.Is(err, transport.ErrClosed):
			d.pull()
		case err == nil && d.life == life:
			d.spoilAnswer(answer)
		}
		d.move()
		d.mu.Unlock()
		d.deliver()
	})
	return true
}

func (d *Device) act(frame []byte) ([]byte, error) {
	if len(frame) > wire.MaxFrame {
		return wire.Frame{}.Answer(wire.BadFrame, nil).Encode(), nil
	}
	return d.key.Exchange(d.ctx, frame)
}

// send gives one packet to the computer. A short packet ends the transfer, and so
// does a full buffer; a packet that does not fit is an overflow.
func (d *Device) send() bool {
	if len(d.in) == 0 || len(d.answer) == 0 {
		return false
	}
	u, packet := d.in[0], d.answer[0]
	d.answer = d.answer[1:]
	room := u.Room - len(u.got)
	over := len(packet) > room || len(packet) > d.maxPacket
	u.got = append(u.got, packet[:min(len(packet), room)]...)
	last := len(packet) < d.maxPacket
	if last || over || len(u.got) == u.Room {
		status := StatusOK
		if over {
			status = StatusOverflow
		}
		d.in = d.in[1:]
		d.complete(u, status, len(u.got), u.got)
	}
	if last {
		d.counts.Answers++
	}
	switch {
	case d.fault.is(PullInAnswer):
		d.pull()
	case last && d.fault.is(PullAfterAnswer):
		d.pull()
	}
	return true
}
