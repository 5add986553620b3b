package usbip

import (
	"encoding/binary"
	"fmt"

	"github.com/sojournlm/sojourn/internal/gadget"
)

// Messages of the second phase.
const (
	cmdSubmit = 1
	cmdUnlink = 2
	retSubmit = 3
	retUnlink = 4

	headerSize = 48

	flagZeroPacket = 0x0040

	// maxTransfer bounds a URB's data, and maxPending how many may wait, so that no
	// client can have more memory than that.
	maxTransfer = 256 << 10
	maxPending  = 64
)

// submit is a URB that a client asks for. Its data follows the header of an OUT
// transfer.
type submit struct {
	seq      uint32
	in       bool
	endpoint byte
	flags    uint32
	length   uint32
	setup    [8]byte
}

// unlink takes a URB back.
type unlink struct {
	seq, victim uint32
}

// parse reads a header: a submit or an unlink.
func parse(h [headerSize]byte) (any, error) {
	be := binary.BigEndian
	seq := be.Uint32(h[4:])
	if id := be.Uint32(h[8:]); id != DeviceID {
		return nil, fmt.Errorf("usbip: a command for device %#x", id)
	}
	switch command := be.Uint32(h[0:]); command {
	case cmdUnlink:
		return unlink{seq, be.Uint32(h[20:])}, nil
	case cmdSubmit:
		direction, endpoint, packets := be.Uint32(h[12:]), be.Uint32(h[16:]), be.Uint32(h[32:])
		s := submit{
			seq: seq, in: direction == 1, endpoint: byte(endpoint),
			flags: be.Uint32(h[20:]), length: be.Uint32(h[24:]), setup: [8]byte(h[40:]),
		}
		switch {
		case direction > 1:
			return nil, fmt.Errorf("usbip: direction %d", direction)
		case endpoint > 15:
			return nil, fmt.Errorf("usbip: endpoint %d", endpoint)
		case s.length > maxTransfer:
			return nil, fmt.Errorf("usbip: a transfer of %d bytes", s.length)
		case packets != 0 && packets != 0xFFFFFFFF:
			return nil, fmt.Errorf("usbip: an isochronous transfer, of %d packets", packets)
		}
		return s, nil
	default:
		return nil, fmt.Errorf("usbip: command %#x", command)
	}
}

// encode is the inverse of parse, for a client.
func (s submit) encode() []byte {
	b := header(cmdSubmit, s.seq, DeviceID)
	be := binary.BigEndian
	if s.in {
		b[15] = 1
	}
	b[19] = s.endpoint
	be.PutUint32(b[20:], s.flags)
	be.PutUint32(b[24:], s.length)
	copy(b[40:], s.setup[:])
	return b
}

func (u unlink) encode() []byte {
	b := header(cmdUnlink, u.seq, DeviceID)
	binary.BigEndian.PutUint32(b[20:], u.victim)
	return b
}

// submitted tells how a URB ended.
func submitted(seq uint32, status gadget.Status, n int, in []byte) []byte {
	b := header(retSubmit, seq, 0)
	binary.BigEndian.PutUint32(b[20:], uint32(status))
	binary.BigEndian.PutUint32(b[24:], uint32(n))
	return append(b, in...)
}

// unlinked tells whether a URB was taken back in time.
func unlinked(seq uint32, status gadget.Status) []byte {
	b := header(retUnlink, seq, 0)
	binary.BigEndian.PutUint32(b[20:], uint32(status))
	return b
}

func header(command, seq, device uint32) []byte {
	b := make([]byte, headerSize)
	binary.BigEndian.PutUint32(b[0:], command)
	binary.BigEndian.PutUint32(b[4:], seq)
	binary.BigEndian.PutUint32(b[8:], device)
	return b
}

// urb is the transfer that the header and its data ask for.
func (s submit) urb(data []byte) *gadget.URB {
	u := &gadget.URB{Endpoint: s.endpoint, Setup: s.setup, Data: data, ZeroEnd: s.flags&flagZeroPacket != 0}
	if s.in {
		u.Endpoint |= 0x80
		u.Room = int(s.length)
	}
	return u
}
