package gadget

import (
	"bytes"

	"github.com/sojournlm/sojourn/internal/wire"
)

// Assembler makes frames of packets. The zero Assembler is ready.
type Assembler struct {
	frame []byte
	over  bool // too long: the rest is received and not kept
}

// Packet takes a packet. It gives the frame that the packet ends, one of more
// than the longest frame's length where it was too long, and nil otherwise. An
// empty transfer is an empty frame.
func (a *Assembler) Packet(p []byte, maxPacket int) []byte {
	if room := wire.MaxFrame + 1 - len(a.frame); len(p) > room {
		a.frame, a.over = append(a.frame, p[:room]...), true
	} else {
		a.frame = append(a.frame, p...)
	}
	if len(p) >= maxPacket {
		return nil
	}
	frame := a.frame
	if frame == nil {
		frame = []byte{}
	}
	*a = Assembler{}
	return frame
}

// Packets splits a frame. The last packet is short, and empty where the frame's
// length is a multiple of a packet's.
func Packets(frame []byte, maxPacket int) [][]byte {
	frame = bytes.Clone(frame)
	var packets [][]byte
	for len(frame) >= maxPacket {
		packets = append(packets, frame[:maxPacket:maxPacket])
		frame = frame[maxPacket:]
	}
	return append(packets, frame)
}
