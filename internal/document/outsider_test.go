package document_test

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/ecdh"
	"crypto/ed25519"
	"crypto/hkdf"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"os"
	"testing"

	"github.com/fxamacker/cbor/v2"
)

// TestOutsiderChecksALicense follows the prose of documents.cddl with none of
// this package's code, as a program in another language has to: it opens the
// recorded license and walks its chain up to the vendor's key.
func TestOutsiderChecksALicense(t *testing.T) {
	var v struct {
		Keys    map[string]string
		Sealing map[string]string
	}
	text, err := os.ReadFile("testdata/vectors.json")
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(text, &v); err != nil {
		t.Fatal(err)
	}
	o := outsider{t}

	// 1. The envelope and its seal.
	e := o.fields(o.hex(v.Sealing["file"]))
	if e[1] != "sojourn" || e[2] != uint64(1) || e[3] != uint64(2) {
		t.Fatalf("not a license: %v", e)
	}
	license := o.fields(o.unseal(e, o.hex(v.Keys["seal_private"])))

	// 2. The vendor's signature.
	signed := o.sub(license[2])
	head := o.fields(o.bytes(signed[1]))
	o.signature("sojourn/pool/1", o.hex(v.Keys["vendor_public"]), o.bytes(signed[1]), o.bytes(signed[2]))

	// 3. The features.
	for _, f := range license[3].([]any) {
		leaf := o.sub(f)
		o.included(o.bytes(head[11]), head[10].(uint64), leaf[2].(uint64), o.encode(leaf[1]), o.bytes(leaf[3]))
	}

	// 4. The terms in their batch.
	proof := o.sub(license[4])
	entry, header := o.fields(o.bytes(proof[1])), o.fields(o.bytes(proof[5]))
	if entry[1] != uint64(1) {
		t.Fatalf("an entry of kind %v", entry[1])
	}
	o.included(o.bytes(header[3]), header[4].(uint64), proof[2].(uint64), o.bytes(proof[1]), o.bytes(proof[3]))

	// 5. The key's signature.
	chained := sha256.Sum256(bytes.Join([][]byte{[]byte("sojourn/head/1\x00"), o.bytes(proof[4]), o.bytes(proof[5])}, nil))
	checkpoint := o.encode(map[int]any{1: header[2], 2: chained[:], 3: proof[6], 4: []byte{}})
	o.signature("sojourn/checkpoint/1", o.bytes(head[3]), checkpoint, o.bytes(proof[7]))

	// 6. The times.
	terms := o.sub(entry[2])
	death := terms[12].(uint64)
	if proof[6].(uint64) < header[6].(uint64) || header[6].(uint64) < death || death != terms[10].(uint64)+terms[11].(uint64) {
		t.Errorf("times do not add up: %v", terms)
	}

	// 7. What names the same.
	recipient := o.sub(terms[13])
	if terms[5] != head[2] || terms[6] != head[4] || terms[7] != head[6] || e[4] != terms[5] || e[5] != recipient[1] {
		t.Errorf("names do not agree: %v", terms)
	}
	for i, f := range license[3].([]any) {
		feature, ref := o.sub(o.sub(f)[1]), o.sub(terms[8].([]any)[i])
		if feature[1] != ref[1] || feature[2] != ref[2] || feature[4] != ref[3] {
			t.Errorf("feature %d is %v, the terms name %v", i, feature, ref)
		}
	}
}

// outsider has what other languages have: CBOR without types, and RFCs.
type outsider struct{ t *testing.T }

func (o outsider) hex(s string) []byte {
	o.t.Helper()
	b, err := hex.DecodeString(s)
	if err != nil || len(b) == 0 {
		o.t.Fatalf("%q: %v", s, err)
	}
	return b
}

func (o outsider) fields(b []byte) map[uint64]any {
	o.t.Helper()
	var m map[uint64]any
	if err := cbor.Unmarshal(b, &m); err != nil {
		o.t.Fatal(err)
	}
	if again := o.encode(m); !bytes.Equal(again, b) {
		o.t.Fatalf("%x is not deterministic, want %x", b, again)
	}
	return m
}

func (o outsider) sub(v any) map[uint64]any { return o.fields(o.encode(v)) }

func (o outsider) bytes(v any) []byte { return v.([]byte) }

