package document

import (
	"bytes"
	"fmt"
	"reflect"
	"testing"
)

// fuzz holds a parser to its round trip: what it takes it gives again byte for
// byte, and a second reading gives the same value.
func fuzz[T any](f *testing.F, parse func([]byte) (T, error), encode func(T) []byte, seeds ...[]byte) {
	for _, s := range seeds {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		v, err := parse(bytes.Clone(b))
		if err != nil {
			wantLink(t, err, anyLink...)
			return
		}
		again := encode(v)
		if !bytes.Equal(again, b) {
			t.Fatalf("read from\n%x\ngives\n%x", b, again)
		}
		if w, err := parse(again); err != nil || !reflect.DeepEqual(v, w) {
			t.Fatalf("read again as %+v, %v, was %+v", w, err, v)
		}
	})
}

func FuzzUnwrap(f *testing.F) {
	w := newWorld(f)
	var seeds [][]byte
	for _, file := range w.files(f) {
		seeds = append(seeds, file)
	}
	fuzz(f, Unwrap, func(e *Envelope) []byte { return Encode(e) }, seeds...)
}

func FuzzParsePool(f *testing.F) {
	fuzz(f, ParsePool, (*Pool).Bytes, newWorld(f).pool.Bytes())
}

// What managers take keys take too, and read the same of it.
func FuzzParsePoolOutline(f *testing.F) {
	parse := func(b []byte) (*PoolOutline, error) {
		o, err := ParsePoolOutline(b)
		p, strict := ParsePool(b)
		switch {
		case strict != nil:
		case err != nil:
			err = fmt.Errorf("a key refuses what managers take: %v", err)
		case o.Key != p.Head.Key || !bytes.Equal(o.KeyPublic, p.Head.KeyPublic) || o.Vendor != p.Head.Vendor || o.Counter != p.Head.Counter:
			err = fmt.Errorf("a key reads %+v, managers %+v", o, p.Head)
		}
		return o, err
	}
	fuzz(f, parse, (*PoolOutline).Bytes, newWorld(f).pool.Bytes())
}

func FuzzParsePoolHead(f *testing.F) {
	fuzz(f, func(b []byte) (PoolHead, error) { return SignedHead{Head: b}.Parse() },
		func(h PoolHead) []byte { return Encode(h) }, newWorld(f).pool.Signed.Head)
}

func FuzzParseFeature(f *testing.F) {
	var seeds [][]byte
	for _, feature := range testFeatures() {
		seeds = append(seeds, Encode(feature))
	}
	fuzz(f, func(b []byte) (Feature, error) { return parseFeature("feature", b) },
		func(v Feature) []byte { return Encode(v) }, seeds...)
}

func FuzzParseLicense(f *testing.F) {
	fuzz(f, ParseLicense, (*License).Bytes, newWorld(f).license.Bytes())
}

func FuzzParseTerms(f *testing.F) {
	fuzz(f, func(b []byte) (Terms, error) {
		_, body, err := ParseEntry(b)
		if err != nil {
			return Terms{}, err
		}
		if b[2] != 1 { // another kind of entry, whoever's it is
			return Terms{}, content("terms", "an entry of another kind")
		}
		return ParseTerms(body)
	}, Terms.Encode, newWorld(f).entries[1])
}

func FuzzParseReturn(f *testing.F) {
	fuzz(f, ParseReturn, (*Return).Bytes, newWorld(f).ret.Bytes())
}

func FuzzParseFingerprint(f *testing.F) {
	fuzz(f, ParseFingerprint, (*Fingerprint).Bytes, newWorld(f).fingerprint.Bytes())
}

func FuzzParseHeader(f *testing.F) {
	fuzz(f, ParseHeader, Header.Encode, newWorld(f).header)
}

func FuzzParseEntry(f *testing.F) {
	fuzz(f, func(b []byte) (Entry, error) {
		kind, body, err := ParseEntry(b)
		return Entry{kind, body}, err
	}, func(e Entry) []byte { return EncodeEntry(e.Kind, e.Body) }, newWorld(f).entries...)
}

func FuzzDecode(f *testing.F) {
	fuzz(f, func(b []byte) (sample, error) {
		var v sample
		err := Decode("sample", b, MaxEntry, &v)
		return v, err
	}, func(v sample) []byte { return Encode(v) }, join(parts()))
}

// FuzzProof looks for a proof that holds though it is not the signed one.
func FuzzProof(f *testing.F) {
	w := newWorld(f)
	f.Add(Encode(w.proof))
	f.Fuzz(func(t *testing.T, b []byte) {
		var p Proof
		if err := Decode("proof", b, MaxLicense, &p); err != nil {
			wantLink(t, err, LinkEncoding)
			return
		}
		if _, err := p.Verify("proof", public(w.key)); err == nil && !reflect.DeepEqual(p, w.proof) {
			t.Fatalf("%+v holds", p)
		}
	})
}

func BenchmarkParseLicense(b *testing.B) {
	raw := newWorld(b).license.Bytes()
	for b.Loop() {
		ok(ParseLicense(raw))(b)
	}
}

func BenchmarkVerifyLicense(b *testing.B) {
	w := newWorld(b)
	vendor := public(w.vendor)
	for b.Loop() {
		if err := w.license.Verify(vendor); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkNewLicense(b *testing.B) {
	w := newWorld(b)
	for b.Loop() {
		ok(NewLicense(w.pool, w.proof))(b)
	}
}

func BenchmarkParsePool(b *testing.B) {
	raw := newWorld(b).pool.Bytes()
	for b.Loop() {
		ok(ParsePool(raw))(b)
	}
}

func peerMessages(t testing.TB) (greeting, request *PeerRequest, answer *PeerAnswer) {
	t.Helper()
	w := newWorld(t)
	greeting = NewPeerGreeting(bytes.Repeat([]byte{5}, 32))
	request = ok(SignPeerRequest(w.manager, w.fingerprint, 3, public(w.key), bytes.Repeat([]byte{6}, 40), []byte("body")))(t)
	answer = ok(SignPeerAnswer(w.manager, w.fingerprint, request, PeerAnswer{Time: testIssued, Code: 3, Message: "no", Body: []byte{7}}))(t)
	return greeting, request, answer
}

func FuzzParsePeerRequest(f *testing.F) {
	greeting, request, _ := peerMessages(f)
	fuzz(f, ParsePeerRequest, (*PeerRequest).Bytes, greeting.Bytes(), request.Bytes())
}

func FuzzParsePeerAnswer(f *testing.F) {
	_, request, answer := peerMessages(f)
	fuzz(f, func(b []byte) (*PeerAnswer, error) { return ParsePeerAnswer(b, request) }, (*PeerAnswer).Bytes, answer.Bytes())
}
