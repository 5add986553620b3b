package wire

import (
	"bytes"
	"encoding/hex"
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/sigurn/crc16"
	"pgregory.net/rapid"
)

// The bytes of whole frames, for those who build a key from the page.
func TestGoldenFrames(t *testing.T) {
	for _, c := range []struct {
		name string
		f    Frame
		hex  string
	}{
		{"request", Frame{Op: OpTime, Seq: 7}, "534a0107 00000007 0000 0000 94a4"},
		{"answer", Frame{Op: OpTime, Seq: 7}.Answer(OK, Time{1700000000}.Encode()), "534a0187 00000007 0000 0008 000000006553f100 d09f"},
		{"refusal", Frame{Op: OpTime, Seq: 0xFFFFFFFF}.Answer(NoClock, nil), "534a0187 ffffffff 000d 0000 31bd"},
		{"chunk request", Frame{Op: OpReadPool, Seq: 1, Payload: ReadPool{4092}.Encode()}, "534a0102 00000001 0000 0004 00000ffc c0df"},
	} {
		t.Run(c.name, func(t *testing.T) {
			want := strings.ReplaceAll(c.hex, " ", "")
			got := c.f.Encode()
			if hex.EncodeToString(got) != want {
				t.Errorf("encoded %x, want %s", got, want)
			}
			back, err := Parse(got)
			if err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(back.Encode(), got) {
				t.Errorf("parsed as %+v", back)
			}
		})
	}
}

func TestParseRefuses(t *testing.T) {
	good := Frame{Op: OpAdvance, Seq: 9, Payload: bytes.Repeat([]byte{1}, 40)}.Encode()
	for i := range good {
		for bit := range 8 {
			bad := bytes.Clone(good)
			bad[i] ^= 1 << bit
			if _, err := Parse(bad); !errors.Is(err, ErrDamaged) {
				t.Errorf("bit %d of byte %d flipped: %v", bit, i, err)
			}
		}
	}
	for n := range good {
		if _, err := Parse(good[:n]); !errors.Is(err, ErrDamaged) {
			t.Errorf("cut to %d bytes: %v", n, err)
		}
	}
	if _, err := Parse(append(bytes.Clone(good), 0)); !errors.Is(err, ErrDamaged) {
		t.Errorf("one byte more: %v", err)
	}
	if _, err := Parse(make([]byte, MaxFrame+1)); !errors.Is(err, ErrDamaged) {
		t.Errorf("too long: %v", err)
	}
}

// raw makes a frame that Encode would refuse to make.
func raw(change func(b []byte), payload ...byte) []byte {
	b := Frame{Op: OpInfo, Seq: 5, Payload: payload}.Encode()
	b = b[:len(b)-crcSize]
	change(b)
	sum := crc16.Checksum(b, crcTable)
	return append(b, byte(sum>>8), byte(sum))
}

func TestParseRefusesContradictions(t *testing.T) {
	for _, c := range []struct {
		name string
		b    []byte
		want error
	}{
		{"request with a status", raw(func(b []byte) { b[9] = 1 }), ErrDamaged},
		{"refusal with a payload", raw(func(b []byte) { b[3] |= 0x80; b[9] = 1 }, 1), ErrDamaged},
		{"another version", raw(func(b []byte) { b[2] = 2 }), ErrVersion},
		{"other magic", raw(func(b []byte) { b[0] = 'X' }), ErrDamaged},
		{"length that lies", raw(func(b []byte) { b[11] = 9 }, 1), ErrDamaged},
	} {
		f, err := Parse(c.b)
		if !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", c.name, err, c.want)
		}
		if c.want == ErrVersion && (f.Op != OpInfo || f.Seq != 5) {
			t.Errorf("%s: opcode and sequence number are lost: %+v", c.name, f)
		}
	}
}

func TestEncodeRefusesMistakes(t *testing.T) {
	for name, f := range map[string]Frame{
		"too long":              {Op: OpInfo, Payload: make([]byte, MaxPayload+1)},
		"request with status":   {Op: OpInfo, Status: Fork},
		"refusal with contents": {Op: OpInfo | answerBit, Status: Fork, Payload: []byte{1}},
	} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("%s: encoded", name)
				}
			}()
			f.Encode()
		}()
	}
}

