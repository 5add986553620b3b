package detach

import (
	"github.com/sojournlm/sojourn/internal/code"
	"github.com/sojournlm/sojourn/internal/document"
)

// requestLife is how long, in seconds, a request key is known at least: where
// no license was concerned, or one that is dead.
const requestLife = 24 * 60 * 60

// Asked reports whether the very request was answered under its key before, and
// is still known at now, Unix seconds. A key that was used for another request
// is refused.
func (l *Local) Asked(request document.RequestKey, now int64) (bool, error) {
	known, err := l.repeated(request, now)
	return known != nil, err
}

// repeated gives what the same request did before, or nil; it refuses a request
// key that was used for another request. The zero key is none.
func (l *Local) repeated(request document.RequestKey, now int64) (*localRequest, error) {
	if request.Key == (document.Hash{}) {
		return nil, nil
	}
	known, ok := l.requests.Get(localRequest{RequestKey: request})
	if !ok || known.until <= now {
		return nil, nil
	}
	if known.Request != request.Request {
		return nil, refuse(code.InvalidParameter, "this request key was used for another request")
	}
	return &known, nil
}

// remember keeps a request key until the license's death, h being nil where no
// license is concerned.
func (l *Local) remember(request document.RequestKey, h *held, now int64) {
	if request.Key == (document.Hash{}) {
		return
	}
	r := localRequest{RequestKey: request, until: now + requestLife}
	if h != nil {
		r.license, r.origin = h.license, h.origin
		if h.death > now {
			r.until = h.death
		}
	}
	if old, ok := l.requests.Set(r); ok {
		l.lapses.Delete(old)
	}
	l.lapses.Set(r)
}
