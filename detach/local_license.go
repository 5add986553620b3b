package detach

import (
	"bytes"
	"cmp"
	"fmt"
	"iter"

	"github.com/sojournlm/sojourn/internal/code"
	"github.com/sojournlm/sojourn/internal/document"
)

// Install decides on a license that was opened and verified up to its vendor.
// It gives the entry, or none where the same request installed it before. The
// refusals are HardwareIDMismatch (for another computer, or other keys of this
// one), DetachedLicenseExpired, InvalidUpdateOrAlreadyInstalled (installed at
// this revision or a higher one, or given back at any) and InvalidParameter
// (the request key was used for another request).
func (l *Local) Install(license *document.License, request document.RequestKey, now int64) ([][]byte, error) {
	if err := l.forUs(license); err != nil {
		return nil, err
	}
	t := license.Terms
	was := l.held(t.License, t.Key)
	repeated, err := l.repeated(request, now)
	if err != nil {
		return nil, err
	}
	if repeated != nil && was != nil && was.state == heldLive && was.revision >= t.Revision && t.Death > now {
		return nil, nil
	}
	if t.Death <= now {
		return nil, refuse(code.DetachedLicenseExpired, "license %d ended at %s and cannot be installed", t.License, clock(t.Death))
	}
	if err := supersedes(was, license); err != nil {
		return nil, err
	}
	return [][]byte{document.EncodeEntry(entryInstalled, installed{license.Bytes(), request})}, nil
}

// forUs refuses a license that was made for another computer.
func (l *Local) forUs(license *document.License) error {
	id := l.identity
	if id == nil {
		return errNotStarted()
	}
	switch r := license.Terms.Recipient; {
	case r.ID != id.ID:
		return refuse(code.HardwareIDMismatch, "license %d is for the computer with lmsId %d, this one has %d", license.Terms.License, r.ID, id.ID)
	case !bytes.Equal(r.Sign, id.Public()) || !bytes.Equal(r.Seal, id.Seal.Public()):
		return refuse(code.HardwareIDMismatch, "license %d was made for other keys than the ones this manager has", license.Terms.License)
	}
	return nil
}

// supersedes refuses a license that is not news about what is known of it. Sameness
// is origin and id: bytes differ with every sealing, and a revision is the same
// license.
func supersedes(was *held, license *document.License) error {
	t := license.Terms
	no := func(format string, args ...any) error {
		return refuse(code.InvalidUpdateOrAlreadyInstalled, "license %d "+format, append([]any{t.License}, args...)...)
	}
	switch {
	case was == nil, was.declined != nil && !bytes.Equal(was.declined, license.Head.KeyPublic):
		return nil
	case was.state == heldCancelled || was.state == heldForgotten:
		return no("was given back and can never be installed here again")
	case was.revision >= t.Revision && was.state == heldExpired:
		return no("was installed here before and has expired")
	case was.revision >= t.Revision:
		return no("is installed already")
	case was.state == heldLive && !bytes.Equal(was.installed.License.Head.KeyPublic, license.Head.KeyPublic):
		return no("is installed already, from another key with the same id")
	}
	return nil
}

// Found is the license that a name stands for: installed here, or given back.
type Found struct {
	Installed *Installed       // nil where it was given back
	Return    *document.Return // nil while it is installed
}

// Find gives the license that is to be given back. name is its short id, its
// whole id, or its origin's id; among several the live ones are meant,
// cancelled ones only where none is live, and one that went back without having
// been installed only where the name stands for nothing else. Under a request key
// that was used for this request before it is the license from then. The refusals
// are InvalidParameter (no possible id, a request key used for something else, or
// an ambiguous name: the details list the candidates), DetachedLicenseExpired
// and DetachedLicenseNotFound.
func (l *Local) Find(name uint64, request document.RequestKey, now int64) (Found, error) {
	if !document.ValidID(name) {
		return Found{}, refuse(code.InvalidParameter, "dongleId: %d is no id of a license or key", name)
	}
	repeated, err := l.repeated(request, now)
	if err != nil {
		return Found{}, err
	}
	if repeated != nil && repeated.license != 0 {
		return l.held(repeated.license, repeated.origin).found(name, now)
	}
	var alive, given, declined []*held
	var dead *held
	for h := range l.namesakes(heldLive, name) {
		if h.dead(now) {
			dead = h
		} else {
			alive = append(alive, h)
		}
	}
	for h := range l.namesakes(heldCancelled, name) {
		if h.declined == nil {
			given = append(given, h)
		} else { // whoever made it chose its id
			declined = append(declined, h)
		}
	}
	past := cmp.Or(dead, l.first(heldExpired, name), l.first(heldForgotten, name))
	meant := alive
	switch {
	case len(alive) > 0:
	case len(given) > 0:
		meant = given
	case past == nil || past.declined != nil:
		meant = declined
	}
	if len(meant) > 1 {
		return Found{}, ambiguous(name, meant)
	}
	if len(meant) == 1 {
		return meant[0].found(name, now)
	}
	return past.found(name, now)
}

