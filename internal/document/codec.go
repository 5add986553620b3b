// Package document holds the encodings of everything that is signed, hashed,
// sealed or carried: pool licenses, detached licenses, returns, fingerprints,
// checkpoints and the headers of a ledger's batches.
//
// The encoding is deterministic CBOR (RFC 8949, section 4.2.1): integer map
// keys, shortest forms, no indefinite lengths, no tags. A document is accepted
// only if encoding what was decoded gives the same bytes again, so every
// document has exactly one encoding and a signature covers exactly one meaning.
// documents.cddl beside this file describes every document (RFC 8610).
//
// Nothing here performs I/O or reads a clock. Values are plain data and safe
// for concurrent use as long as nobody writes to them, except [Sealer], which
// is safe for concurrent use.
package document

import (
	"bytes"
	"fmt"

	"github.com/fxamacker/cbor/v2"
)

// Limits on the encoded size of documents in bytes, checked before decoding.
const (
	MaxPool        = 64 << 10
	MaxLicense     = 512 << 10
	MaxReturn      = 32 << 10
	MaxFingerprint = 8 << 10
	MaxEnvelope    = MaxLicense + 1<<10
	MaxHeader      = 512
	MaxText        = 255 // a name or a host name
)

var (
	encMode = must(cbor.EncOptions{
		Sort:          cbor.SortCoreDeterministic,
		IndefLength:   cbor.IndefLengthForbidden,
		TagsMd:        cbor.TagsForbidden,
		NilContainers: cbor.NilContainerAsEmpty,
	}.EncMode())
	decMode = must(cbor.DecOptions{
		DupMapKey:         cbor.DupMapKeyEnforcedAPF,
		IndefLength:       cbor.IndefLengthForbidden,
		TagsMd:            cbor.TagsForbidden,
		ExtraReturnErrors: cbor.ExtraDecErrorUnknownField,
		MaxNestedLevels:   8,
		MaxArrayElements:  4096,
		MaxMapPairs:       64,
		UTF8:              cbor.UTF8RejectInvalid,
	}.DecMode())
)

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

// Encode gives the deterministic CBOR of one of this module's own values. It
// panics on a value that has no encoding, which is a mistake in the program.
func Encode(v any) []byte {
	return must(encMode.Marshal(v))
}

// Decode reads b into v and refuses anything but the deterministic encoding
// of a complete value of v's type, without unknown fields. name is the
// document's name in the error and limit its largest size in bytes.
func Decode(name string, b []byte, limit int, v any) error {
	if len(b) > limit {
		return &Error{name, LinkEncoding, fmt.Sprintf("%d bytes, at most %d are allowed", len(b), limit), nil}
	}
	if err := decMode.Unmarshal(b, v); err != nil {
		return &Error{name, LinkEncoding, "malformed", err}
	}
	again, err := encMode.Marshal(v)
	if err != nil {
		return &Error{name, LinkEncoding, "malformed", err}
	}
	if !bytes.Equal(again, b) {
		return &Error{name, LinkEncoding, "not in deterministic form", nil}
	}
	return nil
}

// Link names the part of a document's chain that an [Error] is about.
type Link string

// The links of a chain, from the outside in.
const (
	LinkEnvelope    Link = "envelope"            // not one of our files at all
	LinkVersion     Link = "version"             // made by a newer program
	LinkEncoding    Link = "encoding"            // bytes that are not a document
	LinkContent     Link = "content"             // fields that contradict each other or their range
	LinkSeal        Link = "seal"                // does not open with this computer's key, or was altered
	LinkVendor      Link = "vendor signature"    // pool license not signed by the trusted vendor key
	LinkFeatures    Link = "feature proof"       // a feature that is not in the vendor's signed list
	LinkBatch       Link = "inclusion proof"     // terms that are not in the signed batch
	LinkCheckpoint  Link = "key signature"       // batch not signed by the key the vendor certified
	LinkRecipient   Link = "recipient signature" // return not signed by the license's recipient
	LinkFingerprint Link = "fingerprint signature"
)

// Error says which document, which link of its chain and why.
type Error struct {
	Document string
	Link     Link
	Reason   string
	Err      error // the cause, or nil
}

func (e *Error) Error() string {
	s := e.Document + ": " + string(e.Link) + ": " + e.Reason
	if e.Err != nil {
		s += ": " + e.Err.Error()
	}
	return s
}

func (e *Error) Unwrap() error { return e.Err }

// checkVersion refuses a version this program does not know, by name.
func checkVersion(name string, got, known uint32) error {
	if got != known {
		return &Error{name, LinkVersion, fmt.Sprintf("version %d, this program knows version %d", got, known), nil}
	}
	return nil
}

func content(name, format string, args ...any) error {
	return &Error{name, LinkContent, fmt.Sprintf(format, args...), nil}
}

type cborRawMessage = cbor.RawMessage
