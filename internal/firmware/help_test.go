package firmware

import (
	"bytes"
	"crypto/ed25519"
	"crypto/sha256"
	"testing"

	"github.com/sojournlm/sojourn/internal/document"
	"github.com/sojournlm/sojourn/internal/wire"
)

var testVendor = ed25519.NewKeyFromSeed(bytes.Repeat([]byte{7}, 32))

var (
	made = Manufacture{
		KeyID: 0x1234, Model: 3, Firmware: 0x00010002, Manufactured: 1_700_000_000,
		Vendor: 99, VendorPublic: testVendor.Public().(ed25519.PublicKey),
	}
	anchor = Manufacture{Model: 1}

	// small is a flash whose log wraps after twelve positions.
	small = Geometry{Pages: identityPages + 3, PageSize: 256, Endurance: 1000}
)

type tester interface {
	Helper()
	Fatal(...any)
	Fatalf(string, ...any)
}

func start(t tester, f Flash, m Manufacture) *Key {
	t.Helper()
	k, err := Start(f, m, nil)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// ask makes a request and gives the answer, powered false where there was none.
func ask(t tester, k *Key, op wire.Op, payload []byte) (answer []byte, status wire.Status, powered bool) {
	t.Helper()
	request := wire.Frame{Op: op, Seq: 77, Payload: payload}
	b := k.Handle(request.Encode())
	if b == nil {
		return nil, 0, false
	}
	f, err := wire.Parse(b)
	if err != nil || !f.Answers(request) {
		t.Fatalf("%s is answered by %x: %v", op, b, err)
	}
	return f.Payload, f.Status, true
}

// must is ask where nothing may go wrong.
func must(t tester, k *Key, op wire.Op, payload []byte) []byte {
	t.Helper()
	b, status, powered := ask(t, k, op, payload)
	if !powered || status != wire.OK {
		t.Fatalf("%s: %v, powered %v", op, status, powered)
	}
	return b
}

func checkpoint(t tester, k *Key) wire.Checkpoint {
	t.Helper()
	c, err := wire.ParseCheckpoint(must(t, k, wire.OpCheckpoint, nil))
	if err != nil {
		t.Fatal(err)
	}
	d := document.Checkpoint{Seq: c.Seq, Head: c.Head, Horizon: c.Horizon, Signature: c.Signature[:]}
	if !d.Verify(k.Public()) {
		t.Fatal("the checkpoint is not signed")
	}
	return c
}

func info(t tester, k *Key) wire.Info {
	t.Helper()
	i, err := wire.ParseInfo(must(t, k, wire.OpInfo, nil))
	if err != nil {
		t.Fatal(err)
	}
	return i
}

func header(seq uint64, horizon int64) []byte {
	return document.Header{Seq: seq, Count: 1, Horizon: horizon, Rules: 1}.Encode()
}

// advance moves the key on by one batch.
func advance(t tester, k *Key, from wire.Checkpoint) (status wire.Status, powered bool) {
	t.Helper()
	b, status, powered := ask(t, k, wire.OpAdvance, step(from))
	if powered && status == wire.OK {
		if c, err := wire.ParseCheckpoint(b); err != nil || c.Seq != from.Seq+1 {
			t.Fatalf("%+v, %v", c, err)
		}
	}
	return status, powered
}

// step is the request for the batch after a checkpoint.
func step(from wire.Checkpoint) []byte {
	return wire.Advance{Prev: from.Head, Header: header(from.Seq+1, int64(from.Seq%5))}.Encode()
}

// after is the head of the batch that step asks for.
func after(from wire.Checkpoint) [32]byte {
	return document.Chain(from.Head, header(from.Seq+1, int64(from.Seq%5)))
}

func pool(t tester, k *Key, counter uint64, features int) []byte {
	t.Helper()
	list := make([]document.Feature, features)
	for i := range list {
		list[i] = document.Feature{
			ProductNumber: 1, FeatureNumber: uint32(i + 1), Seats: 3,
			Name: string(bytes.Repeat([]byte("name "), 30)),
		}
	}
	p, err := document.SignPool(testVendor, document.PoolHead{
		Key: made.KeyID, KeyPublic: k.Public(), Vendor: made.Vendor, Counter: counter,
	}, list)
	if err != nil {
		t.Fatal(err)
	}
	return p.Bytes()
}

func install(t tester, k *Key, b []byte) (status wire.Status, powered bool) {
	t.Helper()
	for offset := 0; offset < len(b); offset += wire.MaxPiece {
		piece := b[offset:min(len(b), offset+wire.MaxPiece)]
		must(t, k, wire.OpStage, wire.Stage{Offset: uint32(offset), Data: piece}.Encode())
	}
	_, status, powered = ask(t, k, wire.OpInstall, wire.Install{Length: uint32(len(b)), Hash: sha256.Sum256(b)}.Encode())
	return status, powered
}

func readBack(t tester, k *Key) []byte {
	t.Helper()
	var b []byte
	for {
		answer, status, _ := ask(t, k, wire.OpReadPool, wire.ReadPool{Offset: uint32(len(b))}.Encode())
		if status == wire.NoPool {
			return nil
		}
		p, err := wire.ParsePoolPiece(answer)
		if err != nil {
			t.Fatal(err)
		}
		if len(p.Data) == 0 {
			return b
		}
		b = append(b, p.Data...)
	}
}

var _ tester = (*testing.T)(nil)
