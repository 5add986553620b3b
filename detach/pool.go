package detach

import (
	"bytes"
	"crypto/ed25519"
	"iter"
	"slices"
	"sync"

	"github.com/tidwall/btree"

	"github.com/sojournlm/sojourn/internal/document"
)

// Trust is what a pool's entries are judged by: which key the pool is in and
// whose signatures count.
type Trust struct {
	Key    uint64            // the key's id
	Public ed25519.PublicKey // the key's own

	// Vendor gives a vendor's public key by its public code, nil where that
	// vendor is not trusted. It must always give the same answer.
	Vendor func(publicCode uint32) ed25519.PublicKey

	// Skew is how many seconds longer than its license, or the last grant of a
	// license that was given back, a seat stays out, for recipients whose clock
	// is behind. Only [Pool.Due] goes by it: what is entered folds and is judged
	// the same under any other.
	Skew int64
}

// Pool is the state of one key's pool: the fold of its ledger. Nothing in it
// reads a clock; the ledger tells the time, in Unix seconds.
//
// A Pool has one owner, who alone calls Apply. Once published it is never
// written again: then all other methods, Clone too, are safe for concurrent
// use, and clones are written to meanwhile without being seen.
type Pool struct {
	trust   Trust
	license *document.Pool // the newest; nil before the first
	horizon int64
	ended   int64 // the time of the latest entry of what time has ended, Unix seconds

	// cloning guards Clone, which marks the trees it copies from as shared.
	// Reading does not look at the mark.
	cloning  sync.Mutex
	records  *tree[block]       // every license that is remembered, by its number
	next     uint32             // where the search for a free number begins
	shorts   *tree[shortened]   // they, by short id
	choices  *tree[chosen]      // what they have, each once
	deaths   *tree[waiting]     // those that are out, by death
	ends     *tree[waiting]     // the others, by the time something happens to them
	requests *tree[*Record]     // those made under a request key, by it
	asked    *tree[poolRequest] // the other request keys
	lapses   *tree[poolRequest] // the same, by the time they need not be known any longer
	returns  *tree[homecoming]  // where licenses were given back, by death
	out      *tree[outTo]       // those that are out, by recipient
	list     *tree[listed]      // those that are out, by filter and time
	lengths  *tree[length]      // how many of them each filter chooses
	taken    *tree[taken]       // seats that are away, by feature
}

// NewPool is the pool of a key before the first entry of its ledger.
func NewPool(trust Trust) *Pool {
	trust.Skew = min(max(0, trust.Skew), document.MaxTime) // no time overflows with it
	return &Pool{
		trust:    trust,
		records:  newTree(byBlock),
		shorts:   newTree(byShortID),
		choices:  newTree(byChoice),
		deaths:   newTree(byDue),
		ends:     newTree(byDue),
		requests: newTree(byRequest),
		asked:    newTree(byAsked),
		lapses:   newTree(byLapsing),
		returns:  newTree(byDeath),
		out:      newTree(byRecipient),
		list:     newTree(byList),
		lengths:  newTree(byLength),
		taken:    newTree(byFeature),
	}
}

// Clone gives a copy that can be written to. It costs the same for any size.
func (p *Pool) Clone() *Pool {
	p.cloning.Lock()
	defer p.cloning.Unlock()
	return &Pool{
		trust:    p.trust,
		license:  p.license,
		horizon:  p.horizon,
		ended:    p.ended,
		records:  p.records.Copy(),
		next:     p.next,
		shorts:   p.shorts.Copy(),
		choices:  p.choices.Copy(),
		deaths:   p.deaths.Copy(),
		ends:     p.ends.Copy(),
		requests: p.requests.Copy(),
		asked:    p.asked.Copy(),
		lapses:   p.lapses.Copy(),
		returns:  p.returns.Copy(),
		out:      p.out.Copy(),
		list:     p.list.Copy(),
		lengths:  p.lengths.Copy(),
		taken:    p.taken.Copy(),
	}
}

// Horizon is the latest death time ever issued, in Unix seconds, 0 for none.
func (p *Pool) Horizon() int64 { return p.horizon }

// Head is the signed head of the newest pool license, zero before the first.
func (p *Pool) Head() document.PoolHead {
	if p.license == nil {
		return document.PoolHead{}
	}
	return p.license.Head
}

// Counter is the update counter of the newest pool license, 0 before the first.
func (p *Pool) Counter() uint64 { return p.Head().Counter }

// vendor is a vendor's public key, nil for one that is not trusted.
func (p *Pool) vendor(publicCode uint32) ed25519.PublicKey {
	if p.trust.Vendor == nil {
		return nil
	}
	return p.trust.Vendor(publicCode)
}

// License is the license with that whole id, if it is out; nil if not.
func (p *Pool) License(id uint64) *Record {
	if r := p.LicenseShort(document.ShortID(id)); r != nil && r.License == id {
		return r
	}
	return nil
}

