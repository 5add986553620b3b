package licensing

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/sojournlm/sojourn/detach"
	"github.com/sojournlm/sojourn/internal/document"
	"github.com/sojournlm/sojourn/internal/peer"
)

// fetch has the manager of a key elsewhere detach for any known computer, and gives
// the file.
func (m *Manager) fetch(ctx context.Context, op string, at *origin, key uint64, r detach.DetachRequest) (*Detached, error) {
	own := r.Request.Key // what is asked for again is the same there too
	if own == (document.Hash{}) {
		own = newOwn()
	}
	body, err := at.ask(ctx, verbDetach, newAsk(key, r.Recipient, r, own), nil)
	failure, _ := errors.AsType[*peer.Error](err)
	refused, isRefused := errors.AsType[*peer.Refused](err)
	switch {
	case isRefused && refused.Code != GetResponseFailed && !m.fetching.has(own, m.opts.Clock.Elapsed()):
		return nil, fail(op, &detach.Refusal{Code: refused.Code, Message: refused.Message, Details: parseDetails(refused.Details)})
	case failure != nil && !failure.Sent && !isRefused:
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
		return nil, &Error{
			Op: op, Code: IncorrectResponseData, Err: err, Message: fmt.Sprintf("the answer of %s cannot be used: %v", at.name(), err),
			Advice: "The list of detached licenses there tells whether one was made.",
		}
	}
	return &Detached{LicenseID: answer.ID, Ends: time.Unix(answer.Death, 0), License: answer.License}, nil
}
