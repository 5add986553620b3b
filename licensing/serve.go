package licensing

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"

	"github.com/sojournlm/sojourn/detach"
	"github.com/sojournlm/sojourn/internal/document"
	"github.com/sojournlm/sojourn/internal/ledger"
	"github.com/sojournlm/sojourn/internal/peer"
)

// detachAsk is what a manager asks of the one that has a key.
type detachAsk struct {
	Key          uint64        `cbor:"1,keyasint"`
	Recipient    uint64        `cbor:"2,keyasint"` // lmsId
	RecipientKey []byte        `cbor:"3,keyasint"` // the Ed25519 key by which the asker knows it
	Duration     int64         `cbor:"4,keyasint"` // seconds
	Seats        uint32        `cbor:"5,keyasint"`
	Features     []Selector    `cbor:"6,keyasint"`
	Own          document.Hash `cbor:"7,keyasint"` // the asker's request key
	Recall       bool          `cbor:"8,keyasint"` // only the license that was made for the same before; none will be made later
}

// detachAnswer is the answer to a [detachAsk].
type detachAnswer struct {
	ID      uint64 `cbor:"1,keyasint"`
	Death   int64  `cbor:"2,keyasint"` // Unix seconds
	License []byte `cbor:"3,keyasint"` // the file, sealed to the recipient
}

// returnAsk hands a return over.
type returnAsk struct {
	Own    document.Hash `cbor:"1,keyasint"` // the asker's request key
	Return []byte        `cbor:"2,keyasint"` // document.Return
}

// AnswerPeer answers a message of another manager, whatever it is. The error is
// about a message that is none, or that its sender has not signed: there is
// nothing to answer to it. Without [Options].Peers it fails with
// OperationIsNotAllowed.
func (m *Manager) AnswerPeer(ctx context.Context, message []byte) ([]byte, error) {
	const op = "answer a manager"
	done, err := m.begin(op)
	if err != nil {
		return nil, err
	}
	defer done()
	if m.peers == nil {
		return nil, &Error{
			Op: op, Code: OperationIsNotAllowed, Message: "this manager keeps to itself", Advice: "Carry files between the two, or ask its operator.",
		}
	}
	answer, err := m.peers.door.Answer(ctx, message)
	if err != nil {
		return nil, fail(op, err)
	}
	return answer, nil
}

// admit says why a computer may ask for nothing here, or nil.
func (m *Manager) admit(from *document.Fingerprint) error {
	state, _ := m.local.Read()
	c := from.Computer
	known, ok := state.Book().Computer(c.ID)
	switch {
	case ok && sameKeys(known.Fingerprint(), from):
		return nil
	case m.opts.Peers == nil: // then only this computer asks
		return nil
	case ok:
		return &peer.Refused{Code: OperationIsNotAllowed, Message: fmt.Sprintf("lmsId %d is known here by other keys", c.ID)}
	case m.opts.Peers.AdmitFound:
		if r, _, ok := m.foundRecipient(c.ID, c.Sign, false); ok && bytes.Equal(r.Seal, c.Seal) {
			return nil
		}
	}
	return &peer.Refused{Code: OperationIsNotAllowed, Message: fmt.Sprintf(
		"%s does not know the computer with lmsId %d: add its fingerprint there", m.opts.HostName, c.ID)}
}

// share is whose requests a computer's are counted with.
func (m *Manager) share(from *document.Fingerprint) peer.Share {
	state, _ := m.local.Read()
	known, ok := state.Book().Computer(from.Computer.ID)
	switch {
	case ok && sameKeys(known.Fingerprint(), from):
		return peer.Known
	case m.peers.familiarWith(from):
		return peer.Found
	}
	return peer.Stranger
}

