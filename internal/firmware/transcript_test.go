package firmware

import (
	"bytes"
	"crypto/ed25519"
	"crypto/sha256"
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sojournlm/sojourn/internal/document"
	"github.com/sojournlm/sojourn/internal/wire"
)

var update = flag.Bool("update", false, "write testdata anew")

// One exchange of every kind, byte by byte, for those who build a key or speak
// to one in another language. The key's secret is 32 times 0x01, its vendor's 32
// times 0x07.
func TestTranscript(t *testing.T) {
	f := NewMemory(KeyGeometry)
	id := newIdentity(made)
	id.Seed = [32]byte(bytes.Repeat([]byte{1}, ed25519.SeedSize))
	for page := range identityPages {
		if err := writeIdentity(f, page, id); err != nil {
			t.Fatal(err)
		}
	}
	k, err := Start(f, made, func() (time.Time, bool) { return time.Unix(1_750_000_000, 0), true })
	if err != nil {
		t.Fatal(err)
	}
	p := pool(t, k, 1, 1)
	first := wire.Advance{Header: header(1, 1_760_000_000)}
	second := wire.Advance{Prev: document.Chain([32]byte{}, first.Header), Header: header(2, 0)}
	var b strings.Builder
	for i, c := range []struct {
		what    string
		op      wire.Op
		payload []byte
	}{
		{"what a new key is", wire.OpInfo, nil},
		{"it has no pool license", wire.OpReadPool, wire.ReadPool{}.Encode()},
		{"and no batch", wire.OpCheckpoint, nil},
		{"a pool license comes in pieces, here in one", wire.OpStage, wire.Stage{Data: p}.Encode()},
		{"and is kept", wire.OpInstall, wire.Install{Length: uint32(len(p)), Hash: sha256.Sum256(p)}.Encode()},
		{"it can be read", wire.OpReadPool, wire.ReadPool{}.Encode()},
		{"up to its end", wire.OpReadPool, wire.ReadPool{Offset: uint32(len(p))}.Encode()},
		{"the first batch", wire.OpAdvance, first.Encode()},
		{"the same again", wire.OpAdvance, first.Encode()},
		{"the second batch: the horizon stays", wire.OpAdvance, second.Encode()},
		{"a fork", wire.OpAdvance, first.Encode()},
		{"where it stands", wire.OpCheckpoint, nil},
		{"its clock", wire.OpTime, nil},
		{"a command that is none", 0x70, nil},
	} {
		request := wire.Frame{Op: c.op, Seq: uint32(i + 1), Payload: c.payload}.Encode()
		fmt.Fprintf(&b, "# %s\n> %x\n< %x\n", c.what, request, k.Handle(request))
	}
	const path = "testdata/transcript.txt"
	if *update {
		if err := os.WriteFile(path, []byte(b.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(string(want), b.String()); d != "" {
		t.Error(d)
	}
}
