package document

import (
	"crypto/sha256"
	"math"
	"testing"

	"pgregory.net/rapid"
)

// rootOf is section 2.1 of RFC 6962, word for word.
func rootOf(leaves [][]byte) Hash {
	switch n := len(leaves); n {
	case 0:
		return sha256.Sum256(nil)
	case 1:
		return sha256.Sum256(append([]byte{0}, leaves[0]...))
	default:
		k := 1
		for 2*k < n {
			k *= 2
		}
		left, right := rootOf(leaves[:k]), rootOf(leaves[k:])
		return sha256.Sum256(append(append([]byte{1}, left[:]...), right[:]...))
	}
}

func TestTree(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		leaves := rapid.SliceOfN(rapid.SliceOfN(rapid.Byte(), 0, 4), 0, 40).Draw(t, "leaves")
		tree := NewTree(leaves)
		root := tree.Root()
		if root != rootOf(leaves) {
			t.Fatal("not the root of RFC 6962")
		}
		n := uint64(len(leaves))
		for i, leaf := range leaves {
			path := tree.Prove(i)
			if !Included(root, n, uint64(i), leaf, path) {
				t.Fatalf("leaf %d of %d is not included", i, n)
			}
			if Included(root, n, uint64(i), append(leaf, 1), path) {
				t.Fatalf("another leaf is included at %d", i)
			}
			if Included(root, n, uint64(i), leaf, append(path, Hash{})) || len(path) > 0 && Included(root, n, uint64(i), leaf, path[1:]) {
				t.Fatalf("leaf %d is included by a path of another length", i)
			}
		}
	})
}

func TestIncludedByHostileNumbers(t *testing.T) {
	long := make(Path, 70)
	for _, size := range []uint64{0, 1, 2, 3, 1 << 31, 1 << 32, 1<<32 + 1, 1 << 62, 1 << 63, math.MaxUint64} {
		for _, index := range []uint64{0, 1, 2, 1 << 31, 1<<32 - 1, 1 << 32, 1 << 62, 1 << 63, math.MaxUint64 - 1, math.MaxUint64} {
			for n := range len(long) + 1 {
				if Included(Hash{1}, size, index, nil, long[:n]) {
					t.Fatalf("leaf %d of %d is included by a path of zeros", index, size)
				}
			}
		}
	}
}

func TestPathEncoding(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		path := make(Path, rapid.IntRange(0, maxPath+1).Draw(t, "length"))
		for i := range path {
			path[i][i%len(Hash{})] = byte(i + 1)
		}
		var got Path
		err := Decode("path", Encode(path), MaxLicense, &got)
		if (err == nil) != (len(path) <= maxPath) {
			t.Fatalf("a path of %d hashes: %v", len(path), err)
		}
		for i, h := range got {
			if h != path[i] {
				t.Fatalf("hash %d changed", i)
			}
		}
	})
	for _, b := range [][]byte{{0x41, 1}, {0x80}, {0xf6}, {0x60}, {0x58, 0}} {
		if err := Decode("path", b, MaxLicense, new(Path)); err == nil {
			t.Errorf("%x is a path", b)
		}
	}
}

func TestChain(t *testing.T) {
	head := Chain(Hash{1}, []byte("header"))
	for name, other := range map[string]Hash{
		"another head before": Chain(Hash{2}, []byte("header")),
		"another header":      Chain(Hash{1}, []byte("headeR")),
		"no header":           Chain(Hash{1}, nil),
	} {
		if other == head {
			t.Errorf("%s gives the same head", name)
		}
	}
}
