package licensing_test

import (
	"context"
	"crypto/sha256"
	"sync"
	"testing"

	"github.com/sojournlm/sojourn/internal/document"
	"github.com/sojournlm/sojourn/licensing"
)

// minter is a manager on the network that tells of keys and makes licenses by a key and a
// vendor of its own making: well-formed, and vouched for by nobody.
type minter struct {
	*thief
	host  string
	key   signer
	pools signer // the vendor's
	next  uint64 // id of the next license

	// alter changes the terms of a license before it is signed; nil: it is what was asked for.
	alter func(*document.Terms)
	// takes answers a return; nil: the forged key signs for it.
	takes func(*document.PeerRequest) document.PeerAnswer

	mu    sync.Mutex
	given map[document.Hash][]byte // by the asker's request key
}

// detachAsk is a request for a license on the wire.
type detachAsk struct {
	Key          uint64               `cbor:"1,keyasint"`
	Recipient    uint64               `cbor:"2,keyasint"`
	RecipientKey []byte               `cbor:"3,keyasint"`
	Duration     int64                `cbor:"4,keyasint"`
	Seats        uint32               `cbor:"5,keyasint"`
	Features     []licensing.Selector `cbor:"6,keyasint"`
	Own          document.Hash        `cbor:"7,keyasint"`
	Recall       bool                 `cbor:"8,keyasint"`
}

// newMinter makes a manager that tells of a key.
func newMinter(t *testing.T, id uint64, key uint64) *minter {
	f := &minter{
		thief: newThief(t, id, "MINTER"), host: "MINTER", key: newSigner(t), pools: newSigner(t),
		next: 1<<40 + 1, given: make(map[document.Hash][]byte),
	}
	f.inside = func(r *document.PeerRequest) document.PeerAnswer {
		f.mu.Lock()
		defer f.mu.Unlock()
		switch {
		case r.Verb == 1:
			return document.PeerAnswer{Body: fakeInventory(key)}
		case r.Verb == 2:
			return document.PeerAnswer{Body: f.detach(t, r)}
		case f.takes != nil:
			return f.takes(r)
		}
		return document.PeerAnswer{Body: f.receipt(t, r)}
	}
	return f
}

// on lets a machine find the minter, besides whom it knows already, and restarts it.
func (f *minter) on(m *machine, others ...string) {
	p := *m.opts.Peers
	through := p.Exchange
	p.Browse = func(ctx context.Context, found func(string)) error {
		for _, o := range append(others, f.host) {
			found(o)
		}
		<-ctx.Done()
		return nil
	}
	p.Exchange = func(ctx context.Context, address string, message []byte) ([]byte, error) {
		if address == f.host {
			return f.answer(message)
		}
		return through(ctx, address, message)
	}
	m.opts.Peers = &p
	m.restart()
}

// detach makes a license for what was asked, the same one for the same request.
func (f *minter) detach(t *testing.T, r *document.PeerRequest) []byte {
	var ask detachAsk
	if err := document.Decode("detach request", r.Body, document.MaxPeerMessage, &ask); err != nil {
		t.Error(err)
		return nil
	}
	if ask.Recall = false; f.given[ask.Own] != nil {
		return f.given[ask.Own]
	}
	hash := func(domain string, parts ...[]byte) (h document.Hash) {
		d := sha256.New()
		d.Write([]byte(domain + "\x00"))
		for _, p := range parts {
			d.Write(p)
		}
		d.Sum(h[:0])
		return h
	}
	from := r.From().Computer
	var features []document.Feature
	for _, s := range ask.Features {
		features = append(features, document.Feature{
			ProductNumber: s.ProductNumber, ProductName: "product", FeatureNumber: s.FeatureNumber, Name: "feature",
			Seats: 3, RemoteMode: 3, Detachable: true,
		})
	}
	terms := document.Terms{
		License: f.next, Revision: 1, Seats: max(1, ask.Seats), Issued: f.time, Duration: ask.Duration, Death: f.time + ask.Duration,
		Recipient: from, Features: []document.FeatureRef{features[0].Ref()}, Key: ask.Key, Vendor: worldVendor, Counter: 1,
		Request: document.RequestKey{
			Key:     hash("sojourn/peer-request-key/1", from.Sign, ask.Own[:]),
			Request: hash("sojourn/peer-request-body/1", document.Encode(ask)),
		},
	}
	f.next++
	if f.alter != nil {
		f.alter(&terms)
	}
	head := document.PoolHead{Key: ask.Key, KeyPublic: publicOf(f.key), Vendor: worldVendor, Counter: 1}
	pool, err := document.SignPool(f.pools, head, features)
	if err != nil {
		t.Error(err)
		return nil
	}
	license, err := document.NewLicense(pool, f.prove(t, terms.Encode(), terms.Issued, terms.Death))
	if err != nil {
		t.Error(err)
		return nil
	}
	file, err := new(document.Sealer).Seal(document.KindLicense, terms.Key, from.ID, from.Seal, license.Bytes())
	if err != nil {
		t.Error(err)
		return nil
	}
	f.given[ask.Own] = document.Encode(struct {
		ID      uint64 `cbor:"1,keyasint"`
		Death   int64  `cbor:"2,keyasint"`
		License []byte `cbor:"3,keyasint"`
	}{terms.License, terms.Death, file})
	return f.given[ask.Own]
}

// receipt signs for a return.
func (f *minter) receipt(t *testing.T, r *document.PeerRequest) []byte {
	var ask struct {
		Own    document.Hash `cbor:"1,keyasint"`
		Return []byte        `cbor:"2,keyasint"`
	}
	if err := document.Decode("return request", r.Body, document.MaxPeerMessage, &ask); err != nil {
		t.Error(err)
		return nil
	}
	back, err := document.ParseReturn(ask.Return)
	if err != nil {
		t.Error(err)
		return nil
	}
	entry := document.EncodeEntry(2, struct {
		License uint64              `cbor:"1,keyasint"`
		Until   int64               `cbor:"2,keyasint"`
		Return  []byte              `cbor:"3,keyasint"`
		Request document.RequestKey `cbor:"4,keyasint"`
	}{License: back.Terms().License, Return: back.Bytes()})
	return document.Encode(f.prove(t, entry, f.time, back.Terms().Death))
}

// prove signs for one entry by the forged key.
func (f *minter) prove(t *testing.T, entry []byte, at, horizon int64) document.Proof {
	tree := document.NewTree([][]byte{entry})
	header := document.Header{Seq: 1, Root: tree.Root(), Count: 1, Time: at, Horizon: horizon, Rules: 1}.Encode()
	c := document.Checkpoint{Seq: 1, Head: document.Chain(document.Hash{}, header), Horizon: horizon}
	if err := c.Sign(f.key); err != nil {
		t.Error(err)
	}
	return document.Proof{Entry: entry, Path: tree.Prove(0), Header: header, Horizon: horizon, Signature: c.Signature}
}
