package simulator

import (
	"bytes"
	"slices"

	"github.com/sojournlm/sojourn/internal/firmware"
)

// Fault is what goes wrong in one exchange.
type Fault int

// The faults. Whatever happens, the key itself stays sound.
const (
	None           Fault = iota
	LoseRequest          // not sent, and the transport knows it
	SwallowRequest       // sent, as far as the transport knows, but never arrives
	LoseReply            // the key acts, its response is lost
	GarbleRequest        // the key gets a damaged request, and says so
	GarbleReply          // the key acts, its response comes damaged
	CutReply             // the key acts, its response comes cut short
	StaleReply           // the key acts, the response to the exchange before comes once more
	Unplug               // the key acts and is pulled out before it responds; it stays out
	Replug               // the same, but it is put back at once: a new connection is needed
	PullFirst            // the key is pulled out before the request reaches it; it stays out
	CutPower             // the power fails in the middle of the key's next write, or after it acted; it comes back at once
	faults
)

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
	key   *Key
	left  int // exchanges before it
	fault Fault
	tear  firmware.Tear
	fired bool
}

// Fired reports whether the exchange came.
func (a *Armed) Fired() bool {
	a.key.mu.Lock()
	defer a.key.mu.Unlock()
	return a.fired
}

// Disarm takes a fault back that has not fired, so that a look at what happened
// does not run into it.
func (a *Armed) Disarm() {
	k := a.key
	k.mu.Lock()
	defer k.mu.Unlock()
	k.armed = slices.DeleteFunc(k.armed, func(other *Armed) bool { return other == a })
	if k.cut == a {
		k.cut = nil
		k.flash.Restore()
	}
}

// FailNth arms a fault for the key's exchange after n more, 0 for the next one.
// Several can be armed; of two for the same exchange the one armed first fires,
// the other in the next. A fault loop arms n = 0, 1, 2 … until none fires.
func (k *Key) FailNth(n int, f Fault) *Armed {
	k.mu.Lock()
	defer k.mu.Unlock()
	a := &Armed{key: k, left: n, fault: f, tear: firmware.Tear{Whole: 7 * n, Garbage: n%2 == 1}}
	k.armed = append(k.armed, a)
	return a
}

// nextFault tells what goes wrong in this exchange. The key is locked.
func (k *Key) nextFault() *Armed {
	var fires *Armed
	rest := k.armed[:0]
	for _, a := range k.armed {
		switch {
		case a.left > 0:
			a.left--
		case fires == nil:
			a.fired, fires = true, a
			continue
		}
		rest = append(rest, a)
	}
	k.armed = rest
	if fires == nil {
		return &Armed{}
	}
	return fires
}

// garble damages a frame so that its checksum tells.
func garble(frame []byte) []byte {
	b := bytes.Clone(frame)
	if len(b) > 0 {
		b[len(b)/2] ^= 0x20
	}
	return b
}
