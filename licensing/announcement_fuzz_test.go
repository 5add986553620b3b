package licensing

import (
	"bytes"
	"crypto/ed25519"
	"testing"
	"time"

	"github.com/sojournlm/sojourn/internal/document"
	"github.com/sojournlm/sojourn/licensing/issuer"
)

// What the store holds of a pool license on its way is read strictly, or not at all.
func FuzzAnnouncement(f *testing.F) {
	const key = 0x51000001
	private := ed25519.NewKeyFromSeed(make([]byte, 32))
	file, err := issuer.Sign(private, issuer.Pool{
		Key: key, KeyPublic: private.Public().(ed25519.PublicKey), Vendor: 7, Counter: 1, Issued: time.Unix(1, 0),
		Products: []issuer.Product{{Number: 29, Name: "product", Features: []issuer.Feature{{Number: 1, Name: "feature", Seats: 3}}}},
	})
	if err != nil {
		f.Fatal(err)
	}
	envelope, err := document.Unwrap(file)
	if err != nil {
		f.Fatal(err)
	}
	license, err := envelope.Pool()
	if err != nil {
		f.Fatal(err)
	}
	request := document.RequestKey{Key: document.Hash{1}, Request: document.Hash{2}}
	for _, a := range []announcement{{license: license}, {license, request}} {
		if read, err := parseAnnouncement(key, a.encode()); err != nil || read.request != a.request {
			f.Fatalf("%+v, %v", read, err)
		}
		f.Add(a.encode())
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		a, err := parseAnnouncement(key, b)
		if err == nil && (!bytes.Equal(a.encode(), b) || a.license.Head.Key != key) {
			t.Fatalf("read from\n%x\ngives\n%x, for key %d", b, a.encode(), a.license.Head.Key)
		}
	})
}
