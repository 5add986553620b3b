package wire

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/sigurn/crc16"
)

// Sizes of frames in bytes.
const (
	MaxPayload = 4096
	MaxFrame   = headerSize + MaxPayload + crcSize

	headerSize = 12
	crcSize    = 2
)

const (
	magic   = 'S'<<8 | 'J'
	version = 1
)

// Frame is a request or an answer.
type Frame struct {
	Op      Op
	Seq     uint32
	Status  Status // OK in a request
	Payload []byte // at most [MaxPayload] bytes
}

var crcTable = crc16.MakeTable(crc16.CRC16_CCITT_FALSE)

// Errors that those of [Parse] wrap.
var (
	ErrDamaged = errors.New("damaged frame")
	ErrVersion = errors.New("unknown protocol version")
)

// Encode gives the frame's bytes. It panics when the payload is too long or
// does not go with the status, which is a mistake in the program.
func (f Frame) Encode() []byte {
	if err := f.check(); err != nil {
		panic("wire: " + err.Error())
	}
	b := make([]byte, 0, headerSize+len(f.Payload)+crcSize)
	b = binary.BigEndian.AppendUint16(b, magic)
	b = append(b, version, byte(f.Op))
	b = binary.BigEndian.AppendUint32(b, f.Seq)
	b = binary.BigEndian.AppendUint16(b, uint16(f.Status))
	b = binary.BigEndian.AppendUint16(b, uint16(len(f.Payload)))
	b = append(b, f.Payload...)
	return binary.BigEndian.AppendUint16(b, crc16.Checksum(b, crcTable))
}

// Parse reads a frame strictly. Payload points into b. With an error that wraps
// [ErrVersion] the frame's opcode and sequence number are given too.
func Parse(b []byte) (Frame, error) {
	if len(b) < headerSize+crcSize || len(b) > MaxFrame {
		return Frame{}, fmt.Errorf("%w: %d bytes", ErrDamaged, len(b))
	}
	body, sum := b[:len(b)-crcSize], binary.BigEndian.Uint16(b[len(b)-crcSize:])
	switch {
	case binary.BigEndian.Uint16(b) != magic:
		return Frame{}, fmt.Errorf("%w: no magic", ErrDamaged)
	case int(binary.BigEndian.Uint16(b[10:])) != len(body)-headerSize:
		return Frame{}, fmt.Errorf("%w: wrong length", ErrDamaged)
	case crc16.Checksum(body, crcTable) != sum:
		return Frame{}, fmt.Errorf("%w: wrong checksum", ErrDamaged)
	}
	f := Frame{Op: Op(b[3]), Seq: binary.BigEndian.Uint32(b[4:])}
	if b[2] != version {
		return f, fmt.Errorf("%w %d", ErrVersion, b[2])
	}
	f.Status = Status(binary.BigEndian.Uint16(b[8:]))
	f.Payload = body[headerSize:]
	if err := f.check(); err != nil {
		return Frame{}, fmt.Errorf("%w: %w", ErrDamaged, err)
	}
	return f, nil
}

func (f Frame) check() error {
	switch {
	case len(f.Payload) > MaxPayload:
		return fmt.Errorf("a payload of %d bytes", len(f.Payload))
	case f.Status != OK && !f.Op.IsAnswer():
		return errors.New("a request with a status")
	case f.Status != OK && len(f.Payload) > 0:
		return errors.New("a refusal with a payload")
	}
	return nil
}

// Answer is the answer to request f.
func (f Frame) Answer(status Status, payload []byte) Frame {
	return Frame{Op: f.Op | answerBit, Seq: f.Seq, Status: status, Payload: payload}
}

// Answers reports whether f answers the request.
func (f Frame) Answers(request Frame) bool {
	return f.Op == request.Op|answerBit && f.Seq == request.Seq
}

// Op is an opcode: what a request asks for.
type Op uint8

// The opcodes of requests.
const (
	OpInfo       Op = 0x01
	OpReadPool   Op = 0x02
	OpCheckpoint Op = 0x03
	OpAdvance    Op = 0x04
	OpStage      Op = 0x05
	OpInstall    Op = 0x06
	OpTime       Op = 0x07

	answerBit Op = 0x80
)

// IsAnswer reports whether the opcode is that of an answer.
func (o Op) IsAnswer() bool { return o&answerBit != 0 }

// String is the opcode's name, that of its request in an answer.
func (o Op) String() string {
	switch o &^ answerBit {
	case OpInfo:
		return "Info"
	case OpReadPool:
		return "ReadPool"
	case OpCheckpoint:
		return "Checkpoint"
	case OpAdvance:
		return "Advance"
	case OpStage:
		return "Stage"
	case OpInstall:
		return "Install"
	case OpTime:
		return "Time"
	}
	return fmt.Sprintf("opcode 0x%02X", uint8(o))
}

// Status is a key's verdict on a request. It implements error; OK is none.
type Status uint16

// The statuses, as the page of package device explains them.
const (
	OK          Status = 0
	BadFrame    Status = 1
	BadVersion  Status = 2
	UnknownOp   Status = 3
	Malformed   Status = 4
	NoPool      Status = 5
	Fork        Status = 6
	NotNewer    Status = 7
	NotSigned   Status = 8
	NotStaged   Status = 9
	WornOut     Status = 10
	FlashFailed Status = 11
	WrongKey    Status = 12
	NoClock     Status = 13
	ClockDied   Status = 14
)

var statusTexts = [...]string{
	OK:          "done",
	BadFrame:    "request was damaged",
	BadVersion:  "unknown protocol version",
	UnknownOp:   "unknown command",
	Malformed:   "malformed request",
	NoPool:      "no pool license",
	Fork:        "fork",
	NotNewer:    "pool license is not newer",
	NotSigned:   "pool license is not signed by the key's vendor",
	NotStaged:   "staged bytes are missing or others",
	WornOut:     "flash is worn out",
	FlashFailed: "flash failed",
	WrongKey:    "pool license is for another key",
	NoClock:     "no clock",
	ClockDied:   "clock has died",
}

// Error is the status in words.
func (s Status) Error() string {
	if int(s) < len(statusTexts) {
		return statusTexts[s]
	}
	return fmt.Sprintf("status %d", uint16(s))
}
