package gadget

import (
	"bytes"
	"slices"

	"github.com/sojournlm/sojourn/internal/wire"
)

// Fault is what goes wrong on the cable in one exchange. The key itself stays
// sound.
type Fault int

// The faults, in the order of an exchange.
const (
	None              Fault = iota
	StallRequest            // the OUT endpoint halts when the request comes
	PullBeforeRequest       // the cable is pulled when the request comes
	PullInRequest           // it is pulled when the request's first packet is over
	PullAfterRequest        // it is pulled when the request is over, before the key acts
	SwallowRequest          // the request is received, and the key never gets it
	GarbleRequest           // the key gets a damaged request
	CutRequest              // the key gets half a request
	PullAfterActing         // the cable is pulled when the key has acted, before it answers
	SwallowAnswer           // the answer never comes
	StallAnswer             // the IN endpoint halts in place of an answer
	GarbleAnswer            // the answer comes damaged
	CutAnswer               // half an answer comes, and a short packet
	EmptyAnswer             // an empty packet comes for an answer
	EndlessAnswer           // the short packet that ends the answer does not come
	LongAnswer              // the answer is longer than any frame, and than any buffer
	BabbleAnswer            // a packet of the answer is longer than packets may be
	OtherAnswer             // a whole frame comes that answers another request
	TwiceAnswer             // the answer comes twice
	LateAnswer              // the answer comes before that to the next request; no reset stops it
	LeftPacket              // one full packet of the answer comes before that to the next request, as part of it; no reset stops it
	PullInAnswer            // the cable is pulled when the answer's first packet is over
	PullAfterAnswer         // it is pulled when the answer is over
	faults
)

var faultNames = [faults]string{
	"None", "StallRequest", "PullBeforeRequest", "PullInRequest", "PullAfterRequest", "SwallowRequest",
	"GarbleRequest", "CutRequest", "PullAfterActing", "SwallowAnswer", "StallAnswer", "GarbleAnswer",
	"CutAnswer", "EmptyAnswer", "EndlessAnswer", "LongAnswer", "BabbleAnswer", "OtherAnswer", "TwiceAnswer",
	"LateAnswer", "LeftPacket", "PullInAnswer", "PullAfterAnswer",
}

// String is the fault's name.
func (f Fault) String() string { return faultNames[f] }

// Pulls reports whether the fault pulls the cable.
func (f Fault) Pulls() bool {
	switch f {
	case PullBeforeRequest, PullInRequest, PullAfterRequest, PullAfterActing, PullInAnswer, PullAfterAnswer:
		return true
	}
	return false
}

// Faults are all faults but None, for loops over them.
func Faults() []Fault {
	all := make([]Fault, 0, faults-1)
	for f := None + 1; f < faults; f++ {
		all = append(all, f)
	}
	return all
}

// Armed is a fault that waits for its exchange.
type Armed struct {
	device *Device
	left   int
	fault  Fault
	fired  bool
}

func (a *Armed) is(f Fault) bool { return a != nil && a.fault == f }

// Fired reports whether the exchange came.
func (a *Armed) Fired() bool {
	a.device.mu.Lock()
	defer a.device.mu.Unlock()
	return a.fired
}

// Disarm takes a fault back that has not fired.
func (a *Armed) Disarm() {
	a.device.mu.Lock()
	defer a.device.mu.Unlock()
	a.device.armed = slices.DeleteFunc(a.device.armed, func(other *Armed) bool { return other == a })
}

// FailNth arms a fault for the exchange after n more, 0 for the next one. A fault
// loop arms n = 0, 1, 2 … until none fires.
func (d *Device) FailNth(n int, f Fault) *Armed {
	d.mu.Lock()
	defer d.mu.Unlock()
	a := &Armed{device: d, left: n, fault: f}
	d.armed = append(d.armed, a)
	return a
}

// arrives finds the fault of an exchange that begins, and reports whether it ends
// here and now.
func (d *Device) arrives() bool {
	if d.receiving.frame != nil {
		return false // only the end of a request in two transfers
	}
	d.fault = nil
	for i := 0; i < len(d.armed); i++ {
		switch a := d.armed[i]; {
		case a.left > 0:
			a.left--
		case d.fault == nil:
			a.fired, d.fault = true, a
			d.armed = slices.Delete(d.armed, i, i+1)
			i--
		}
	}
	switch {
	case d.fault.is(StallRequest):
		d.halt(AddressOut)
		return true
	case d.fault.is(PullBeforeRequest):
		d.pull()
		return true
	}
	return false
}

// spoilRequest gives what the key gets of a request, and whether it gets it.
func (d *Device) spoilRequest(frame []byte) (got []byte, act bool) {
	switch {
	case d.fault.is(PullAfterRequest):
		d.pull()
		return nil, false
	case d.fault.is(SwallowRequest):
		return nil, false
	case d.fault.is(GarbleRequest):
		return garble(frame), true
	case d.fault.is(CutRequest):
		return frame[:len(frame)/2], true
	}
	return frame, true
}

// spoilAnswer puts on its way what the computer gets of an answer.
func (d *Device) spoilAnswer(frame []byte) {
	fault := None
	if d.fault != nil {
		fault = d.fault.fault
	}
	packets := Packets(frame, d.maxPacket)
	held := d.late
	d.late = nil
	switch fault {
	case PullAfterActing:
		d.pull()
		return
	case SwallowAnswer:
		return
	case StallAnswer:
		d.halt(AddressIn)
		return
	case GarbleAnswer:
		packets = Packets(garble(frame), d.maxPacket)
	case CutAnswer:
		packets = Packets(frame[:len(frame)/2], d.maxPacket)
	case EmptyAnswer:
		packets = [][]byte{{}}
	case EndlessAnswer:
		packets = packets[:len(packets)-1]
	case LongAnswer:
		packets = Packets(append(bytes.Clone(frame), make([]byte, 2*wire.MaxFrame)...), d.maxPacket)
	case BabbleAnswer:
		packets = [][]byte{make([]byte, d.maxPacket+1)}
	case OtherAnswer:
		packets = Packets(wire.Frame{Op: wire.OpInfo, Seq: 0xFFFFFFF0}.Answer(wire.OK, nil).Encode(), d.maxPacket)
	case TwiceAnswer:
		packets = append(packets, Packets(frame, d.maxPacket)...)
	case LateAnswer:
		d.late = packets
		return
	case LeftPacket:
		d.late = [][]byte{append(bytes.Clone(frame), make([]byte, d.maxPacket)...)[:d.maxPacket]}
		return
	}
	d.answer = append(held, packets...)
}

// garble damages a frame so that its checksum tells.
func garble(frame []byte) []byte {
	b := bytes.Clone(frame)
	if len(b) > 0 {
		b[len(b)/2] ^= 0x20
	}
	return b
}
