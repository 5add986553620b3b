package detach

import (
	"bytes"
	"cmp"
	"crypto/ed25519"
	"iter"
	"slices"
	"sync"

	"github.com/sojournlm/sojourn/fingerprint"
	"github.com/sojournlm/sojourn/internal/code"
	"github.com/sojournlm/sojourn/internal/document"
)

// Local is what a manager itself remembers: who it is, the computers it knows,
// the licenses installed here, the records of those it gave back, what was asked
// of it under request keys, and what is pending with other managers. It is the fold of the manager's own ledger.
// Nothing in it reads a clock; the ledger tells the time, in Unix seconds.
//
// A license's origin and id stay known for good once it was installed: that is
// what keeps a cancelled, forgotten or expired one from working again.
//
// A Local has one owner, who alone calls Apply. Once published it is never
// written again: then all other methods, Clone too, are safe for concurrent
// use, and clones are written to meanwhile without being seen.
type Local struct {
	vendor   func(publicCode uint32) ed25519.PublicKey
	identity *Identity // nil before the first start
	book     *fingerprint.Book

	mark        int64 // time of the last entry that is not an expiry
	isClosed    bool  // the manager ended, and has done nothing since that a grant could follow
	grantLength int64 // by the latest mark, seconds; 0 after a close
	markWithin  int64 // by the latest mark, seconds
	grantsUntil int64 // no grant from before the latest mark or close outlives it, Unix seconds

	// cloning guards Clone, which marks the trees it copies from as shared.
	// Reading does not look at the mark.
	cloning  sync.Mutex
	byID     *tree[*held]        // every license ever installed, by state, then id
	byOrigin *tree[*held]        // the same, by origin and state
	deaths   *tree[*held]        // the live ones, by death
	features *tree[featureOf]    // the same, by each feature
	given    *tree[*held]        // the cancelled ones, by time of cancelling
	requests *tree[localRequest] // what was asked, by request key
	lapses   *tree[localRequest] // the same, by when it need not be known any longer
	intents  *tree[*Intent]      // what is pending with other managers, by id
	ends     *tree[*Intent]      // the same, by when the seats are home by themselves
}

// NewLocal is a manager before its first entry. vendor gives a vendor's public
// key by its public code, nil where that vendor is not trusted; it must always
// give the same answer.
func NewLocal(vendor func(publicCode uint32) ed25519.PublicKey) *Local {
	return &Local{
		vendor:   vendor,
		book:     fingerprint.NewBook(0),
		byID:     newTree(heldByID),
		byOrigin: newTree(heldByOrigin),
		deaths:   newTree(heldByDeath),
		features: newTree(byFeatureOf),
		given:    newTree(heldByGiven),
		requests: newTree(byRequestKey),
		lapses:   newTree(byLapse),
		intents:  newTree(intentByID),
		ends:     newTree(intentByUntil),
	}
}

// Clone gives a copy that can be written to. It costs the same for any size.
func (l *Local) Clone() *Local {
	l.cloning.Lock()
	defer l.cloning.Unlock()
	return &Local{
		vendor: l.vendor, identity: l.identity, book: l.book.Clone(),
		mark: l.mark, isClosed: l.isClosed, grantLength: l.grantLength,
		markWithin: l.markWithin, grantsUntil: l.grantsUntil,
		byID:     l.byID.Copy(),
		byOrigin: l.byOrigin.Copy(),
		deaths:   l.deaths.Copy(),
		features: l.features.Copy(),
		given:    l.given.Copy(),
		requests: l.requests.Copy(),
		lapses:   l.lapses.Copy(),
		intents:  l.intents.Copy(),
		ends:     l.ends.Copy(),
	}
}

// Identity is who the manager is, nil before its first start.
func (l *Local) Identity() *Identity { return l.identity }

// Book is the known computers. It must not be written to.
func (l *Local) Book() *fingerprint.Book { return l.book }

// Horizon is 0: a manager's own ledger issues no licenses.
func (l *Local) Horizon() int64 { return 0 }

// LastMark is the time of the last entry, Unix seconds, 0 before the first. That
// something expired is no mark: it shows in what is read before it is entered.
func (l *Local) LastMark() int64 { return l.mark }

// MarkWithin is how many seconds after LastMark the manager gave no grant without
// another entry, by the latest mark.
func (l *Local) MarkWithin() int64 { return l.markWithin }

