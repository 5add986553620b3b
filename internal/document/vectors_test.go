package document

import (
	"bytes"
	"crypto/ed25519"
	"crypto/hpke"
	"encoding/hex"
	"encoding/json"
	"flag"
	"os"
	"testing"
	"testing/cryptotest"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "write testdata/vectors.json anew")

const vectorsFile = "testdata/vectors.json"

// vectors are one of everything, for programs in other languages. All values
// are hexadecimal; documents.cddl says what they are.
type vectors struct {
	Keys struct {
		VendorSeed      string `json:"vendor_seed"`
		VendorPublic    string `json:"vendor_public"`
		KeySeed         string `json:"key_seed"`
		KeyPublic       string `json:"key_public"`
		RecipientSeed   string `json:"recipient_seed"`
		RecipientPublic string `json:"recipient_public"`
		SealSecret      string `json:"seal_secret"`
		SealPrivate     string `json:"seal_private"`
		SealPublic      string `json:"seal_public"`
	} `json:"keys"`
	Documents struct {
		PoolLicense string `json:"pool_license"`
		License     string `json:"license"`
		Return      string `json:"return"`
		Fingerprint string `json:"fingerprint"`
		Entry       string `json:"entry"`
		Header      string `json:"header"`
		Checkpoint  string `json:"checkpoint"`
		Proof       string `json:"proof"`
		PeerRequest string `json:"peer_request"`
		PeerAnswer  string `json:"peer_answer"`
	} `json:"documents"`
	Signed struct {
		PoolLicense string `json:"pool_license"`
		Checkpoint  string `json:"checkpoint"`
		Return      string `json:"return"`
		Fingerprint string `json:"fingerprint"`
		PeerRequest string `json:"peer_request"`
		PeerAnswer  string `json:"peer_answer"`
	} `json:"signed_messages"`
	Hashes struct {
		FeatureRoot string `json:"feature_root"`
		BatchRoot   string `json:"batch_root"`
		HeadBefore  string `json:"head_before"`
		HeadAfter   string `json:"head_after"`
	} `json:"hashes"`
	Files struct {
		PoolLicense string `json:"pool_license"`
		Return      string `json:"return"`
		Fingerprint string `json:"fingerprint"`
	} `json:"files"`
	Sealing struct {
		File     string `json:"file"`
		Info     string `json:"info"`
		Enc      string `json:"enc"`
		Salt     string `json:"salt"`
		Exported string `json:"exported_key_and_nonce"`
		Aad      string `json:"aad"`
	} `json:"sealing"`
}

// vectors describes the world; sealed is a license of it in its envelope.
func (w *world) vectors(t *testing.T, sealed []byte) vectors {
	t.Helper()
	x := hex.EncodeToString
	e := ok(Unwrap(sealed))(t)
	r := ok(hpke.NewRecipient(e.Enc, w.seal.key, hpke.HKDFSHA256(), hpke.ExportOnly(), e.info()))(t)
	var v vectors
	v.Keys.VendorSeed, v.Keys.VendorPublic = x(w.vendor.Seed()), x(public(w.vendor))
	v.Keys.KeySeed, v.Keys.KeyPublic = x(w.key.Seed()), x(public(w.key))
	v.Keys.RecipientSeed, v.Keys.RecipientPublic = x(w.manager.Seed()), x(public(w.manager))
	v.Keys.SealSecret, v.Keys.SealPublic = x(w.secret), x(w.seal.Public())
	v.Keys.SealPrivate = x(ok(w.seal.key.Bytes())(t))

	v.Documents.PoolLicense = x(w.pool.Bytes())
	v.Documents.License = x(w.license.Bytes())
	v.Documents.Return = x(w.ret.Bytes())
	v.Documents.Fingerprint = x(w.fingerprint.Bytes())
	v.Documents.Entry = x(w.entries[1])
	v.Documents.Header = x(w.header)
	v.Documents.Checkpoint = x(Encode(w.checkpoint))
	v.Documents.Proof = x(Encode(w.proof))

	_, request, answer := peerMessages(t)
	v.Documents.PeerRequest, v.Documents.PeerAnswer = x(request.Bytes()), x(answer.Bytes())
	v.Signed.PeerRequest = x(DomainPeerRequest.message(request.payload()))
	v.Signed.PeerAnswer = x(DomainPeerAnswer.message(answer.payload()))

	v.Signed.PoolLicense = x(DomainPool.message(w.pool.Signed.Head))
	v.Signed.Checkpoint = x(DomainCheckpoint.message(w.checkpoint.payload()))
	v.Signed.Return = x(DomainReturn.message(w.ret.payload()))
	v.Signed.Fingerprint = x(DomainFingerprint.message(w.fingerprint.payload()))

	v.Hashes.FeatureRoot = x(w.pool.Head.FeatureRoot[:])
	root := NewTree(w.entries).Root()
	v.Hashes.BatchRoot = x(root[:])
	v.Hashes.HeadBefore = x(w.prev[:])
	v.Hashes.HeadAfter = x(w.checkpoint.Head[:])

	files := w.files(t)
	v.Files.PoolLicense = x(files["pool license"])
	v.Files.Return = x(files["return"])
	v.Files.Fingerprint = x(files["fingerprint"])

	v.Sealing.File = x(sealed)
	v.Sealing.Info = x(e.info())
	v.Sealing.Enc, v.Sealing.Salt = x(e.Enc), x(e.Salt)
	v.Sealing.Exported = x(ok(r.Export(exportLabel+string(e.Salt), 44))(t))
	v.Sealing.Aad = x(e.header())
	return v
}

