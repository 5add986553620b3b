package wire

import (
	"encoding/binary"
	"fmt"
)

// Largest pieces of what is carried in several frames, in bytes.
const (
	MaxPool   = 64 << 10
	MaxPiece  = MaxPayload - 4
	MaxHeader = 512
)

// Flags in an [Info].
const (
	HasClock     uint8 = 1 << iota // the key has a clock
	ClockHasDied                   // and it no longer runs
	LogWornOut                     // Advance is refused from now on

	knownFlags = HasClock | ClockHasDied | LogWornOut
)

// Info is the answer to OpInfo. Its fields stand on the wire in their order.
type Info struct {
	KeyID        uint64
	Model        uint8
	Flags        uint8
	Firmware     uint32
	Manufactured int64 // Unix seconds
	Vendor       uint32
	Public       [32]byte
	PoolCounter  uint64
	PoolLength   uint32
	Seq          uint64
	WritesLeft   uint32
}

// Encode gives the payload. Keys that are programs are asked for it often, and by
// reflection it would be the most of their work.
func (i Info) Encode() []byte {
	be := binary.BigEndian
	b := be.AppendUint64(make([]byte, 0, infoSize), i.KeyID)
	b = append(b, i.Model, i.Flags)
	b = be.AppendUint32(b, i.Firmware)
	b = be.AppendUint64(b, uint64(i.Manufactured))
	b = be.AppendUint32(b, i.Vendor)
	b = append(b, i.Public[:]...)
	b = be.AppendUint64(b, i.PoolCounter)
	b = be.AppendUint32(b, i.PoolLength)
	b = be.AppendUint64(b, i.Seq)
	return be.AppendUint32(b, i.WritesLeft)
}

const infoSize = 82

// ParseInfo reads the payload strictly.
func ParseInfo(b []byte) (Info, error) {
	i, err := decode[Info]("info", b)
	switch {
	case err != nil:
		return Info{}, err
	case i.KeyID >= 0xFFFFFFFF:
		return Info{}, fmt.Errorf("info: key id %d", i.KeyID)
	case i.Model > 5:
		return Info{}, fmt.Errorf("info: model %d", i.Model)
	case i.Flags&^knownFlags != 0:
		return Info{}, fmt.Errorf("info: flags %#x", i.Flags)
	case i.PoolLength > MaxPool || (i.PoolLength == 0) != (i.PoolCounter == 0):
		return Info{}, fmt.Errorf("info: a pool license of %d bytes with counter %d", i.PoolLength, i.PoolCounter)
	}
	return i, nil
}

// Checkpoint is the answer to OpCheckpoint and OpAdvance. Its fields stand on
// the wire in their order.
type Checkpoint struct {
	Seq       uint64
	Head      [32]byte
	Horizon   int64 // Unix seconds
	Signature [64]byte
}

// Encode gives the payload.
func (c Checkpoint) Encode() []byte { return encode(c) }

// ParseCheckpoint reads the payload strictly.
func ParseCheckpoint(b []byte) (Checkpoint, error) {
	return decode[Checkpoint]("checkpoint", b)
}

// Advance is the request of OpAdvance.
type Advance struct {
	Prev   [32]byte
	Header []byte // 1 to [MaxHeader] bytes
}

// Encode gives the payload.
func (a Advance) Encode() []byte { return append(a.Prev[:], a.Header...) }

// ParseAdvance reads the payload strictly. Header points into b.
func ParseAdvance(b []byte) (Advance, error) {
	if len(b) <= 32 || len(b) > 32+MaxHeader {
		return Advance{}, wrongLength("advance", b)
	}
	return Advance{Prev: [32]byte(b), Header: b[32:]}, nil
}

// ReadPool is the request of OpReadPool.
type ReadPool struct {
	Offset uint32
}

// Encode gives the payload.
func (r ReadPool) Encode() []byte { return encode(r) }

// ParseReadPool reads the payload strictly.
func ParseReadPool(b []byte) (ReadPool, error) { return decode[ReadPool]("read pool", b) }

// PoolPiece is the answer to OpReadPool.
type PoolPiece struct {
	Length uint32 // of the whole pool license, 1 to [MaxPool]
	Data   []byte // at most [MaxPiece] bytes
}

// Encode gives the payload.
func (p PoolPiece) Encode() []byte { return prefixed(p.Length, p.Data) }

// ParsePoolPiece reads the payload strictly. Data points into b.
func ParsePoolPiece(b []byte) (PoolPiece, error) {
	if len(b) < 4 || len(b) > MaxPayload {
		return PoolPiece{}, wrongLength("piece of a pool license", b)
	}
	p := PoolPiece{Length: binary.BigEndian.Uint32(b), Data: b[4:]}
	if p.Length == 0 || p.Length > MaxPool || len(p.Data) > int(p.Length) {
		return PoolPiece{}, fmt.Errorf("piece of a pool license: %d bytes of %d", len(p.Data), p.Length)
	}
	return p, nil
}

// Stage is the request of OpStage.
type Stage struct {
	Offset uint32
	Data   []byte // 1 to [MaxPiece] bytes; ends at [MaxPool] at the latest
}

// Encode gives the payload.
func (s Stage) Encode() []byte { return prefixed(s.Offset, s.Data) }

// ParseStage reads the payload strictly. Data points into b.
func ParseStage(b []byte) (Stage, error) {
	if len(b) <= 4 || len(b) > MaxPayload {
		return Stage{}, wrongLength("stage", b)
	}
	s := Stage{Offset: binary.BigEndian.Uint32(b), Data: b[4:]}
	if uint64(s.Offset)+uint64(len(s.Data)) > MaxPool {
		return Stage{}, fmt.Errorf("stage: %d bytes at %d", len(s.Data), s.Offset)
	}
	return s, nil
}

// Install is the request of OpInstall. Its fields stand on the wire in their
// order.
type Install struct {
	Length uint32 // 1 to [MaxPool]
	Hash   [32]byte
}

// Encode gives the payload.
func (i Install) Encode() []byte { return encode(i) }

// ParseInstall reads the payload strictly.
func ParseInstall(b []byte) (Install, error) {
	i, err := decode[Install]("install", b)
	if err == nil && (i.Length == 0 || i.Length > MaxPool) {
		return Install{}, fmt.Errorf("install: a pool license of %d bytes", i.Length)
	}
	return i, err
}

// Time is the answer to OpTime.
type Time struct {
	Unix int64 // seconds
}

// Encode gives the payload.
func (t Time) Encode() []byte { return encode(t) }

// ParseTime reads the payload strictly.
func ParseTime(b []byte) (Time, error) { return decode[Time]("time", b) }

// ParseEmpty holds the payload of a message without content to being empty.
func ParseEmpty(b []byte) error {
	if len(b) != 0 {
		return wrongLength("empty message", b)
	}
	return nil
}

// encode lays out a struct of fixed size. Its error tells of a type that has
// none, of which there is none here.
func encode[T any](v T) []byte {
	b, err := binary.Append(nil, binary.BigEndian, v)
	if err != nil {
		panic("wire: " + err.Error())
	}
	return b
}

func decode[T any](name string, b []byte) (v T, err error) {
	if len(b) != binary.Size(v) {
		return v, wrongLength(name, b)
	}
	_, err = binary.Decode(b, binary.BigEndian, &v)
	return v, err
}

func prefixed(n uint32, data []byte) []byte {
	return append(binary.BigEndian.AppendUint32(make([]byte, 0, 4+len(data)), n), data...)
}

func wrongLength(name string, b []byte) error {
	return fmt.Errorf("%s: %d bytes", name, len(b))
}