// ClosedGrants gives the end of the last grant as the last run of the manager
// recorded it when it ended, 0 for none. It is known only while nothing was
// entered since but expiries and what the manager found about its own computer:
// a manager must enter a mark before its first grant, or a crash later on would
// pass for that good end.
func (l *Local) ClosedGrants() (until int64, known bool) {
	if !l.isClosed {
		return 0, false
	}
	return l.grantsUntil, true
}

// GrantLength is how many seconds from now on a grant of an earlier run may
// live at most, whatever that run's end: the length that the latest mark
// recorded, or more while longer grants from before that mark may live. After a
// close it is what is left of the grants that lived then.
func (l *Local) GrantLength() int64 { return max(l.grantLength, l.grantsUntil-l.mark) }

// Installed is a license that is installed here. It must not be written to; it is
// safe for concurrent use.
type Installed struct {
	License *document.License
	At      int64  // when it was installed, by the ledger's clock, Unix seconds
	Seq     uint64 // the batch that installed it

	chain func() error // of the license, gone through once
}

// Verify is nil, or the link of the license's chain up to its vendor that does not
// hold for this program: the one that installed it may have trusted other vendors.
// What does not verify may grant nothing. It can be given back all the same.
func (in *Installed) Verify() error { return in.chain() }

// CancelledRecord is the record of a license that was given back. It must not
// be written to.
type CancelledRecord struct {
	Return *document.Return
	At     int64             // when it was given back, by the ledger's clock, Unix seconds
	Origin ed25519.PublicKey // of the key that it came from
}

// AllInstalled gives the installed licenses by short id, then whole id.
func (l *Local) AllInstalled() iter.Seq[*Installed] {
	return func(yield func(*Installed) bool) {
		l.byID.Ascend(&held{state: heldLive}, func(h *held) bool {
			return h.state == heldLive && yield(h.installed)
		})
	}
}

// Installed is the license with that whole id from that key, nil where it is not
// installed.
func (l *Local) Installed(license, origin uint64) *Installed {
	h, ok := l.byID.Get(&held{state: heldLive, license: license, origin: origin})
	if !ok {
		return nil
	}
	return h.installed
}

// IsInstalled reports whether the license with that whole id is installed.
func (l *Local) IsInstalled(id uint64) bool { return l.named(heldLive, id) != nil }

// Granting gives the installed licenses that have a feature, in whatever
// modification of its product, the one that lives longest first.
func (l *Local) Granting(vendor, product, feature uint32) []*Installed {
	var found []*Installed
	l.features.Ascend(featureOf{vendor: vendor, product: product, feature: feature}, func(f featureOf) bool {
		if f.vendor != vendor || f.product != product || f.feature != feature || f.held.state != heldLive {
			return false
		}
		if n := len(found); n == 0 || found[n-1] != f.held.installed { // several modifications are one license
			found = append(found, f.held.installed)
		}
		return true
	})
	slices.Reverse(found)
	return found
}

// WhyNot says why no installed license has a feature: the one that had it and
// lived longest has expired (DetachedLicenseExpired) or was given back
// (DetachedLicenseNotFound), or there never was one (FeatureNotFound).
func (l *Local) WhyNot(vendor, product, feature uint32) *Refusal {
	var last *held
	// No feature has the highest number, so the next one's place is the end.
	l.features.Descend(featureOf{vendor: vendor, product: product, feature: feature + 1}, func(f featureOf) bool {
		if f.vendor != vendor || f.product != product || f.feature != feature || f.held.state == heldLive {
			return false
		}
		if f.held.declined == nil { // else it was never here
			last = f.held
		}
		return last == nil
	})
	switch {
	case last == nil:
		return refuse(code.FeatureNotFound, "no license for feature %d of product %d of vendor %s was installed here", feature, product, code.PublicCodeText(vendor))
	case last.state == heldExpired:
		return refuse(code.DetachedLicenseExpired, "license %d for feature %d of product %d ended at %s", last.license, feature, product, clock(last.death))
	}
	return refuse(code.DetachedLicenseNotFound, "license %d for feature %d of product %d was given back", last.license, feature, product)
}

// Cancelled gives the record of the cancelled license with that whole id.
func (l *Local) Cancelled(id uint64) (*CancelledRecord, bool) {
	h := l.named(heldCancelled, id)
	if h == nil {
		return nil, false
	}
	return h.cancelled, true
}

