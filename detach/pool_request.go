package detach

import (
	"bytes"
	"cmp"

	"github.com/sojournlm/sojourn/internal/code"
	"github.com/sojournlm/sojourn/internal/document"
	"github.com/sojournlm/sojourn/internal/ledger"
)

// updateKnown is how long, in seconds, the request key of an update is known:
// no license says when nobody will ask again.
const updateKnown = 24 * 60 * 60

// poolRequest is a request key under which something else than a license was asked.
type poolRequest struct {
	document.RequestKey
	until int64  // known until then, Unix seconds
	seq   uint64 // the ledger's batch with the entry it brought about
	index int    // and the entry's place in it
}

func byAsked(a, b poolRequest) bool { return bytes.Compare(a.Key[:], b.Key[:]) < 0 }

func byLapsing(a, b poolRequest) bool {
	return cmp.Or(cmp.Compare(a.until, b.until), bytes.Compare(a.Key[:], b.Key[:])) < 0
}

// Asked reports whether the very request was answered under its key before. A
// key that was used for another request is refused.
func (p *Pool) Asked(request document.RequestKey) (bool, error) {
	if request.Key == (document.Hash{}) {
		return false, nil
	}
	before, known := p.asked.Get(poolRequest{RequestKey: request})
	if r, ok := p.requests.Get(&Record{request: &request}); ok {
		before.RequestKey, known = *r.request, true
	}
	if known && before.Request != request.Request {
		return false, refuse(code.InvalidParameter, "this request key was used for another request")
	}
	return known, nil
}

// Entered gives the place of the entry that a request other than a detach brought
// about, while the request is known.
func (p *Pool) Entered(request document.RequestKey) (seq uint64, index int, known bool) {
	a, known := p.asked.Get(poolRequest{RequestKey: request})
	return a.seq, a.index, known
}

// Recall gives the license that was made under a request key. The refusals are
// DetachedLicenseNotFound (none was made), InvalidUpdateOrAlreadyInstalled (it
// has come home), DetachedLicenseExpired and InvalidParameter.
func (p *Pool) Recall(request document.RequestKey, now int64) (*Record, error) {
	r, err := p.repeated(request, now)
	if err == nil && r == nil {
		err = refuse(code.DetachedLicenseNotFound, "no license was made under this request key")
	}
	return r, err
}

// noteAsked remembers a request that was answered with the entry at a place.
func (p *Pool) noteAsked(request document.RequestKey, until int64, at ledger.Position) {
	if request.Key == (document.Hash{}) {
		return
	}
	a := poolRequest{request, until, at.Seq, at.Index}
	p.asked.Set(a)
	p.lapses.Set(a)
}

// forgetAsked forgets the requests that need not be known any longer.
func (p *Pool) forgetAsked(now int64) {
	for a, ok := p.lapses.Min(); ok && a.until <= now; a, ok = p.lapses.Min() {
		p.lapses.Delete(a)
		p.asked.Delete(a)
	}
}
