package document

import (
	"cmp"
	"crypto"
)

// Fingerprint is what a computer says of itself so that seats can be detached
// to it: who its manager is, and salted hashes of its hardware.
type Fingerprint struct {
	Version   uint32    `cbor:"1,keyasint"`
	Computer  Recipient `cbor:"2,keyasint"`
	Issued    int64     `cbor:"3,keyasint"` // Unix seconds
	Signature []byte    `cbor:"4,keyasint"` // by the manager's own key
}

const (
	fingerprintName    = "fingerprint"
	fingerprintVersion = 1
)

func (f Fingerprint) payload() []byte {
	f.Signature = nil
	return Encode(f)
}

// SignFingerprint makes a fingerprint. computer.Sign must be signer's public half.
func SignFingerprint(signer crypto.Signer, computer Recipient, issued int64) (*Fingerprint, error) {
	f := Fingerprint{Version: fingerprintVersion, Computer: computer, Issued: issued}
	if err := f.check(); err != nil {
		return nil, err
	}
	var err error
	if f.Signature, err = DomainFingerprint.Sign(signer, f.payload()); err != nil {
		return nil, err
	}
	return ParseFingerprint(f.Bytes())
}

// ParseFingerprint reads a fingerprint strictly and checks that its own key signed it.
func ParseFingerprint(b []byte) (*Fingerprint, error) {
	var f Fingerprint
	if err := decodeVersion(fingerprintName, b, MaxFingerprint, &f, &f.Version, fingerprintVersion); err != nil {
		return nil, err
	}
	if err := f.check(); err != nil {
		return nil, err
	}
	if !DomainFingerprint.Verify(f.Computer.Sign, f.payload(), f.Signature) {
		return nil, &Error{fingerprintName, LinkFingerprint, "altered, or not signed by the key it names", nil}
	}
	return &f, nil
}

func (f Fingerprint) check() error {
	if err := cmp.Or(checkTime(fingerprintName, "issue time", f.Issued), f.Computer.check(fingerprintName)); err != nil {
		return err
	}
	// Found out here, before a seat is taken for a license that cannot be sealed.
	if !canSealTo(f.Computer.Seal) {
		return content(fingerprintName, "nothing can be sealed to the computer's key")
	}
	return nil
}

// Bytes is the fingerprint's encoding.
func (f *Fingerprint) Bytes() []byte { return Encode(f) }
