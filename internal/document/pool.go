package document

import (
	"bytes"
	"cmp"
	"crypto"
	"crypto/ed25519"
	"fmt"
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
	Rules      []BindingRule `cbor:"1,keyasint"` // ordered by component, no duplicates
	MaxChanges uint32        `cbor:"2,keyasint"` // largest sum of the weights of changed components
}

// BindingRule binds one hardware component.
type BindingRule struct {
	Component   string `cbor:"1,keyasint"` // such as MACHINE, CPU, MAC
	Weight      uint32 `cbor:"2,keyasint"`
	Replaceable bool   `cbor:"3,keyasint"` // false: a change alone is a mismatch
}

// ComponentMachine is the component every computer has: its machine id.
const ComponentMachine = "MACHINE"

// DefaultBinding is the binding of a pool whose vendor names none: to the
// machine id alone, which may not change.
func DefaultBinding() Binding {
	return Binding{Rules: []BindingRule{{Component: ComponentMachine, Weight: 1}}}
}

// MaxWeight is the largest weight of one binding rule, so that the weights of
// all rules add up in 32 bits.
const MaxWeight = 1<<16 - 1

// Check reports what keeps b out of a pool license. name is the subject in the
// error.
func (b Binding) Check(name string) error {
	for _, r := range b.Rules {
		if r.Weight > MaxWeight {
			return content(name, "binding rule %q weighs %d, at most %d is allowed", r.Component, r.Weight, MaxWeight)
		}
	}
	return checkComponents(name, "binding rule", len(b.Rules), func(i int) string { return b.Rules[i].Component })
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
	return cmp.Or(
		cmp.Compare(r.ProductNumber, o.ProductNumber),
		cmp.Compare(r.Modification, o.Modification),
		cmp.Compare(r.FeatureNumber, o.FeatureNumber),
	)
}

func (r FeatureRef) String() string {
	return fmt.Sprintf("feature %d of product %d (modification %d)", r.FeatureNumber, r.ProductNumber, r.Modification)
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
	if err := decodeVersion(name, s.Head, MaxPool, &h, &h.Version, poolVersion); err != nil {
		return PoolHead{}, err
	}
	if err := h.check(name); err != nil {
		return PoolHead{}, err
	}
	return h, nil
}

func (h PoolHead) check(name string) error {
	if !validKey(h.Key) {
		return content(name, "key id %d is not a 32-bit id", h.Key)
	}
	return cmp.Or(
		checkHead(name, h.KeyPublic, h.Counter, h.Count),
		checkTime(name, "issue time", h.Issued),
		checkTime(name, "longest duration", h.MaxDuration),
		h.Binding.Check(name),
	)
}

// checkHead checks what keys hold a head to, too.
func checkHead(name string, public []byte, counter, count uint64) error {
	switch {
	case len(public) != ed25519.PublicKeySize:
		return content(name, "the key's public half has %d bytes, want %d", len(public), ed25519.PublicKeySize)
	case counter == 0:
		return content(name, "update counter 0")
	case count == 0 || count > MaxFeatures:
		return content(name, "%d features, want 1 to %d", count, MaxFeatures)
	}
	return nil
}

// Verify checks the vendor's signature. name is the document's name in errors.
func (s SignedHead) Verify(name string, vendor ed25519.PublicKey) error {
	if DomainPool.Verify(vendor, s.Head, s.Signature) {
		return nil
	}
	reason := "altered, or not signed by the vendor key this program trusts"
	if h, err := s.Parse(); err == nil && h.VendorKey != VendorKeyID(vendor) {
		reason = fmt.Sprintf("signed by vendor key %016X, this program trusts %016X", h.VendorKey, VendorKeyID(vendor))
	}
	return &Error{name, LinkVendor, reason, nil}
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

// grow gives the tree over the features, where it is the one of the head.
func (f PoolFile) grow(name string, count uint64, root Hash) (*Tree, error) {
	if uint64(len(f.Leaves)) != count {
		return nil, content(name, "%d features, its head says %d", len(f.Leaves), count)
	}
	leaves := make([][]byte, len(f.Leaves))
	for i, leaf := range f.Leaves {
		leaves[i] = leaf
	}
	tree := NewTree(leaves)
	if tree.Root() != root {
		return nil, &Error{name, LinkFeatures, "the features are not the ones the head was signed for", nil}
	}
	return tree, nil
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
	const name = "pool license"
	public, ok := vendor.Public().(ed25519.PublicKey)
	if !ok {
		return nil, fmt.Errorf("%s: the vendor's key is %T, want Ed25519", name, vendor.Public())
	}
	if err := checkFeatures(name, features); err != nil {
		return nil, err
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
	if err := head.check(name); err != nil {
		return nil, err
	}
	file.Signed.Head = Encode(head)
	sig, err := DomainPool.Sign(vendor, file.Signed.Head)
	if err != nil {
		return nil, err
	}
	file.Signed.Signature = sig
	pool, err := ParsePool(Encode(file))
	if err != nil {
		return nil, err
	}
	// A signer far away may hash first, or hold another key than it says.
	if !DomainPool.Verify(public, pool.Signed.Head, sig) {
		return nil, fmt.Errorf("%s: the signer's signature is not by its own key, or not pure Ed25519", name)
	}
	return pool, nil
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
	p := &Pool{Head: head, Signed: file.Signed, raw: bytes.Clone(b)}
	for _, leaf := range file.Leaves {
		f, err := parseFeature(name, leaf)
		if err != nil {
			return nil, err
		}
		p.Features = append(p.Features, f)
		p.leaves = append(p.leaves, leaf)
	}
	if err := checkFeatures(name, p.Features); err != nil {
		return nil, err
	}
	if p.tree, err = file.grow(name, head.Count, head.FeatureRoot); err != nil {
		return nil, err
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
	Path    Path           `cbor:"3,keyasint"`
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
	if err := f.Check(name); err != nil {
		return Feature{}, err
	}
	return f, nil
}

// MaxSeats is the most seats one feature of a pool may have.
const MaxSeats = 1 << 24

// Check reports what keeps f out of a pool license. name is the subject in the
// error.
func (f Feature) Check(name string) error {
	switch {
	case f.FeatureNumber == 0xFFFFFFFF || f.ProductNumber == 0xFFFFFFFF:
		return content(name, "a product or feature number of 0xFFFFFFFF")
	case f.Seats > MaxSeats:
		return content(name, "%v has %d seats, at most %d are allowed", f.Ref(), f.Seats, MaxSeats)
	case f.RemoteMode > 3:
		return content(name, "%v has remote mode %d, want 0 to 3", f.Ref(), f.RemoteMode)
	case f.ConsumptionMode > 2:
		return content(name, "%v has consumption mode %d, want 0 to 2", f.Ref(), f.ConsumptionMode)
	case f.ValidUpTo != 0 && f.ValidUpTo < f.ValidFrom:
		return content(name, "%v ends before it begins", f.Ref())
	}
	return cmp.Or(
		checkTime(name, "begin of validity", f.ValidFrom),
		checkTime(name, "end of validity", f.ValidUpTo),
		checkText(name, "a product name", f.ProductName),
		checkText(name, "a feature name", f.Name),
	)
}

// checkFeatures accepts what a pool license may list.
func checkFeatures(name string, features []Feature) error {
	for i, f := range features {
		if err := f.Check(name); err != nil {
			return err
		}
		if i > 0 && features[i-1].Ref().Compare(f.Ref()) >= 0 {
			return content(name, "features are not ordered by product, modification and number, or one stands twice: at %v", f.Ref())
		}
	}
	return nil
}