// CancelledFrom gives the record of the cancelled license with that whole id from
// that key, nil where there is none.
func (l *Local) CancelledFrom(license, origin uint64) *CancelledRecord {
	h, ok := l.byID.Get(&held{state: heldCancelled, license: license, origin: origin})
	if !ok {
		return nil
	}
	return h.cancelled
}

// CancelledList is the records of cancelled licenses in the order of time, then
// id. It does not change and is safe for concurrent use.
type CancelledList struct{ given *tree[*held] }

// CancelledList lists the records of cancelled licenses.
func (l *Local) CancelledList() CancelledList { return CancelledList{l.given} }

// Len is how many records there are.
func (c CancelledList) Len() int { return c.given.Len() }

// Cancelled names a license that was given back.
type Cancelled struct{ License, Origin uint64 }

// From names the licenses from place i on, without looking each of them up, or at their
// records.
func (c CancelledList) From(i int) iter.Seq[Cancelled] {
	return func(yield func(Cancelled) bool) {
		if begin, ok := c.given.GetAt(i); ok {
			c.given.Ascend(begin, func(h *held) bool { return yield(Cancelled{h.license, h.origin}) })
		}
	}
}

// heldState is what became of a license that was installed here. The order is
// that in which a name is looked for.
type heldState uint8

const (
	heldLive heldState = iota
	heldCancelled
	heldExpired
	heldForgotten // cancelled, and its record deleted
	heldStates
)

// held is a license that is or was installed here. It is never changed: a new
// state is a new one.
type held struct {
	license, origin uint64
	revision        uint32
	death           int64
	vendor          uint32
	features        []document.FeatureRef
	state           heldState
	installed       *Installed       // while live
	cancelled       *CancelledRecord // while cancelled
	from            *Lender          // who gave it; nil where it came as a file
	returned        bool             // forgotten because its origin's key has signed for the return

	// declined is the key that signed for a license which was given back without having
	// been installed, nil for others. It may be a liar's, who named another's license: it
	// stands in the way of no license but that key's.
	declined []byte
}

// featureOf is one feature of a license.
type featureOf struct {
	vendor, product, feature, modification uint32
	held                                   *held // nil in a key to search from
}

// localRequest is what was asked under a request key and of which license.
type localRequest struct {
	document.RequestKey
	license, origin uint64 // 0 where no license was concerned
	until           int64  // known until then, Unix seconds
	over            bool   // a license was made that never came here, or came another way, and is no more
	peer            string // the public key of the manager that was asked, and it may come to nothing; else ""
}

func compareHeld(a, b *held) int {
	return cmp.Or(
		cmp.Compare(document.ShortID(a.license), document.ShortID(b.license)),
		cmp.Compare(a.license, b.license),
		cmp.Compare(a.origin, b.origin),
	)
}

func heldByID(a, b *held) bool {
	return cmp.Or(cmp.Compare(a.state, b.state), compareHeld(a, b)) < 0
}

func heldByOrigin(a, b *held) bool {
	return cmp.Or(cmp.Compare(a.origin, b.origin), cmp.Compare(a.state, b.state), compareHeld(a, b)) < 0
}

func heldByDeath(a, b *held) bool {
	return cmp.Or(cmp.Compare(a.death, b.death), compareHeld(a, b)) < 0
}

func heldByGiven(a, b *held) bool {
	return cmp.Or(
		cmp.Compare(a.cancelled.At, b.cancelled.At),
		cmp.Compare(a.license, b.license),
		cmp.Compare(a.origin, b.origin),
	) < 0
}

// byFeatureOf puts the live licenses of a feature before those of the past, and
// those that end later after those that end earlier.
func byFeatureOf(a, b featureOf) bool {
	c := cmp.Or(cmp.Compare(a.vendor, b.vendor), cmp.Compare(a.product, b.product), cmp.Compare(a.feature, b.feature))
	switch {
	case c != 0:
		return c < 0
	case a.held == nil || b.held == nil:
		return a.held == nil && b.held != nil
	}
	return cmp.Or(
		cmp.Compare(min(a.held.state, heldCancelled), min(b.held.state, heldCancelled)), // past or not
		cmp.Compare(a.held.death, b.held.death),
		compareHeld(a.held, b.held),
		cmp.Compare(a.modification, b.modification),
	) < 0
}

func byRequestKey(a, b localRequest) bool { return bytes.Compare(a.Key[:], b.Key[:]) < 0 }

func byLapse(a, b localRequest) bool {
	return cmp.Or(cmp.Compare(a.until, b.until), bytes.Compare(a.Key[:], b.Key[:])) < 0
}