// LicenseShort is the license with that short id, if it is out; nil if not.
func (p *Pool) LicenseShort(id uint32) *Record {
	if r := p.short(id); r != nil && r.status == isOut {
		return r
	}
	return nil
}

// Out is the license by which a feature is out to a recipient, nil for none.
func (p *Pool) Out(recipient uint64, ref document.FeatureRef) *Record {
	for r := range p.eachOut(recipient) {
		if r.has(ref) {
			return r
		}
	}
	return nil
}

// eachOut gives the licenses that are out to a recipient.
func (p *Pool) eachOut(recipient uint64) iter.Seq[*Record] {
	return func(yield func(*Record) bool) {
		p.out.Ascend(outTo{recipient: recipient}, func(o outTo) bool {
			return o.recipient == recipient && yield(p.record(o.number))
		})
	}
}

// outFeatures gives every feature that is out to a recipient with its license:
// what is asked of many features is looked up once.
func (p *Pool) outFeatures(recipient uint64) map[document.FeatureRef]*Record {
	out := map[document.FeatureRef]*Record{}
	for r := range p.eachOut(recipient) {
		for _, at := range r.features {
			out[r.pool.Features[at].Ref()] = r
		}
	}
	return out
}

// away is how many seats of a feature are away from the pool.
func (p *Pool) away(ref document.FeatureRef) uint32 {
	t, _ := p.taken.Get(taken{feature: &document.Feature{
		ProductNumber: ref.ProductNumber, Modification: ref.Modification, FeatureNumber: ref.FeatureNumber,
	}})
	return t.seats
}

// status is where the seats of a remembered license are.
type status uint8

const (
	isOut    status = iota // with the recipient
	isDead                 // the license has died, but a clock there may be behind
	isEnding               // given back, but a program there may still run on a grant
	isHome                 // back; remembered for its request key
)

// Record is a license as its pool remembers it. It must not be written to; it
// is safe for concurrent use.
type Record struct {
	License   uint64
	Issued    int64               // Unix seconds
	Seq       uint64              // the ledger's batch with the license's entry
	Recipient *document.Recipient // shared by licenses for the same computer
	Duration  uint32              // seconds
	Seats     uint32              // of every feature
	Index     uint32              // the entry's place in the batch
	number    uint32              // no other remembered license of the pool has it
	status    status
	due       int64 // when time changes something about it, Unix seconds
	request   *document.RequestKey
	*choice
}

// Death is when the license ends, in Unix seconds.
func (r *Record) Death() int64 { return r.Issued + int64(r.Duration) }

// Pool is the pool license that the license's features were taken from.
func (r *Record) Pool() *document.Pool { return r.pool }

// Len is how many features the license has.
func (r *Record) Len() int { return len(r.features) }

// Feature is feature i as the vendor signed it, 0 ≤ i < Len, in their order. It
// must not be written to.
func (r *Record) Feature(i int) *document.Feature { return &r.pool.Features[r.features[i]] }

// Terms are what the license says. Encoding them gives its ledger entry again.
func (r *Record) Terms() document.Terms {
	t := document.Terms{
		License:   r.License,
		Revision:  firstRevision,
		Key:       r.pool.Head.Key,
		Vendor:    r.pool.Head.Vendor,
		Counter:   r.pool.Head.Counter,
		Features:  make([]document.FeatureRef, len(r.features)),
		Seats:     r.Seats,
		Issued:    r.Issued,
		Duration:  int64(r.Duration),
		Death:     r.Death(),
		Recipient: *r.Recipient,
	}
	for i, at := range r.features {
		t.Features[i] = r.pool.Features[at].Ref()
	}
	if r.request != nil {
		t.Request = *r.request
	}
	return t
}

func (r *Record) has(ref document.FeatureRef) bool {
	_, ok := slices.BinarySearchFunc(r.features, ref, func(at uint16, ref document.FeatureRef) int {
		return r.pool.Features[at].Ref().Compare(ref)
	})
	return ok
}

// taken is how many seats of a feature are away. The feature is as the pool
// license said that the last of them left under.
type taken struct {
	feature *document.Feature
	seats   uint32
}

type tree[T any] = btree.BTreeG[T]

// newTree makes a tree without locks of its own: [Pool] says who may do what.
// The degree keeps nodes small, for each clone copies those it writes to.
func newTree[T any](less func(a, b T) bool) *tree[T] {
	return btree.NewBTreeGOptions(less, btree.Options{NoLocks: true, Degree: 16})
}

func byRequest(a, b *Record) bool {
	return bytes.Compare(a.request.Key[:], b.request.Key[:]) < 0
}

func byFeature(a, b taken) bool { return a.feature.Ref().Compare(b.feature.Ref()) < 0 }