func TestAnswers(t *testing.T) {
	q := Frame{Op: OpInfo, Seq: 3}
	for _, c := range []struct {
		f    Frame
		want bool
	}{
		{q.Answer(OK, nil), true},
		{q, false},
		{Frame{Op: OpInfo, Seq: 4}.Answer(OK, nil), false},
		{Frame{Op: OpTime, Seq: 3}.Answer(OK, nil), false},
	} {
		if got := c.f.Answers(q); got != c.want {
			t.Errorf("%+v answers: %v", c.f, got)
		}
	}
}

// Every payload survives the wire.
func TestPayloadRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		hash := func() [32]byte { return [32]byte(rapid.SliceOfN(rapid.Byte(), 32, 32).Draw(t, "hash")) }
		bytesOf := func(least, most int) []byte {
			return rapid.SliceOfN(rapid.Byte(), least, most).Draw(t, "bytes")
		}
		info := Info{
			KeyID:        rapid.Uint64Range(0, 0xFFFFFFFE).Draw(t, "id"),
			Model:        rapid.Uint8Range(0, 5).Draw(t, "model"),
			Flags:        rapid.Uint8Range(0, knownFlags).Draw(t, "flags"),
			Firmware:     rapid.Uint32().Draw(t, "firmware"),
			Manufactured: rapid.Int64().Draw(t, "made"),
			Vendor:       rapid.Uint32().Draw(t, "vendor"),
			Public:       hash(),
			Seq:          rapid.Uint64().Draw(t, "seq"),
			WritesLeft:   rapid.Uint32().Draw(t, "left"),
		}
		if rapid.Bool().Draw(t, "pool") {
			info.PoolCounter = rapid.Uint64Min(1).Draw(t, "counter")
			info.PoolLength = rapid.Uint32Range(1, MaxPool).Draw(t, "length")
		}
		same(t, info, ParseInfo)
		same(t, Checkpoint{info.Seq, hash(), info.Manufactured, [64]byte(bytesOf(64, 64))}, ParseCheckpoint)
		same(t, Advance{hash(), bytesOf(1, MaxHeader)}, ParseAdvance)
		same(t, ReadPool{info.Firmware}, ParseReadPool)
		same(t, PoolPiece{MaxPool, bytesOf(0, 100)}, ParsePoolPiece)
		same(t, Stage{rapid.Uint32Range(0, MaxPool-MaxPiece).Draw(t, "offset"), bytesOf(1, MaxPiece)}, ParseStage)
		same(t, Install{rapid.Uint32Range(1, MaxPool).Draw(t, "total"), hash()}, ParseInstall)
		same(t, Time{info.Manufactured}, ParseTime)
	})
}

type payload interface{ Encode() []byte }

func same[T payload](t *rapid.T, v T, parse func([]byte) (T, error)) {
	got, err := parse(v.Encode())
	if err != nil {
		t.Fatalf("%T: %v", v, err)
	}
	if d := cmp.Diff(v, got); d != "" {
		t.Fatalf("%T: %s", v, d)
	}
}