// admittedRecipient is a computer that seats may be made for by another manager's
// wish, by an lmsId and a public key: one that could ask for them itself.
func (m *Manager) admittedRecipient(lmsID uint64, public []byte) (document.Recipient, error) {
	state, _ := m.local.Read()
	known, ok := state.Book().Computer(lmsID)
	switch {
	case ok && bytes.Equal(known.Recipient().Sign, public):
		return known.Recipient(), nil
	case ok:
		return document.Recipient{}, &detach.Refusal{
			Code: OperationIsNotAllowed, Message: fmt.Sprintf("lmsId %d is known to the key's manager by other keys", lmsID),
		}
	case m.opts.Peers != nil && m.opts.Peers.AdmitFound:
		if r, _, ok := m.foundRecipient(lmsID, public, true); ok {
			return r, nil
		}
	}
	return document.Recipient{}, &detach.Refusal{
		Code: NoResultsFound, Message: fmt.Sprintf("lmsId %d is not known to the key's manager: add its fingerprint there", lmsID),
	}
}

// serve does what a computer asks for, this one included. Who it is, is proven; what
// it may ask for is looked at here: a return proves itself.
func (m *Manager) serve(ctx context.Context, from *document.Fingerprint, verb uint32, body []byte) (answer []byte, err error) {
	switch verb {
	case verbInventory:
		if err = m.admit(from); err == nil {
			answer = m.tell(ctx, from.Computer.ID)
		}
	case verbDetach:
		answer, err = m.serveDetach(ctx, from, body)
	case verbReturn:
		answer, err = m.serveReturn(ctx, from, body)
	default:
		err = &detach.Refusal{Code: OutdatedVersion, Message: fmt.Sprintf("this manager does not know request %d; it is of an older version", verb)}
	}
	if refused, ok := errors.AsType[*peer.Refused](err); ok {
		return nil, refused
	}
	if e := (*Error)(nil); errors.As(fail("answer a manager", err), &e) {
		if errors.Is(e, ErrUnknown) {
			e.Code = GetResponseFailed // every other code is a certain answer
		}
		if e.Err != nil { // what a store or a key says is for the operator here
			m.opts.Logger.Warn("another manager's request failed", "lmsId", from.Computer.ID, "error", e.Err)
			e.Message = e.Code.Error()
		}
		return nil, &peer.Refused{Code: e.Code, Message: e.Message, Details: encodeDetails(e.Details)}
	}
	return answer, nil
}

// servedKey is the request key of a computer's request in the ledgers here: two
// computers never share one.
func servedKey(from *document.Fingerprint, own document.Hash, request []byte) document.RequestKey {
	hash := func(domain string, parts ...[]byte) (h document.Hash) {
		d := sha256.New()
		d.Write([]byte(domain + "\x00"))
		for _, p := range parts {
			d.Write(p)
		}
		d.Sum(h[:0])
		return h
	}
	return document.RequestKey{
		Key:     hash("sojourn/peer-request-key/1", from.Computer.Sign, own[:]),
		Request: hash("sojourn/peer-request-body/1", request),
	}
}

func (m *Manager) serveDetach(ctx context.Context, from *document.Fingerprint, body []byte) (_ []byte, err error) {
	var ask detachAsk
	if err := document.Decode("detach request", body, document.MaxPeerMessage, &ask); err != nil {
		return nil, err
	}
	recall := ask.Recall
	ask.Recall = false // the same request either way
	admitted := m.admit(from)
	if admitted != nil && !recall { // what was made for him before he may still give up
		return nil, admitted
	}
	request := detach.DetachRequest{
		Features: ask.Features, Seats: ask.Seats, Duration: ask.Duration,
		Request: servedKey(from, ask.Own, document.Encode(ask)),
		Remote:  from.Computer.ID != m.self.id(),
	}
	if err := request.Check(); err != nil {
		return nil, err
	}
	done, err := m.changeFor(ctx, "detach", request.Request, true)
	if err != nil {
		return nil, err
	}
	defer func() { done(err) }()
	var unfit error // for a license, the recipient
	decide := func(p *detach.Pool, now ledger.Moment) (detach.Detached, error) {
		if unfit == nil && !recall && !m.recalls.has(request.Request.Key, m.opts.Clock.Elapsed()) {
			return p.Detach(request, m.opts.Policy, now.Unix, newLicenseID)
		}
		return madeBefore(p, request.Request, now, unfit)
	}
	if recall {
		// From here on no copy of the request, wherever it still is, makes a license:
		// it was decided before this, or it is not decided any more. Nor does one that is
		// refused now: who is not admitted may be in a moment.
		if !m.recalls.add(m.share(from), from.Computer.Sign, request.Request.Key, m.opts.Clock.Elapsed()) {
			return nil, &peer.Refused{Code: GetResponseFailed, Message: "too many requests are recalled at once; ask again in a while"}
		}
	} else {
		if out, err := m.again(ctx, ask.Key, request.Request); out != nil || err != nil {
			return answerDetach(out, err)
		}
		request.Recipient, unfit = m.admittedRecipient(ask.Recipient, ask.RecipientKey)
		if unfit != nil && !(ledgers{m}).mayHold(request.Request) {
			return nil, unfit
		}
	}
	out, err := m.detach(ctx, ask.Key, request.Request, decide)
	if err != nil && admitted != nil {
		err = toStranger(err)
	}
	return answerDetach(out, err)
}

