package detach

import (
	"crypto/ed25519"
	"encoding/binary"
	"errors"
	"fmt"
	"testing"

	"github.com/sojournlm/sojourn/internal/code"
	"github.com/sojournlm/sojourn/internal/document"
	"github.com/sojournlm/sojourn/internal/ledger"
)

// fataler is what a [world] needs of a test, so that property tests can give
// their own.
type fataler interface {
	Helper()
	Fatalf(format string, args ...any)
}

// world is a pool with the least of a ledger around it: batches are signed by
// the key, so that proofs and returns are real.
type world struct {
	t      fataler
	pool   *Pool
	now    int64
	seq    uint64
	head   document.Hash
	ids    uint64
	proofs map[uint64]document.Proof // by license
	log    []logged                  // every entry so far
	vendor ed25519.PrivateKey
	key    ed25519.PrivateKey
}

// logged is an entry with its position.
type logged struct {
	at    ledger.Position
	entry []byte
}

const (
	keyID      = 1368487351
	vendorCode = 0x519175b7 // DEMONVK
	start      = int64(1_700_000_000)
)

func privateKey(n uint64) ed25519.PrivateKey {
	seed := make([]byte, ed25519.SeedSize)
	binary.BigEndian.PutUint64(seed, n)
	return ed25519.NewKeyFromSeed(seed)
}

func publicOf(k ed25519.PrivateKey) ed25519.PublicKey { return k.Public().(ed25519.PublicKey) }

// newWorld is a world whose pool has no license yet.
func newWorld(t fataler) *world {
	w := &world{
		t: t, now: start, ids: 1 << 40, proofs: map[uint64]document.Proof{},
		vendor: privateKey(1), key: privateKey(2),
	}
	w.pool = NewPool(w.trust(0))
	return w
}

func (w *world) trust(skew int64) Trust {
	return Trust{Key: keyID, Public: publicOf(w.key), Skew: skew, Vendor: func(c uint32) ed25519.PublicKey {
		if c != vendorCode {
			return nil
		}
		return publicOf(w.vendor)
	}}
}

// worldOf is a world with a first pool license of those features.
func worldOf(t fataler, features ...document.Feature) *world {
	w := newWorld(t)
	w.update(w.license(1, features...))
	return w
}

// license is a pool license by the world's vendor for the world's key.
func (w *world) license(counter uint64, features ...document.Feature) *document.Pool {
	return w.signed(document.PoolHead{Counter: counter}, features...)
}

func (w *world) signed(head document.PoolHead, features ...document.Feature) *document.Pool {
	w.t.Helper()
	head.Key, head.KeyPublic, head.Vendor = keyID, publicOf(w.key), vendorCode
	return sign(w.t, w.vendor, head, features...)
}

func sign(t fataler, vendor ed25519.PrivateKey, head document.PoolHead, features ...document.Feature) *document.Pool {
	t.Helper()
	p, err := document.SignPool(vendor, head, features)
	if err != nil {
		t.Fatalf("signing a pool license: %v", err)
	}
	return p
}

// feature is a detachable feature of product 16.
func feature(number, seats uint32) document.Feature {
	return document.Feature{
		ProductNumber: 16, ProductName: "CAD", FeatureNumber: number, Name: fmt.Sprintf("tool %d", number),
		Seats: seats, RemoteMode: 3, Detachable: true,
	}
}

func ref(number uint32) document.FeatureRef {
	return document.FeatureRef{ProductNumber: 16, FeatureNumber: number}
}

// pc is recipient number n, and its key.
func pc(n int) document.Recipient {
	return document.Recipient{
		ID: uint64(1000 + n), HostName: fmt.Sprintf("PC-%d", n),
		Sign: publicOf(pcKey(n)), Seal: publicOf(privateKey(uint64(5000 + n))),
	}
}

func pcKey(n int) ed25519.PrivateKey { return privateKey(uint64(1000 + n)) }

func request(n int, duration int64, numbers ...uint32) DetachRequest {
	r := DetachRequest{Seats: 1, Duration: duration, Recipient: pc(n)}
	for _, f := range numbers {
		r.Features = append(r.Features, Selector{ProductNumber: 16, FeatureNumber: f})
	}
	return r
}

func (w *world) newID() uint64 {
	w.ids++
	return w.ids
}

