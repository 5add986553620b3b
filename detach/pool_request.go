package detach

import (
	"bytes"
	"cmp"

	"github.com/sojournlm/sojourn/internal/code"
	"github.com/sojournlm/sojourn/internal/document"
)

// updateKnown is how long, in seconds, the request key of an update is known:
// no license says when nobody will ask again.
const updateKnown = 24 * 60 * 60

// poolRequest is a request key under which something else than a license was asked.
type poolRequest struct {
	document.RequestKey
	until int64 // known until then, Unix seconds
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

// noteAsked remembers a request that was answered.
func (p *Pool) noteAsked(request document.RequestKey, until int64) {
	if request.Key == (document.Hash{}) {
		return
	}
	a := poolRequest{request, until}
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
