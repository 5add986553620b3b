package licensing

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/sojournlm/sojourn/detach"
	"github.com/sojournlm/sojourn/internal/document"
	"github.com/sojournlm/sojourn/internal/ledger"
	"github.com/sojournlm/sojourn/internal/peer"
)

// fetchKnown is fetchFrom for a request that is known here before it is sent, and until
// it is certain that nothing has come of it.
func (m *Manager) fetchKnown(ctx context.Context, op string, origins []*origin, key uint64, r detach.DetachRequest) (*Detached, error) {
	state, now := m.local.Read()
	before, _ := state.Asked(r.Request, now.Unix)
	if r.Request.Key != (document.Hash{}) && !before {
		err := m.enter(ctx, r.Request, func(s *detach.Local, now int64) ([][]byte, error) {
			return s.AskElsewhere(r.Request, now+r.Duration+int64(recallLife/time.Second), now)
		})
		if err != nil {
			return nil, fail(op, err)
		}
	}
	out, err := m.fetchFrom(ctx, op, origins, key, r, before)
	if err == nil || before || errors.Is(err, ErrUnknown) {
		return out, err
	}
	_, unforgotten := m.local.Do(ctx, func(s *detach.Local, now ledger.Moment) ([][]byte, error) {
		return s.AskedInVain(r.Request, now.Unix)
	})
	if unforgotten != nil { // the key stays what it is to this request alone
		m.opts.Logger.Info("a request that came to nothing stays known", "error", unforgotten)
	}
	return nil, err
}

// fetchFrom has one of the managers that tell of a key detach, in their order: one that
// refuses may be lying, and one that cannot be reached is none. Where one may have
// detached, nobody else is asked.
func (m *Manager) fetchFrom(ctx context.Context, op string, origins []*origin, key uint64, r detach.DetachRequest, again bool) (out *Detached, err error) {
	own := r.Request.Key // what is asked for again is the same there too
	if own == (document.Hash{}) {
		own = newOwn()
	}
	if !origins[0].answers() {
		origins = origins[:1]
	}
	for _, at := range origins {
		out, next, fault := m.fetch(ctx, op, at, key, r, own, again)
		if fault == nil {
			return out, nil
		}
		final := ruled(fault) && m.peers.proved(at.public, key)
		fault = fail(op, fault)
		if e, ok := errors.AsType[*Error](fault); ok && again && e.Code == OperationIsNotAllowed {
			e.Err = errors.Join(ErrUnknown, e.Err) // it may have been allowed when it was asked first
		}
		if err == nil || errors.Is(fault, ErrUnknown) && !errors.Is(err, ErrUnknown) {
			err = fault
		}
		if !next || ctx.Err() != nil || final {
			break
		}
	}
	return nil, err
}

// fetch has the manager of a key elsewhere detach for any known computer, and gives
// the file. again says that it may have been asked before, and next that it surely
// does not do it now.
func (m *Manager) fetch(ctx context.Context, op string, at *origin, key uint64, r detach.DetachRequest, own document.Hash, again bool) (out *Detached, next bool, err error) {
	began := time.Now()
	body, err := at.ask(ctx, verbDetach, newAsk(key, r.Recipient, r, own), nil)
	failure, _ := errors.AsType[*peer.Error](err)
	refused, isRefused := errors.AsType[*peer.Refused](err)
	isRefused = isRefused && refused.Code != GetResponseFailed
	if err != nil && !isRefused {
		m.peers.blame(ctx, at.public, began)
	}
	switch {
	case isRefused && !m.fetching.has(own, m.opts.Clock.Elapsed()):
		return nil, true, &detach.Refusal{Code: refused.Code, Message: refused.Message, Details: parseDetails(refused.Details)}
	case failure != nil && !failure.Sent && !isRefused && !again:
		return nil, true, &Error{
			Op: op, Code: ServerNotFound, Err: err, Advice: "Ask again when it can be reached.",
			Message: fmt.Sprintf("%s cannot be reached; nothing has happened", at.name()),
		}
	case err != nil: // or refused, while an earlier copy of the request may be on its way
		m.fetching.add(own, m.opts.Clock.Elapsed())
		return nil, isRefused || failure != nil && !failure.Sent, &Error{
			Op: op, Code: ServerNotFound, Err: errors.Join(ErrUnknown, err),
			Message: fmt.Sprintf("%s does not answer; whether it has detached the license is not known", at.name()),
			Advice:  "Ask again with the same request key. Without one, the list of detached licenses there tells.",
		}
	}
	var answer detachAnswer
	if err = document.Decode("answer to a detach", body, document.MaxPeerMessage, &answer); err == nil {
		var envelope *document.Envelope
		envelope, err = document.Unwrap(answer.License)
		if err == nil && (envelope.Kind != document.KindLicense || envelope.Origin != key || envelope.Recipient != r.Recipient.ID) {
			err = fmt.Errorf("it is a %v of key %d for lmsId %d, not what was asked for", envelope.Kind, envelope.Origin, envelope.Recipient)
		}
	}
	if err == nil && (answer.Death < 0 || answer.Death > document.MaxTime) {
		err = errors.New("its death time is out of range")
	}
	if err != nil {
		m.peers.blame(ctx, at.public, began)
		return nil, false, &Error{
			Op: op, Code: IncorrectResponseData, Err: errors.Join(ErrUnknown, err),
			Message: fmt.Sprintf("the answer of %s cannot be used: %v", at.name(), err),
			Advice:  "The list of detached licenses there tells whether one was made.",
		}
	}
	m.peers.praise(at.public, 0)
	return &Detached{LicenseID: answer.ID, Ends: time.Unix(answer.Death, 0), License: answer.License}, true, nil
}
