package gadget

// ResetFault is what becomes of the resets that a program asks for.
type ResetFault int

// The faults of resets. The key does not act on any of them.
const (
	StallReset  ResetFault = iota // it is refused
	IgnoreReset                   // it is never answered
)

var resetFaultNames = []string{"StallReset", "IgnoreReset"}

// String is the fault's name.
func (f ResetFault) String() string { return resetFaultNames[f] }

// ResetFaults are all of them, for loops over them.
func ResetFaults() []ResetFault { return []ResetFault{StallReset, IgnoreReset} }

// FailResets spoils the next n requests for a reset, and no more than those.
func (d *Device) FailResets(n int, f ResetFault) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.resetsLeft, d.resetFault = n, f
}

// spoilReset reports whether it has taken care of a request for a reset.
func (d *Device) spoilReset(u *URB) bool {
	if d.resetsLeft == 0 {
		return false
	}
	d.resetsLeft--
	if d.resetFault == StallReset {
		d.complete(u, StatusStall, 0, nil)
		return true
	}
	d.counts.Unheard++
	d.unheard = append(d.unheard, u)
	return true
}

// HoldPortResets makes resets of the port, which end when the computer's system likes,
// take until release is called.
func (d *Device) HoldPortResets() (release func()) {
	d.mu.Lock()
	defer d.mu.Unlock()
	within := make(chan struct{})
	d.portsWithin = within
	return func() {
		d.mu.Lock()
		d.portsWithin = nil
		d.mu.Unlock()
		close(within)
	}
}