// TestVectors holds the encodings to the recorded ones: a change that this test
// notices makes files in the field unreadable and needs a new version.
func TestVectors(t *testing.T) {
	w := newWorld(t)
	if *update {
		cryptotest.SetGlobalRandom(t, 1)
		text := ok(json.MarshalIndent(w.vectors(t, w.sealed(t)), "", "  "))(t)
		if err := os.WriteFile(vectorsFile, append(text, '\n'), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	var recorded vectors
	if err := json.Unmarshal(ok(os.ReadFile(vectorsFile))(t), &recorded); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(recorded, w.vectors(t, unhex(t, recorded.Sealing.File))); diff != "" {
		t.Errorf("documents are not what they were (-recorded +now); -update records them anew\n%s", diff)
	}
}

// TestRecordedDocuments reads the recorded documents with nothing but the
// recorded public keys and the recipient's secret.
func TestRecordedDocuments(t *testing.T) {
	var v vectors
	if err := json.Unmarshal(ok(os.ReadFile(vectorsFile))(t), &v); err != nil {
		t.Fatal(err)
	}
	vendor, key := ed25519.PublicKey(unhex(t, v.Keys.VendorPublic)), ed25519.PublicKey(unhex(t, v.Keys.KeyPublic))
	seal := ok(NewSealKey(unhex(t, v.Keys.SealSecret)))(t)

	pool := ok(ok(Unwrap(unhex(t, v.Files.PoolLicense)))(t).Pool())(t)
	license := ok(ok(Unwrap(unhex(t, v.Sealing.File)))(t).License(seal))(t)
	ret := ok(ok(Unwrap(unhex(t, v.Files.Return)))(t).Return())(t)
	fingerprint := ok(ok(Unwrap(unhex(t, v.Files.Fingerprint)))(t).Fingerprint())(t)
	for name, err := range map[string]error{
		"pool license": pool.Verify(vendor),
		"license":      license.Verify(vendor),
		"return":       ret.Verify(key),
	} {
		if err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	var checkpoint Checkpoint
	if err := Decode("checkpoint", unhex(t, v.Documents.Checkpoint), MaxHeader, &checkpoint); err != nil || !checkpoint.Verify(key) {
		t.Errorf("checkpoint: %v", err)
	}
	for name, c := range map[string]struct {
		recorded string
		now      []byte
	}{
		"pool license": {v.Documents.PoolLicense, pool.Bytes()},
		"license":      {v.Documents.License, license.Bytes()},
		"return":       {v.Documents.Return, ret.Bytes()},
		"fingerprint":  {v.Documents.Fingerprint, fingerprint.Bytes()},
		"entry":        {v.Documents.Entry, license.Terms.Encode()},
		"header":       {v.Documents.Header, ok(ParseHeader(license.Proof().Header))(t).Encode()},
		"checkpoint":   {v.Documents.Checkpoint, Encode(checkpoint)},
		"proof":        {v.Documents.Proof, Encode(license.Proof())},
	} {
		if !bytes.Equal(c.now, unhex(t, c.recorded)) {
			t.Errorf("%s: encoded again as\n%x\nrecorded is\n%s", name, c.now, c.recorded)
		}
	}
}

func unhex(t *testing.T, s string) []byte { return ok(hex.DecodeString(s))(t) }
