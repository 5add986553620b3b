package device_test

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"encoding/binary"
	"errors"
	"testing"

	"github.com/sigurn/crc16"

	"github.com/sojournlm/sojourn/device"
	"github.com/sojournlm/sojourn/internal/code"
	"github.com/sojournlm/sojourn/internal/document"
	"github.com/sojournlm/sojourn/internal/wire"
	"github.com/sojournlm/sojourn/transport"
)

// hostile is a bus with one key that answers what it likes.
type hostile func(request wire.Frame) []byte

func (h hostile) Keys(context.Context) ([]transport.KeyInfo, error) { return nil, nil }
func (h hostile) Open(context.Context, transport.KeyID) (transport.Conn, error) {
	return h, nil
}
func (h hostile) Exchange(_ context.Context, request []byte) ([]byte, error) {
	f, err := wire.Parse(request)
	if err != nil {
		panic(err)
	}
	return h(f), nil
}
func (h hostile) Close() error { return nil }

var liar = ed25519.NewKeyFromSeed(bytes.Repeat([]byte{3}, 32))

func liarInfo() wire.Info {
	return wire.Info{KeyID: keyID, Model: 3, Public: [32]byte(liar.Public().(ed25519.PublicKey))}
}

func signed(c document.Checkpoint) []byte {
	if err := c.Sign(liar); err != nil {
		panic(err)
	}
	return wire.Checkpoint{Seq: c.Seq, Head: c.Head, Horizon: c.Horizon, Signature: [64]byte(c.Signature)}.Encode()
}

// Everything that a key says is held against what a whole key can say.
func TestHostileAnswers(t *testing.T) {
	h := header(1, 50)
	right := document.Checkpoint{Seq: 1, Head: document.Chain(device.Hash{}, h), Horizon: 50}
	with := func(change func(*document.Checkpoint)) []byte {
		c := right
		change(&c)
		return signed(c)
	}
	forged := signed(right)
	forged[len(forged)-1] ^= 1
	foreign := pool(t, vendorPublic(), 1, 1, nil)
	other := liarInfo()
	other.Public[0] ^= 1
	old := liarInfo()
	old.Manufactured = -1

	advance := func(ctx context.Context, k *device.Key) error {
		_, err := k.Advance(ctx, device.Hash{}, h)
		return err
	}
	checkpoint := func(ctx context.Context, k *device.Key) error { _, err := k.Checkpoint(ctx); return err }
	readPool := func(ctx context.Context, k *device.Key) error { _, err := k.Pool(ctx); return err }
	info := func(ctx context.Context, k *device.Key) error { _, err := k.Info(ctx); return err }
	install := func(ctx context.Context, k *device.Key) error { return k.Install(ctx, foreign) }
	readTime := func(ctx context.Context, k *device.Key) error { _, err := k.Time(ctx); return err }

	for name, c := range map[string]struct {
		answer []byte
		do     func(context.Context, *device.Key) error
	}{
		"another batch's number":  {with(func(c *document.Checkpoint) { c.Seq = 2 }), advance},
		"another batch's head":    {with(func(c *document.Checkpoint) { c.Head[0] ^= 1 }), advance},
		"a lower horizon":         {with(func(c *document.Checkpoint) { c.Horizon = 49 }), advance},
		"a forged signature":      {forged, advance},
		"forged, and only asked":  {forged, checkpoint},
		"a short checkpoint":      {forged[1:], checkpoint},
		"a head without a batch":  {signed(document.Checkpoint{Head: device.Hash{1}}), checkpoint},
		"a batch without a head":  {signed(document.Checkpoint{Seq: 1}), checkpoint},
		"a horizon without batch": {signed(document.Checkpoint{Horizon: 1}), checkpoint},
		"a negative horizon":      {with(func(c *document.Checkpoint) { c.Horizon = -1 }), checkpoint},
		"a horizon without year":  {with(func(c *document.Checkpoint) { c.Horizon = document.MaxTime + 1 }), checkpoint},
		"and as an advance":       {with(func(c *document.Checkpoint) { c.Horizon = document.MaxTime + 1 }), advance},
		"another key's pool":      {wire.PoolPiece{Length: uint32(len(foreign)), Data: foreign}.Encode(), readPool},
		"no pool at all":          {wire.PoolPiece{Length: 7, Data: []byte("no pool")}.Encode(), readPool},
		"a piece without bytes":   {wire.PoolPiece{Length: 7}.Encode(), readPool},
		"a pool that grows":       {wire.PoolPiece{Length: wire.MaxPool, Data: make([]byte, 4000)}.Encode(), readPool},
		"a short piece":           {[]byte{1}, readPool},
		"another identity":        {other.Encode(), info},
		"made before 1970":        {old.Encode(), info},
		"a long answer":           {[]byte{1}, install},
		"a time without a year":   {wire.Time{Unix: 1 << 62}.Encode(), readTime},
		"a short time":            {[]byte{1}, readTime},
	} {
		asked := 0
		bus := hostile(func(f wire.Frame) []byte {
			if asked++; asked == 1 {
				return f.Answer(wire.OK, liarInfo().Encode()).Encode()
			}
			return f.Answer(wire.OK, c.answer).Encode()
		})
		k, err := device.Open(t.Context(), bus, "liar")
		if err != nil {
			t.Fatal(err)
		}
		err = c.do(t.Context(), k)
		if e := (*device.Error)(nil); !errors.As(err, &e) || !errors.Is(err, device.ErrAnswer) || !errors.Is(err, code.IncorrectResponseData) {
			t.Errorf("%s: %v", name, err)
		}
		if asked > 30 {
			t.Errorf("%s: asked %d times", name, asked)
		}
	}
}

