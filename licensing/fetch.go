package licensing

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/sojournlm/sojourn/detach"
	"github.com/sojournlm/sojourn/internal/document"
	"github.com/sojournlm/sojourn/internal/ledger"
	"github.com/sojournlm/sojourn/internal/peer"
)

// A file of another manager's pool is fetched from one manager only. Under a request key
// that holds for good: who is asked is entered here before the request is sent, and nobody
// else is asked, nor the own pool, before it is entered that nothing has come of it.

// denial is the word of a manager that a request has come to nothing there, for certain
// and for good. Here, that is entered.
type denial struct {
	from *origin
	err  error
}

// askedBefore is the manager that was asked for a request and may have granted it, nil
// for none. What is stored of that and not signed yet is settled first.
func (m *Manager) askedBefore(ctx context.Context, request document.RequestKey) (*origin, error) {
	if !m.mayHold(request) {
		return nil, nil
	}
	if err := m.local.Settle(ctx); err != nil {
		return nil, doubting(err, request, m)
	}
	state, now := m.local.Read()
	public, _, err := state.AskedOf(request, now.Unix)
	if err != nil || public == nil {
		return nil, err
	}
	return m.originBy(0, public), nil
}

// fetchKnown has one of the managers that tell of a key detach for any known computer,
// and gives the file. They are asked in their order: one that refuses may be lying, and
// one that cannot be reached is none. Where one may have detached, nobody else is asked.
// before is the word of one that is not asked any more, nil for none.
func (m *Manager) fetchKnown(ctx context.Context, op string, origins []*origin, key uint64, r detach.DetachRequest, before *denial) (*Detached, error) {
	if !origins[0].answers() {
		origins = origins[:1]
	}
	first := before
	for _, at := range origins {
		switch {
		case before != nil && (ctx.Err() != nil || ruled(before.err) && m.peers.proved(before.from.public, key)):
			return nil, fail(op, first.err)
		case first != nil && bytes.Equal(first.from.public, at.public):
			continue
		}
		out, no, err := m.fetchFrom(ctx, op, at, key, r, false)
		if no == nil {
			return out, err
		}
		before = no
		if first == nil {
			first = no
		}
	}
	return nil, fail(op, first.err)
}

// fetchFrom has one manager detach. again says that it may have been asked before. Where
// nothing has come of it, that is the denial; an error is all else.
func (m *Manager) fetchFrom(ctx context.Context, op string, at *origin, key uint64, r detach.DetachRequest, again bool) (*Detached, *denial, error) {
	own := r.Request.Key // what is asked for again is the same there too
	if own == (document.Hash{}) {
		own = newOwn()
	}
	out, err := m.fetch(ctx, op, at, key, r, own, again)
	if failed, ok := errors.AsType[*notEntered](err); ok {
		return nil, nil, fail(op, failed.reason)
	}
	if err == nil || errors.Is(err, ErrUnknown) {
		return out, nil, fail(op, err)
	}
	if over(err) && r.Request.Key != (document.Hash{}) { // then it was granted
		return nil, nil, fail(op, err)
	}
	if failed := m.askedInVain(ctx, r); failed != nil { // the key stays what it is, to this request alone
		m.opts.Logger.Info("a request that came to nothing stays known", "error", failed)
		return nil, nil, fail(op, err)
	}
	return nil, &denial{at, err}, nil
}

// askElsewhere enters that a manager is about to be asked, where that is asked under a
// request key and is not known for as long as a license would live that is made now. It
// is called when that manager has greeted: one that never does keeps no request key.
func (m *Manager) askElsewhere(ctx context.Context, at *origin, r detach.DetachRequest) error {
	if r.Request.Key == (document.Hash{}) {
		return nil
	}
	state, now := m.local.Read()
	public, until, err := state.AskedOf(r.Request, now.Unix)
	if err != nil || bytes.Equal(public, at.public) && covers(until, r.Duration, now.Unix) {
		return err
	}
	_, err = m.local.Do(ctx, func(s *detach.Local, now ledger.Moment) ([][]byte, error) {
		return s.AskElsewhere(r.Request, at.public, seatHome(r.Duration, now.Unix), now.Unix)
	})
	return doubting(err, r.Request, m)
}

// notEntered is why a request was not sent: who is asked could not be entered.
type notEntered struct{ reason error }

func (n *notEntered) Error() string { return n.reason.Error() }

// askedInVain enters that nothing has come of that, and never will, also for who has
// left meanwhile.
func (m *Manager) askedInVain(ctx context.Context, r detach.DetachRequest) error {
	if r.Request.Key == (document.Hash{}) {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), enterWithin)
	defer cancel()
	_, err := m.local.Do(ctx, func(s *detach.Local, now ledger.Moment) ([][]byte, error) {
		return s.AskedInVain(r.Request, now.Unix)
	})
	return err
}

// enterWithin is how long what is entered for somebody who has left is waited for.
const enterWithin = 2 * time.Second

// over reports whether a refusal says that a license was made for the very request and
// is no more: it came home, or it has died.
func over(err error) bool {
	refusal, ok := errors.AsType[*detach.Refusal](err)
	return ok && (refusal.Code == InvalidUpdateOrAlreadyInstalled || refusal.Code == DetachedLicenseExpired)
}