// toStranger is the answer to a recall for one who is not admitted: about his own
// license he is told all, and otherwise not even whether the key is here.
func toStranger(err error) error {
	e, _ := errors.AsType[*Error](fail("detach", err))
	switch e.Code {
	case InvalidUpdateOrAlreadyInstalled, DetachedLicenseExpired:
		return err
	case DetachedLicenseNotFound, DongleNotFound, FeatureNotFound, CanNotDetachSomeFeatures: // no pool here has made one
		return &detach.Refusal{Code: DetachedLicenseNotFound, Message: "no license was made here for this request"}
	}
	return &peer.Refused{Code: GetResponseFailed, Message: "it is not known now whether a license was made; ask again later"}
}

func answerDetach(out *Detached, err error) ([]byte, error) {
	if err != nil {
		return nil, err
	}
	return document.Encode(detachAnswer{ID: out.LicenseID, Death: out.Ends.Unix(), License: out.License}), nil
}

func (m *Manager) serveReturn(ctx context.Context, from *document.Fingerprint, body []byte) (_ []byte, err error) {
	var ask returnAsk
	if err := document.Decode("return request", body, document.MaxPeerMessage, &ask); err != nil {
		return nil, err
	}
	back, err := document.ParseReturn(ask.Return)
	if err != nil {
		return nil, err
	}
	request := servedKey(from, ask.Own, ask.Return)
	done, err := m.changeFor(ctx, "return", request, true)
	if err != nil {
		return nil, err
	}
	defer func() { done(err) }()
	var proof document.Proof
	err = m.inPool(ctx, back.Terms().Key, request, func(s *slot) error {
		proof, err = m.takeBack(ctx, s, back, request)
		return err
	})
	if err != nil {
		return nil, err
	}
	return document.Encode(proof), nil
}

// wireDetail is one [Detail] as managers tell it.
type wireDetail struct {
	ProductNumber uint32 `cbor:"1,keyasint"`
	Modification  uint32 `cbor:"2,keyasint"`
	FeatureNumber uint32 `cbor:"3,keyasint"`
	Code          uint32 `cbor:"4,keyasint"`
	License       uint64 `cbor:"5,keyasint"`
	Message       string `cbor:"6,keyasint"`
	Whole         bool   `cbor:"7,keyasint"`
}

func encodeDetails(details []Detail) []byte {
	if len(details) == 0 {
		return nil
	}
	var out []wireDetail
	for _, d := range details {
		out = append(out, wireDetail{d.ProductNumber, d.Modification, d.FeatureNumber, uint32(d.Code), d.License, d.Message, d.Whole})
	}
	return document.Encode(out)
}

// parseDetails reads what a stranger gives as details; what is none is left out.
func parseDetails(b []byte) (details []Detail) {
	var in []wireDetail
	if len(b) == 0 || document.Decode("details", b, document.MaxPeerMessage, &in) != nil {
		return nil
	}
	for _, d := range in {
		if d.Code == 0 || document.CheckText(d.Message) != nil {
			return nil
		}
		details = append(details, Detail{
			ProductNumber: d.ProductNumber, Modification: d.Modification, FeatureNumber: d.FeatureNumber,
			Code: Code(d.Code), License: d.License, Message: d.Message, Whole: d.Whole,
		})
	}
	return details
}
