package document

import (
	"bytes"
	"testing"
)

func TestUnwrapKinds(t *testing.T) {
	some := bytes.Repeat([]byte{1}, 32)
	good := Envelope{Magic: magic, Version: 1, Kind: KindReturn, Origin: testKey, Recipient: testManager, Body: []byte("x")}
	for _, c := range []struct {
		name string
		link Link
		edit func(*Envelope)
	}{
		{"another magic", LinkEnvelope, func(e *Envelope) { e.Magic = "sojourn2" }},
		{"no magic", LinkEnvelope, func(e *Envelope) { e.Magic = "" }},
		{"another version", LinkVersion, func(e *Envelope) { e.Version = 2 }},
		{"no version", LinkVersion, func(e *Envelope) { e.Version = 0 }},
		{"no kind", LinkVersion, func(e *Envelope) { e.Kind = 0 }},
		{"a newer kind", LinkVersion, func(e *Envelope) { e.Kind = 5 }},
		{"a sealed return", LinkEnvelope, func(e *Envelope) { e.Enc, e.Salt = some, some }},
		{"a salted return", LinkEnvelope, func(e *Envelope) { e.Salt = some }},
		{"an open license", LinkEnvelope, func(e *Envelope) { e.Kind = KindLicense }},
		{"a license without salt", LinkEnvelope, func(e *Envelope) { e.Kind, e.Enc = KindLicense, some }},
		{"a license with a long salt", LinkEnvelope, func(e *Envelope) { e.Kind, e.Enc, e.Salt = KindLicense, some, append(some, 1) }},
		{"a return from nowhere", LinkEnvelope, func(e *Envelope) { e.Origin = 0 }},
		{"a return from a long id", LinkEnvelope, func(e *Envelope) { e.Origin = 1 << 32 }},
		{"a return for nobody", LinkEnvelope, func(e *Envelope) { e.Recipient = 0 }},
		{"a return for no id", LinkEnvelope, func(e *Envelope) { e.Recipient = 1<<64 - 1 }},
		{"a pool for somebody", LinkEnvelope, func(e *Envelope) { e.Kind = KindPool }},
		{"a fingerprint from a key", LinkEnvelope, func(e *Envelope) { e.Kind = KindFingerprint }},
	} {
		t.Run(c.name, func(t *testing.T) {
			e := good
			c.edit(&e)
			_, err := Unwrap(Encode(e))
			wantLink(t, err, c.link)
		})
	}
	if _, err := Unwrap(Encode(good)); err != nil {
		t.Error(err)
	}
}

func TestUnwrapForeignFiles(t *testing.T) {
	for name, b := range map[string][]byte{
		"empty":     nil,
		"text":      []byte("-----BEGIN LICENSE-----"),
		"zip":       []byte("PK\x03\x04rest of it"),
		"an array":  {0x83, 1, 2, 3},
		"a number":  {1},
		"a big one": make([]byte, MaxEnvelope+1),
	} {
		t.Run(name, func(t *testing.T) {
			_, err := Unwrap(b)
			wantLink(t, err, LinkEnvelope)
		})
	}
}

// The outside is not signed, so it counts only where the inside says the same.
func TestOutsideMustAgreeWithInside(t *testing.T) {
	w := newWorld(t)
	var s Sealer
	for name, file := range map[string][]byte{
		"a pool for another key":              Wrap(KindPool, testKey+1, 0, w.pool.Bytes()),
		"a return to another key":             Wrap(KindReturn, testKey+1, testManager, w.ret.Bytes()),
		"a return from another computer":      Wrap(KindReturn, testKey, testManager+1, w.ret.Bytes()),
		"a fingerprint of another computer":   Wrap(KindFingerprint, 0, testManager+1, w.fingerprint.Bytes()),
		"a license resealed for another key":  ok(s.Seal(KindLicense, testKey+1, testManager, w.seal.Public(), w.license.Bytes()))(t),
		"a license resealed for someone else": ok(s.Seal(KindLicense, testKey, testManager+1, w.seal.Public(), w.license.Bytes()))(t),
	} {
		t.Run(name, func(t *testing.T) {
			_, err := w.accept(file)
			wantLink(t, err, LinkOutside)
		})
	}
}

func TestEnvelopeGivesNoOtherKind(t *testing.T) {
	w := newWorld(t)
	for name, file := range w.files(t) {
		e := ok(Unwrap(file))(t)
		for kind, open := range map[Kind]func() (bool, error){
			KindPool:        func() (bool, error) { v, err := e.Pool(); return v != nil, err },
			KindLicense:     func() (bool, error) { v, err := e.License(w.seal); return v != nil, err },
			KindReturn:      func() (bool, error) { v, err := e.Return(); return v != nil, err },
			KindFingerprint: func() (bool, error) { v, err := e.Fingerprint(); return v != nil, err },
		} {
			given, err := open()
			if given != (err == nil) || given != (kind == e.Kind) {
				t.Errorf("a %s opened as a %v: %v, %v", name, kind, given, err)
			}
		}
	}
}