// settle lets everything happen that is due, as the ledger does before it asks.
func (w *world) settle() {
	if due := w.pool.Due(w.now); due != nil {
		w.commit(due)
	}
}

// commit makes a signed batch of entries. Each is judged on its way, as after a
// crash, and folded into a clone, as the ledger does.
func (w *world) commit(entries [][]byte) {
	w.t.Helper()
	next := w.pool.Clone()
	w.seq++
	for i, e := range entries {
		at := ledger.Position{Seq: w.seq, Index: i, Time: w.now, Rules: 1}
		if err := next.Judge(at, e); err != nil {
			w.t.Fatalf("judging an entry of our own: %v", err)
		}
		if err := next.Apply(at, e); err != nil {
			w.t.Fatalf("applying an entry of our own: %v", err)
		}
	}
	for i, e := range entries {
		w.log = append(w.log, logged{ledger.Position{Seq: w.seq, Index: i, Time: w.now, Rules: 1}, e})
	}
	w.pool = next
	tree := document.NewTree(entries)
	header := document.Header{
		Seq: w.seq, Root: tree.Root(), Count: uint64(len(entries)), Time: w.now, Horizon: w.pool.Horizon(), Rules: 1,
	}.Encode()
	prev := w.head
	w.head = document.Chain(prev, header)
	checkpoint := document.Checkpoint{Seq: w.seq, Head: w.head, Horizon: w.pool.Horizon()}
	if err := checkpoint.Sign(w.key); err != nil {
		w.t.Fatalf("signing a checkpoint: %v", err)
	}
	for i, e := range entries {
		kind, body, _ := document.ParseEntry(e)
		if kind != entryDetached {
			continue
		}
		terms, _ := document.ParseTerms(body)
		w.proofs[terms.License] = document.Proof{
			Entry: e, Index: uint64(i), Path: tree.Prove(i), Prev: prev, Header: header,
			Horizon: checkpoint.Horizon, Signature: checkpoint.Signature,
		}
	}
}

func (w *world) update(license *document.Pool) {
	w.t.Helper()
	entries, err := w.pool.Update(license, document.RequestKey{})
	if err != nil {
		w.t.Fatalf("update: %v", err)
	}
	w.commit(entries)
}

func (w *world) detach(r DetachRequest, policy Policy) (Detached, error) {
	w.t.Helper()
	w.settle()
	d, err := w.pool.Detach(r, policy, w.now, w.newID)
	if err == nil && d.Entry != nil {
		w.commit([][]byte{d.Entry})
	}
	return d, err
}

func (w *world) mustDetach(r DetachRequest) document.Terms {
	w.t.Helper()
	d, err := w.detach(r, Policy{})
	if err != nil {
		w.t.Fatalf("detach: %v", err)
	}
	return d.Terms
}

// giveBack is the return that computer n makes of a license.
func (w *world) giveBack(n int, license uint64, until int64) *document.Return {
	w.t.Helper()
	r, err := document.SignReturn(pcKey(n), w.proofs[license], document.ReasonCancelled, w.now, until)
	if err != nil {
		w.t.Fatalf("making a return: %v", err)
	}
	return r
}

func (w *world) install(r *document.Return) error {
	w.t.Helper()
	if err := r.Verify(publicOf(w.key)); err != nil {
		w.t.Fatalf("verifying a return: %v", err)
	}
	w.settle()
	entries, err := w.pool.Return(r, document.RequestKey{}, w.now)
	if err == nil {
		w.commit(entries)
	}
	return err
}

func (w *world) free(number uint32) int {
	w.t.Helper()
	w.settle()
	s, ok := w.pool.Feature(ref(number))
	if !ok {
		w.t.Fatalf("feature %d is not in the pool", number)
	}
	return int(s.Free)
}

// wantCode checks that err is a refusal with that code and nothing else.
func wantCode(t testing.TB, err error, want code.Code) *Refusal {
	t.Helper()
	var r *Refusal
	if !errors.As(err, &r) {
		t.Fatalf("got %v, want a refusal with code %d", err, uint32(want))
	}
	if r.Code != want || !errors.Is(err, want) || r.Message == "" {
		t.Fatalf("refused with %d (%s), want %d (%s)", uint32(r.Code), r, uint32(want), want.Name())
	}
	return r
}
