package document

import (
	"crypto"
	"crypto/ed25519"
)

// Reason says why a license came home.
type Reason uint32

// The reasons for a return.
const (
	ReasonCancelled Reason = 1 // the user gave it back
)

// Return gives a license back to its origin. It carries the proof that the
// origin issued the license, so an origin that has long forgotten the license
// still tells its own from a foreign one.
type Return struct {
	Version   uint32 `cbor:"1,keyasint"`
	Proof     Proof  `cbor:"2,keyasint"` // of the license's terms
	Reason    Reason `cbor:"3,keyasint"`
	At        int64  `cbor:"4,keyasint"` // when, by the recipient's clock, Unix seconds
	Until     int64  `cbor:"5,keyasint"` // end of the last living grant, 0 where none lives; at most the death time
	Signature []byte `cbor:"6,keyasint"` // by the recipient's manager

	terms Terms
}

const returnVersion = 1

func (r Return) payload() []byte {
	r.Signature = nil
	return Encode(r)
}

// SignReturn makes the return of a license.
func SignReturn(recipient crypto.Signer, proof Proof, reason Reason, at, until int64) (*Return, error) {
	r := Return{Version: returnVersion, Proof: proof, Reason: reason, At: at, Until: until}
	var err error
	if r.Signature, err = DomainReturn.Sign(recipient, r.payload()); err != nil {
		return nil, err
	}
	return ParseReturn(r.Bytes())
}

// ParseReturn reads a return strictly, without judging its signatures.
func ParseReturn(b []byte) (*Return, error) {
	const name = "return"
	var r Return
	err := decodeVersion(name, b, MaxReturn, &r, &r.Version, returnVersion)
	if err != nil {
		return nil, err
	}
	if r.terms, err = proofTerms(name, r.Proof); err != nil {
		return nil, err
	}
	switch {
	case r.Reason != ReasonCancelled:
		return nil, content(name, "unknown reason %d", r.Reason)
	case r.Until < 0 || r.Until > r.terms.Death:
		return nil, content(name, "grants until %d do not fit a license that dies at %d", r.Until, r.terms.Death)
	}
	if err := checkTime(name, "time", r.At); err != nil {
		return nil, err
	}
	return &r, nil
}

// Terms are those of the license that is given back.
func (r *Return) Terms() Terms { return r.terms }

// Bytes is the return's encoding.
func (r *Return) Bytes() []byte { return Encode(r) }

// Verify checks that the key with that public half issued the license and that
// the license's recipient signed the return.
func (r *Return) Verify(key ed25519.PublicKey) error {
	if _, err := r.Proof.Verify("return", key); err != nil {
		return err
	}
	if !DomainReturn.Verify(r.terms.Recipient.Sign, r.payload(), r.Signature) {
		return &Error{"return", LinkRecipient, "altered, or not signed by the computer the license was for", nil}
	}
	return nil
}
