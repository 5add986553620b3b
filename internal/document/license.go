package document

import (
	"bytes"
	"crypto/ed25519"
	"slices"
)

// Terms is what a detached license says. It is the body of the ledger entry
// that took the seats, so the key's signature over the batch covers it.
type Terms struct {
	Version   uint32       `cbor:"1,keyasint"`
	License   uint64       `cbor:"2,keyasint"` // the license's id, 2^32 to 2^53
	Revision  uint32       `cbor:"3,keyasint"` // rises when the same license is extended
	Parent    uint64       `cbor:"4,keyasint"` // 0, or the license whose seats these were
	Key       uint64       `cbor:"5,keyasint"` // the origin: the key's id
	Vendor    uint32       `cbor:"6,keyasint"` // publicCode
	Counter   uint64       `cbor:"7,keyasint"` // of the pool license the features come from
	Features  []FeatureRef `cbor:"8,keyasint"` // ordered, no duplicates
	Seats     uint32       `cbor:"9,keyasint"` // taken from every feature
	Issued    int64        `cbor:"10,keyasint"`
	Duration  int64        `cbor:"11,keyasint"` // seconds
	Death     int64        `cbor:"12,keyasint"` // Issued + Duration, Unix seconds
	Recipient Recipient    `cbor:"13,keyasint"`
	Request   RequestKey   `cbor:"14,keyasint"`
}

// Recipient is the computer a license is for, with the public keys it had when
// the license was made: editing or deleting its fingerprint strands nobody.
type Recipient struct {
	ID         uint64      `cbor:"1,keyasint"` // lmsId
	HostName   string      `cbor:"2,keyasint"`
	Sign       []byte      `cbor:"3,keyasint"` // Ed25519 public key
	Seal       []byte      `cbor:"4,keyasint"` // X25519 public key
	Components []Component `cbor:"5,keyasint"`
}

// Component is a salted hash of one hardware component.
type Component struct {
	Name string `cbor:"1,keyasint"` // such as MACHINE, CPU, MAC
	Hash Hash   `cbor:"2,keyasint"`
}

// RequestKey remembers what a caller asked under an idempotency key. The zero
// value means that none was given.
type RequestKey struct {
	Key     Hash `cbor:"1,keyasint"` // of the caller's key
	Request Hash `cbor:"2,keyasint"` // of the request itself
}

const termsVersion = 1

// Encode gives the ledger entry for the terms, setting their version.
func (t Terms) Encode() []byte {
	t.Version = termsVersion
	return EncodeEntry(EntryDetached, t)
}

// ParseTerms reads the body of an [EntryDetached] strictly.
func ParseTerms(body []byte) (Terms, error) {
	const name = "license"
	var t Terms
	if err := Decode(name, body, MaxEntry, &t); err != nil {
		return Terms{}, err
	}
	if err := checkVersion(name, t.Version, termsVersion); err != nil {
		return Terms{}, err
	}
	return t, t.check()
}

func (t Terms) check() error {
	const name = "license"
	switch {
	case t.License < 1<<32 || t.License >= 1<<53 || !ValidID(uint64(ShortID(t.License))):
		return content(name, "id %d is not a license id", t.License)
	case !ValidID(t.Key) || t.Key > 0xFFFFFFFF:
		return content(name, "origin %d is not a key id", t.Key)
	case !ValidID(t.Recipient.ID):
		return content(name, "recipient %d is not a manager id", t.Recipient.ID)
	case t.Seats == 0 || t.Seats > 65535:
		return content(name, "%d seats, want 1 to 65535", t.Seats)
	case t.Issued < 0 || t.Duration < 1 || t.Duration > 1<<31-1 || t.Death != t.Issued+t.Duration:
		return content(name, "issued %d for %d s dying at %d does not add up", t.Issued, t.Duration, t.Death)
	case len(t.Features) == 0 || len(t.Features) > MaxFeatures:
		return content(name, "%d features, want 1 to %d", len(t.Features), MaxFeatures)
	case !slices.IsSortedFunc(t.Features, FeatureRef.Compare) || len(slices.Compact(slices.Clone(t.Features))) != len(t.Features):
		return content(name, "features are not ordered or stand twice")
	}
	return t.Recipient.check(name)
}

