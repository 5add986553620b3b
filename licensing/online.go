package licensing

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/sojournlm/sojourn/detach"
	"github.com/sojournlm/sojourn/internal/document"
	"github.com/sojournlm/sojourn/internal/ledger"
)

// detachOnline takes a seat from the manager that has the key and installs it
// here.
func (m *Manager) detachOnline(ctx context.Context, op string, r DetachRequest, request detach.DetachRequest) (*Detached, error) {
	if r.Recipient != m.self.id() {
		no := refuse(op, OperationIsNotAllowed, "online, a seat can only be detached to this computer, lmsId %d", m.self.id())
		no.Advice = "Ask that computer's manager, or detach offline and carry the file there."
		return nil, no
	}
	state, now := m.local.Read()
	if in, err := state.Obtained(request.Request, now.Unix); err != nil {
		return nil, fail(op, err)
	} else if in != nil {
		return obtained(in), nil
	}
	for {
		state, _ := m.local.Read()
		intent := state.IntentOf(request.Request)
		if request.Request.Key == (document.Hash{}) {
			intent = m.unsentLike(state, r.Key, request)
		}
		if intent != nil && intent.Kind != detach.IntentDetach {
			return nil, refuse(op, InvalidUpdateOrAlreadyInstalled, "the license made under this request key is being given back")
		}
		var in *detach.Installed
		var err error
		if intent != nil {
			in, err = m.goOn(ctx, intent)
		} else {
			in, err = m.beginOnline(ctx, r.Key, request)
		}
		switch {
		case err == nil:
			return obtained(in), nil
		case !errors.Is(err, errRecalled) && !errors.Is(err, errBegun):
			return nil, fail(op, err)
		}
	}
}

var (
	// errRecalled says that a request was recalled, or given up, before it made a license.
	errRecalled = errors.New("the request was recalled")
	// errBegun says that somebody else has just begun the same.
	errBegun = errors.New("the same was begun by somebody else")
)

// unsentLike gives a pending intent for the same detach, also asked for without a
// request key, that has reached nobody yet: who asks again and again while a manager
// is silent goes on with one. A second license for the same could not be made anyway.
func (m *Manager) unsentLike(state *detach.Local, key uint64, r detach.DetachRequest) *detach.Intent {
	for i := range state.Intents() {
		var ask detachAsk
		if i.Kind != detach.IntentDetach || i.Key != key || i.Request.Key != (document.Hash{}) || !m.intents.unsent(i.ID) ||
			document.Decode("intent", i.Ask, document.MaxPeerMessage, &ask) != nil {
			continue
		}
		if ask.Duration == r.Duration && ask.Seats == r.Seats && slices.Equal(ask.Features, r.Features) {
			return i
		}
	}
	return nil
}

// goOn obtains the license of a pending intent.
func (m *Manager) goOn(ctx context.Context, intent *detach.Intent) (*detach.Installed, error) {
	release, err := m.claims.take(ctx, intent.Own, nil)
	if err != nil {
		return nil, pending(intent, RequestFailed, "somebody is at it", err)
	}
	defer release()
	unsent := m.intents.unsent(intent.ID)
	if !unsent && intent.Request.Key == (document.Hash{}) { // sent meanwhile, for somebody else
		return nil, errRecalled
	}
	if unsent && !m.originBy(intent.Peer, intent.PeerKey).answers() {
		others, err := m.originsOf(ctx, intent.Key)
		if err == nil && others[0].answers() && !bytes.Equal(others[0].public, intent.PeerKey) {
			if err := m.drop(ctx, intent); err != nil {
				return nil, err
			}
			return nil, errRecalled
		}
	}
	return m.obtain(ctx, intent)
}

// beginOnline obtains a license from the manager that has the key. Where several
// tell of it, one that says no, and says it for certain, may be lying, unless it has
// proven before that it has the key; and one that
// turns out to be silent comes after all others. Where all are, they have just been
// asked all together, and one of them has the request.
func (m *Manager) beginOnline(ctx context.Context, key uint64, request detach.DetachRequest) (in *detach.Installed, err error) {
	origins, err := m.originsOf(ctx, key)
	if err != nil {
		return nil, doubting(err, request.Request, m)
	}
	if !origins[0].answers() {
		origins = origins[:1]
	}
	var first error
	for n, all := 0, len(origins); n < len(origins); n++ {
		at := origins[n]
		in, next, err := m.beginAt(ctx, at, key, request, n >= all-1)
		switch {
		case err == nil || next == nobody || ruled(err) && m.peers.proved(at.public, key):
			return in, err
		case next == himAgain:
			origins = append(origins, at)
		case first == nil:
			first = err
		}
	}
	return nil, first
}

// whom is who is asked after a manager that gave nothing.
type whom int

const (
	nobody   whom = iota // it may still give something, or it is known how it ends
	others               // it said no
	himAgain             // the others first, then it once more: it is silent
)

