package licensing

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/sojournlm/sojourn/detach"
	"github.com/sojournlm/sojourn/internal/document"
	"github.com/sojournlm/sojourn/internal/ledger"
	"github.com/sojournlm/sojourn/internal/peer"
)

// detachOnline takes a seat from the manager that has the key and installs it
// here.
func (m *Manager) detachOnline(ctx context.Context, op string, r DetachRequest, request detach.DetachRequest) (*Detached, error) {
	if r.Recipient != m.self.id() {
		return nil, refuse(op, OperationIsNotAllowed, "online, a seat can only be detached to this computer, lmsId %d", m.self.id())
	}
	state, now := m.local.Read()
	if in, err := state.Obtained(request.Request, now.Unix); err != nil {
		return nil, fail(op, err)
	} else if in != nil {
		return obtained(in), nil
	}
	intent := state.IntentOf(request.Request)
	if request.Request.Key == (document.Hash{}) {
		intent = m.unsentLike(state, r.Key, request)
	}
	if intent != nil && intent.Kind != detach.IntentDetach {
		return nil, refuse(op, InvalidUpdateOrAlreadyInstalled, "the license made under this request key is being given back")
	}
	var in *detach.Installed
	err := errRecalled
	if intent != nil {
		in, err = m.goOn(ctx, intent)
	}
	if errors.Is(err, errRecalled) { // or given up, and it had made no license: begin anew
		in, err = m.beginOnline(ctx, r.Key, request)
	}
	if err != nil {
		return nil, fail(op, err)
	}
	return obtained(in), nil
}

// errRecalled says that a request was recalled before it made a license.
var errRecalled = errors.New("the request was recalled")

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
	own := newOwn()
	release, err := m.claims.take(ctx, own, nil) // before it is recorded, so that nobody settles it meanwhile
	if err != nil {
		return nil, nobody, err
	}
	defer release()
	if n := m.intents.unsentWith(at.public); n >= maxUnsent && !at.answers() {
		return nil, nobody, &Error{
			Op: "detach", Code: ServerNotFound, Advice: "Ask again when it can be reached, or go on with one of those that are pending.",
			Message: fmt.Sprintf("%s does not answer, and %d operations with it are pending already; nothing was begun", at.name(), n),
		}
	}
	if n := m.detachesWith(at.public); n >= maxDetaches {
		return nil, others, &Error{
			Op: "detach", Code: ServerNotFound, Advice: "Wait until some have ended; the list of pending operations says why they have not.",
			Message: fmt.Sprintf("%d detaches from %s are pending; nothing was begun", n, at.name()),
		}
	}
	intent, err := m.intendDetach(ctx, at, key, request, own)
	if err != nil {
		return nil, nobody, doubting(err, request.Request, m)
	}
	m.intents.begun(intent, m.opts.Clock.Elapsed())
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

// detachesWith counts the pending detaches from a manager.
func (m *Manager) detachesWith(public []byte) (n int) {
	state, _ := m.local.Read()
	for i := range state.Intents() {
		if i.Kind == detach.IntentDetach && bytes.Equal(i.PeerKey, public) {
			n++
		}
	}
	return n
}

