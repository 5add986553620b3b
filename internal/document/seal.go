package document

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/ecdh"
	"crypto/hpke"
	"crypto/rand"
	"fmt"
	"io"
	"sync"
)

// The HPKE suite (RFC 9180): DHKEM(X25519, HKDF-SHA256), HKDF-SHA256, and
// export only; bodies are sealed by AES-256-GCM under an exported secret.
func hpkeKEM() hpke.KEM { return hpke.DHKEM(ecdh.X25519()) }

const (
	exportLabel = "sojourn/seal/1"
	saltSize    = 32
	sealKeySize = 32 // of an X25519 public key and of what HPKE encapsulates
)

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

// canSealTo reports whether public is an X25519 key that keeps a secret: with a
// point of low order the shared secret is the same for everybody.
func canSealTo(public []byte) bool {
	key, err := ecdh.X25519().NewPublicKey(public)
	if err != nil {
		return false
	}
	// Every private key finds a point of low order out.
	probe := must(ecdh.X25519().NewPrivateKey(make([]byte, sealKeySize)))
	_, err = probe.ECDH(key)
	return err == nil
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
	public            [sealKeySize]byte
}

type sealContext struct {
	enc    []byte
	sender *hpke.Sender
}

// maxContexts bounds the contexts kept; a pool rarely knows more computers.
const maxContexts = 4096

// Seal encrypts a license, the only kind that is sealed, for the holder of the
// private half of public, an X25519 key of 32 bytes, and puts it into its
// envelope.
func (s *Sealer) Seal(kind Kind, origin, recipient uint64, public, body []byte) ([]byte, error) {
	e := Envelope{Magic: magic, Version: envelopeVersion, Kind: kind, Origin: origin, Recipient: recipient}
	if len(public) != sealKeySize {
		return nil, &Error{kind.String(), LinkSeal, fmt.Sprintf("the recipient's key has %d bytes, want %d", len(public), sealKeySize), nil}
	}
	c, err := s.context(e, public)
	if err != nil {
		return nil, &Error{kind.String(), LinkSeal, "the recipient's key is not one that can be sealed to", nil}
	}
	e.Enc = c.enc
	e.Salt = make([]byte, saltSize)
	rand.Read(e.Salt)
	if err := e.check(); err != nil {
		return nil, err
	}
	gcm, nonce, err := aead(c.sender, e.Salt)
	if err != nil {
		return nil, &Error{kind.String(), LinkSeal, "cannot derive a key", err}
	}
	e.Body = gcm.Seal(nil, nonce, body, e.header())
	return Encode(e), nil
}

func (s *Sealer) context(e Envelope, public []byte) (*sealContext, error) {
	to := sealTo{e.Kind, e.Origin, e.Recipient, [sealKeySize]byte(public)}
	s.mu.Lock()
	c := s.contexts[to]
	s.mu.Unlock()
	if c != nil {
		return c, nil
	}
	// Outside the lock: two callers may do this work twice, none waits for it.
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
	if len(s.contexts) >= maxContexts {
		for other := range s.contexts {
			delete(s.contexts, other)
			break
		}
	}
	c = &sealContext{enc, sender}
	s.contexts[to] = c
	return c, nil
}

// OpenSealed decrypts the body of a sealed envelope with the recipient's
// private key. HPKE cannot tell a wrong key from altered bytes.
func (e *Envelope) OpenSealed(private *SealKey) ([]byte, error) {
	if err := e.is(KindLicense); err != nil {
		return nil, err
	}
	var body []byte
	r, err := hpke.NewRecipient(e.Enc, private.key, hpke.HKDFSHA256(), hpke.ExportOnly(), e.info())
	if err == nil {
		body, err = e.open(r)
	}
	if err != nil {
		return nil, &Error{e.Kind.String(), LinkSeal, "altered, or not sealed to this computer's key", nil}
	}
	return body, nil
}

func (e *Envelope) open(r *hpke.Recipient) ([]byte, error) {
	gcm, nonce, err := aead(r, e.Salt)
	if err != nil {
		return nil, err
	}
	return gcm.Open(nil, nonce, e.Body, e.header())
}

// SealKey is the private key that licenses are sealed to. No verb of package
// fmt shows it. It is safe for concurrent use.
type SealKey struct{ key hpke.PrivateKey }

// Format implements [fmt.Formatter], so that no log gets the key.
func (SealKey) Format(s fmt.State, _ rune) { io.WriteString(s, "(private sealing key)") }

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
