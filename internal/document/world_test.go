package document

import (
	"bytes"
	"crypto/ed25519"
	"testing"
)

// world is one of every document, made from fixed keys: a vendor's pool for a
// key, a batch in which that key detached a license to a computer, the license,
// its return and the computer's fingerprint.
type world struct {
	vendor, key, manager ed25519.PrivateKey
	secret               []byte // the recipient's sealing secret
	seal                 *SealKey

	pool        *Pool
	terms       Terms
	entries     [][]byte
	prev        Hash
	header      []byte
	checkpoint  Checkpoint
	proof       Proof
	license     *License
	ret         *Return
	fingerprint *Fingerprint
}

const (
	testKey     = 0x519175B8
	testLicense = 1<<40 + 0x6D4A9F30
	testManager = 14314416473658448602
	testIssued  = 1772323200
	testDeath   = testIssued + 3600
)

func seed(b byte) ed25519.PrivateKey {
	return ed25519.NewKeyFromSeed(bytes.Repeat([]byte{b}, ed25519.SeedSize))
}

func public(k ed25519.PrivateKey) ed25519.PublicKey { return k.Public().(ed25519.PublicKey) }

func newWorld(t testing.TB) *world {
	t.Helper()
	w := &world{vendor: seed(1), key: seed(2), manager: seed(3), secret: bytes.Repeat([]byte{4}, 32)}
	w.seal = ok(NewSealKey(w.secret))(t)
	w.pool = ok(SignPool(w.vendor, testHead(public(w.key)), testFeatures()))(t)
	w.terms = Terms{
		License: testLicense, Revision: 1, Key: testKey, Vendor: 1368487351, Counter: 3,
		Features: []FeatureRef{w.pool.Features[1].Ref(), w.pool.Features[2].Ref()},
		Seats:    1, Issued: testIssued, Duration: 3600, Death: testDeath,
		Recipient: w.computer(),
		Request:   RequestKey{Key: Hash{1}, Request: Hash{2}},
	}
	w.entries = [][]byte{
		EncodeEntry(77, "a fact of the rules"),
		w.terms.Encode(),
		EncodeEntry(78, uint64(5)),
	}
	w.prev = Hash{9, 9, 9}
	w.batch(t, w.key)
	w.license = ok(NewLicense(w.pool, w.proof))(t)
	w.ret = ok(SignReturn(w.manager, w.proof, ReasonCancelled, testIssued+600, testIssued+660))(t)
	w.fingerprint = ok(SignFingerprint(w.manager, w.computer(), testIssued-1000))(t)
	return w
}

// batch signs w.entries with key and proves the second of them.
func (w *world) batch(t testing.TB, key ed25519.PrivateKey) {
	t.Helper()
	tree := NewTree(w.entries)
	w.header = Header{
		Seq: 42, Root: tree.Root(), Count: uint64(len(w.entries)), Time: testIssued, Horizon: testDeath, Rules: 1,
		Witness: Witness{Seq: 7, Head: Hash{7}},
	}.Encode()
	w.checkpoint = Checkpoint{Seq: 42, Head: Chain(w.prev, w.header), Horizon: testDeath + 5}
	if err := w.checkpoint.Sign(key); err != nil {
		t.Fatal(err)
	}
	w.proof = Proof{
		Entry: w.entries[1], Index: 1, Path: tree.Prove(1), Prev: w.prev, Header: w.header,
		Horizon: w.checkpoint.Horizon, Signature: w.checkpoint.Signature,
	}
}

func (w *world) computer() Recipient {
	return Recipient{
		ID: testManager, HostName: "B2291-PC", Sign: public(w.manager), Seal: w.seal.Public(),
		Components: []Component{{"CPU", Hash{1, 2}}, {ComponentMachine, Hash{3, 4}}},
	}
}

func (w *world) sealed(t testing.TB) []byte {
	t.Helper()
	var s Sealer
	return ok(s.Seal(KindLicense, testKey, testManager, w.seal.Public(), w.license.Bytes()))(t)
}

// files are all kinds of files people carry.
func (w *world) files(t testing.TB) map[string][]byte {
	return map[string][]byte{
		"pool license": Wrap(KindPool, testKey, 0, w.pool.Bytes()),
		"license":      w.sealed(t),
		"return":       Wrap(KindReturn, testKey, testManager, w.ret.Bytes()),
		"fingerprint":  Wrap(KindFingerprint, 0, testManager, w.fingerprint.Bytes()),
	}
}

// accept does with a file what a license manager does, and gives the document
// inside once its whole chain holds.
func (w *world) accept(file []byte) (any, error) {
	e, err := Unwrap(file)
	if err != nil {
		return nil, err
	}
	switch e.Kind {
	case KindPool:
		p, err := e.Pool()
		if err != nil {
			return nil, err
		}
		return p.Bytes(), p.Verify(public(w.vendor))
	case KindLicense:
		l, err := e.License(w.seal)
		if err != nil {
			return nil, err
		}
		return l.Bytes(), l.Verify(public(w.vendor))
	case KindReturn:
		r, err := e.Return()
		if err != nil {
			return nil, err
		}
		return r.Bytes(), r.Verify(public(w.key))
	}
	f, err := e.Fingerprint()
	if err != nil {
		return nil, err
	}
	return f.Bytes(), nil
}

func testHead(key ed25519.PublicKey) PoolHead {
	return PoolHead{
		Key: testKey, KeyPublic: key, Vendor: 1368487351, Counter: 3, Issued: testIssued - 86400,
		Binding: Binding{
			Rules:      []BindingRule{{"CPU", 1, true}, {ComponentMachine, 2, false}},
			MaxChanges: 1,
		},
		MaxDuration: 30 * 86400,
	}
}

func testFeatures() []Feature {
	return []Feature{
		{ProductNumber: 4, ProductName: "Viewer", FeatureNumber: 1, Name: "view", Seats: 100, RemoteMode: 3},
		{ProductNumber: 16, ProductName: "Drafting", FeatureNumber: 2, Name: "edit", Seats: 10, RemoteMode: 3, Detachable: true, ValidUpTo: testDeath * 2},
		{ProductNumber: 16, ProductName: "Drafting", FeatureNumber: 4, Name: "чертёж", Seats: 5, RemoteMode: 1, ConsumptionMode: 2, Detachable: true, VMForbidden: true},
		{ProductNumber: 16, Modification: 1, ProductName: "Drafting+", FeatureNumber: 2, Name: "edit", MaxRuns: 100, RDPForbidden: true},
		{ProductNumber: 29, ProductName: "test_detach_29", FeatureNumber: 4, Name: "test net", Seats: MaxSeats, ValidFrom: 1, RemoteMode: 2},
	}
}

// ok gives the value of a call that must not fail.
func ok[T any](v T, err error) func(testing.TB) T {
	return func(t testing.TB) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}
