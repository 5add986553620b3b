package document

import (
	"bytes"
	"crypto/ed25519"
)

// PoolOutline is what a key reads of a pool license: whom it is for, how new it is, and
// that it is whole. A key keeps what its vendor signed; what the binding, the times and
// the features say is for [ParsePool], and may say more one day than the key knew of when
// it was made.
type PoolOutline struct {
	Key       uint64
	KeyPublic []byte
	Vendor    uint32
	Counter   uint64

	signed SignedHead
	raw    []byte
}

// outlineHead is a [PoolHead] without what a key leaves to others.
type outlineHead struct {
	Version     uint32         `cbor:"1,keyasint"`
	Key         uint64         `cbor:"2,keyasint"`
	KeyPublic   []byte         `cbor:"3,keyasint"`
	Vendor      uint32         `cbor:"4,keyasint"`
	VendorKey   cborRawMessage `cbor:"5,keyasint"`
	Counter     uint64         `cbor:"6,keyasint"`
	Issued      cborRawMessage `cbor:"7,keyasint"`
	Binding     cborRawMessage `cbor:"8,keyasint"`
	MaxDuration cborRawMessage `cbor:"9,keyasint"`
	Count       uint64         `cbor:"10,keyasint"`
	FeatureRoot Hash           `cbor:"11,keyasint"`
}

// ParsePoolOutline reads a pool license as a key does. It refuses one whose features are
// not those of its head; the signature is for Verify.
func ParsePoolOutline(b []byte) (*PoolOutline, error) {
	const name = "pool license"
	var file PoolFile
	if err := Decode(name, b, MaxPool, &file); err != nil {
		return nil, err
	}
	var h outlineHead
	if err := decodeVersion(name, file.Signed.Head, MaxPool, &h, &h.Version, poolVersion); err != nil {
		return nil, err
	}
	if err := checkHead(name, h.KeyPublic, h.Counter, h.Count); err != nil {
		return nil, err
	}
	if _, err := file.grow(name, h.Count, h.FeatureRoot); err != nil {
		return nil, err
	}
	return &PoolOutline{
		Key: h.Key, KeyPublic: h.KeyPublic, Vendor: h.Vendor, Counter: h.Counter,
		signed: file.Signed, raw: bytes.Clone(b),
	}, nil
}

// Verify checks that the vendor with that public key signed the license.
func (p *PoolOutline) Verify(vendor ed25519.PublicKey) error {
	return p.signed.Verify("pool license", vendor)
}

// Bytes is the license's encoding. The caller must not write to it.
func (p *PoolOutline) Bytes() []byte { return p.raw }
