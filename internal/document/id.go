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

// validKey reports whether id can name a key: ids of keys have 32 bits.
func validKey(id uint64) bool { return ValidID(id) && id <= 0xFFFFFFFF }

// validLicense reports whether id can name a detached license: longer than a
// key's, exact in every JSON client, and with a short form that is an id too.
func validLicense(id uint64) bool {
	return id >= 1<<32 && id < 1<<53 && ValidID(uint64(ShortID(id)))
}

// ShortID is the low half of an id.
func ShortID(id uint64) uint32 { return uint32(id) }

func shortHash(b []byte) uint64 {
	sum := sha256.Sum256(b)
	return binary.BigEndian.Uint64(sum[:])
}