func TestHostileOpen(t *testing.T) {
	for name, answer := range map[string]func(wire.Frame) []byte{
		"silence":         func(wire.Frame) []byte { return nil },
		"noise":           func(wire.Frame) []byte { return bytes.Repeat([]byte("noise"), 1<<20) },
		"an echo":         func(f wire.Frame) []byte { return f.Encode() },
		"another's":       func(f wire.Frame) []byte { f.Seq++; return f.Answer(wire.OK, liarInfo().Encode()).Encode() },
		"a bad info":      func(f wire.Frame) []byte { return f.Answer(wire.OK, make([]byte, 81)).Encode() },
		"always damaged":  func(wire.Frame) []byte { return wire.Frame{}.Answer(wire.BadFrame, nil).Encode() },
		"unknown status":  func(f wire.Frame) []byte { return f.Answer(999, nil).Encode() },
		"another version": func(f wire.Frame) []byte { return f.Answer(wire.BadVersion, nil).Encode() },
	} {
		asked := 0
		bus := hostile(func(f wire.Frame) []byte { asked++; return answer(f) })
		_, err := device.Open(t.Context(), bus, "liar")
		if e := (*device.Error)(nil); !errors.As(err, &e) || e.Op != "open" || e.Key != "liar" {
			t.Errorf("%s: %v", name, err)
		}
		if asked > 3 {
			t.Errorf("%s: asked %d times", name, asked)
		}
	}
}

// A key of a later protocol says so in its own version, and is not asked again.
func TestLaterVersion(t *testing.T) {
	later := func(f wire.Frame) []byte {
		b := f.Encode()
		b[2] = 2
		n := len(b) - 2
		binary.BigEndian.PutUint16(b[n:], crc16.Checksum(b[:n], crc16.MakeTable(crc16.CRC16_CCITT_FALSE)))
		return b
	}
	asked := 0
	bus := hostile(func(f wire.Frame) []byte { asked++; return later(f.Answer(wire.BadVersion, nil)) })
	if _, err := device.Open(t.Context(), bus, "later"); !errors.Is(err, code.OutdatedVersion) || asked != 1 {
		t.Errorf("asked %d times: %v", asked, err)
	}
	asked = 0
	bus = hostile(func(f wire.Frame) []byte { asked++; f.Seq--; return later(f.Answer(wire.BadVersion, nil)) })
	if _, err := device.Open(t.Context(), bus, "later"); !errors.Is(err, device.ErrAnswer) || asked != 3 {
		t.Errorf("another's answer: asked %d times: %v", asked, err)
	}
	first := true
	bus = hostile(func(f wire.Frame) []byte {
		if !first {
			return later(f.Answer(wire.OK, nil))
		}
		first = false
		return f.Answer(wire.OK, liarInfo().Encode()).Encode()
	})
	k, err := device.Open(t.Context(), bus, "later")
	if err != nil {
		t.Fatal(err)
	}
	var e *device.Error
	if _, err := k.Advance(t.Context(), device.Hash{}, header(1, 5)); !errors.As(err, &e) || !e.MayHaveActed {
		t.Errorf("an answer that cannot be read: %v", err)
	}
}

// FuzzHostileKey has a key answer the operations with any payloads and statuses,
// in frames that fit.
func FuzzHostileKey(f *testing.F) {
	script := func(answers ...[]byte) []byte {
		var b []byte
		for _, a := range answers {
			b = binary.BigEndian.AppendUint16(append(b, 0), uint16(len(a)))
			b = append(b, a...)
		}
		return b
	}
	f.Add(script(liarInfo().Encode(), liarInfo().Encode(), signed(document.Checkpoint{})))
	f.Add(script(nil, signed(document.Checkpoint{Seq: 1, Head: device.Hash{1}}), []byte{0, 0, 0, 9, 1, 2}))
	foreign := pool(f, vendorPublic(), 1, 1, nil)
	f.Fuzz(func(t *testing.T, script []byte) {
		opened, asked := false, 0
		bus := hostile(func(request wire.Frame) []byte {
			if !opened {
				opened = true
				return request.Answer(wire.OK, liarInfo().Encode()).Encode()
			}
			asked++
			status, payload, rest := next(script)
			script = rest
			return request.Answer(status, payload).Encode()
		})
		k, err := device.Open(t.Context(), bus, "liar")
		if err != nil {
			t.Fatal(err)
		}
		var errs []error
		_, err = k.Info(t.Context())
		errs = append(errs, err)
		_, err = k.Checkpoint(t.Context())
		errs = append(errs, err)
		_, err = k.Pool(t.Context())
		errs = append(errs, err)
		_, err = k.Advance(t.Context(), device.Hash{}, header(1, 5))
		errs = append(errs, err)
		errs = append(errs, k.Install(t.Context(), foreign))
		_, err = k.Time(t.Context())
		errs = append(errs, err)
		for _, err := range errs {
			if e := (*device.Error)(nil); err != nil && (!errors.As(err, &e) || e.Error() == "") {
				t.Errorf("%T %v", err, err)
			}
		}
		if asked > 50 {
			t.Errorf("asked %d times", asked)
		}
	})
}

// next takes an answer from a script: a status, a length and that many bytes.
func next(script []byte) (status wire.Status, payload, rest []byte) {
	if len(script) < 3 {
		return wire.OK, nil, nil
	}
	status = wire.Status(script[0])
	n := min(int(binary.BigEndian.Uint16(script[1:])), len(script)-3, wire.MaxPayload)
	payload, rest = script[3:3+n], script[3+n:]
	if status != wire.OK {
		payload = nil
	}
	return status, payload, rest
}