// denies reports whether a refusal says of a request that may have been granted before
// that it was not.
func denies(c Code) bool {
	switch c {
	case OperationIsNotAllowed, // who is not admitted any more is told nothing
		OutdatedVersion,                  // it knew the request then, perhaps
		InvalidParameter,                 // its request key is used there, by what was asked for then
		StorageCorrupted, DongleNotFound: // what told of it is lost there
		return false
	}
	return true
}

// fetch is the exchange of [Manager.fetchFrom]. No refusal of what may have been asked
// for before is certain until all that was sent is stale.
func (m *Manager) fetch(ctx context.Context, op string, at *origin, key uint64, r detach.DetachRequest, own document.Hash, again bool) (*Detached, error) {
	began := time.Now()
	body, err := at.ask(ctx, verbDetach, newAsk(key, r.Recipient, r, own), func(ctx context.Context, _ int64) error {
		if err := m.askElsewhere(ctx, at, r); err != nil {
			return &notEntered{err}
		}
		return nil
	})
	if failed, ok := errors.AsType[*notEntered](err); ok {
		return nil, failed
	}
	failure, _ := errors.AsType[*peer.Error](err)
	answer, answered := errors.AsType[*peer.Refused](err)
	refused := answered && answer.Code != GetResponseFailed
	unsent := failure != nil && !failure.Sent
	now := m.opts.Clock.Elapsed()
	fresh := m.fetching.has(own, now) || again && m.intents.young(now)
	if err != nil && !refused {
		m.peers.blame(ctx, at.public, began)
		if !answered && !unsent {
			m.fetching.add(own, now)
		}
	}
	switch {
	case refused && !fresh && (!again || denies(answer.Code)):
		no := refusedBy(at, answer)
		if over(no) && !again { // nobody can know that yet, or it was forgotten here
			m.peers.blame(ctx, at.public, began)
		}
		return nil, no
	case answered:
		e := &Error{
			Op: op, Code: GetResponseFailed, Err: errors.Join(ErrUnknown, err), Advice: adviceFor(GetResponseFailed),
			Message: fmt.Sprintf("%s says: %s; whether it has detached the license is not known", at.name(), answer.Message),
		}
		if refused && denies(answer.Code) {
			e.Advice = fmt.Sprintf("Ask again with the same request key in %v: what was sent before is not on its way any more then.", recallLife)
		}
		return nil, e
	case unsent && !again:
		return nil, &Error{
			Op: op, Code: ServerNotFound, Err: err, Advice: "Ask again when it can be reached.",
			Message: fmt.Sprintf("%s cannot be reached; nothing has happened", at.name()),
		}
	case err != nil:
		return nil, &Error{
			Op: op, Code: ServerNotFound, Err: errors.Join(ErrUnknown, err),
			Message: fmt.Sprintf("%s does not answer; whether it has detached the license is not known", at.name()),
			Advice:  "Ask again with the same request key. Without one, the list of detached licenses there tells.",
		}
	}
	out, err := readDetached(body, key, r.Recipient.ID)
	if err != nil {
		m.peers.blame(ctx, at.public, began)
		return nil, &Error{
			Op: op, Code: IncorrectResponseData, Err: errors.Join(ErrUnknown, err),
			Message: fmt.Sprintf("the answer of %s cannot be used: %v", at.name(), err),
			Advice:  "The list of detached licenses there tells whether one was made.",
		}
	}
	m.peers.praise(at.public, 0)
	return out, nil
}

// readDetached reads a manager's answer, of which the file says for itself all else.
func readDetached(body []byte, key, recipient uint64) (*Detached, error) {
	var answer detachAnswer
	if err := document.Decode("answer to a detach", body, document.MaxPeerMessage, &answer); err != nil {
		return nil, err
	}
	envelope, err := document.Unwrap(answer.License)
	switch {
	case err != nil:
		return nil, err
	case envelope.Kind != document.KindLicense || envelope.Origin != key || envelope.Recipient != recipient:
		return nil, fmt.Errorf("it is a %v of key %d for lmsId %d, not what was asked for", envelope.Kind, envelope.Origin, envelope.Recipient)
	case answer.Death < 0 || answer.Death > document.MaxTime:
		return nil, errors.New("its death time is out of range")
	}
	return &Detached{LicenseID: answer.ID, Ends: time.Unix(answer.Death, 0), License: answer.License}, nil
}

// refusedBy is the refusal of another manager, as it is told here. What is wrong there is
// not to be mended here.
func refusedBy(at *origin, r *peer.Refused) error {
	refusal := &detach.Refusal{Code: r.Code, Message: r.Message, Details: parseDetails(r.Details)}
	var there string
	switch r.Code {
	case RTCError:
		there = "Have the clock of the key's manager set right."
	case NoService:
		there = "Have the key plugged in at its manager, and ask again."
	case NoResultsFound, OperationIsNotAllowed:
		there = "Have the computer's fingerprint added at the key's manager; where it is known there by other keys, removed first."
	case StorageCorrupted, InternalError:
		there = "Have the key's manager looked at: its log says what is wrong."
	}
	if at.own() || there == "" {
		return refusal
	}
	refusal.Message = at.name() + " says: " + r.Message
	return &advised{refusal, there}
}
