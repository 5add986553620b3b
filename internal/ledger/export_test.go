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

// Forge is a batch as an enemy may store it in the place of number seq after the
// one with the head prev, and the head record that goes with it.
func Forge(seq uint64, prev document.Hash, h document.Header, public []byte, entries ...[]byte) (stored, head []byte) {
	tree := document.NewTree(entries)
	h.Root = tree.Root()
	if h.Count == 0 {
		h.Count = uint64(len(entries))
	}
	b := &batch{prev: prev, encoded: h.Encode(), entries: entries}
	b.head = document.Chain(prev, b.encoded)
	return b.encode(), document.Encode(headRecord{Version: version, Seq: seq, Head: b.head, Public: public})
}
