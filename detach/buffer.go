package detach

import (
	"encoding/base64"
	"fmt"

	"github.com/sojournlm/sojourn/internal/document"
)

// Buffer is a file that people carry: a vendor's pool license, a detached
// license, a return or a fingerprint in its envelope. [Inspect] tells which.
// Its text form is standard base64 (RFC 4648, section 4), which is also how it
// stands in JSON.
type Buffer []byte

// String is the text form.
func (b Buffer) String() string { return base64.StdEncoding.EncodeToString(b) }

// MarshalText implements [encoding.TextMarshaler]. It never fails.
func (b Buffer) MarshalText() ([]byte, error) {
	return base64.StdEncoding.AppendEncode(nil, b), nil
}

// UnmarshalText implements [encoding.TextUnmarshaler]. Line breaks are skipped:
// mail programs add them. What is inside is for [Inspect] to judge.
func (b *Buffer) UnmarshalText(text []byte) error {
	// A line break after every few characters does not make a file too long.
	if most := 2 * base64.StdEncoding.EncodedLen(document.MaxEnvelope); len(text) > most {
		return notText(fmt.Sprintf("%d characters, at most %d are allowed", len(text), most))
	}
	raw, err := base64.StdEncoding.Strict().AppendDecode(nil, text)
	if err != nil {
		return notText("not base64")
	}
	*b = raw
	return nil
}

func notText(reason string) error {
	return &document.Error{Document: "file", Link: document.LinkEnvelope, Reason: reason}
}
