package document

import (
	"bytes"
	"cmp"
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
	Components []Component `cbor:"5,keyasint"` // ordered by name, no duplicates
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
func ParseTerms(body []byte) (Terms, error) { return parseTerms("license", body) }

func parseTerms(name string, body []byte) (Terms, error) {
	var t Terms
	if err := decodeVersion(name, body, MaxEntry, &t, &t.Version, termsVersion); err != nil {
		return Terms{}, err
	}
	if err := t.check(name); err != nil {
		return Terms{}, err
	}
	return t, nil
}

func (t Terms) check(name string) error {
	switch {
	case !validLicense(t.License):
		return content(name, "id %d is not a license id", t.License)
	case t.Parent != 0 && !validLicense(t.Parent):
		return content(name, "parent %d is not a license id", t.Parent)
	case !validKey(t.Key):
		return content(name, "origin %d is not a key id", t.Key)
	case t.Counter == 0:
		return content(name, "update counter 0")
	case t.Seats == 0 || t.Seats > 65535:
		return content(name, "%d seats, want 1 to 65535", t.Seats)
	case len(t.Features) == 0 || len(t.Features) > MaxFeatures:
		return content(name, "%d features, want 1 to %d", len(t.Features), MaxFeatures)
	}
	for i, ref := range t.Features[1:] {
		if t.Features[i].Compare(ref) >= 0 {
			return content(name, "features are not ordered, or one stands twice: at %v", ref)
		}
	}
	return cmp.Or(t.checkTimes(name), t.Recipient.check(name))
}

func (t Terms) checkTimes(name string) error {
	if err := cmp.Or(checkTime(name, "issue time", t.Issued), checkTime(name, "death time", t.Death)); err != nil {
		return err
	}
	// With both times in range neither side of the sum overflows.
	if t.Duration < 1 || t.Duration > 1<<31-1 || t.Death-t.Issued != t.Duration {
		return content(name, "issued %d for %d s dying at %d does not add up", t.Issued, t.Duration, t.Death)
	}
	return nil
}

func (r Recipient) check(name string) error {
	switch {
	case !ValidID(r.ID):
		return content(name, "computer %d is not a manager id", r.ID)
	case len(r.Sign) != ed25519.PublicKeySize || len(r.Seal) != sealKeySize:
		return content(name, "the computer's public keys have %d and %d bytes, want %d and %d", len(r.Sign), len(r.Seal), ed25519.PublicKeySize, sealKeySize)
	}
	return cmp.Or(
		checkText(name, "host name", r.HostName),
		checkComponents(name, "hardware component", len(r.Components), func(i int) string { return r.Components[i].Name }),
	)
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
	terms, err := proofTerms("license", proof)
	if err != nil {
		return nil, err
	}
	file := LicenseFile{Version: licenseVersion, Pool: pool.Signed, Proof: proof}
	for _, ref := range terms.Features {
		i, ok := slices.BinarySearchFunc(pool.Features, ref, func(f Feature, r FeatureRef) int { return f.Ref().Compare(r) })
		if !ok {
			return nil, content("license", "%v is not in the pool license", ref)
		}
		file.Features = append(file.Features, pool.Leaf(i))
	}
	return ParseLicense(Encode(file))
}

// ParseLicense reads a license strictly. All its parts agree with each other;
// whether they are genuine is for Verify to say.
func ParseLicense(b []byte) (*License, error) {
	const name = "license"
	l := &License{raw: bytes.Clone(b)}
	err := decodeVersion(name, b, MaxLicense, &l.file, &l.file.Version, licenseVersion)
	if err != nil {
		return nil, err
	}
	if l.Head, err = l.file.Pool.Parse(); err != nil {
		return nil, err
	}
	if l.Terms, err = proofTerms(name, l.file.Proof); err != nil {
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
			return nil, content(name, "%v stands where its terms name %v", f.Ref(), t.Features[i])
		}
		if !Included(h.FeatureRoot, h.Count, leaf.Index, leaf.Feature, leaf.Path) {
			return nil, &Error{name, LinkFeatures, f.Ref().String() + " is not in the vendor's signed list", nil}
		}
		l.Features = append(l.Features, f)
	}
	return l, nil
}

// proofTerms reads the terms that p is about. name is the document's name in
// errors.
func proofTerms(name string, p Proof) (Terms, error) {
	kind, body, err := parseEntry(name, p.Entry)
	if err != nil {
		return Terms{}, err
	}
	if kind != EntryDetached {
		return Terms{}, content(name, "its proof is about an entry of kind %d, not about a detached license", kind)
	}
	return parseTerms(name, body)
}

// Verify checks the whole chain up to the vendor's public key: vendor → pool
// head → key → batch → terms. The [Error] names the first link that fails.
func (l *License) Verify(vendor ed25519.PublicKey) error {
	const name = "license"
	if err := l.file.Pool.Verify(name, vendor); err != nil {
		return err
	}
	return l.VerifyKey()
}

// VerifyKey checks the links from the key that the license itself names downwards:
// key → batch → terms. That key may be anybody's; no more is needed to give the
// license back.
func (l *License) VerifyKey() error {
	const name = "license"
	h, err := l.file.Proof.Verify(name, l.Head.KeyPublic)
	if err != nil {
		return err
	}
	// The key keeps the horizon of its batches: a license that outlives it
	// would escape the quarantine after an accepted loss.
	if l.Terms.Death > h.Horizon {
		return &Error{name, LinkBatch, "it dies after the latest death time its batch tells the key", nil}
	}
	return nil
}

// Proof is the proof of the license's ledger entry.
func (l *License) Proof() Proof { return l.file.Proof }

// Bytes is the license's encoding, unsealed. The caller must not write to it.
func (l *License) Bytes() []byte { return l.raw }
