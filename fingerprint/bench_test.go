package fingerprint

import (
	"bytes"
	"crypto/ed25519"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"runtime"
	"testing"

	"github.com/sojournlm/sojourn/internal/document"
)

// BenchmarkPage makes pages of 50 as JSON, from the first to the last one of the list
// in turn. "ratio" is the cost by that of the shorter list.
func BenchmarkPage(b *testing.B) {
	const limit, spots = 50, 20
	var short float64
	for _, n := range []int{1_000, 1_000_000} {
		b.Run(fmt.Sprintf("records=%d", n), func(b *testing.B) {
			list := bigBook(b, n).Computers("")
			runtime.GC() // what building left behind is not the page's
			b.ReportAllocs()
			spot := 0
			for b.Loop() {
				spot = (spot + 1) % spots
				page := make([]shown, 0, limit)
				for c := range list.From(spot * (list.Len() - limit) / (spots - 1)) {
					if page = append(page, shown{c.ID, c.HostName, c.Issued, c.Buffer()}); len(page) == limit {
						break
					}
				}
				if len(page) < limit {
					b.Fatalf("a page of %d", len(page))
				}
				check(b, json.NewEncoder(io.Discard).Encode(page))
			}
			cost := float64(b.Elapsed().Nanoseconds()) / float64(b.N)
			if short == 0 {
				short = cost
			}
			b.ReportMetric(cost/short, "ratio")
		})
	}
}

// shown is what a list shows of a computer.
type shown struct {
	ID     uint64
	Host   string
	Issued int64
	File   []byte
}

// bigBook is a book with so many computers by hand, which came in no order. To sign all
// their fingerprints would take minutes: they are copies of one.
func bigBook(b *testing.B, n int) *Book {
	b.Helper()
	seal, err := document.NewSealKey(make([]byte, 32))
	check(b, err)
	sign := ed25519.NewKeyFromSeed(make([]byte, ed25519.SeedSize))
	one, err := document.SignFingerprint(sign, document.Recipient{
		ID: 1, HostName: "PC", Sign: sign.Public().(ed25519.PublicKey), Seal: seal.Public(),
		Components: Hash(1, Static{{"MACHINE", "1"}}),
	}, 1)
	check(b, err)
	encoded := one.Bytes()
	book := NewBook(0)
	for _, at := range rand.New(rand.NewPCG(0, 0)).Perm(n) {
		book.byHand.Set(&Computer{
			ID: uint64(at + 1), HostName: fmt.Sprintf("PC-%07d", at), Issued: 1, Remote: true, encoded: bytes.Clone(encoded),
		})
	}
	return book
}

func check(b *testing.B, err error) {
	b.Helper()
	if err != nil {
		b.Fatal(err)
	}
}
