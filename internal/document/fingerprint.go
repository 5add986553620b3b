package document

import (
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

const fingerprintVersion = 1

func (f Fingerprint) payload() []byte {
	f.Signature = nil
	return Encode(f)
}

// SignFingerprint makes a fingerprint. computer.Sign must be signer's public half.
func SignFingerprint(signer crypto.Signer, computer Recipient, issued int64) (*Fingerprint, error) {
	f := Fingerprint{Version: fingerprintVersion, Computer: computer, Issued: issued}
	var err error
	if f.Signature, err = DomainFingerprint.Sign(signer, f.payload()); err != nil {
		return nil, err
	}
	return ParseFingerprint(Encode(f))
}

// ParseFingerprint reads a fingerprint strictly and checks that its own key signed it.
func ParseFingerprint(b []byte) (*Fingerprint, error) {
	const name = "fingerprint"
	var f Fingerprint
	if err := Decode(name, b, MaxFingerprint, &f); err != nil {
		return nil, err
	}
	if err := checkVersion(name, f.Version, fingerprintVersion); err != nil {
		return nil, err
	}
	if !ValidID(f.Computer.ID) {
		return nil, content(name, "%d is not a manager id", f.Computer.ID)
	}
	if f.Issued < 0 {
		return nil, content(name, "issued before 1970")
	}
	if err := f.Computer.check(name); err != nil {
		return nil, err
	}
	if !DomainFingerprint.Verify(f.Computer.Sign, f.payload(), f.Signature) {
		return nil, &Error{name, LinkFingerprint, "not signed by the key it names", nil}
	}
	return &f, nil
}

// Bytes is the fingerprint's encoding.
func (f *Fingerprint) Bytes() []byte { return Encode(f) }
