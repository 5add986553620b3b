package detach

import (
	"crypto"
	"crypto/ed25519"
	"errors"
	"fmt"
	"io"

	"github.com/sojournlm/sojourn/internal/document"
)

// Identity is who a manager is: its id and its keys, which belong to its data
// and not to the hardware. It is immutable and safe for concurrent use. No way
// of formatting or encoding it shows a secret.
type Identity struct {
	ID   uint64            // lmsId, 2^32 to 2^53
	Sign crypto.Signer     // Ed25519: signs returns and the manager's own fingerprint
	Seal *document.SealKey // opens what is sealed to this manager

	entry func() []byte // the ledger's entry; a function, so that it cannot be printed
}

// NewIdentity makes an identity from random bytes.
func NewIdentity(random io.Reader) (*Identity, error) {
	var b started
	for tries := 0; ; tries++ {
		if tries == 16 {
			return nil, errors.New("identity: the random source repeats itself")
		}
		var id [8]byte
		for _, secret := range [][]byte{id[:], b.Sign[:], b.Seal[:]} {
			if _, err := io.ReadFull(random, secret); err != nil {
				return nil, fmt.Errorf("identity: %w", err)
			}
		}
		for _, octet := range id {
			b.ID = b.ID<<8 | uint64(octet)
		}
		b.ID &= 1<<53 - 1
		if b.check() == nil && b.Sign != b.Seal {
			return b.identity()
		}
	}
}

// check refuses ids that no manager can have.
func (b *started) check() error {
	if b.ID < 1<<32 || b.ID >= 1<<53 || !document.ValidID(uint64(document.ShortID(b.ID))) {
		return fmt.Errorf("%d is not a manager id", b.ID)
	}
	return nil
}

// identity parses the keys, once.
func (b started) identity() (*Identity, error) {
	if err := b.check(); err != nil {
		return nil, err
	}
	seal, err := document.NewSealKey(b.Seal[:])
	if err != nil {
		return nil, fmt.Errorf("identity: %w", err)
	}
	key := ed25519.NewKeyFromSeed(b.Sign[:])
	return &Identity{
		ID:    b.ID,
		Sign:  &hiddenSigner{key.Public(), key.Sign},
		Seal:  seal,
		entry: func() []byte { return document.EncodeEntry(entryStarted, b) },
	}, nil
}

// Public is the public half of Sign.
func (i *Identity) Public() ed25519.PublicKey { return i.Sign.Public().(ed25519.PublicKey) }

// hiddenSigner keeps the private key inside a function, where printing does not
// reach.
type hiddenSigner struct {
	public crypto.PublicKey
	sign   func(io.Reader, []byte, crypto.SignerOpts) ([]byte, error)
}

func (s *hiddenSigner) Public() crypto.PublicKey { return s.public }

func (s *hiddenSigner) Sign(random io.Reader, message []byte, opts crypto.SignerOpts) ([]byte, error) {
	return s.sign(random, message, opts)
}
