package detach

import (
	"bytes"
	"crypto/ed25519"
	"fmt"

	"github.com/sojournlm/sojourn/internal/document"
	"github.com/sojournlm/sojourn/internal/ledger"
)

// localWorld is a manager's own state with the least of a ledger around it, and
// the keys elsewhere that issue licenses to it. Every batch is judged before it
// is applied, so that what the rules make always passes for genuine.
type localWorld struct {
	t     fataler
	state *Local
	now   int64
	seq   uint64
}

// newLocalWorld is a manager that has just started for the first time.
func newLocalWorld(t fataler) *localWorld {
	t.Helper()
	w := &localWorld{t: t, state: NewLocal(trustOne), now: start}
	w.must(w.state.Start(testIdentity(t, 1)))
	return w
}

func trustOne(publicCode uint32) ed25519.PublicKey {
	if publicCode != vendorCode {
		return nil
	}
	return publicOf(privateKey(1))
}

// testIdentity is an identity that is always the same for the same n.
func testIdentity(t fataler, n byte) *Identity {
	t.Helper()
	random := make([]byte, 72)
	for i := range random {
		random[i] = n + byte(i)
	}
	id, err := NewIdentity(bytes.NewReader(random))
	if err != nil {
		t.Fatalf("identity: %v", err)
	}
	return id
}

func (w *localWorld) position(index int) ledger.Position {
	return ledger.Position{Seq: w.seq, Index: index, Time: w.now, Rules: 1}
}

// fold commits entries as a ledger does: what is due goes first.
func (w *localWorld) fold(entries [][]byte) error {
	if len(entries) == 0 {
		return nil
	}
	next := w.state.Clone()
	w.seq++
	for i, e := range append(next.Due(w.now), entries...) {
		if err := next.Judge(w.position(i), e); err != nil {
			return fmt.Errorf("judged: %w", err)
		}
		if err := next.Apply(w.position(i), e); err != nil {
			return fmt.Errorf("applied: %w", err)
		}
	}
	if err := next.Check(); err != nil {
		return fmt.Errorf("checked: %w", err)
	}
	w.state = next
	return nil
}

// must folds entries that a rule made.
func (w *localWorld) must(entries [][]byte, err error) {
	w.t.Helper()
	if err == nil {
		err = w.fold(entries)
	}
	if err != nil {
		w.t.Fatalf("at %d: %v", w.now-start, err)
	}
}

// me is the recipient that licenses for this manager name.
func (w *localWorld) me() document.Recipient { return recipientOf(w.state.Identity()) }

func recipientOf(id *Identity) document.Recipient {
	return document.Recipient{ID: id.ID, HostName: "laptop", Sign: id.Public(), Seal: id.Seal.Public()}
}

// issue is a license of one feature, 8, from key number origin, for an hour
// from now, except for what change says.
func (w *localWorld) issue(origin, id uint64, change ...func(*document.Terms)) *document.License {
	w.t.Helper()
	t := document.Terms{
		License: 1<<40 + id, Revision: 1, Seats: 1, Issued: w.now, Duration: 3600, Recipient: w.me(),
		Features: []document.FeatureRef{ref(8)},
	}
	for _, c := range change {
		c(&t)
	}
	t.Key, t.Vendor, t.Counter, t.Death = originID(origin), vendorCode, 1, t.Issued+t.Duration
	head := document.PoolHead{Key: t.Key, KeyPublic: publicOf(originKey(origin)), Vendor: vendorCode, Counter: 1}
	return seal(w.t, sign(w.t, privateKey(1), head, feature(7, 5), feature(8, 5)), originKey(origin), t)
}

func originID(n uint64) uint64 { return 100 + n }

func originKey(n uint64) ed25519.PrivateKey { return privateKey(100 + n) }

// seal makes the license of terms, signed by key in a batch of its own.
func seal(t fataler, pool *document.Pool, key ed25519.PrivateKey, terms document.Terms) *document.License {
	t.Helper()
	entry := terms.Encode()
	tree := document.NewTree([][]byte{entry})
	header := document.Header{Seq: 1, Root: tree.Root(), Count: 1, Time: terms.Issued, Horizon: terms.Death, Rules: 1}.Encode()
	check := document.Checkpoint{Seq: 1, Head: document.Chain(document.Hash{}, header), Horizon: terms.Death}
	err := check.Sign(key)
	if err != nil {
		t.Fatalf("signing: %v", err)
	}
	license, err := document.NewLicense(pool, document.Proof{
		Entry: entry, Path: tree.Prove(0), Header: header, Horizon: terms.Death, Signature: check.Signature,
	})
	if err != nil {
		t.Fatalf("license: %v", err)
	}
	return license
}

func (w *localWorld) install(l *document.License) error {
	entries, err := w.state.Install(l, document.RequestKey{}, w.now)
	if err == nil {
		err = w.fold(entries)
	}
	return err
}

// cancel gives a license back by its name, as a manager does.
func (w *localWorld) cancel(name uint64, request document.RequestKey) (*document.Return, error) {
	found, err := w.state.Find(name, request, w.now)
	if err != nil || found.Return != nil {
		return found.Return, err
	}
	r := w.sign(found.Installed.License)
	entries, existing, err := w.state.Cancel(r, request, w.now)
	if existing != nil {
		r = existing
	}
	if err == nil {
		err = w.fold(entries)
	}
	return r, err
}

func (w *localWorld) sign(l *document.License) *document.Return {
	w.t.Helper()
	r, err := document.SignReturn(w.state.Identity().Sign, l.Proof(), document.ReasonCancelled, w.now, 0)
	if err != nil {
		w.t.Fatalf("return: %v", err)
	}
	return r
}

// asked is a request key.
func asked(key, request byte) document.RequestKey {
	return document.RequestKey{Key: document.Hash{key}, Request: document.Hash{request}}
}

func ids(l *Local) []uint64 {
	var found []uint64
	for in := range l.AllInstalled() {
		found = append(found, in.License.Terms.License-1<<40)
	}
	return found
}
