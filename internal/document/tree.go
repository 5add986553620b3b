package document

import (
	"crypto/sha256"
	"fmt"
	"slices"

	"golang.org/x/mod/sumdb/tlog"
)

// Hash is a SHA-256 hash: of a ledger's head, a Merkle node or a leaf.
type Hash = tlog.Hash

// Tree is the Merkle tree (RFC 6962, section 2.1) over the leaves of a batch or
// of a pool license. The zero Tree is empty.
type Tree struct {
	n      int64
	hashes []tlog.Hash
}

// NewTree builds the tree over leaves in their order.
func NewTree(leaves [][]byte) *Tree {
	t := &Tree{hashes: make([]tlog.Hash, 0, 2*len(leaves))}
	for _, leaf := range leaves {
		// The reader never fails, so neither does StoredHashes.
		t.hashes = append(t.hashes, must(tlog.StoredHashes(t.n, leaf, t))...)
		t.n++
	}
	return t
}

// Root is the hash of the whole tree.
func (t *Tree) Root() Hash { return must(tlog.TreeHash(t.n, t)) }

// Prove gives the inclusion path of leaf i, which must be in the tree.
func (t *Tree) Prove(i int) Path { return Path(must(tlog.ProveRecord(t.n, int64(i), t))) }

// ReadHashes implements [tlog.HashReader].
func (t *Tree) ReadHashes(indexes []int64) ([]tlog.Hash, error) {
	out := make([]tlog.Hash, len(indexes))
	for i, x := range indexes {
		out[i] = t.hashes[x]
	}
	return out, nil
}

// Path is an inclusion path (RFC 6962, section 2.1.1), from the leaf's sibling
// up. Its encoding is one byte string of all hashes, so that a hostile path
// costs no more memory than the bytes it has.
type Path []Hash

const maxPath = 32 // hashes, in a tree of maxLeaves

// MarshalCBOR implements [cbor.Marshaler].
func (p Path) MarshalCBOR() ([]byte, error) {
	b := make([]byte, 0, len(p)*len(Hash{}))
	for _, h := range p {
		b = append(b, h[:]...)
	}
	return encMode.Marshal(b)
}

// UnmarshalCBOR implements [cbor.Unmarshaler].
func (p *Path) UnmarshalCBOR(data []byte) error {
	var b []byte
	if err := decMode.Unmarshal(data, &b); err != nil {
		return err
	}
	if n := len(b); n%len(Hash{}) != 0 || n > maxPath*len(Hash{}) {
		return fmt.Errorf("a path of %d bytes", n)
	}
	*p = nil
	for h := range slices.Chunk(b, len(Hash{})) {
		*p = append(*p, Hash(h))
	}
	return nil
}

// maxLeaves bounds the size of a tree, so that a path never has more than 32
// hashes and every index fits the arithmetic of trees.
const maxLeaves = 1 << 32

// Included reports whether leaf is number index of the size leaves under root.
func Included(root Hash, size, index uint64, leaf []byte, path Path) bool {
	if size > maxLeaves || index >= size || len(path) > maxPath {
		return false
	}
	return tlog.CheckRecord(tlog.RecordProof(path), int64(size), root, int64(index), tlog.RecordHash(leaf)) == nil
}

// Chain is a ledger's head after a batch: the hash of the head before it and of
// the batch's encoded header.
func Chain(prev Hash, header []byte) Hash {
	h := sha256.New()
	h.Write([]byte("sojourn/head/1\x00"))
	h.Write(prev[:])
	h.Write(header)
	return Hash(h.Sum(nil))
}
