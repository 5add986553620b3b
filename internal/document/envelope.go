package document

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/ecdh"
	"crypto/hpke"
	"crypto/rand"
	"fmt"
	"sync"
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
	Enc       []byte `cbor:"6,keyasint"` // HPKE encapsulated key, 32 bytes or empty
	Salt      []byte `cbor:"7,keyasint"` // 32 fresh random bytes or empty
	Body      []byte `cbor:"8,keyasint"`
}

const (
	magic           = "sojourn"
	envelopeVersion = 1
	saltSize        = 32
)

// Wrap puts a document that is not secret into its envelope.
func Wrap(kind Kind, origin, recipient uint64, body []byte) []byte {
	return Encode(Envelope{Magic: magic, Version: envelopeVersion, Kind: kind, Origin: origin, Recipient: recipient, Body: body})
}

// Unwrap reads an envelope strictly. It says nothing about the body yet.
func Unwrap(b []byte) (*Envelope, error) {
	const name = "file"
	var e Envelope
	if err := Decode(name, b, MaxEnvelope, &e); err != nil {
		return nil, &Error{name, LinkEnvelope, "not a Sojourn file, or cut short", err}
	}
	if e.Magic != magic {
		return nil, &Error{name, LinkEnvelope, "not a Sojourn file", nil}
	}
	if err := checkVersion(name, e.Version, envelopeVersion); err != nil {
		return nil, err
	}
	sealed := len(e.Enc) != 0 || len(e.Salt) != 0
	switch {
	case e.Kind < KindPool || e.Kind > KindFingerprint:
		return nil, &Error{name, LinkVersion, "unknown " + e.Kind.String(), nil}
	case sealed != (e.Kind == KindLicense):
		return nil, &Error{name, LinkEnvelope, "a license must be sealed and nothing else may be", nil}
	case sealed && (len(e.Enc) != 32 || len(e.Salt) != saltSize):
		return nil, &Error{name, LinkEnvelope, "bad sealing header", nil}
	}
	return &e, nil
}

// header is the associated data of the sealed body.
func (e Envelope) header() []byte {
	e.Body = nil
	return Encode(e)
}

// info is the HPKE info: what a context may be used for.
func (e Envelope) info() []byte {
	return Encode(struct {
		Magic     string `cbor:"1,keyasint"`
		Version   uint32 `cbor:"2,keyasint"`
		Kind      Kind   `cbor:"3,keyasint"`
		Origin    uint64 `cbor:"4,keyasint"`
		Recipient uint64 `cbor:"5,keyasint"`
	}{e.Magic, e.Version, e.Kind, e.Origin, e.Recipient})
}

// The HPKE suite (RFC 9180): DHKEM(X25519, HKDF-SHA256), HKDF-SHA256, and
// export only; bodies are sealed by AES-256-GCM under an exported secret.
func hpkeKEM() hpke.KEM { return hpke.DHKEM(ecdh.X25519()) }

const exportLabel = "sojourn/seal/1"

type exporter interface {
	Export(context string, length int) ([]byte, error)
}

// aead derives the one-time key and nonce for one body: 44 exported bytes, key
// then nonce, under a salt that is fresh for every sealing.
func aead(x exporter, salt []byte) (cipher.AEAD, []byte, error) {
	secret, err := x.Export(exportLabel+string(salt), 44)
	if err != nil {
		return nil, nil, err
	}
	block, err := aes.NewCipher(secret[:32])
	if err != nil {
		return nil, nil, err
	}
	gcm, err := cipher.NewGCM(block)
	return gcm, secret[32:], err
}

// Sealer seals licenses to their recipients. It keeps one HPKE context per
// pair of origin and recipient in memory, so the elliptic-curve work is done
// once per recipient. The zero Sealer is ready; it is safe for concurrent use.
type Sealer struct {
	mu       sync.Mutex
	contexts map[sealTo]*sealContext
}

// sealTo is what a context depends on.
type sealTo struct {
	kind              Kind
	origin, recipient uint64
	public            [32]byte
}

type sealContext struct {
	enc    []byte
	sender *hpke.Sender
}

// maxContexts bounds the contexts kept; a pool rarely knows more computers.
const maxContexts = 4096

// Seal encrypts body for the holder of the private half of public, an X25519
// key of 32 bytes.
func (s *Sealer) Seal(kind Kind, origin, recipient uint64, public, body []byte) ([]byte, error) {
	e := Envelope{Magic: magic, Version: envelopeVersion, Kind: kind, Origin: origin, Recipient: recipient}
	c, err := s.context(e, public)
	if err != nil {
		return nil, &Error{kind.String(), LinkSeal, "cannot seal to this recipient", err}
	}
	e.Enc = c.enc
	e.Salt = make([]byte, saltSize)
	rand.Read(e.Salt)
	gcm, nonce, err := aead(c.sender, e.Salt)
	if err != nil {
		return nil, &Error{kind.String(), LinkSeal, "cannot seal to this recipient", err}
	}
	e.Body = gcm.Seal(nil, nonce, body, e.header())
	return Encode(e), nil
}

func (s *Sealer) context(e Envelope, public []byte) (*sealContext, error) {
	to := sealTo{kind: e.Kind, origin: e.Origin, recipient: e.Recipient}
	copy(to.public[:], public)
	s.mu.Lock()
	c := s.contexts[to]
	s.mu.Unlock()
	if c != nil {
		return c, nil
	}
	pk, err := hpkeKEM().NewPublicKey(public)
	if err != nil {
		return nil, err
	}
	enc, sender, err := hpke.NewSender(pk, hpke.HKDFSHA256(), hpke.ExportOnly(), e.info())
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.contexts == nil {
		s.contexts = make(map[sealTo]*sealContext)
	}
	for old := range s.contexts {
		if len(s.contexts) < maxContexts {
			break
		}
		delete(s.contexts, old)
	}
	c = &sealContext{enc, sender}
	s.contexts[to] = c
	return c, nil
}

// OpenSealed decrypts the body of a sealed envelope with the recipient's
// private key.
func (e *Envelope) OpenSealed(private *SealKey) ([]byte, error) {
	fail := func(err error) ([]byte, error) {
		return nil, &Error{e.Kind.String(), LinkSeal, "does not open with this computer's key, or was altered", err}
	}
	r, err := hpke.NewRecipient(e.Enc, private.key, hpke.HKDFSHA256(), hpke.ExportOnly(), e.info())
	if err != nil {
		return fail(err)
	}
	gcm, nonce, err := aead(r, e.Salt)
	if err != nil {
		return fail(err)
	}
	body, err := gcm.Open(nil, nonce, e.Body, e.header())
	if err != nil {
		return fail(err)
	}
	return body, nil
}

// SealKey is the private key that licenses are sealed to. It is safe for
// concurrent use.
type SealKey struct{ key hpke.PrivateKey }

// NewSealKey derives the key pair from a secret of at least 32 random bytes.
func NewSealKey(secret []byte) (*SealKey, error) {
	if len(secret) < 32 {
		return nil, fmt.Errorf("sealing key: a secret of %d bytes, want at least 32", len(secret))
	}
	key, err := hpkeKEM().DeriveKeyPair(secret)
	if err != nil {
		return nil, err
	}
	return &SealKey{key}, nil
}

// Public is the X25519 public half, 32 bytes.
func (k *SealKey) Public() []byte { return k.key.PublicKey().Bytes() }
