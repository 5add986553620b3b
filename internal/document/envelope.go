package document

import (
	"errors"
	"fmt"
	"io"
)

// Kind is the kind of document in an [Envelope].
type Kind uint32

// The kinds of files people carry.
const (
	KindPool        Kind = 1 // vendor to key
	KindLicense     Kind = 2 // origin to recipient, sealed
	KindReturn      Kind = 3 // recipient to origin
	KindFingerprint Kind = 4 // a computer to whoever may detach to it
)

func (k Kind) String() string {
	switch k {
	case KindPool:
		return "pool license"
	case KindLicense:
		return "license"
	case KindReturn:
		return "return"
	case KindFingerprint:
		return "fingerprint"
	}
	return fmt.Sprintf("kind %d", uint32(k))
}

// Envelope is the outside of every file: what it is and between whom, in
// clear, and the document. A license's document is sealed to the recipient
// (Enc and Salt are then set); the others are signed but not secret.
type Envelope struct {
	Magic     string `cbor:"1,keyasint"` // "sojourn"
	Version   uint32 `cbor:"2,keyasint"`
	Kind      Kind   `cbor:"3,keyasint"`
	Origin    uint64 `cbor:"4,keyasint"` // key id, 0 in a fingerprint
	Recipient uint64 `cbor:"5,keyasint"` // lmsId, 0 in a pool license
	Enc       []byte `cbor:"6,keyasint"` // HPKE encapsulated key: 32 bytes in a license, else empty
	Salt      []byte `cbor:"7,keyasint"` // 32 fresh random bytes in a license, else empty
	Body      []byte `cbor:"8,keyasint"`
}

const (
	magic           = "sojourn"
	envelopeVersion = 1
)

// Wrap puts a document that is not secret into its envelope.
func Wrap(kind Kind, origin, recipient uint64, body []byte) []byte {
	return Encode(Envelope{Magic: magic, Version: envelopeVersion, Kind: kind, Origin: origin, Recipient: recipient, Body: body})
}

// Unwrap reads an envelope strictly. It says nothing about the body yet.
func Unwrap(b []byte) (*Envelope, error) {
	if len(b) > MaxEnvelope {
		return nil, foreign("%d bytes, at most %d are allowed", len(b), MaxEnvelope)
	}
	// Magic and version first: everything after them is the version's own.
	var peek struct {
		Magic   string `cbor:"1,keyasint"`
		Version uint32 `cbor:"2,keyasint"`
	}
	err := peekMode.Unmarshal(b, &peek)
	switch {
	case errors.Is(err, io.ErrUnexpectedEOF):
		return nil, foreign("cut short, or not a file of this license manager")
	case peek.Magic != magic:
		return nil, foreign("not a file of this license manager")
	case err == nil && peek.Version != envelopeVersion:
		return nil, unknownVersion(fileName, peek.Version, envelopeVersion)
	}
	var e Envelope
	if err := Decode(fileName, b, MaxEnvelope, &e); err != nil {
		return nil, err
	}
	if err := e.check(); err != nil {
		return nil, err
	}
	return &e, nil
}

const fileName = "file"

func foreign(format string, args ...any) error {
	return &Error{fileName, LinkEnvelope, fmt.Sprintf(format, args...), nil}
}

// check accepts an outside that fits the envelope's kind.
func (e *Envelope) check() error {
	if e.Kind < KindPool || e.Kind > KindFingerprint {
		return &Error{fileName, LinkVersion, "unknown " + e.Kind.String(), nil}
	}
	enc, salt := 0, 0
	if e.Kind == KindLicense {
		enc, salt = sealKeySize, saltSize
	}
	switch {
	case len(e.Enc) != enc || len(e.Salt) != salt:
		return foreign("a %v with a sealing header of %d and %d bytes, want %d and %d", e.Kind, len(e.Enc), len(e.Salt), enc, salt)
	case (e.Kind == KindFingerprint) != (e.Origin == 0) || e.Origin != 0 && !validKey(e.Origin):
		return foreign("a %v from origin %d", e.Kind, e.Origin)
	case (e.Kind == KindPool) != (e.Recipient == 0) || e.Recipient != 0 && !ValidID(e.Recipient):
		return foreign("a %v for recipient %d", e.Kind, e.Recipient)
	}
	return nil
}

// Pool reads the pool license inside, as [ParsePool] does.
func (e *Envelope) Pool() (*Pool, error) {
	if err := e.is(KindPool); err != nil {
		return nil, err
	}
	p, err := ParsePool(e.Body)
	if err != nil {
		return nil, err
	}
	if err := e.agree(p.Head.Key, 0); err != nil {
		return nil, err
	}
	return p, nil
}

// License opens the sealed license inside and reads it, as [ParseLicense] does.
func (e *Envelope) License(key *SealKey) (*License, error) {
	body, err := e.OpenSealed(key)
	if err != nil {
		return nil, err
	}
	l, err := ParseLicense(body)
	if err != nil {
		return nil, err
	}
	if err := e.agree(l.Terms.Key, l.Terms.Recipient.ID); err != nil {
		return nil, err
	}
	return l, nil
}

// Return reads the return inside, as [ParseReturn] does.
func (e *Envelope) Return() (*Return, error) {
	if err := e.is(KindReturn); err != nil {
		return nil, err
	}
	r, err := ParseReturn(e.Body)
	if err != nil {
		return nil, err
	}
	if err := e.agree(r.terms.Key, r.terms.Recipient.ID); err != nil {
		return nil, err
	}
	return r, nil
}

// Fingerprint reads the fingerprint inside, as [ParseFingerprint] does.
func (e *Envelope) Fingerprint() (*Fingerprint, error) {
	if err := e.is(KindFingerprint); err != nil {
		return nil, err
	}
	f, err := ParseFingerprint(e.Body)
	if err != nil {
		return nil, err
	}
	if err := e.agree(0, f.Computer.ID); err != nil {
		return nil, err
	}
	return f, nil
}

func (e *Envelope) is(kind Kind) error {
	if e.Kind != kind {
		return foreign("a %v, want a %v", e.Kind, kind)
	}
	return nil
}

// agree holds the clear outside, which anybody can rewrite, against the signed
// document inside.
func (e *Envelope) agree(origin, recipient uint64) error {
	if e.Origin != origin || e.Recipient != recipient {
		return &Error{e.Kind.String(), LinkOutside, fmt.Sprintf("the file says from %d for %d, the document inside from %d for %d",
			e.Origin, e.Recipient, origin, recipient), nil}
	}
	return nil
}