// beginAt records the intent and obtains a license from one manager. last says that
// what does not reach this one is left pending.
func (m *Manager) beginAt(ctx context.Context, at *origin, key uint64, request detach.DetachRequest, last bool) (in *detach.Installed, next whom, err error) {
	if err := at.usable(key); err != nil {
		return nil, others, err
	}
	own := newOwn()
	release, err := m.claims.take(ctx, own, nil) // before it is recorded, so that nobody settles it meanwhile
	if err != nil {
		return nil, nobody, err
	}
	defer release()
	intent, err := m.intendOnce(ctx, at, key, request, own)
	if errors.Is(err, errFull) {
		return nil, others, &Error{
			Op: "detach", Code: ServerNotFound, Advice: "Wait until some have ended; the list of pending operations says why they have not.",
			Message: fmt.Sprintf("%d detaches from %s are pending; nothing was begun", maxDetaches, at.name()),
		}
	}
	if err != nil {
		return nil, nobody, doubting(err, request.Request, m)
	}
	in, err = m.obtain(ctx, intent)
	if err == nil || errors.Is(err, ErrUnknown) {
		return in, nobody, err
	}
	state, _ := m.local.Read()
	switch pending := state.Intent(intent.ID) != nil; {
	case !pending:
		return nil, others, err
	case m.intents.unsent(intent.ID) && !last && ctx.Err() == nil:
		if failed := m.drop(ctx, intent); failed != nil {
			return nil, nobody, err
		}
		return nil, himAgain, err
	}
	return nil, nobody, err
}

// intendOnce is intendDetach for a detach that nobody else has begun; errBegun says
// that somebody has. It keeps the place among those that reached nobody.
func (m *Manager) intendOnce(ctx context.Context, at *origin, key uint64, r detach.DetachRequest, own document.Hash) (*detach.Intent, error) {
	if r.Request.Key == (document.Hash{}) {
		release, err := m.claims.take(ctx, likeness(key, r), nil)
		if err != nil {
			return nil, err
		}
		defer release()
		if state, _ := m.local.Read(); m.unsentLike(state, key, r) != nil {
			return nil, errBegun
		}
	}
	id, most := newIntentID(), maxUnsent
	if at.answers() {
		most = maxDetaches
	}
	switch reserved := m.intents.reserve(id, at.public, most); {
	case !reserved && most == maxDetaches:
		return nil, errFull
	case !reserved:
		return nil, &Error{
			Op: "detach", Code: ServerNotFound, Advice: "Ask again when it can be reached, or go on with one of those that are pending.",
			Message: fmt.Sprintf("%s does not answer, and %d operations with it are pending already; nothing was begun", at.name(), most),
		}
	}
	intent, err := m.intendDetach(ctx, id, at, key, r, own)
	if err != nil {
		m.intents.release(id)
		return nil, err
	}
	m.intents.begun(intent, m.opts.Clock.Elapsed())
	return intent, nil
}

// likeness is the same for detaches without a request key that ask for the same.
func likeness(key uint64, r detach.DetachRequest) document.Hash {
	ask := document.Encode(newAsk(key, document.Recipient{}, r, document.Hash{}))
	return sha256.Sum256(append([]byte("sojourn/same-detach/1\x00"), ask...))
}

// errFull says that too many detaches are pending with one manager.
var errFull = errors.New("too many detaches are pending")

// detachesWith counts the pending detaches from a manager, and the returns of what it
// gave that was never installed here.
func detachesWith(state *detach.Local, public []byte) (n int) {
	for i := range state.Intents() {
		if bytes.Equal(i.PeerKey, public) && (i.Kind == detach.IntentDetach || state.Declined(i.License, i.Key)) {
			n++
		}
	}
	return n
}

// drop settles a detach that has reached nobody, or that was refused for certain.
func (m *Manager) drop(ctx context.Context, i *detach.Intent) error {
	return m.end(ctx, i, detach.OutcomeNothing)
}

// end settles a detach of which nothing is installed here.
func (m *Manager) end(ctx context.Context, i *detach.Intent, outcome detach.Outcome) error {
	_, err := m.local.Do(ctx, func(s *detach.Local, _ ledger.Moment) ([][]byte, error) {
		return s.Settle(i.ID, outcome), nil
	})
	if err == nil {
		m.intents.release(i.ID)
	}
	return err
}

func obtained(in *detach.Installed) *Detached {
	t := in.License.Terms
	return &Detached{LicenseID: t.License, Ends: time.Unix(t.Death, 0)}
}

// newAsk is a request to the key's manager for a license.
func newAsk(key uint64, recipient document.Recipient, r detach.DetachRequest, own document.Hash) detachAsk {
	return detachAsk{
		Key: key, Recipient: recipient.ID, RecipientKey: recipient.Sign,
		Duration: r.Duration, Seats: r.Seats, Features: r.Features, Own: own,
	}
}

// intendDetach records that a seat is about to be asked for.
func (m *Manager) intendDetach(ctx context.Context, id uint64, at *origin, key uint64, r detach.DetachRequest, own document.Hash) (*detach.Intent, error) {
	self, err := m.recipient(m.self.id())
	if err != nil {
		return nil, err
	}
	receipt, err := m.local.Do(ctx, func(s *detach.Local, now ledger.Moment) ([][]byte, error) {
		if now.Err != nil {
			return nil, now.Err
		}
		if detachesWith(s, at.public) >= maxDetaches { // counted here: many begin at once
			return nil, errFull
		}
		intent := detach.Intent{
			ID: id, Kind: detach.IntentDetach, Peer: at.id, PeerKey: at.public, Key: key, Own: own,
			Until: seatHome(r.Duration, now.Unix), Request: r.Request,
		}
		intent.Ask = document.Encode(newAsk(key, self, r, own))
		return s.Intend(intent, now.Unix)
	})
	if err != nil {
		return nil, err
	}
	return receipt.State.Intent(id), nil
}

func newOwn() (own document.Hash) {
	rand.Read(own[:])
	return own
}

// newIntentID gives an id that no JSON client corrupts, like a license's.
func newIntentID() uint64 {
	for {
		if id := newLicenseID(); id >= 1<<32 && document.ValidID(uint64(document.ShortID(id))) {
			return id
		}
	}
}
