package document

import (
	"crypto/sha256"
	"encoding/binary"
)

// ValidID reports whether id can name a key, a license or a manager: neither
// the whole id nor, for one of at most 32 bits, its short form is 0 or
// 0xFFFFFFFF.
func ValidID(id uint64) bool {
	return id != 0 && id != 0xFFFFFFFF && id != 0xFFFFFFFFFFFFFFFF
}

// ShortID is the low half of an id.
func ShortID(id uint64) uint32 { return uint32(id) }

func shortHash(b []byte) uint64 {
	sum := sha256.Sum256(b)
	return binary.BigEndian.Uint64(sum[:])
}
