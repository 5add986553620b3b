package firmware

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sojournlm/sojourn/internal/document"
	"github.com/sojournlm/sojourn/internal/wire"
)

func TestStartRefusesManufacture(t *testing.T) {
	for name, change := range map[string]func(*Manufacture){
		"id":               func(m *Manufacture) { m.KeyID = 0xFFFFFFFF },
		"long id":          func(m *Manufacture) { m.KeyID = 1 << 32 },
		"model":            func(m *Manufacture) { m.Model = 6 },
		"no vendor":        func(m *Manufacture) { m.VendorPublic = nil },
		"anchor of vendor": func(m *Manufacture) { m.KeyID = 0 },
	} {
		m := made
		change(&m)
		if _, err := Start(NewMemory(KeyGeometry), m, nil); err == nil {
			t.Errorf("%s: started", name)
		}
	}
	for _, g := range []Geometry{{Pages: 3, PageSize: 256}, {Pages: 8, PageSize: 128}} {
		if _, err := Start(NewMemory(g), anchor, nil); err == nil {
			t.Errorf("%+v: started", g)
		}
	}
}

// What the factory said first stays, whatever later starts say.
func TestIdentityStays(t *testing.T) {
	f := NewMemory(KeyGeometry)
	first := start(t, f, made)
	other := made
	other.KeyID, other.Model, other.Vendor = 5, 2, 6
	again := start(t, f, other)
	if d := cmp.Diff(info(t, first), info(t, again)); d != "" {
		t.Error(d)
	}
}