func (o outsider) encode(v any) []byte {
	o.t.Helper()
	mode, err := cbor.CoreDetEncOptions().EncMode()
	if err != nil {
		o.t.Fatal(err)
	}
	b, err := mode.Marshal(v)
	if err != nil {
		o.t.Fatal(err)
	}
	return b
}

func (o outsider) signature(domain string, public, payload, sig []byte) {
	o.t.Helper()
	if !ed25519.Verify(public, append([]byte(domain+"\x00"), payload...), sig) {
		o.t.Errorf("%s: no signature", domain)
	}
}

// included is RFC 9162, section 2.1.3.2.
func (o outsider) included(root []byte, size, index uint64, leaf, path []byte) {
	o.t.Helper()
	fn, sn, r := index, size-1, sha256.Sum256(append([]byte{0}, leaf...))
	for ; len(path) > 0; path = path[32:] {
		if fn&1 == 1 || fn == sn {
			r = sha256.Sum256(bytes.Join([][]byte{{1}, path[:32], r[:]}, nil))
			for fn&1 == 0 && fn != 0 {
				fn, sn = fn>>1, sn>>1
			}
		} else {
			r = sha256.Sum256(bytes.Join([][]byte{{1}, r[:], path[:32]}, nil))
		}
		fn, sn = fn>>1, sn>>1
	}
	if sn != 0 || !bytes.Equal(r[:], root) {
		o.t.Errorf("leaf %d of %d is not included", index, size)
	}
}

// unseal is HPKE's base mode (RFC 9180, sections 4.1, 5.1 and 5.3) and what
// documents.cddl makes of it.
func (o outsider) unseal(e map[uint64]any, private []byte) []byte {
	o.t.Helper()
	enc, salt := o.bytes(e[6]), o.bytes(e[7])
	key, err := ecdh.X25519().NewPrivateKey(private)
	if err != nil {
		o.t.Fatal(err)
	}
	sender, err := ecdh.X25519().NewPublicKey(enc)
	if err != nil {
		o.t.Fatal(err)
	}
	dh, err := key.ECDH(sender)
	if err != nil {
		o.t.Fatal(err)
	}
	kem := labeled{o.t, "KEM\x00\x20"}
	shared := kem.expand(kem.extract(nil, "eae_prk", dh), "shared_secret", append(bytes.Clone(enc), key.PublicKey().Bytes()...), 32)

	suite := labeled{o.t, "HPKE\x00\x20\x00\x01\xff\xff"}
	info := o.encode(map[int]any{1: e[1], 2: e[2], 3: e[3], 4: e[4], 5: e[5]})
	context := bytes.Join([][]byte{{0}, suite.extract(nil, "psk_id_hash", nil), suite.extract(nil, "info_hash", info)}, nil)
	exporter := suite.expand(suite.extract(shared, "secret", nil), "exp", context, 32)
	secret := suite.expand(exporter, "sec", append([]byte("sojourn/seal/1"), salt...), 44)

	block, err := aes.NewCipher(secret[:32])
	if err != nil {
		o.t.Fatal(err)
	}
	gcm, err := cipher.NewGCM(block)
	if err != nil {
		o.t.Fatal(err)
	}
	aad := o.encode(map[int]any{1: e[1], 2: e[2], 3: e[3], 4: e[4], 5: e[5], 6: enc, 7: salt, 8: []byte{}})
	license, err := gcm.Open(nil, secret[32:], o.bytes(e[8]), aad)
	if err != nil {
		o.t.Fatal(err)
	}
	return license
}

// labeled is LabeledExtract and LabeledExpand of RFC 9180, section 4.
type labeled struct {
	t     *testing.T
	suite string
}

func (l labeled) extract(salt []byte, label string, key []byte) []byte {
	prk, err := hkdf.Extract(sha256.New, append([]byte("HPKE-v1"+l.suite+label), key...), salt)
	if err != nil {
		l.t.Fatal(err)
	}
	return prk
}

func (l labeled) expand(prk []byte, label string, info []byte, n int) []byte {
	whole := binary.BigEndian.AppendUint16(nil, uint16(n))
	whole = append(append(whole, "HPKE-v1"+l.suite+label...), info...)
	out, err := hkdf.Expand(sha256.New, prk, string(whole), n)
	if err != nil {
		l.t.Fatal(err)
	}
	return out
}
