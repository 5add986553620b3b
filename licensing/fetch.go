package licensing

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/sojournlm/sojourn/detach"
	"github.com/sojournlm/sojourn/internal/document"
	"github.com/sojournlm/sojourn/internal/ledger"
	"github.com/sojournlm/sojourn/internal/peer"
)

// fetchKnown has one of the managers that tell of a key detach for any known computer,
// and gives the file. They are asked in their order: one that refuses may be lying, and
// one that cannot be reached is none. Where one may have detached, nobody else is asked.
// Under a request key that holds for good: who is asked is known here before anything is
// sent, until it is certain that nothing has come of it.
func (m *Manager) fetchKnown(ctx context.Context, op string, origins []*origin, key uint64, r detach.DetachRequest) (out *Detached, err error) {
	own := r.Request.Key // what is asked for again is the same there too
	if own == (document.Hash{}) {
		own = newOwn()
	}
	if !origins[0].answers() {
		origins = origins[:1]
	}
	state, now := m.local.Read()
	before, err := state.AskedOf(r.Request, now.Unix)
	if err != nil {
		return nil, fail(op, err)
	}
	if before != nil {
		origins = m.first(before, origins)
	}
	for n, at := range origins {
		again := n == 0 && before != nil
		if !again {
			if fault := m.askElsewhere(ctx, at, r); fault != nil {
				return nil, fail(op, cmp.Or(err, fault))
			}
		}
		out, fault := m.fetch(ctx, op, at, key, r, own, again)
		if fault == nil {
			return out, nil
		}
		final := ruled(fault) && m.peers.proved(at.public, key)
		fault = fail(op, fault)
		if e, ok := errors.AsType[*Error](fault); ok && again && (e.Code == OperationIsNotAllowed || e.Code == StorageCorrupted) {
			e.Err = errors.Join(ErrUnknown, e.Err) // it may have been allowed, and the store well, when it was asked first
		}
		if errors.Is(fault, ErrUnknown) {
			return nil, fault
		}
		m.askedInVain(ctx, r)
		err = cmp.Or(err, fault)
		if ctx.Err() != nil || final {
			break
		}
	}
	return nil, err
}

// first puts the manager with a public key before all others.
func (m *Manager) first(public []byte, all []*origin) []*origin {
	at := m.originBy(0, public)
	others := slices.DeleteFunc(slices.Clone(all), func(o *origin) bool {
		same := bytes.Equal(o.public, public)
		if same {
			at = o
		}
		return same
	})
	return append([]*origin{at}, others...)
}

// askElsewhere enters that a manager is about to be asked, where that is asked under a
// request key.
func (m *Manager) askElsewhere(ctx context.Context, at *origin, r detach.DetachRequest) error {
	if r.Request.Key == (document.Hash{}) {
		return nil
	}
	_, err := m.local.Do(ctx, func(s *detach.Local, now ledger.Moment) ([][]byte, error) {
		return s.AskElsewhere(r.Request, at.public, now.Unix+r.Duration+int64(recallLife/time.Second), now.Unix)
	})
	return doubting(err, r.Request, m)
}

// askedInVain enters that nothing has come of that, and never will.
func (m *Manager) askedInVain(ctx context.Context, r detach.DetachRequest) {
	if r.Request.Key == (document.Hash{}) {
		return
	}
	_, err := m.local.Do(ctx, func(s *detach.Local, now ledger.Moment) ([][]byte, error) {
		return s.AskedInVain(r.Request, now.Unix)
	})
	if err != nil { // the key stays what it is to this request alone
		m.opts.Logger.Info("a request that came to nothing stays known", "error", err)
	}
}

// fetch has one manager detach. again says that it may have been asked before: then no
// refusal is certain before what was sent then is stale.
func (m *Manager) fetch(ctx context.Context, op string, at *origin, key uint64, r detach.DetachRequest, own document.Hash, again bool) (*Detached, error) {
	began := time.Now()
	body, err := at.ask(ctx, verbDetach, newAsk(key, r.Recipient, r, own), nil)
	failure, _ := errors.AsType[*peer.Error](err)
	refused, isRefused := errors.AsType[*peer.Refused](err)
	isRefused = isRefused && refused.Code != GetResponseFailed
	if err != nil && !isRefused {
		m.peers.blame(ctx, at.public, began)
	}
	switch {
	case isRefused && !m.fetching.has(own, m.opts.Clock.Elapsed()) && !(again && m.intents.young(m.opts.Clock.Elapsed())):
		return nil, &detach.Refusal{Code: refused.Code, Message: refused.Message, Details: parseDetails(refused.Details)}
	case failure != nil && !failure.Sent && !isRefused && !again:
		return nil, &Error{
			Op: op, Code: ServerNotFound, Err: err, Advice: "Ask again when it can be reached.",
			Message: fmt.Sprintf("%s cannot be reached; nothing has happened", at.name()),
		}
	case err != nil: // or refused, while an earlier copy of the request may be on its way
		m.fetching.add(own, m.opts.Clock.Elapsed())
		return nil, &Error{
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
		return nil, &Error{
			Op: op, Code: IncorrectResponseData, Err: errors.Join(ErrUnknown, err),
			Message: fmt.Sprintf("the answer of %s cannot be used: %v", at.name(), err),
			Advice:  "The list of detached licenses there tells whether one was made.",
		}
	}
	m.peers.praise(at.public, 0)
	return &Detached{LicenseID: answer.ID, Ends: time.Unix(answer.Death, 0), License: answer.License}, nil
}
