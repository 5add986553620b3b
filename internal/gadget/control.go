package gadget

import "encoding/binary"

// Standard requests (USB 2.0, section 9.4) that a device answers.
const (
	getStatus        = 0
	clearFeature     = 1
	setFeature       = 3
	setAddress       = 5
	getDescriptor    = 6
	getConfiguration = 8
	setConfiguration = 9
	getInterface     = 10
	setInterface     = 11

	descriptorDevice        = 1
	descriptorConfiguration = 2
	descriptorString        = 3

	endpointHalt = 0
)

// Ignore has the device never answer those of its control requests.
func (d *Device) Ignore(those func(setup [8]byte) bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.ignores = those
}

// control answers a control transfer.
func (d *Device) control(u *URB) {
	if IsReset(u.Setup) && d.spoilReset(u) {
		return
	}
	if d.ignores != nil && d.ignores(u.Setup) {
		d.unheard = append(d.unheard, u)
		return
	}
	answer, ok := d.request(u.Setup)
	switch {
	case !ok:
		d.complete(u, StatusStall, 0, nil)
	case u.Setup[0]&0x80 == 0:
		d.complete(u, StatusOK, len(u.Data), nil)
	default:
		asked := int(binary.LittleEndian.Uint16(u.Setup[6:]))
		answer = answer[:min(len(answer), asked, max(u.Room, 0))]
		d.complete(u, StatusOK, len(answer), answer)
	}
}

// request carries out a control request. It reports false for what the device
// does not know.
func (d *Device) request(setup [8]byte) (answer []byte, ok bool) {
	value, index := binary.LittleEndian.Uint16(setup[2:]), binary.LittleEndian.Uint16(setup[4:])
	switch [2]byte{setup[0], setup[1]} {
	case [2]byte{RequestTypeReset, RequestReset}:
		if !IsReset(setup) || index != 0 {
			return nil, false
		}
		d.counts.Resets++
		d.reset()
		return nil, true
	case [2]byte{0x80, getDescriptor}:
		answer = d.descriptor(value)
		return answer, answer != nil
	case [2]byte{0x80, getStatus}, [2]byte{0x81, getStatus}:
		return []byte{0, 0}, true
	case [2]byte{0x82, getStatus}:
		answer = []byte{0, 0}
		if d.halted[byte(index)] {
			answer[0] = 1
		}
		return answer, true
	case [2]byte{0x80, getConfiguration}:
		return []byte{1}, true
	case [2]byte{0x81, getInterface}:
		return []byte{0}, true
	case [2]byte{0x00, setAddress}:
		return nil, true
	case [2]byte{0x00, setConfiguration}, [2]byte{0x01, setInterface}:
		d.begin()
		return nil, true
	case [2]byte{0x02, clearFeature}:
		if value != endpointHalt {
			return nil, false
		}
		delete(d.halted, byte(index))
		return nil, true
	case [2]byte{0x02, setFeature}:
		if value != endpointHalt {
			return nil, false
		}
		d.halt(byte(index))
		return nil, true
	}
	return nil, false
}

// IsReset reports whether a control request is the reset of an interface, to the
// letter. Which interface is the caller's to look at.
func IsReset(setup [8]byte) bool {
	value, length := binary.LittleEndian.Uint16(setup[2:]), binary.LittleEndian.Uint16(setup[6:])
	return setup[0] == RequestTypeReset && setup[1] == RequestReset && value == 0 && length == 0
}

func (d *Device) descriptor(value uint16) []byte {
	switch value >> 8 {
	case descriptorDevice:
		return d.descriptors.Device
	case descriptorConfiguration:
		if value&0xFF == 0 {
			return d.descriptors.Configuration
		}
	case descriptorString:
		return d.descriptors.text(byte(value))
	}
	return nil
}

// halt stalls an endpoint and what waits there.
func (d *Device) halt(address byte) {
	d.halted[address] = true
	queue := &d.out
	if address == AddressIn {
		queue = &d.in
	}
	for _, u := range *queue {
		d.complete(u, StatusStall, 0, nil)
	}
	*queue = nil
}
