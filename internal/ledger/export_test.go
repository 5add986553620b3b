package ledger

import "github.com/sojournlm/sojourn/internal/document"

// Doors for the tests.
var (
	BatchKey     = batchKey
	SignatureKey = signatureKey
	HeadKey      = headKey
)

// HeadOf is the head after a stored batch.
func HeadOf(stored []byte) document.Hash {
	b, err := parseBatch(stored)
	if err != nil {
		panic(err)
	}
	return b.head
}

// Reencode parses a stored batch and encodes it again.
func Reencode(stored []byte) ([]byte, error) {
	b, err := parseBatch(stored)
	if err != nil {
		return nil, err
	}
	return b.encode(), nil
}