func (r Recipient) check(name string) error {
	switch {
	case len(r.Sign) != ed25519.PublicKeySize || len(r.Seal) != 32:
		return content(name, "recipient's public keys have %d and %d bytes, want 32 and 32", len(r.Sign), len(r.Seal))
	case len(r.Components) > 32:
		return content(name, "%d hardware components, at most 32 are allowed", len(r.Components))
	case !slices.IsSortedFunc(r.Components, func(a, b Component) int { return bytes.Compare([]byte(a.Name), []byte(b.Name)) }):
		return content(name, "hardware components are not ordered by name")
	}
	return checkText(name, r.HostName)
}

// License is a detached license: terms proven by the origin's key, features
// proven by its vendor. It is complete: the vendor's public key is all it
// takes to check it.
type License struct {
	Terms    Terms
	Head     PoolHead
	Features []Feature // as the vendor signed them, in the order of Terms.Features

	file LicenseFile
	raw  []byte
}

// LicenseFile is the encoding of a license before it is sealed.
type LicenseFile struct {
	Version  uint32        `cbor:"1,keyasint"`
	Pool     SignedHead    `cbor:"2,keyasint"`
	Features []FeatureLeaf `cbor:"3,keyasint"`
	Proof    Proof         `cbor:"4,keyasint"`
}

const licenseVersion = 1

// NewLicense puts the license together from the pool its features come from
// and the proof of its ledger entry.
func NewLicense(pool *Pool, proof Proof) (*License, error) {
	terms, err := proofTerms(proof)
	if err != nil {
		return nil, err
	}
	file := LicenseFile{Version: licenseVersion, Pool: pool.Signed, Proof: proof}
	for _, ref := range terms.Features {
		i, ok := slices.BinarySearchFunc(pool.Features, ref, func(f Feature, r FeatureRef) int { return f.Ref().Compare(r) })
		if !ok {
			return nil, content("license", "feature %d of product %d is not in the pool license", ref.FeatureNumber, ref.ProductNumber)
		}
		file.Features = append(file.Features, pool.Leaf(i))
	}
	return ParseLicense(Encode(file))
}

// ParseLicense reads a license strictly. All its parts agree with each other;
// whether they are genuine is for Verify to say.
func ParseLicense(b []byte) (*License, error) {
	const name = "license"
	l := &License{raw: append([]byte(nil), b...)}
	if err := Decode(name, b, MaxLicense, &l.file); err != nil {
		return nil, err
	}
	if err := checkVersion(name, l.file.Version, licenseVersion); err != nil {
		return nil, err
	}
	var err error
	if l.Head, err = l.file.Pool.Parse(); err != nil {
		return nil, err
	}
	if l.Terms, err = proofTerms(l.file.Proof); err != nil {
		return nil, err
	}
	t, h := l.Terms, l.Head
	if t.Key != h.Key || t.Vendor != h.Vendor || t.Counter != h.Counter {
		return nil, content(name, "terms and pool license are of different keys, vendors or updates")
	}
	if len(l.file.Features) != len(t.Features) {
		return nil, content(name, "%d features, its terms name %d", len(l.file.Features), len(t.Features))
	}
	for i, leaf := range l.file.Features {
		f, err := parseFeature(name, leaf.Feature)
		if err != nil {
			return nil, err
		}
		if f.Ref() != t.Features[i] {
			return nil, content(name, "feature %d is not the one its terms name", i)
		}
		if !Included(h.FeatureRoot, h.Count, leaf.Index, leaf.Feature, leaf.Path) {
			return nil, &Error{name, LinkFeatures, "a feature is not in the vendor's signed list", nil}
		}
		l.Features = append(l.Features, f)
	}
	return l, nil
}

func proofTerms(p Proof) (Terms, error) {
	kind, body, err := ParseEntry(p.Entry)
	if err != nil {
		return Terms{}, err
	}
	if kind != EntryDetached {
		return Terms{}, content("license", "its proof is about an entry of kind %d", kind)
	}
	return ParseTerms(body)
}

// Verify checks the whole chain up to the vendor's public key: vendor → pool
// head → key → batch → terms. The [Error] names the first link that fails.
func (l *License) Verify(vendor ed25519.PublicKey) error {
	if err := l.file.Pool.Verify("license", vendor); err != nil {
		return err
	}
	_, err := l.file.Proof.Verify("license", l.Head.KeyPublic)
	return err
}

// Proof is the proof of the license's ledger entry.
func (l *License) Proof() Proof { return l.file.Proof }

// Bytes is the license's encoding, unsealed. The caller must not write to it.
func (l *License) Bytes() []byte { return l.raw }
