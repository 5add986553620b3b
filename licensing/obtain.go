package licensing

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/sojournlm/sojourn/detach"
	"github.com/sojournlm/sojourn/internal/document"
	"github.com/sojournlm/sojourn/internal/peer"
)

// obtain asks the origin for the license of an intent and installs it. The caller has
// the claim on the intent. No license is made that would outlive the intent: where that
// was recorded long ago, only what was made before is asked for, and errRecalled says
// that there is none and that the intent has ended.
func (m *Manager) obtain(ctx context.Context, i *detach.Intent) (*detach.Installed, error) {
	began := time.Now()
	defer func() { m.intents.tried(i.ID, m.opts.Clock.Elapsed()) }()
	unsent := m.intents.unsent(i.ID)
	if err := m.local.Settle(ctx); err != nil { // how it ended may be in a batch that is in doubt
		return nil, pending(i, codeOfFailure(err), "what this manager has stored last is in doubt", err)
	}
	state, now := m.local.Read()
	if state.Intent(i.ID) != i { // settled while this waited
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
	check := func(_ context.Context, ahead int64) error { return m.inTime(ahead, ask.Duration) }
	if !covers(i.Until, ask.Duration, now.Unix) {
		if unsent {
			return nil, cmp.Or(m.drop(ctx, i), errRecalled)
		}
		ask.Recall, check = true, nil
	}
	at := m.originBy(i.Peer, i.PeerKey)
	body, err := at.ask(ctx, verbDetach, ask, check)
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
	if err := m.suits(license); err != nil { // for good, so its seats go back at once
		m.peers.blame(ctx, i.PeerKey, began)
		m.intents.hurry(i.ID)
		return nil, useless(err)
	}
	m.peers.praise(i.PeerKey, i.Key)
	in, err := m.installObtained(ctx, i, license)
	_, ruled := errors.AsType[*detach.Refusal](err)
	switch {
	case err == nil:
	case ruled: // it cannot be used here, so its seats go back at once
		m.intents.hurry(i.ID)
	case errors.Is(err, ErrUnknown):
		err = &Error{
			Op: "detach", Code: GetResponseFailed, Intent: i.ID, Err: err,
			Message: fmt.Sprintf("the license has come; whether it is installed is not known, and if not, the detach is pending as operation %d", i.ID),
			Advice:  "Ask again with the same request key. Without one, the list of keys tells: what is not installed is undone.",
		}
	default:
		err = pending(i, codeOfFailure(err), "the license has come, but is not installed yet", err)
	}
	return in, err
}

// seatHome is when the seats of a license that another manager is about to be asked for
// are home at the latest, in Unix seconds by the clock here. duration is in seconds. A
// clock there that is ahead ends the license earlier, and one that is behind is no later
// than the request's way there by its own.
func seatHome(duration, now int64) int64 { return now + duration + int64(recallLife/time.Second) }

// covers reports whether a license that is asked for now is dead by a time that
// [seatHome] gave before.
func covers(until, duration, now int64) bool {
	return now+duration+int64(recallLife/time.Second)/2 <= until
}

// codeOfFailure is the code of an error that ended an operation under way.
func codeOfFailure(err error) Code {
	e, _ := errors.AsType[*Error](fail("", err))
	return e.Code
}

// inTime refuses a license that would not start here, or would be over, before it is
// made. ahead is how far the clock of the key's manager is, and duration how long the
// license lives, both in seconds.
func (m *Manager) inTime(ahead, duration int64) error {
	_, now := m.local.Read()
	here := m.opts.Clock.Now().Unix()
	var what string
	switch {
	case ahead > maxBehind:
		what = "would not start here"
	case max(here, now.Unix)-here-ahead >= duration:
		what = "would be over here"
		here, ahead = max(here, now.Unix), ahead-max(0, now.Unix-here)
	default:
		return nil
	}
	return &advised{&detach.Refusal{Code: RTCError, Message: fmt.Sprintf(
		"this computer's clock shows %s and that of the key's manager %s: one of the two is wrong, and a license made now %s",
		clockText(here), clockText(here+ahead), what)}, wrongClock}
}

// unobtained is what becomes of an intent whose request failed.
func (m *Manager) unobtained(ctx context.Context, i *detach.Intent, at *origin, began time.Time, err error) error {
	again := !m.intents.unsent(i.ID) // it may have been asked before
	failure, _ := errors.AsType[*peer.Error](err)
	refused, isRefused := errors.AsType[*peer.Refused](err)
	own, isOwn := errors.AsType[*detach.Refusal](err)
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
	case isOwn:
		return pending(i, own.Code, own.Message, err)
	case isRefused:
		m.intents.hurry(i.ID)
		return refusedBy(at, refused)
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

// suits says why a license cannot be used on this computer, or nil.
func (m *Manager) suits(license *document.License) error {
	if err := m.vouch(license); err != nil {
		return &advised{err, otherVendor}
	}
	if err := m.self.matches(license); err != nil {
		return &advised{err, "Add this computer's fingerprint at the key's manager again: other hardware is known there."}
	}
	return nil
}

// otherVendor is what to do where a key's vendor is not trusted here.
const otherVendor = "Give this program the vendor's public key, or name a key of a vendor that it trusts."

// useless is the refusal of a license that has come and goes back.
func useless(err error) error {
	why, _ := errors.AsType[*Error](fail("detach", err))
	return &advised{&detach.Refusal{
		Code: why.Code, Message: "the license that was made cannot be used here, and goes back: " + why.Message,
	}, why.Advice}
}

// openAnswer gives the license in an origin's answer. It is what was asked for, by the
// signature of the key that it names: all that it takes to give it back. Whether it can
// be used here is for [Manager.suits] to say.
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
	license, err := envelope.License(m.self.identity.Seal)
	if err != nil {
		return nil, err
	}
	if err := license.VerifyKey(); err != nil {
		return nil, err
	}
	ask.Recall = false
	state, _ := m.local.Read()
	if license.Terms.Request != servedKey(state.Book().Local().Fingerprint(), ask.Own, document.Encode(ask)) {
		return nil, fmt.Errorf("license %d was made for another request", license.Terms.License)
	}
	if t := license.Terms; t.Duration != ask.Duration || t.Seats != ask.Seats {
		return nil, fmt.Errorf("license %d is for %d seats and %d s, not for what was asked for", t.License, t.Seats, t.Duration)
	}
	return license, nil
}

// installObtained installs a license and settles its intent, in one batch. Nothing is
// installed for who has left; who leaves only then is waited for: he would be told an
// error, and have the license.
func (m *Manager) installObtained(ctx context.Context, i *detach.Intent, license *document.License) (*detach.Installed, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), actWithin)
	defer cancel()
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
