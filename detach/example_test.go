package detach_test

import (
	"crypto/ed25519"
	"fmt"
	"log"

	"github.com/sojournlm/sojourn/detach"
	"github.com/sojournlm/sojourn/internal/document"
	"github.com/sojournlm/sojourn/internal/ledger"
)

// A pool of three seats gives one to a laptop; an hour later it is home again.
func ExamplePool() {
	vendor := ed25519.NewKeyFromSeed(make([]byte, 32))
	public := vendor.Public().(ed25519.PublicKey)
	license, err := document.SignPool(vendor,
		document.PoolHead{Key: 4711, KeyPublic: public, Vendor: 42, Counter: 1},
		[]document.Feature{{ProductNumber: 16, FeatureNumber: 2, Name: "drawing", Seats: 3, Detachable: true}})
	if err != nil {
		log.Fatal(err)
	}
	pool := detach.NewPool(detach.Trust{
		Key: 4711, Public: public, Vendor: func(uint32) ed25519.PublicKey { return public },
	})
	now := int64(1_700_000_000)
	apply := func(seq uint64, entries ...[]byte) {
		for i, e := range entries {
			if err := pool.Apply(ledger.Position{Seq: seq, Index: i, Time: now, Rules: 1}, e); err != nil {
				log.Fatal(err)
			}
		}
	}
	show := func() {
		for _, f := range pool.Features(detach.Filter{}) {
			fmt.Printf("%s: %d free, %d detached\n", f.Feature.Name, f.Free, f.Detached)
		}
	}

	entries, err := pool.Update(license, document.RequestKey{})
	if err != nil {
		log.Fatal(err)
	}
	apply(1, entries...)
	ask := detach.DetachRequest{
		Features: []detach.Selector{{ProductNumber: 16, FeatureNumber: 2}}, Seats: 1, Duration: 3600,
		Recipient: document.Recipient{ID: 99, HostName: "LAPTOP", Sign: public, Seal: public},
	}
	newID := func() uint64 { return 7<<32 | 1234 } // a random number below 2^53, in earnest
	detached, err := pool.Detach(ask, detach.Policy{}, now, newID)
	if err != nil {
		log.Fatal(err)
	}
	apply(2, detached.Entry)
	show()

	_, err = pool.Detach(ask, detach.Policy{}, now, newID)
	fmt.Println(err)

	now += 3600
	apply(3, pool.Due(now)...)
	show()
	// Output:
	// drawing: 2 free, 1 detached
	// already detached to this computer: feature 2 of product 16: license 30064772306 of it is out to this computer until 2023-11-14T23:13:20Z
	// drawing: 3 free, 0 detached
}
