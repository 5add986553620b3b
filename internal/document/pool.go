package document

import (
	"crypto"
	"crypto/ed25519"
	"fmt"
	"unicode/utf8"
)

// PoolHead is the part of a pool license that the vendor signs: it certifies
// the key, and through FeatureRoot every feature.
type PoolHead struct {
	Version     uint32  `cbor:"1,keyasint"`
	Key         uint64  `cbor:"2,keyasint"` // the key's id (dongleId)
	KeyPublic   []byte  `cbor:"3,keyasint"` // Ed25519, 32 bytes
	Vendor      uint32  `cbor:"4,keyasint"` // the vendor's publicCode
	VendorKey   uint64  `cbor:"5,keyasint"` // which of the vendor's keys signed: [VendorKeyID]
	Counter     uint64  `cbor:"6,keyasint"` // rises with each update of this key
	Issued      int64   `cbor:"7,keyasint"` // Unix seconds
	Binding     Binding `cbor:"8,keyasint"`
	MaxDuration int64   `cbor:"9,keyasint"` // longest detach in seconds, 0 for no limit
	Count       uint64  `cbor:"10,keyasint"`
	FeatureRoot Hash    `cbor:"11,keyasint"` // Merkle root over the encoded features
}

// Binding says how a detached license is bound to its recipient's hardware.
// Components without a rule are not bound.
type Binding struct {
	Rules      []BindingRule `cbor:"1,keyasint"`
	MaxChanges uint32        `cbor:"2,keyasint"` // largest sum of the weights of changed components
}

// BindingRule binds one hardware component.
type BindingRule struct {
	Component   string `cbor:"1,keyasint"` // such as MACHINE, CPU, MAC
	Weight      uint32 `cbor:"2,keyasint"`
	Replaceable bool   `cbor:"3,keyasint"` // false: a change alone is a mismatch
}

// Feature is one licensed feature with its product, as the vendor signed it.
type Feature struct {
	ProductNumber   uint32 `cbor:"1,keyasint"`
	Modification    uint32 `cbor:"2,keyasint"`
	ProductName     string `cbor:"3,keyasint"`
	FeatureNumber   uint32 `cbor:"4,keyasint"`
	Name            string `cbor:"5,keyasint"`
	Seats           uint32 `cbor:"6,keyasint"`  // maxConcurrentResource
	RemoteMode      uint32 `cbor:"7,keyasint"`  // mask: 1 local, 2 remote
	ConsumptionMode uint32 `cbor:"8,keyasint"`  // 0 per station, 1 per login, 2 per process
	ValidFrom       int64  `cbor:"9,keyasint"`  // Unix seconds, 0 for always
	ValidUpTo       int64  `cbor:"10,keyasint"` // Unix seconds, 0 for ever
	MaxRuns         uint32 `cbor:"11,keyasint"` // maxRunCounter, 0 for no limit
	Detachable      bool   `cbor:"12,keyasint"`
	RDPForbidden    bool   `cbor:"13,keyasint"`
	VMForbidden     bool   `cbor:"14,keyasint"`
}

// FeatureRef names a feature within a key's pool.
type FeatureRef struct {
	ProductNumber uint32 `cbor:"1,keyasint"`
	Modification  uint32 `cbor:"2,keyasint"`
	FeatureNumber uint32 `cbor:"3,keyasint"`
}

// Ref names f.
func (f Feature) Ref() FeatureRef {
	return FeatureRef{f.ProductNumber, f.Modification, f.FeatureNumber}
}

// Compare orders references by product number, modification and feature number.
func (r FeatureRef) Compare(o FeatureRef) int {
	for _, d := range [...]int64{
		int64(r.ProductNumber) - int64(o.ProductNumber),
		int64(r.Modification) - int64(o.Modification),
		int64(r.FeatureNumber) - int64(o.FeatureNumber),
	} {
		if d != 0 {
			return int(max(-1, min(1, d)))
		}
	}
	return 0
}

// SignedHead is an encoded [PoolHead] and the vendor's signature over it.
type SignedHead struct {
	Head      []byte `cbor:"1,keyasint"`
	Signature []byte `cbor:"2,keyasint"`
}

// Parse reads the head strictly, without judging the signature.
func (s SignedHead) Parse() (PoolHead, error) {
	const name = "pool license"
	var h PoolHead
	if err := Decode(name, s.Head, MaxPool, &h); err != nil {
		return PoolHead{}, err
	}
	if err := checkVersion(name, h.Version, poolVersion); err != nil {
		return PoolHead{}, err
	}
	return h, h.check()
}

func (h PoolHead) check() error {
	const name = "pool license"
	switch {
	case !ValidID(h.Key) || h.Key > 0xFFFFFFFF:
		return content(name, "key id %d is not a 32-bit id", h.Key)
	case len(h.KeyPublic) != ed25519.PublicKeySize:
		return content(name, "the key's public half has %d bytes, want %d", len(h.KeyPublic), ed25519.PublicKeySize)
	case h.Counter == 0:
		return content(name, "update counter 0")
	case h.Issued < 0 || h.MaxDuration < 0:
		return content(name, "a negative time")
	case h.Count == 0 || h.Count > MaxFeatures:
		return content(name, "%d features, want 1 to %d", h.Count, MaxFeatures)
	case len(h.Binding.Rules) > 32:
		return content(name, "%d binding rules, at most 32 are allowed", len(h.Binding.Rules))
	}
	return nil
}

// Verify checks the vendor's signature.
func (s SignedHead) Verify(name string, vendor ed25519.PublicKey) error {
	if !DomainPool.Verify(vendor, s.Head, s.Signature) {
		return &Error{name, LinkVendor, "not signed by the vendor key this program trusts", nil}
	}
	return nil
}

