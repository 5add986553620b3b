package document

import (
	"crypto"
	"crypto/ed25519"
	"fmt"
)

// Domain separates signatures of one kind of document from all others.
type Domain string

// The domains of all signatures. A number at the end changes with the meaning
// of what is signed.
const (
	DomainPool        Domain = "sojourn/pool/1"
	DomainCheckpoint  Domain = "sojourn/checkpoint/1"
	DomainReturn      Domain = "sojourn/return/1"
	DomainFingerprint Domain = "sojourn/fingerprint/1"
	DomainPeerRequest Domain = "sojourn/peer-request/1"
	DomainPeerAnswer  Domain = "sojourn/peer-answer/1"
)

// message is what is signed: the domain, a zero byte and the payload.
func (d Domain) message(payload []byte) []byte {
	m := make([]byte, 0, len(d)+1+len(payload))
	m = append(m, d...)
	m = append(m, 0)
	return append(m, payload...)
}

// Sign signs payload within the domain. The signer's key must be Ed25519
// (RFC 8032, pure); it may live in an HSM.
func (d Domain) Sign(signer crypto.Signer, payload []byte) ([]byte, error) {
	if _, ok := signer.Public().(ed25519.PublicKey); !ok {
		return nil, fmt.Errorf("%s: the signer's key is %T, want Ed25519", d, signer.Public())
	}
	sig, err := signer.Sign(nil, d.message(payload), crypto.Hash(0))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", d, err)
	}
	return sig, nil
}

// Verify reports whether sig is public's signature of payload in the domain.
func (d Domain) Verify(public ed25519.PublicKey, payload, sig []byte) bool {
	return len(public) == ed25519.PublicKeySize && ed25519.Verify(public, d.message(payload), sig)
}
