package licensing

import (
	"bytes"
	"crypto/ed25519"
	"testing"

	"github.com/sojournlm/sojourn/internal/document"
)

// What the store holds of a computer is read strictly, or not at all.
func FuzzHint(f *testing.F) {
	key := ed25519.NewKeyFromSeed(make([]byte, 32))
	seal, err := document.NewSealKey(bytes.Repeat([]byte{9}, 32))
	if err != nil {
		f.Fatal(err)
	}
	c, err := document.SignFingerprint(key, document.Recipient{
		ID: 1 << 40, HostName: "HOST", Sign: key.Public().(ed25519.PublicKey), Seal: seal.Public(),
	}, 1)
	if err != nil {
		f.Fatal(err)
	}
	at := hintKey(c.Computer.Sign)
	f.Add(document.Encode(hint{hintVersion, c.Bytes(), []string{"http://10.0.0.5:3189"}, 7, []uint64{77}}))
	f.Add(document.Encode(hint{Version: hintVersion, Fingerprint: c.Bytes()}))
	f.Fuzz(func(t *testing.T, b []byte) {
		found, err := parseHint(at, b)
		if err == nil && !bytes.Equal(found.hint(), b) {
			t.Fatalf("read from\n%x\ngives\n%x", b, found.hint())
		}
	})
}
