package issuer_test

import (
	"crypto/ed25519"
	"fmt"
	"time"

	"github.com/sojournlm/sojourn/detach"
	"github.com/sojournlm/sojourn/licensing/issuer"
)

// A vendor grants ten seats of a feature, of which any may be detached for up
// to a month.
func ExampleSign() {
	vendor := ed25519.NewKeyFromSeed([]byte("a seed that lives in an HSM 1234"))
	key := ed25519.NewKeyFromSeed([]byte("made inside the key, never seen ")).Public().(ed25519.PublicKey)

	file, err := issuer.Sign(vendor, issuer.Pool{
		Key:         0x519175B8,
		KeyPublic:   key,
		Vendor:      1368487351,
		Counter:     1,
		Issued:      time.Date(2026, time.March, 1, 0, 0, 0, 0, time.UTC),
		MaxDuration: 30 * 24 * time.Hour,
		Products: []issuer.Product{{
			Number: 16,
			Name:   "Drafting",
			Features: []issuer.Feature{
				{Number: 2, Name: "Editor", Seats: 10, Detachable: true},
				{Number: 1, Name: "Viewer", Seats: 100},
			},
		}},
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	info, err := detach.Inspect(file)
	fmt.Printf("a %v for key %08X, error %v\n", info.Kind, info.Origin, err)

	trusted := map[uint32]ed25519.PublicKey{1368487351: vendor.Public().(ed25519.PublicKey)}
	fmt.Println("chain:", detach.Verify(file, trusted))

	file[len(file)-1] ^= 1
	fmt.Println("altered:", detach.Verify(file, trusted))
	// Output:
	// a pool license for key 519175B8, error <nil>
	// chain: <nil>
	// altered: pool license: feature proof: the features are not the ones the head was signed for
}