// drop settles a detach that has reached nobody, or that was refused for certain.
func (m *Manager) drop(ctx context.Context, i *detach.Intent) error {
	_, err := m.local.Do(ctx, func(s *detach.Local, _ ledger.Moment) ([][]byte, error) {
		return s.Settle(i.ID, detach.OutcomeNothing), nil
	})
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
func (m *Manager) intendDetach(ctx context.Context, at *origin, key uint64, r detach.DetachRequest, own document.Hash) (*detach.Intent, error) {
	self, err := m.recipient(m.self.id())
	if err != nil {
		return nil, err
	}
	id, receipt, err := ledger.Decide(ctx, m.local, func(s *detach.Local, now ledger.Moment) (uint64, [][]byte, error) {
		if now.Err != nil {
			return 0, nil, now.Err
		}
		intent := detach.Intent{
			ID: newIntentID(), Kind: detach.IntentDetach, Peer: at.id, PeerKey: at.public, Key: key, Own: own,
			// An origin's clock that is ahead ends the license earlier, and one that is
			// behind is no later than the request's way there by its own.
			Until:   now.Unix + r.Duration + int64(recallLife/time.Second),
			Request: r.Request,
		}
		intent.Ask = document.Encode(newAsk(key, self, r, own))
		entries, err := s.Intend(intent, now.Unix)
		return intent.ID, entries, err
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

// obtain asks the origin for the license of an intent and installs it. The caller has
// the claim on the intent.
func (m *Manager) obtain(ctx context.Context, i *detach.Intent) (*detach.Installed, error) {
	began := time.Now()
	defer func() { m.intents.tried(i.ID, m.opts.Clock.Elapsed()) }()
	if state, now := m.local.Read(); state.Intent(i.ID) != i { // settled while this waited
		in, err := state.Obtained(i.Request, now.Unix)
		if in == nil && err == nil {
			err = errRecalled
		}
		return in, err
	}
	var ask detachAsk
	if err := document.Decode("intent", i.Ask, document.MaxPeerMessage, &ask); err != nil {
		return nil, err
	}
	at := m.originBy(i.Peer, i.PeerKey)
	body, err := at.ask(ctx, verbDetach, ask, m.notBehind)
	if err == nil {
		m.intents.reached(i.ID)
	} else {
		return nil, m.unobtained(ctx, i, at, began, err)
	}
	license, err := m.openAnswer(body, i, ask)
	if err != nil {
		m.peers.blame(ctx, i.PeerKey, began)
		return nil, pending(i, IncorrectResponseData, fmt.Sprintf("the answer of %s cannot be used: %v", at.name(), err), err)
	}
	m.peers.praise(i.PeerKey, i.Key)
	in, err := m.installObtained(ctx, i, license)
	if _, ruled := errors.AsType[*detach.Refusal](err); ruled { // it cannot be used here, so its seats go back at once
		m.intents.hurry(i.ID)
	} else if err != nil && !errors.Is(err, ErrUnknown) {
		err = pending(i, codeOfFailure(err), "the license has come, but is not installed yet", err)
	}
	return in, err
}

// codeOfFailure is the code of an error that ended an operation under way.
func codeOfFailure(err error) Code {
	e, _ := errors.AsType[*Error](fail("", err))
	return e.Code
}

// notBehind refuses a license that would not start here, before it is made.
func (m *Manager) notBehind(ahead int64) error {
	if ahead <= maxBehind {
		return nil
	}
	here := m.opts.Clock.Now().UTC()
	return &advised{&detach.Refusal{Code: RTCError, Message: fmt.Sprintf(
		"this computer's clock shows %s and that of the key's manager %s: one of the two is wrong, and a license made now would not start here",
		here.Format(time.RFC3339), here.Add(time.Duration(ahead)*time.Second).Format(time.RFC3339))}, wrongClock}
}

// unobtained is what becomes of an intent whose request failed.
func (m *Manager) unobtained(ctx context.Context, i *detach.Intent, at *origin, began time.Time, err error) error {
	again := !m.intents.unsent(i.ID) // it may have been asked before
	failure, _ := errors.AsType[*peer.Error](err)
	refused, isRefused := errors.AsType[*peer.Refused](err)
	_, isOwn := errors.AsType[*detach.Refusal](err)
	// What was asked before may still be on its way there: then even a refusal is
	// only certain when it was recalled.
	recalled := again && isRefused && refused.Code == DetachedLicenseNotFound
	certain := failure != nil && !failure.Sent && !again
	isRefused = isRefused && refused.Code != GetResponseFailed
	switch {
	case certain && (isOwn || isRefused), recalled:
		// Nothing has happened, and nothing will.
		if err := m.drop(ctx, i); err != nil {
			return err
		}
	case !certain:
		m.intents.reached(i.ID)
	}
	if !isOwn && !isRefused {
		m.peers.blame(ctx, i.PeerKey, began)
	}
	switch {
	case recalled:
		return errRecalled
	case isOwn && certain:
		return err
	case isRefused:
		m.intents.hurry(i.ID)
		return &detach.Refusal{Code: refused.Code, Message: refused.Message, Details: parseDetails(refused.Details)}
	case certain:
		return &Error{
			Op: "detach", Code: ServerNotFound, Intent: i.ID, Err: err,
			Message: fmt.Sprintf("%s cannot be reached; no seat has left, and the detach is pending as operation %d", at.name(), i.ID),
			Advice:  "Ask again, with the same request key if there was one, to go on with it. Otherwise it is given up in a moment.",
		}
	}
	return pending(i, ServerNotFound, fmt.Sprintf("%s does not answer", at.name()), err)
}

// pending is the error of an operation that goes on later by itself.
func pending(i *detach.Intent, c Code, what string, err error) error {
	e := &Error{Op: "detach", Code: c, Intent: i.ID, Err: errors.Join(ErrUnknown, err)}
	if i.Kind == detach.IntentReturn {
		e.Op = "cancel detach"
		e.Message = fmt.Sprintf("%s; the license is given back, and its return is pending as operation %d", what, i.ID)
		e.Advice = "Nothing needs to be done: the return is handed over as soon as the key's manager answers. Or download it and carry it there."
		return e
	}
	e.Message = fmt.Sprintf("%s; the detach is pending as operation %d", what, i.ID)
	e.Advice = "Ask again with the same request key to go on with it, or with a new one to ask another manager where several tell of the key. Otherwise it is undone as soon as the key's manager answers."
	return e
}

// openAnswer gives the license in an origin's answer, verified.
func (m *Manager) openAnswer(body []byte, i *detach.Intent, ask detachAsk) (*document.License, error) {
	var answer detachAnswer
	if err := document.Decode("answer to a detach", body, document.MaxPeerMessage, &answer); err != nil {
		return nil, err
	}
	envelope, err := document.Unwrap(answer.License)
	if err != nil {
		return nil, err
	}
	if envelope.Kind != document.KindLicense || envelope.Origin != i.Key || envelope.Recipient != m.self.id() {
		return nil, fmt.Errorf("it is a %v of key %d for lmsId %d, not what was asked for", envelope.Kind, envelope.Origin, envelope.Recipient)
	}
	license, err := m.openLicense(envelope)
	if err != nil {
		return nil, err
	}
	ask.Recall = false
	state, _ := m.local.Read()
	if license.Terms.Request != servedKey(state.Book().Local().Fingerprint, ask.Own, document.Encode(ask)) {
		return nil, fmt.Errorf("license %d was made for another request", license.Terms.License)
	}
	return license, nil
}

// installObtained installs a license and settles its intent, in one batch.
func (m *Manager) installObtained(ctx context.Context, i *detach.Intent, license *document.License) (*detach.Installed, error) {
	if err := m.self.matches(license); err != nil {
		return nil, err
	}
	return m.enterLicense(ctx, license, func(s *detach.Local, now int64) ([][]byte, error) {
		if s.Intent(i.ID) == nil {
			return nil, &detach.Refusal{Code: InvalidUpdateOrAlreadyInstalled, Message: fmt.Sprintf("operation %d was given up meanwhile", i.ID)}
		}
		if s.Installed(license.Terms.License, license.Terms.Key) != nil { // it came as a file too
			return s.SettleInstalled(i.ID, license.Terms.License), nil
		}
		entries, err := s.Install(license, i.Request, now)
		if err != nil {
			return nil, err
		}
		return append(entries, s.SettleInstalled(i.ID, license.Terms.License)...), nil
	})
}