// VendorKeyID is a short name for a vendor's public key: the first eight bytes
// of its hash, big-endian.
func VendorKeyID(public ed25519.PublicKey) uint64 { return shortHash(public) }

const (
	poolVersion = 1
	// MaxFeatures is the most features one pool license may have.
	MaxFeatures = 512
)

// PoolFile is the encoding of a whole pool license: what a vendor sends and a
// key keeps.
type PoolFile struct {
	Signed SignedHead       `cbor:"1,keyasint"`
	Leaves []cborRawMessage `cbor:"2,keyasint"`
}

// Pool is a parsed pool license. Its parts agree with each other (the features
// hash to the signed root); whether the signature is the vendor's is for
// Verify to say.
type Pool struct {
	Head     PoolHead
	Features []Feature // ordered by [FeatureRef.Compare], no duplicates
	Signed   SignedHead

	raw    []byte
	leaves [][]byte
	tree   *Tree
}

// SignPool makes a pool license. It fills in Version, VendorKey, Count and
// FeatureRoot; features must be ordered by reference without duplicates.
func SignPool(vendor crypto.Signer, head PoolHead, features []Feature) (*Pool, error) {
	public, ok := vendor.Public().(ed25519.PublicKey)
	if !ok {
		return nil, fmt.Errorf("pool license: the vendor's key is %T, want Ed25519", vendor.Public())
	}
	leaves := make([][]byte, len(features))
	file := PoolFile{Leaves: make([]cborRawMessage, len(features))}
	for i, f := range features {
		leaves[i] = Encode(f)
		file.Leaves[i] = leaves[i]
	}
	head.Version = poolVersion
	head.VendorKey = VendorKeyID(public)
	head.Count = uint64(len(features))
	head.FeatureRoot = NewTree(leaves).Root()
	file.Signed.Head = Encode(head)
	sig, err := DomainPool.Sign(vendor, file.Signed.Head)
	if err != nil {
		return nil, err
	}
	file.Signed.Signature = sig
	return ParsePool(Encode(file))
}

// ParsePool reads a pool license strictly and checks everything but the
// vendor's signature.
func ParsePool(b []byte) (*Pool, error) {
	const name = "pool license"
	var file PoolFile
	if err := Decode(name, b, MaxPool, &file); err != nil {
		return nil, err
	}
	head, err := file.Signed.Parse()
	if err != nil {
		return nil, err
	}
	if uint64(len(file.Leaves)) != head.Count {
		return nil, content(name, "%d features, its head says %d", len(file.Leaves), head.Count)
	}
	p := &Pool{Head: head, Signed: file.Signed, raw: append([]byte(nil), b...)}
	for i, leaf := range file.Leaves {
		f, err := parseFeature(name, leaf)
		if err != nil {
			return nil, err
		}
		if i > 0 && p.Features[i-1].Ref().Compare(f.Ref()) >= 0 {
			return nil, content(name, "features are not ordered by product, modification and number at %d", i)
		}
		p.Features = append(p.Features, f)
		p.leaves = append(p.leaves, leaf)
	}
	p.tree = NewTree(p.leaves)
	if p.tree.Root() != head.FeatureRoot {
		return nil, &Error{name, LinkFeatures, "the features are not the ones the head was signed for", nil}
	}
	return p, nil
}

// Verify checks that the vendor with that public key signed the license.
func (p *Pool) Verify(vendor ed25519.PublicKey) error {
	return p.Signed.Verify("pool license", vendor)
}

// Bytes is the license's encoding. The caller must not write to it.
func (p *Pool) Bytes() []byte { return p.raw }

// FeatureLeaf is one feature as the vendor signed it, with the path to the root
// in the signed head.
type FeatureLeaf struct {
	Feature cborRawMessage `cbor:"1,keyasint"`
	Index   uint64         `cbor:"2,keyasint"`
	Path    []Hash         `cbor:"3,keyasint"`
}

// Leaf gives feature i with its proof.
func (p *Pool) Leaf(i int) FeatureLeaf {
	return FeatureLeaf{Feature: p.leaves[i], Index: uint64(i), Path: p.tree.Prove(i)}
}

func parseFeature(name string, b []byte) (Feature, error) {
	var f Feature
	if err := Decode(name, b, MaxPool, &f); err != nil {
		return Feature{}, err
	}
	switch {
	case f.FeatureNumber == 0xFFFFFFFF || f.ProductNumber == 0xFFFFFFFF:
		return Feature{}, content(name, "a product or feature number of 0xFFFFFFFF")
	case f.Seats > MaxSeats:
		return Feature{}, content(name, "feature %d has %d seats, at most %d are allowed", f.FeatureNumber, f.Seats, MaxSeats)
	case f.RemoteMode > 3 || f.ConsumptionMode > 2:
		return Feature{}, content(name, "feature %d has an unknown mode", f.FeatureNumber)
	case f.ValidFrom < 0 || f.ValidUpTo < 0:
		return Feature{}, content(name, "feature %d has a negative validity", f.FeatureNumber)
	}
	return f, checkText(name, f.Name, f.ProductName)
}

// MaxSeats is the most seats one feature of a pool may have.
const MaxSeats = 1 << 24

func checkText(name string, texts ...string) error {
	for _, s := range texts {
		if len(s) > MaxText || !utf8.ValidString(s) {
			return content(name, "a name of %d bytes, at most %d of UTF-8 are allowed", len(s), MaxText)
		}
	}
	return nil
}
