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
	"errors"
	"fmt"
	"io"

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

	// peekMode reads single fields of documents that may be newer than this
	// program: it skips what it does not know without keeping it.
	peekMode = must(cbor.DecOptions{}.DecMode())
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
// document's name in the error and limit its largest size in bytes. After an
// error v is not to be used.
func Decode(name string, b []byte, limit int, v any) error {
	if len(b) > limit {
		return malformed(name, fmt.Sprintf("%d bytes, at most %d are allowed", len(b), limit))
	}
	if err := decMode.Unmarshal(b, v); err != nil {
		return malformed(name, describe(err))
	}
	// The decoder takes longer forms, unsorted maps and null for a zero value;
	// a value's own encoding has none of them.
	again, err := encMode.Marshal(v)
	if err != nil || !bytes.Equal(again, b) {
		return malformed(name, "not in deterministic form")
	}
	return nil
}

// decodeVersion is [Decode] for a document with a version in field 1, which v
// keeps in *got. A document of another version is refused by that version,
// whatever else this program does not understand in it.
func decodeVersion(name string, b []byte, limit int, v any, got *uint32, known uint32) error {
	if err := Decode(name, b, limit, v); err != nil {
		var peek struct {
			Version *uint32 `cbor:"1,keyasint"`
		}
		if len(b) <= MaxEnvelope && peekMode.Unmarshal(b, &peek) == nil && peek.Version != nil && *peek.Version != known {
			return unknownVersion(name, *peek.Version, known)
		}
		return err
	}
	if *got != known {
		return unknownVersion(name, *got, known)
	}
	return nil
}

// describe says in words why the decoder refused: its own texts speak of Go
// types to people who hold a file.
func describe(err error) string {
	switch {
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return "ends too early"
	case is[*cbor.ExtraneousDataError](err):
		return "goes on after its end"
	case is[*cbor.UnknownFieldError](err):
		return "has an unknown field"
	case is[*cbor.DupMapKeyError](err):
		return "has a field twice"
	case is[*cbor.UnmarshalTypeError](err):
		return "has a field of a wrong type or out of range"
	case is[*cbor.MaxNestedLevelError](err), is[*cbor.MaxArrayElementsError](err), is[*cbor.MaxMapPairsError](err):
		return "nested too deep or has too many elements"
	case is[*cbor.IndefiniteLengthError](err), is[*cbor.TagsMdError](err):
		return "not in deterministic form"
	}
	return "malformed"
}

func is[T error](err error) bool {
	_, ok := errors.AsType[T](err)
	return ok
}

type cborRawMessage = cbor.RawMessage