// found is the answer to a question for h by the id name.
func (h *held) found(name uint64, now int64) (Found, error) {
	switch {
	case h == nil:
		return Found{}, refuse(code.DetachedLicenseNotFound, "no license with the id %d is installed here, and none from a key with that id", name)
	case h.state == heldForgotten:
		return Found{}, refuse(code.DetachedLicenseNotFound, "license %d was given back, and the record of it was deleted", h.license)
	case h.state == heldCancelled:
		return Found{Return: h.cancelled.Return}, nil
	case h.dead(now):
		return Found{}, refuse(code.DetachedLicenseExpired, "what %d stands for here has expired; its seats are back at their origin", name)
	}
	return Found{Installed: h.installed}, nil
}

// dead reports whether an installed license has ended, entered or not.
func (h *held) dead(now int64) bool {
	return h.state == heldExpired || h.state == heldLive && h.death <= now
}

// namesakes gives the licenses in a state that a name may stand for.
func (l *Local) namesakes(state heldState, name uint64) iter.Seq[*held] {
	short := uint64(document.ShortID(name))
	byID := func(h *held) bool {
		return h.license == name || uint64(document.ShortID(h.license)) == name
	}
	return func(yield func(*held) bool) {
		more := true
		l.byID.Ascend(&held{state: state, license: short}, func(h *held) bool {
			if h.state != state || uint64(document.ShortID(h.license)) != short {
				return false
			}
			more = !byID(h) || yield(h)
			return more
		})
		if !more {
			return
		}
		l.byOrigin.Ascend(&held{origin: name, state: state}, func(h *held) bool {
			if h.origin != name || h.state != state {
				return false
			}
			return byID(h) || yield(h)
		})
	}
}

// first gives the first license in a state that a name may stand for, one that was
// declined only where there is no other, or nil.
func (l *Local) first(state heldState, name uint64) (found *held) {
	for h := range l.namesakes(state, name) {
		if found = cmp.Or(found, h); h.declined == nil {
			return h
		}
	}
	return found
}

// maxCandidates bounds the answer to an ambiguous name.
const maxCandidates = 32

func ambiguous(name uint64, candidates []*held) error {
	r := refuse(code.InvalidParameter, "%d stands for %d licenses here: name one by its own id", name, len(candidates))
	for _, h := range candidates[:min(len(candidates), maxCandidates)] {
		r.Details = append(r.Details, Detail{
			Whole: true, Code: code.InvalidParameter, License: h.license,
			Message: fmt.Sprintf("license %d from key %d", h.license, h.origin),
		})
	}
	return r
}

// Cancel decides on a return that was signed for an installed license, without
// verifying its signatures: the manager has just made them. It gives the entry;
// or, where the license was given back already, the return that exists, and no
// entry but the one that makes the request known. The refusals are DetachedLicenseExpired,
// DetachedLicenseNotFound, InvalidUpdateOrAlreadyInstalled (another revision
// was installed since: ask again) and InvalidParameter.
func (l *Local) Cancel(r *document.Return, request document.RequestKey, now int64) (entries [][]byte, existing *document.Return, err error) {
	if l.identity == nil {
		return nil, nil, errNotStarted()
	}
	t := r.Terms()
	h := l.held(t.License, t.Key)
	repeated, err := l.repeated(request, now)
	if err != nil {
		return nil, nil, err
	}
	if repeated != nil && repeated.license != 0 {
		h = l.held(repeated.license, repeated.origin)
	}
	found, err := h.found(t.License, now)
	if err != nil {
		return nil, nil, err
	}
	if found.Return != nil {
		entries, err = l.answered(request, h, now)
		return entries, found.Return, err
	}
	if !bytes.Equal(document.Encode(r.Proof), document.Encode(found.Installed.License.Proof())) {
		return nil, nil, refuse(code.InvalidUpdateOrAlreadyInstalled, "license %d: another revision was installed meanwhile; ask again", t.License)
	}
	if r.At > now {
		return nil, nil, refuse(code.InvalidParameter, "license %d: its return was made at %s, which is still to come", t.License, clock(r.At))
	}
	return [][]byte{document.EncodeEntry(entryCancelled, cancelled{r.Bytes(), request})}, nil, nil
}

// Forget decides on deleting the record of the cancelled license with that
// whole id, and with it the return. The license stays given back: it can never
// be installed here again. It gives the entry, or none where the same request
// deleted it before. The refusals are NoResultsFound and InvalidParameter.
func (l *Local) Forget(id uint64, request document.RequestKey, now int64) ([][]byte, error) {
	if repeated, err := l.repeated(request, now); err != nil || repeated != nil {
		return nil, err
	}
	h := l.named(heldCancelled, id)
	if h == nil {
		return nil, refuse(code.NoResultsFound, "no cancelled license has the id %d", id)
	}
	return [][]byte{document.EncodeEntry(entryForgotten, forgotten{h.license, h.origin, request})}, nil
}

// held gives what is known of a license, or nil.
func (l *Local) held(license, origin uint64) *held {
	for state := range heldStates {
		if h, ok := l.byID.Get(&held{state: state, license: license, origin: origin}); ok {
			return h
		}
	}
	return nil
}

// named gives the first license in a state with that whole id, one that was declined only
// where there is no other, or nil.
func (l *Local) named(state heldState, id uint64) (found *held) {
	l.byID.Ascend(&held{state: state, license: id}, func(h *held) bool {
		if h.state != state || h.license != id {
			return false
		}
		if found == nil || h.declined == nil {
			found = h
		}
		return h.declined != nil
	})
	return found
}

// errNotStarted is about a manager without identity.
func errNotStarted() error {
	return refuse(code.InternalError, "this manager has no identity yet")
}