func TestPayloadsRefuse(t *testing.T) {
	info := Info{KeyID: 1, Model: 2}
	broken := func(change func(*Info)) []byte {
		i := info
		change(&i)
		return i.Encode()
	}
	discard := func(_ any, err error) error { return err }
	for name, err := range map[string]error{
		"info, id":               discard(ParseInfo(broken(func(i *Info) { i.KeyID = 0xFFFFFFFF }))),
		"info, model":            discard(ParseInfo(broken(func(i *Info) { i.Model = 6 }))),
		"info, flags":            discard(ParseInfo(broken(func(i *Info) { i.Flags = 8 }))),
		"info, counter alone":    discard(ParseInfo(broken(func(i *Info) { i.PoolCounter = 1 }))),
		"info, length alone":     discard(ParseInfo(broken(func(i *Info) { i.PoolLength = 1 }))),
		"info, huge pool":        discard(ParseInfo(broken(func(i *Info) { i.PoolCounter, i.PoolLength = 1, MaxPool+1 }))),
		"info, short":            discard(ParseInfo(info.Encode()[1:])),
		"checkpoint, long":       discard(ParseCheckpoint(make([]byte, 113))),
		"advance, no header":     discard(ParseAdvance(make([]byte, 32))),
		"advance, huge header":   discard(ParseAdvance(make([]byte, 33+MaxHeader))),
		"read pool, empty":       discard(ParseReadPool(nil)),
		"piece, short":           discard(ParsePoolPiece(make([]byte, 3))),
		"piece of nothing":       discard(ParsePoolPiece(PoolPiece{0, nil}.Encode())),
		"piece of a huge pool":   discard(ParsePoolPiece(PoolPiece{MaxPool + 1, nil}.Encode())),
		"piece beyond its whole": discard(ParsePoolPiece(PoolPiece{1, []byte{1, 2}}.Encode())),
		"stage, nothing":         discard(ParseStage(Stage{0, nil}.Encode())),
		"stage, beyond":          discard(ParseStage(Stage{MaxPool, []byte{1}}.Encode())),
		"stage, overflow":        discard(ParseStage(Stage{0xFFFFFFFF, []byte{1}}.Encode())),
		"install, nothing":       discard(ParseInstall(Install{}.Encode())),
		"install, huge":          discard(ParseInstall(Install{Length: MaxPool + 1}.Encode())),
		"time, long":             discard(ParseTime(make([]byte, 9))),
		"empty, not":             ParseEmpty([]byte{0}),
	} {
		if err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

func TestNames(t *testing.T) {
	for op := OpInfo; op <= OpTime; op++ {
		if strings.HasPrefix(op.String(), "opcode") || (op|answerBit).String() != op.String() {
			t.Errorf("%#x is called %s", uint8(op), op)
		}
	}
	for s := OK; s <= ClockDied; s++ {
		if text := s.Error(); text == "" || strings.HasPrefix(text, "status") {
			t.Errorf("%d is called %q", uint16(s), text)
		}
	}
	if got := Status(999).Error(); got != "status 999" {
		t.Error(got)
	}
	if got := Op(0x55).String(); got != "opcode 0x55" {
		t.Error(got)
	}
}

func FuzzParse(f *testing.F) {
	f.Add(Frame{Op: OpInfo, Seq: 1}.Encode())
	f.Add(Frame{Op: OpStage, Seq: 2, Payload: Stage{0, []byte("pool")}.Encode()}.Encode())
	f.Add(Frame{Op: OpTime, Seq: 3}.Answer(NoClock, nil).Encode())
	f.Fuzz(func(t *testing.T, b []byte) {
		frame, err := Parse(b)
		if err != nil {
			return
		}
		if !bytes.Equal(frame.Encode(), b) {
			t.Errorf("%x is not the encoding of what it parses to", b)
		}
	})
}

func FuzzPayloads(f *testing.F) {
	f.Add(uint8(0), Info{KeyID: 1}.Encode())
	f.Add(uint8(1), Checkpoint{Seq: 1}.Encode())
	f.Add(uint8(2), Advance{Header: []byte{1}}.Encode())
	f.Add(uint8(4), PoolPiece{8, []byte("pool")}.Encode())
	f.Add(uint8(5), Stage{8, []byte("pool")}.Encode())
	parsers := []func([]byte) (payload, error){
		func(b []byte) (payload, error) { return ParseInfo(b) },
		func(b []byte) (payload, error) { return ParseCheckpoint(b) },
		func(b []byte) (payload, error) { return ParseAdvance(b) },
		func(b []byte) (payload, error) { return ParseReadPool(b) },
		func(b []byte) (payload, error) { return ParsePoolPiece(b) },
		func(b []byte) (payload, error) { return ParseStage(b) },
		func(b []byte) (payload, error) { return ParseInstall(b) },
		func(b []byte) (payload, error) { return ParseTime(b) },
	}
	f.Fuzz(func(t *testing.T, which uint8, b []byte) {
		v, err := parsers[int(which)%len(parsers)](b)
		if err != nil {
			return
		}
		if got := v.Encode(); !bytes.Equal(got, b) {
			t.Errorf("%T: %x parses and encodes to %x", v, b, got)
		}
	})
}