// A flash that has lost its identity, but not what the key wrote, is not given
// another one in silence.
func TestLostIdentity(t *testing.T) {
	for name, use := range map[string]func(*Key){
		"log":  func(k *Key) { advance(t, k, checkpoint(t, k)) },
		"pool": func(k *Key) { install(t, k, pool(t, k, 1, 1)) },
	} {
		f := NewMemory(KeyGeometry)
		use(start(t, f, made))
		for page := range identityPages {
			if err := f.Erase(page); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := Start(f, made, nil); !errors.Is(err, ErrDamaged) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestUnknownLayout(t *testing.T) {
	f := NewMemory(small)
	id := newIdentity(anchor)
	id.Layout = 2
	for page := range identityPages {
		if err := writeIdentity(f, page, id); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := Start(f, anchor, nil); err == nil {
		t.Error("started on a flash of another layout")
	}
}

func TestFrames(t *testing.T) {
	k := start(t, NewMemory(small), anchor)
	good := wire.Frame{Op: wire.OpInfo, Seq: 3}.Encode()
	newer := bytes.Clone(good)
	newer[2] = 2
	newer = resum(newer)
	for name, c := range map[string]struct {
		request []byte
		want    wire.Frame
	}{
		"nothing":         {nil, wire.Frame{Op: 0x80, Status: wire.BadFrame}},
		"damaged":         {good[1:], wire.Frame{Op: 0x80, Status: wire.BadFrame}},
		"an answer":       {wire.Frame{Op: wire.OpInfo, Seq: 3}.Answer(0, nil).Encode(), wire.Frame{Op: 0x80, Status: wire.BadFrame}},
		"another version": {newer, wire.Frame{Op: 0x81, Seq: 3, Status: wire.BadVersion}},
		"unknown opcode":  {wire.Frame{Op: 0x70, Seq: 4}.Encode(), wire.Frame{Op: 0xF0, Seq: 4, Status: wire.UnknownOp}},
		"opcode 0":        {wire.Frame{Seq: 4}.Encode(), wire.Frame{Op: 0x80, Seq: 4, Status: wire.UnknownOp}},
		"malformed":       {wire.Frame{Op: wire.OpInfo, Seq: 4, Payload: []byte{1}}.Encode(), wire.Frame{Op: 0x81, Seq: 4, Status: wire.Malformed}},
	} {
		got, err := wire.Parse(k.Handle(c.request))
		if err != nil {
			t.Fatal(err)
		}
		got.Payload = nil
		if d := cmp.Diff(c.want, got); d != "" {
			t.Errorf("%s: %s", name, d)
		}
	}
}

// resum gives a frame its right checksum, bit by bit.
func resum(frame []byte) []byte {
	body := frame[:len(frame)-2]
	crc := uint16(0xFFFF)
	for _, b := range body {
		crc ^= uint16(b) << 8
		for range 8 {
			if carry := crc & 0x8000; carry != 0 {
				crc = crc<<1 ^ 0x1021
			} else {
				crc <<= 1
			}
		}
	}
	return binary.BigEndian.AppendUint16(body, crc)
}

// The answer to an Install is lost, and with the power what was staged.
func TestInstallAgain(t *testing.T) {
	f := NewMemory(KeyGeometry)
	k := start(t, f, made)
	p := pool(t, k, 1, 2)
	if status, _ := install(t, k, p); status != wire.OK {
		t.Fatal(status)
	}
	k = start(t, f, made)
	again := wire.Install{Length: uint32(len(p)), Hash: sha256.Sum256(p)}
	must(t, k, wire.OpInstall, again.Encode())
	must(t, k, wire.OpStage, wire.Stage{Data: []byte("another")}.Encode())
	must(t, k, wire.OpInstall, again.Encode())
	if !bytes.Equal(readBack(t, k), p) {
		t.Error("it has another pool license now")
	}
}

func TestRefusals(t *testing.T) {
	k := start(t, NewMemory(KeyGeometry), made)
	if status, _ := install(t, k, pool(t, k, 5, 2)); status != wire.OK {
		t.Fatal(status)
	}
	zero := checkpoint(t, k)
	if status, _ := advance(t, k, zero); status != wire.OK {
		t.Fatal(status)
	}
	kept, stands := readBack(t, k), checkpoint(t, k)
	for name, c := range map[string]struct {
		op      wire.Op
		payload []byte
		want    wire.Status
	}{
		"header":               {wire.OpAdvance, wire.Advance{Header: []byte{0xA0}}.Encode(), wire.Malformed},
		"fork at the start":    {wire.OpAdvance, wire.Advance{Header: header(1, 9)}.Encode(), wire.Fork},
		"number left out":      {wire.OpAdvance, wire.Advance{Prev: stands.Head, Header: header(3, 9)}.Encode(), wire.Fork},
		"number again":         {wire.OpAdvance, wire.Advance{Prev: stands.Head, Header: header(1, 9)}.Encode(), wire.Fork},
		"other head":           {wire.OpAdvance, wire.Advance{Prev: [32]byte{1}, Header: header(2, 9)}.Encode(), wire.Fork},
		"stage behind the end": {wire.OpStage, wire.Stage{Offset: uint32(len(kept)) + 1, Data: []byte{1}}.Encode(), wire.NotStaged},
		"install another":      {wire.OpInstall, wire.Install{Length: uint32(len(kept))}.Encode(), wire.NotStaged},
		"dead clock":           {wire.OpTime, nil, wire.ClockDied},
	} {
		if _, status, _ := ask(t, k, c.op, c.payload); status != c.want {
			t.Errorf("%s: %v, want %v", name, status, c.want)
		}
	}
	for name, c := range map[string]struct {
		pool []byte
		want wire.Status
	}{
		"the same again": {kept, wire.OK},
		"older":          {pool(t, k, 4, 1), wire.NotNewer},
		"same counter":   {pool(t, k, 5, 1), wire.NotNewer},
		"another key's":  {pool(t, start(t, NewMemory(KeyGeometry), made), 9, 1), wire.WrongKey},
		"altered":        {flip(pool(t, k, 9, 1)), wire.NotSigned},
		"no pool":        {[]byte("no pool"), wire.Malformed},
	} {
		if status, _ := install(t, k, c.pool); status != c.want {
			t.Errorf("%s: %v, want %v", name, status, c.want)
		}
	}
	if !bytes.Equal(readBack(t, k), kept) || checkpoint(t, k) != stands {
		t.Error("a refusal changed something")
	}
	a := start(t, NewMemory(small), anchor)
	if status, _ := install(t, a, kept); status != wire.WrongKey {
		t.Errorf("a pool for an anchor: %v", status)
	}
	if _, status, _ := ask(t, a, wire.OpTime, nil); status != wire.NoClock {
		t.Errorf("an anchor's time: %v", status)
	}
}

// flip damages the signature in a pool license.
func flip(p []byte) []byte {
	parsed, err := document.ParsePool(p)
	if err != nil {
		panic(err)
	}
	b := bytes.Clone(p)
	b[bytes.Index(b, parsed.Signed.Signature)] ^= 1
	return b
}

func TestHorizonNeverFalls(t *testing.T) {
	k := start(t, NewMemory(small), anchor)
	c, want := checkpoint(t, k), int64(0)
	for i, horizon := range []int64{50, 10, 60, 0, 60, 61} {
		want = max(want, horizon)
		must(t, k, wire.OpAdvance, wire.Advance{Prev: c.Head, Header: header(uint64(i+1), horizon)}.Encode())
		if c = checkpoint(t, k); c.Horizon != want {
			t.Errorf("batch %d: horizon %d, want %d", i+1, c.Horizon, want)
		}
	}
}

func TestClock(t *testing.T) {
	now, alive := time.Unix(1_800_000_000, 5), true
	k, err := Start(NewMemory(KeyGeometry), made, func() (time.Time, bool) { return now, alive })
	if err != nil {
		t.Fatal(err)
	}
	if got, err := wire.ParseTime(must(t, k, wire.OpTime, nil)); err != nil || got.Unix != now.Unix() {
		t.Error(got, err)
	}
	if i := info(t, k); i.Flags != wire.HasClock {
		t.Errorf("flags %b", i.Flags)
	}
	alive = false
	if i := info(t, k); i.Flags != wire.HasClock|wire.ClockHasDied {
		t.Errorf("flags %b", i.Flags)
	}
}

// Info counts the writes right, and a worn out key can still be read.
func TestWearOut(t *testing.T) {
	for _, endurance := range []uint32{1, 2, 3} {
		g := small
		g.Endurance = endurance
		f := NewMemory(g)
		k := start(t, f, anchor)
		slots := uint64(g.PageSize / positionSize)
		for seq := uint64(0); ; seq++ {
			now, left := checkpoint(t, k), info(t, k).WritesLeft
			status, _ := advance(t, k, now)
			if status == wire.OK {
				if left == 0 {
					t.Fatalf("endurance %d: none left, and yet %d went well", endurance, seq+1)
				}
				continue
			}
			if want := slots * 3 * uint64(endurance); status != wire.WornOut || seq != want || left != 0 {
				t.Fatalf("endurance %d: after %d, want %d, %d left: %v", endurance, seq, want, left, status)
			}
			if i := info(t, k); i.Flags != wire.LogWornOut || i.Seq != seq {
				t.Errorf("%+v", i)
			}
			if again := checkpoint(t, start(t, f, anchor)); again != now {
				t.Errorf("worn out at %+v, came back at %+v", now, again)
			}
			break
		}
	}
}

func TestPoolSlotsWearOut(t *testing.T) {
	g := KeyGeometry
	g.Endurance = 2
	f := NewMemory(g)
	k := start(t, f, made)
	var kept []byte
	for counter := uint64(1); ; counter++ {
		next := pool(t, k, counter, 1)
		status, _ := install(t, k, next)
		if status == wire.WornOut {
			if counter != 5 {
				t.Errorf("worn out at %d", counter)
			}
			break
		}
		if status != wire.OK {
			t.Fatal(status)
		}
		kept = next
	}
	if !bytes.Equal(readBack(t, k), kept) || !bytes.Equal(readBack(t, start(t, f, made)), kept) {
		t.Error("the pool license is lost")
	}
}

// The pool's largest document passes, in pieces, in any order of repetition.
func TestStageRepeats(t *testing.T) {
	k := start(t, NewMemory(KeyGeometry), made)
	p := pool(t, k, 1, 250)
	for offset := 0; offset < len(p); offset += 1000 {
		for range 2 {
			stage := wire.Stage{Offset: uint32(offset), Data: p[offset:min(len(p), offset+1000)]}
			must(t, k, wire.OpStage, stage.Encode())
		}
	}
	if status, _ := install(t, k, p); status != wire.OK {
		t.Error(status)
	}
}

// Whatever a program sends, the key answers with one whole frame, and never with
// its secret.
func FuzzHandle(f *testing.F) {
	k := start(f, NewMemory(KeyGeometry), made)
	f.Add(wire.Frame{Op: wire.OpInfo, Seq: 1}.Encode())
	f.Add(wire.Frame{Op: wire.OpReadPool, Seq: 1, Payload: wire.ReadPool{Offset: 1 << 31}.Encode()}.Encode())
	f.Add(wire.Frame{Op: wire.OpAdvance, Seq: 1, Payload: step(wire.Checkpoint{})}.Encode())
	f.Add(wire.Frame{Op: wire.OpStage, Seq: 1, Payload: wire.Stage{Data: []byte("pool")}.Encode()}.Encode())
	f.Add(wire.Frame{Op: wire.OpInstall, Seq: 1, Payload: wire.Install{Length: 4}.Encode()}.Encode())
	secret := bytes.Clone(k.id.Seed[:])
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) > 14 {
			b = resum(bytes.Clone(b)) // else hardly anything gets past the checksum
		}
		answer := k.Handle(b)
		if _, err := wire.Parse(answer); err != nil {
			t.Errorf("answer %x: %v", answer, err)
		}
		if bytes.Contains(answer, secret) {
			t.Error("the secret went over the wire")
		}
	})
}

// Whatever lies in its flash, a key starts or says why not.
func FuzzStart(f *testing.F) {
	good := NewMemory(small)
	k := start(f, good, anchor)
	advance(f, k, checkpoint(f, k))
	for page := range good.pages {
		f.Add(page, good.pages[page])
	}
	f.Fuzz(func(t *testing.T, page int, b []byte) {
		flash := good.Clone()
		if page >= 0 && page < len(flash.pages) {
			copy(flash.pages[page], b)
		}
		k, err := Start(flash, anchor, nil)
		if err != nil {
			return
		}
		now := checkpoint(t, k)
		if status, _ := advance(t, k, now); status != wire.OK && status != wire.WornOut {
			t.Errorf("from %+v: %v", now, status)
		}
	})
}
