package detach

import (
	"cmp"
	"crypto/ed25519"
	"errors"
	"fmt"

	"github.com/sojournlm/sojourn/internal/code"
	"github.com/sojournlm/sojourn/internal/document"
	"github.com/sojournlm/sojourn/internal/ledger"
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
	r := localRequest{RequestKey: request, until: now + requestLife}
	if h != nil {
		r.license, r.origin = h.license, h.origin
		if h.death > now {
			r.until = h.death
		}
	}
	l.know(r)
}

func (l *Local) know(r localRequest) {
	if r.Key == (document.Hash{}) {
		return
	}
	l.unknow(r.RequestKey)
	l.requests.Set(r)
	l.lapses.Set(r)
}

func (l *Local) unknow(request document.RequestKey) {
	if old, ok := l.requests.Delete(localRequest{RequestKey: request}); ok {
		l.lapses.Delete(old)
	}
}

// answered gives the entry by which a request is known that was answered by things
// as they stand: by a license that was given back, or h is nil. There is none where
// nothing was asked under a request key, or the request is known already.
//
// Without it a late copy of the request could find that things stand otherwise, and
// change them.
func (l *Local) answered(request document.RequestKey, h *held, now int64) ([][]byte, error) {
	if repeated, err := l.repeated(request, now); err != nil || repeated != nil || request.Key == (document.Hash{}) {
		return nil, err
	}
	body := asking{Request: request}
	if h != nil {
		body.License, body.Origin = h.license, h.origin
	}
	return [][]byte{document.EncodeEntry(entryAsked, body)}, nil
}

// AskElsewhere decides on a request that another manager, with this Ed25519 key, is
// about to be asked for: it is known here until a time, Unix seconds, and for a day at
// least, unless [Local.AskedInVain] says that it came to nothing. It gives the entry, or
// none where the request has no key or that manager was asked before and the request is
// known as long. A request that was made of somebody else is refused: of this manager, or
// of another one and it has not come to nothing.
func (l *Local) AskElsewhere(request document.RequestKey, peer []byte, until, now int64) ([][]byte, error) {
	known, err := l.repeated(request, now)
	switch {
	case err != nil || request.Key == (document.Hash{}):
		return nil, err
	case len(peer) != ed25519.PublicKeySize:
		return nil, fmt.Errorf("a manager's key has %d bytes", len(peer))
	case until <= now || until > document.MaxTime:
		return nil, fmt.Errorf("a request is to be known until %d, at %d", until, now)
	case known != nil && known.peer != string(peer):
		return nil, refuse(code.InvalidParameter, "this request key was used with another manager")
	case known != nil && known.until >= knownUntil(until, now):
		return nil, nil
	}
	return [][]byte{document.EncodeEntry(entryAskedElsewhere, askingElsewhere{Request: request, Peer: peer, Until: until})}, nil
}

// knownUntil is how long a request is known that is to be known until a time, entered now.
func knownUntil(until, now int64) int64 { return max(now+requestLife, until) }

// AskedOf gives the key of the manager that was asked for the very request under its
// request key, nil for none, and until when that is known, Unix seconds. It has not come
// to nothing so far.
func (l *Local) AskedOf(request document.RequestKey, now int64) (peer []byte, until int64, err error) {
	known, err := l.repeated(request, now)
	if err != nil || known == nil || known.peer == "" {
		return nil, 0, err
	}
	return []byte(known.peer), known.until, nil
}

// AskedInVain decides on forgetting a request of [Local.AskElsewhere] that was refused
// or never reached the other manager: it may be asked for anew. It gives no entry where
// the request is not known.
func (l *Local) AskedInVain(request document.RequestKey, now int64) ([][]byte, error) {
	known, err := l.repeated(request, now)
	if err != nil || known == nil || known.peer == "" {
		return nil, err
	}
	return [][]byte{document.EncodeEntry(entryUnasked, unasking{request})}, nil
}

func (l *Local) applyAsked(at ledger.Position, body []byte) error {
	b, err := parseLocalBody[asking]("request entry", body)
	if err != nil {
		return err
	}
	var h *held
	if b.License != 0 || b.Origin != 0 {
		if h = l.held(b.License, b.Origin); h == nil || h.state != heldCancelled {
			return fmt.Errorf("a request was answered with the return of license %d, but there is none", b.License)
		}
	}
	switch repeated, err := l.repeated(b.Request, at.Time); {
	case err != nil:
		return err
	case repeated != nil || b.Request.Key == (document.Hash{}):
		return errors.New("a request is entered that is known, or has no key")
	}
	l.remember(b.Request, h, at.Time)
	return nil
}

func (l *Local) applyAskedElsewhere(at ledger.Position, body []byte) error {
	b, err := parseLocalBody[askingElsewhere]("request entry", body)
	if err != nil {
		return err
	}
	if entries, err := l.AskElsewhere(b.Request, b.Peer, b.Until, at.Time); err != nil || len(entries) == 0 {
		return cmp.Or(err, errors.New("a request is entered that is known as long, or has no key"))
	}
	l.know(localRequest{RequestKey: b.Request, until: knownUntil(b.Until, at.Time), peer: string(b.Peer)})
	return nil
}

func (l *Local) applyUnasked(at ledger.Position, body []byte) error {
	b, err := parseLocalBody[unasking]("request entry", body)
	if err != nil {
		return err
	}
	if entries, err := l.AskedInVain(b.Request, at.Time); err != nil || len(entries) == 0 {
		return errors.New("a request came to nothing that was not asked of another manager")
	}
	l.unknow(b.Request)
	return nil
}

// remakeAsked decides on such an entry again.
func (l *Local) remakeAsked(at ledger.Position, body []byte) ([][]byte, error) {
	b, err := parseLocalBody[asking]("request entry", body)
	if err != nil {
		return nil, err
	}
	return l.answered(b.Request, l.held(b.License, b.Origin), at.Time)
}
