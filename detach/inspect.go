package detach

import (
	"cmp"
	"crypto/ed25519"
	"errors"
	"fmt"

	"github.com/sojournlm/sojourn/internal/code"
	"github.com/sojournlm/sojourn/internal/document"
)

// Kind is the kind of document in a [Buffer]. Its String reads like "return".
type Kind = document.Kind

// The kinds of files people carry.
const (
	KindPool        = document.KindPool        // vendor to key
	KindLicense     = document.KindLicense     // origin to recipient, sealed
	KindReturn      = document.KindReturn      // recipient to origin
	KindFingerprint = document.KindFingerprint // a computer to whoever may detach to it
)

// License is a detached license: what its origin's key signed (Terms), the
// certificate of that key (Head) and the features as the vendor signed them.
// It is plain data that nobody writes to once it is made.
type License = document.License

// Feature is one licensed feature with its product, as the vendor signed it.
type Feature = document.Feature

// SealKey is the private key of a license manager that licenses are sealed to.
type SealKey = document.SealKey

// LinkError says which document is broken, at which link of its chain, and why.
type LinkError = document.Error

// Info is what the outside of a file says, in clear and unproven: anybody can
// rewrite it. [Open] and [Verify] hold it against the document inside.
type Info struct {
	Kind      Kind
	Origin    uint64 // id of the key (dongleId), 0 in a fingerprint
	Recipient uint64 // id of the license manager (lmsId), 0 in a pool license
}

// Inspect tells what a file is and between whom, without any key. A file of
// something else, or of a newer version, is a [*LinkError].
func Inspect(b Buffer) (Info, error) {
	e, err := document.Unwrap(b)
	if err != nil {
		return Info{}, err
	}
	return Info{e.Kind, e.Origin, e.Recipient}, nil
}

// Open opens a detached license with its recipient's private key and checks the
// whole chain up to its vendor: seal, vendor's signature, features, key's
// signature, terms. vendors are the trusted public keys by public code. The
// first link that fails is named by a [*LinkError]. Whether the license is
// still alive, and on the right hardware, is not asked.
func Open(b Buffer, key *SealKey, vendors map[uint32]ed25519.PublicKey) (*License, error) {
	e, err := document.Unwrap(b)
	if err != nil {
		return nil, err
	}
	l, err := e.License(key)
	if err != nil {
		return nil, err
	}
	vendor, err := trusted("license", vendors[l.Head.Vendor], l.Head.Vendor)
	if err != nil {
		return nil, err
	}
	if err := l.Verify(vendor); err != nil {
		return nil, err
	}
	return l, nil
}

// Verify is for support desks and the tools of vendors: it checks the chain of
// a file that is not sealed and names the first link that fails, by a
// [*LinkError]. A pool license is checked up to its vendor, a fingerprint by
// itself, a return through the pool license of its origin, which must be among
// pools, in any order: what else is there is passed over. A detached license is for its recipient's eyes: see [Open].
func Verify(b Buffer, vendors map[uint32]ed25519.PublicKey, pools ...Buffer) error {
	e, err := document.Unwrap(b)
	if err != nil {
		return err
	}
	switch e.Kind {
	case KindPool:
		_, err = verifyPool(e, vendors)
	case KindFingerprint:
		_, err = e.Fingerprint()
	case KindReturn:
		err = verifyReturn(e, vendors, pools)
	default:
		err = &LinkError{Document: e.Kind.String(), Link: document.LinkSeal, Reason: "sealed; only its recipient can open it"}
	}
	return err
}

func verifyPool(e *document.Envelope, vendors map[uint32]ed25519.PublicKey) (*document.Pool, error) {
	p, err := e.Pool()
	if err != nil {
		return nil, err
	}
	vendor, err := trusted("pool license", vendors[p.Head.Vendor], p.Head.Vendor)
	if err != nil {
		return nil, err
	}
	return p, p.Verify(vendor)
}

func verifyReturn(e *document.Envelope, vendors map[uint32]ed25519.PublicKey, pools []Buffer) error {
	r, err := e.Return()
	if err != nil {
		return err
	}
	var bad error
	for _, b := range pools {
		outside, err := document.Unwrap(b)
		if err != nil {
			bad = cmp.Or(bad, err)
			continue
		}
		if outside.Kind != KindPool || outside.Origin != r.Terms().Key {
			continue
		}
		p, err := verifyPool(outside, vendors)
		if err == nil {
			err = r.Verify(p.Head.KeyPublic)
		}
		if err == nil {
			return nil
		}
		bad = cmp.Or(bad, err)
	}
	if bad != nil {
		return bad
	}
	return &LinkError{Document: "return", Link: document.LinkVendor, Reason: fmt.Sprintf("the pool license of its key %d is not at hand", r.Terms().Key)}
}

// trusted gives the key of a vendor, or says that it is not trusted: it is nil then.
func trusted(name string, key ed25519.PublicKey, publicCode uint32) (ed25519.PublicKey, error) {
	if key != nil {
		return key, nil
	}
	return nil, &LinkError{Document: name, Link: document.LinkVendor,
		Reason: fmt.Sprintf("vendor %s (%d) is not trusted here", code.PublicCodeText(publicCode), publicCode)}
}

// CodeOf is the status code of an error from reading or checking documents:
// InvalidParameter for what is not a document of this library, InvalidDigest
// for one that does not open, does not verify or is of an unknown version. An
// error that wraps a code has that code; any other is an InternalError, and
// none at all is OK.
func CodeOf(err error) code.Code {
	if err == nil {
		return code.OK
	}
	if c, ok := errors.AsType[code.Code](err); ok {
		return c
	}
	link, ok := errors.AsType[*LinkError](err)
	if !ok {
		return code.InternalError
	}
	switch link.Link {
	case document.LinkEnvelope, document.LinkEncoding, document.LinkContent:
		return code.InvalidParameter
	}
	return code.InvalidDigest
}
