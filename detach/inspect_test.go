package detach_test

import (
	"bytes"
	"crypto/ed25519"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/sojournlm/sojourn/detach"
	"github.com/sojournlm/sojourn/internal/code"
	"github.com/sojournlm/sojourn/internal/document"
)

const (
	fileVendor  = 1368487351
	fileKey     = 0x519175B8
	fileManager = 14314416473658448602
)

// carried is one file of each kind between a vendor, a key and a computer.
type carried struct {
	pool, license, ret, fingerprint detach.Buffer

	vendor, key, manager ed25519.PrivateKey
	seal                 *detach.SealKey
	trusted              map[uint32]ed25519.PublicKey
	open                 *document.License // what is sealed in license
}

func newKey(b byte) ed25519.PrivateKey {
	return ed25519.NewKeyFromSeed(bytes.Repeat([]byte{b}, ed25519.SeedSize))
}

func publicOf(k ed25519.PrivateKey) ed25519.PublicKey { return k.Public().(ed25519.PublicKey) }

func need[T any](t testing.TB, v T, err error) T {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func newCarried(t testing.TB) *carried {
	t.Helper()
	c := &carried{vendor: newKey(1), key: newKey(2), manager: newKey(3)}
	c.trusted = map[uint32]ed25519.PublicKey{fileVendor: publicOf(c.vendor)}
	seal, err := document.NewSealKey(bytes.Repeat([]byte{4}, 32))
	c.seal = need(t, seal, err)

	signed, err := document.SignPool(c.vendor, document.PoolHead{
		Key: fileKey, KeyPublic: publicOf(c.key), Vendor: fileVendor, Counter: 1, Issued: 1000, Binding: document.DefaultBinding(),
	}, []document.Feature{{ProductNumber: 16, FeatureNumber: 2, Name: "edit", Seats: 10, Detachable: true}})
	pool := need(t, signed, err)
	terms := document.Terms{
		License: 1<<40 + 5, Key: fileKey, Vendor: fileVendor, Counter: 1, Features: []document.FeatureRef{pool.Features[0].Ref()},
		Seats: 1, Issued: 2000, Duration: 60, Death: 2060,
		Recipient: document.Recipient{ID: fileManager, HostName: "B2291-PC", Sign: publicOf(c.manager), Seal: c.seal.Public()},
	}
	tree := document.NewTree([][]byte{terms.Encode()})
	header := document.Header{Seq: 1, Root: tree.Root(), Count: 1, Time: 2000, Horizon: 2060}.Encode()
	checkpoint := document.Checkpoint{Seq: 1, Head: document.Chain(document.Hash{}, header), Horizon: 2060}
	if err := checkpoint.Sign(c.key); err != nil {
		t.Fatal(err)
	}
	proof := document.Proof{Entry: terms.Encode(), Header: header, Horizon: 2060, Signature: checkpoint.Signature}
	open, err := document.NewLicense(pool, proof)
	c.open = need(t, open, err)
	ret, err := document.SignReturn(c.manager, proof, document.ReasonCancelled, 2010, 0)
	need(t, ret, err)
	print, err := document.SignFingerprint(c.manager, terms.Recipient, 1500)
	need(t, print, err)

	c.pool = document.Wrap(document.KindPool, fileKey, 0, pool.Bytes())
	c.ret = document.Wrap(document.KindReturn, fileKey, fileManager, ret.Bytes())
	c.fingerprint = document.Wrap(document.KindFingerprint, 0, fileManager, print.Bytes())
	c.license = c.sealTo(t, c.seal)
	return c
}

func (c *carried) sealTo(t testing.TB, key *detach.SealKey) detach.Buffer {
	t.Helper()
	var s document.Sealer
	file, err := s.Seal(document.KindLicense, fileKey, fileManager, key.Public(), c.open.Bytes())
	return need(t, file, err)
}

func TestInspect(t *testing.T) {
	c := newCarried(t)
	for _, f := range []struct {
		file detach.Buffer
		want detach.Info
	}{
		{c.pool, detach.Info{Kind: detach.KindPool, Origin: fileKey}},
		{c.license, detach.Info{Kind: detach.KindLicense, Origin: fileKey, Recipient: fileManager}},
		{c.ret, detach.Info{Kind: detach.KindReturn, Origin: fileKey, Recipient: fileManager}},
		{c.fingerprint, detach.Info{Kind: detach.KindFingerprint, Recipient: fileManager}},
	} {
		if got, err := detach.Inspect(f.file); err != nil || got != f.want {
			t.Errorf("%v, %v, want %v", got, err, f.want)
		}
	}
	for _, b := range []detach.Buffer{nil, []byte("a letter"), c.pool[:40]} {
		if info, err := detach.Inspect(b); detach.CodeOf(err) != code.InvalidParameter {
			t.Errorf("%q is %v, %v", b, info, err)
		}
	}
}

func TestOpen(t *testing.T) {
	c := newCarried(t)
	l, err := detach.Open(c.license, c.seal, c.trusted)
	if err != nil {
		t.Fatal(err)
	}
	if l.Terms.License != 1<<40+5 || l.Features[0].Name != "edit" || l.Head.Counter != 1 {
		t.Errorf("opened as %+v", l.Terms)
	}
	other, err := document.NewSealKey(bytes.Repeat([]byte{5}, 32))
	need(t, other, err)
	altered := bytes.Clone(c.license)
	altered[len(altered)-1] ^= 1
	for _, f := range []struct {
		name    string
		file    detach.Buffer
		key     *detach.SealKey
		trusted map[uint32]ed25519.PublicKey
		code    code.Code
		says    string
	}{
		{"another computer", c.license, other, c.trusted, code.InvalidDigest, "license: seal: altered, or not sealed to this computer's key"},
		{"altered", altered, c.seal, c.trusted, code.InvalidDigest, "license: seal: altered"},
		{"no vendor", c.license, c.seal, nil, code.InvalidDigest, "license: vendor signature: vendor DEMONVK (1368487351) is not trusted here"},
		{"another vendor", c.license, c.seal, map[uint32]ed25519.PublicKey{fileVendor: publicOf(c.key)}, code.InvalidDigest, "license: vendor signature: signed by vendor key"},
		{"a return", c.ret, c.seal, c.trusted, code.InvalidParameter, "file: envelope: a return, want a license"},
		{"no file", nil, c.seal, c.trusted, code.InvalidParameter, "file: envelope: not a file"},
	} {
		l, err := detach.Open(f.file, f.key, f.trusted)
		if l != nil || detach.CodeOf(err) != f.code || !strings.HasPrefix(err.Error(), f.says) {
			t.Errorf("%s: %v, %q (%v), want %v: %q", f.name, l, err, detach.CodeOf(err), f.code, f.says)
		}
	}
}

func TestVerify(t *testing.T) {
	c := newCarried(t)
	foreign := newCarried(t)
	foreign.pool = document.Wrap(document.KindPool, fileKey+1, 0, nil)
	broken := bytes.Clone(c.pool)
	broken[len(broken)-1] ^= 1
	for _, f := range []struct {
		name  string
		file  detach.Buffer
		pools []detach.Buffer
		says  string
	}{
		{"a pool", c.pool, nil, ""},
		{"a fingerprint", c.fingerprint, nil, ""},
		{"a return", c.ret, []detach.Buffer{foreign.pool, c.pool}, ""},
		{"a return and all that lies about", c.ret, []detach.Buffer{c.license, c.ret, []byte("a letter"), broken, c.pool}, ""},
		{"a return and an altered pool", c.ret, []detach.Buffer{c.license, broken}, "pool license: "},
		{"a return without its pool", c.ret, []detach.Buffer{foreign.pool}, "return: vendor signature: the pool license of its key 1368487352 is not at hand"},
		{"a return with a letter", c.ret, []detach.Buffer{[]byte("a letter")}, "file: envelope: not a file"},
		{"a license", c.license, nil, "license: seal: sealed; only its recipient can open it"},
		{"a letter", []byte("a letter"), nil, "file: envelope: not a file"},
	} {
		err := detach.Verify(f.file, c.trusted, f.pools...)
		if f.says == "" && err != nil || f.says != "" && (err == nil || !strings.HasPrefix(err.Error(), f.says)) {
			t.Errorf("%s: %v, want %q", f.name, err, f.says)
		}
	}
	if err := detach.Verify(c.pool, map[uint32]ed25519.PublicKey{fileVendor: nil}); detach.CodeOf(err) != code.InvalidDigest || !strings.Contains(err.Error(), "not trusted") {
		t.Errorf("a vendor without a key: %v", err)
	}
	if err := detach.Verify(c.pool, nil); detach.CodeOf(err) != code.InvalidDigest {
		t.Errorf("a pool of nobody's: %v", err)
	}
}

// What Verify lets pass it lets pass unaltered only.
func TestVerifyFindsEveryFlippedBit(t *testing.T) {
	c := newCarried(t)
	for _, file := range []detach.Buffer{c.pool, c.ret, c.fingerprint} {
		for bit := range len(file) * 8 {
			flipped := bytes.Clone(file)
			flipped[bit/8] ^= 1 << (bit % 8)
			err := detach.Verify(flipped, c.trusted, c.pool)
			if _, ok := errors.AsType[*detach.LinkError](err); !ok {
				t.Fatalf("bit %d flipped: %v", bit, err)
			}
		}
	}
}

func TestCodeOf(t *testing.T) {
	for _, c := range []struct {
		err  error
		want code.Code
	}{
		{nil, code.OK},
		{errors.New("anything"), code.InternalError},
		{fmt.Errorf("op: %w", code.FeatureExpired), code.FeatureExpired},
		{&detach.Refusal{Code: code.DetachForbidden}, code.DetachForbidden},
		{fmt.Errorf("op: %w", &detach.LinkError{Link: document.LinkVersion}), code.InvalidDigest},
		{&detach.LinkError{Link: document.LinkEnvelope}, code.InvalidParameter},
		{&detach.LinkError{Link: document.LinkEncoding}, code.InvalidParameter},
		{&detach.LinkError{Link: document.LinkContent}, code.InvalidParameter},
		{&detach.LinkError{Link: document.LinkOutside}, code.InvalidDigest},
		{&detach.LinkError{Link: document.LinkSeal}, code.InvalidDigest},
		{&detach.LinkError{Link: document.LinkVendor}, code.InvalidDigest},
		{&detach.LinkError{Link: document.LinkFeatures}, code.InvalidDigest},
		{&detach.LinkError{Link: document.LinkBatch}, code.InvalidDigest},
		{&detach.LinkError{Link: document.LinkCheckpoint}, code.InvalidDigest},
		{&detach.LinkError{Link: document.LinkRecipient}, code.InvalidDigest},
		{&detach.LinkError{Link: document.LinkFingerprint}, code.InvalidDigest},
	} {
		if got := detach.CodeOf(c.err); got != c.want {
			t.Errorf("%v: %v, want %v", c.err, got.Name(), c.want.Name())
		}
	}
}
