package detach

import (
	"bytes"
	"cmp"
	"crypto/ed25519"
	"errors"
	"fmt"
	"iter"

	"github.com/sojournlm/sojourn/internal/code"
	"github.com/sojournlm/sojourn/internal/document"
	"github.com/sojournlm/sojourn/internal/ledger"
)

const (
	// maxIntents is how many intents can be pending at once.
	maxIntents = 1000

	// maxBegun is how many there are at most when a detach is begun: the others are kept
	// for what is given back.
	maxBegun = maxIntents - 200
)

// IntentKind says what an intent is about.
type IntentKind uint32

// The kinds of intents. Their numbers stand in ledgers.
const (
	IntentDetach IntentKind = 1 // a license is asked for
	IntentReturn IntentKind = 2 // a return is handed over
)

// Intent is something that a manager has begun with another one and of which it
// does not know yet how it ended. It is recorded before anything is sent, so
// that neither end of a line can lose a seat. It must not be written to.
type Intent struct {
	ID      uint64              `cbor:"1,keyasint"` // like a license's id
	Kind    IntentKind          `cbor:"2,keyasint"`
	Peer    uint64              `cbor:"3,keyasint"`  // lmsId of the manager it is with, the own one included
	PeerKey []byte              `cbor:"4,keyasint"`  // its Ed25519 public key
	Key     uint64              `cbor:"5,keyasint"`  // the key whose pool it is about
	Own     document.Hash       `cbor:"6,keyasint"`  // its own request key, for the other manager
	Ask     []byte              `cbor:"7,keyasint"`  // of a detach: what is asked for
	License uint64              `cbor:"8,keyasint"`  // of a return: the license that is given back
	Until   int64               `cbor:"9,keyasint"`  // when the seats are home by themselves, Unix seconds
	Request document.RequestKey `cbor:"10,keyasint"` // the caller's

	At int64 `cbor:"-"` // when it was recorded, Unix seconds
}

// Outcome is how an intent ended.
type Outcome uint32

// The outcomes. Their numbers stand in ledgers.
const (
	OutcomeInstalled Outcome = 1 // the license of a detach is installed here
	OutcomeNothing   Outcome = 2 // it was refused, or never reached the other: no seat has left
	OutcomeReturned  Outcome = 3 // the origin's key has signed for the return
	OutcomeOver      Outcome = 4 // the license of a detach was made, and is no more: the seats are home, or on their way by another return
)

// settled is the body of an [entryIntentSettled].
type settled struct {
	ID      uint64  `cbor:"1,keyasint"`
	Outcome Outcome `cbor:"2,keyasint"`
	Proof   []byte  `cbor:"3,keyasint"` // document.Proof of the return's entry at its origin; else empty
	License uint64  `cbor:"4,keyasint"` // that is installed; else 0
}

// declined is the body of an [entryDeclined].
type declined struct {
	ID      uint64        `cbor:"1,keyasint"` // of the detach that is no longer wanted
	License []byte        `cbor:"2,keyasint"` // document.License: what it had brought about
	Return  []byte        `cbor:"3,keyasint"` // document.Return of it
	Own     document.Hash `cbor:"4,keyasint"` // request key of the intent to hand the return over
}

// Intent is the pending intent with that id, nil where there is none.
func (l *Local) Intent(id uint64) *Intent {
	i, ok := l.intents.Get(&Intent{ID: id})
	if !ok {
		return nil
	}
	return i
}

// Intents gives the pending intents by id.
func (l *Local) Intents() iter.Seq[*Intent] { return l.intents.Scan }

// IntentOf is the pending intent that was recorded for a caller's request, nil
// where there is none.
func (l *Local) IntentOf(request document.RequestKey) *Intent {
	if request.Key == (document.Hash{}) {
		return nil
	}
	for i := range l.intents.Scan {
		if i.Request == request {
			return i
		}
	}
	return nil
}

// ReturnOf is the pending intent that hands over the return of a license, nil
// where there is none.
func (l *Local) ReturnOf(license, origin uint64) *Intent {
	for i := range l.intents.Scan {
		if i.Kind == IntentReturn && i.License == license && i.Key == origin {
			return i
		}
	}
	return nil
}

// Lender is the manager that gave a license online. It must not be written to.
type Lender struct {
	ID     uint64 // lmsId
	Public []byte // its Ed25519 key
}

// Lender gives the manager that a license came from, nil where it came as a file.
func (l *Local) Lender(license, origin uint64) *Lender {
	if h := l.held(license, origin); h != nil {
		return h.from
	}
	return nil
}

// Declined reports whether a license went back without ever having been installed here.
// Nobody may have vouched for the key that has signed it.
func (l *Local) Declined(license, origin uint64) bool {
	h := l.held(license, origin)
	return h != nil && h.declined != nil
}

// Given reports whether a request gave a license back before, and which one from
// which key. The license's record may be gone by now.
func (l *Local) Given(request document.RequestKey, now int64) (license, origin uint64, given bool, err error) {
	repeated, err := l.repeated(request, now)
	if err != nil || repeated == nil || repeated.license == 0 {
		return 0, 0, false, err
	}
	h := l.held(repeated.license, repeated.origin)
	return repeated.license, repeated.origin, h != nil && (h.state == heldCancelled || h.state == heldForgotten), nil
}

// Abandoned reports whether the record of a license was deleted before its origin
// had signed for the return: nobody here can hand it over any more.
func (l *Local) Abandoned(license, origin uint64) bool {
	h := l.held(license, origin)
	return h != nil && h.state == heldForgotten && !h.returned
}

// Unreturned reports whether a license was given back and its record is still there: its
// origin has not signed for the return, as far as is known here.
func (l *Local) Unreturned(license, origin uint64) bool {
	h := l.held(license, origin)
	return h != nil && h.state == heldCancelled
}

// Obtained gives the license that a request installed before, nil where it
// installed none. The refusals are InvalidUpdateOrAlreadyInstalled where it was
// given back, DetachedLicenseExpired and InvalidParameter.
func (l *Local) Obtained(request document.RequestKey, now int64) (*Installed, error) {
	repeated, err := l.repeated(request, now)
	switch {
	case err != nil || repeated == nil:
		return nil, err
	case repeated.over:
		return nil, refuse(code.InvalidUpdateOrAlreadyInstalled, "the license that was made under this request key came home")
	case repeated.license == 0:
		return nil, nil
	}
	switch h := l.held(repeated.license, repeated.origin); {
	case h == nil:
		return nil, nil
	case h.state == heldCancelled || h.state == heldForgotten:
		return nil, refuse(code.InvalidUpdateOrAlreadyInstalled, "license %d, made under this request key, was given back", h.license)
	case h.dead(now):
		return nil, refuse(code.DetachedLicenseExpired, "license %d, made under this request key, died at %s", h.license, clock(h.death))
	default:
		return h.installed, nil
	}
}

// Intend decides on recording an intent. A return is recorded after or together
// with the entry that gives its license back.
func (l *Local) Intend(i Intent, now int64) ([][]byte, error) {
	most := maxIntents
	if i.Kind == IntentDetach {
		most = maxBegun
	}
	switch {
	case l.identity == nil:
		return nil, errNotStarted()
	case l.intents.Len() >= most:
		return nil, refuse(code.ServerNotFound, "%d operations with other managers are pending; nothing new is begun until one of them is settled", l.intents.Len())
	}
	if i.Kind == IntentReturn && i.Until <= now {
		return nil, refuse(code.DetachedLicenseExpired, "license %d ended at %s; its seats come home by themselves", i.License, clock(i.Until))
	}
	if err := i.check(now); err != nil {
		return nil, err
	}
	return [][]byte{document.EncodeEntry(entryIntentRecorded, i)}, nil
}

func (i *Intent) check(now int64) error {
	empty := document.Hash{}
	detach := i.Kind == IntentDetach && len(i.Ask) > 0 && i.License == 0
	back := i.Kind == IntentReturn && len(i.Ask) == 0 && validLicenseID(i.License)
	switch {
	case !detach && !back, !validLicenseID(i.ID), !document.ValidID(i.Peer), !document.ValidID(i.Key),
		len(i.PeerKey) != ed25519.PublicKeySize, i.Own == empty:
		return fmt.Errorf("intent %d is of no known form", i.ID)
	case i.Until <= now || i.Until > document.MaxTime:
		return fmt.Errorf("intent %d is until %d, but recorded at %d", i.ID, i.Until, now)
	}
	return nil
}

// Settle decides on how a pending intent ended, when neither a license nor a
// proof tells. It gives no entry where it is not pending any more.
func (l *Local) Settle(id uint64, outcome Outcome) [][]byte {
	return l.settle(settled{ID: id, Outcome: outcome})
}

// SettleInstalled is Settle for a detach whose license is installed here.
func (l *Local) SettleInstalled(id, license uint64) [][]byte {
	return l.settle(settled{ID: id, Outcome: OutcomeInstalled, License: license})
}

// SettleReturned is Settle for a return that the origin's key has signed for. The
// caller has verified the proof with [VerifyReturned].
func (l *Local) SettleReturned(id uint64, proof document.Proof) [][]byte {
	return l.settle(settled{ID: id, Outcome: OutcomeReturned, Proof: document.Encode(proof)})
}

func (l *Local) settle(b settled) [][]byte {
	if l.Intent(b.ID) == nil {
		return nil
	}
	return [][]byte{document.EncodeEntry(entryIntentSettled, b)}
}

// Decline decides on giving back a license that a detach has brought about and
// nobody wants any more, or that cannot be used here: it never worked here and never
// will, and the intent becomes one to hand over its return. Where the license came
// here another way the intent is over, and it gives the entry for that. The caller
// has verified the license with [document.License.VerifyKey]: its vendor need not be
// trusted, nor need it be alive by this computer's clock.
func (l *Local) Decline(id uint64, license *document.License, back *document.Return, own document.Hash) ([][]byte, error) {
	if err := l.forUs(license); err != nil {
		return nil, err
	}
	i, was := l.Intent(id), l.held(license.Terms.License, license.Terms.Key)
	switch {
	case i == nil:
		return nil, nil
	case was != nil && was.state == heldLive && bytes.Equal(was.installed.License.Head.KeyPublic, license.Head.KeyPublic):
		return l.SettleInstalled(id, license.Terms.License), nil
	case was != nil && was.state != heldLive && was.declined == nil:
		return l.Settle(id, OutcomeOver), nil
	case was != nil:
		return l.Settle(id, OutcomeNothing), nil
	}
	return [][]byte{document.EncodeEntry(entryDeclined, declined{id, license.Bytes(), back.Bytes(), own})}, nil
}

// VerifyReturned checks that a key has signed for a return: that the return is
// in its pool's ledger.
func VerifyReturned(proof document.Proof, key ed25519.PublicKey, back *document.Return) error {
	if _, err := proof.Verify("receipt of a return", key); err != nil {
		return err
	}
	kind, body, err := document.ParseEntry(proof.Entry)
	if err != nil {
		return err
	}
	b, err := parseBody[returned]("return entry", body)
	if err != nil {
		return err
	}
	if kind != entryReturned || b.License != back.Terms().License || !bytes.Equal(b.Return, back.Bytes()) {
		return fmt.Errorf("the receipt is not for the return of license %d", back.Terms().License)
	}
	return nil
}

func (l *Local) applyIntended(at ledger.Position, body []byte) error {
	i, err := parseLocalBody[Intent]("intent entry", body)
	if err != nil {
		return err
	}
	if err := i.check(at.Time); err != nil {
		return err
	}
	i.At = at.Time
	var h *held
	if i.Kind == IntentReturn {
		if h = l.held(i.License, i.Key); h == nil || h.state != heldCancelled {
			return fmt.Errorf("the return of license %d is to be handed over, but there is none", i.License)
		}
	}
	if l.Intent(i.ID) != nil {
		return fmt.Errorf("intent %d is recorded twice", i.ID)
	}
	l.intend(&i)
	if h == nil { // no license yet
		l.know(localRequest{RequestKey: i.Request, until: knownUntil(i.Until, at.Time)})
		return nil
	}
	l.remember(i.Request, h, at.Time)
	return nil
}

func (l *Local) applySettled(at ledger.Position, body []byte) error {
	b, err := parseLocalBody[settled]("settlement entry", body)
	if err != nil {
		return err
	}
	i := l.Intent(b.ID)
	if i == nil {
		return fmt.Errorf("intent %d is settled, but not pending", b.ID)
	}
	switch {
	case i.Kind == IntentDetach && b.Outcome == OutcomeInstalled:
		h := l.held(b.License, i.Key)
		if h == nil || h.state != heldLive {
			return fmt.Errorf("intent %d ends with license %d installed, which is not", b.ID, b.License)
		}
		known := *h
		known.from = &Lender{i.Peer, i.PeerKey}
		l.become(h, &known)
		l.remember(i.Request, &known, at.Time) // also where it came another way
	case i.Kind == IntentDetach && b.Outcome == OutcomeNothing:
		if r, ok := l.requests.Get(localRequest{RequestKey: i.Request}); ok && r.license == 0 { // it may be asked for anew
			l.unknow(i.Request)
		}
	case i.Kind == IntentDetach && b.Outcome == OutcomeOver:
		if r, ok := l.requests.Get(localRequest{RequestKey: i.Request}); ok && r.license == 0 {
			r.over = true
			l.know(r)
		}
	case i.Kind == IntentReturn && b.Outcome == OutcomeReturned:
		if was := l.held(i.License, i.Key); was != nil && was.state == heldCancelled {
			h := was.as(heldForgotten)
			h.returned = true
			l.become(was, h)
			if r, err := l.repeated(i.Request, at.Time); r != nil && err == nil { // not free since the license died
				l.remember(i.Request, h, at.Time)
			}
		}
	default:
		return fmt.Errorf("intent %d of kind %d cannot end with outcome %d", i.ID, i.Kind, b.Outcome)
	}
	l.drop(i)
	return nil
}

func (l *Local) applyDeclined(at ledger.Position, body []byte) error {
	b, err := parseLocalBody[declined]("declination entry", body)
	if err != nil {
		return err
	}
	i := l.Intent(b.ID)
	if i == nil || i.Kind != IntentDetach {
		return fmt.Errorf("intent %d is declined, but is no pending detach", b.ID)
	}
	license, back, err := b.parse()
	if err != nil {
		return err
	}
	if err := l.forUs(license); err != nil {
		return err
	}
	t := license.Terms
	if l.held(t.License, t.Key) != nil {
		return fmt.Errorf("license %d is declined, but known here", t.License)
	}
	h := &held{
		license: t.License, origin: t.Key, revision: t.Revision, death: t.Death, vendor: t.Vendor, features: t.Features,
		state: heldCancelled, cancelled: &CancelledRecord{back, at.Time, license.Head.KeyPublic},
		declined: license.Head.KeyPublic,
	}
	l.become(nil, h)
	l.remember(i.Request, h, at.Time)
	l.drop(i)
	// By the clock here a license for what was asked has ended with the intent. Its own death
	// time is by the origin's clock, or by no clock at all where nobody vouches for it.
	if i.Until > at.Time {
		l.intend(&Intent{
			ID: i.ID, Kind: IntentReturn, Peer: i.Peer, PeerKey: i.PeerKey, Key: t.Key, Own: b.Own,
			License: t.License, Until: i.Until, Request: i.Request, At: i.At,
		})
	}
	return nil
}

func (b *declined) parse() (*document.License, *document.Return, error) {
	license, err := document.ParseLicense(b.License)
	if err != nil {
		return nil, nil, err
	}
	back, err := document.ParseReturn(b.Return)
	if err != nil {
		return nil, nil, err
	}
	if !bytes.Equal(document.Encode(back.Proof), document.Encode(license.Proof())) {
		return nil, nil, errors.New("a license is declined with the return of another")
	}
	return license, back, nil
}

// judgeDeclined verifies the documents of such an entry, as far as [Local.Decline] asks.
func (l *Local) judgeDeclined(body []byte) ([][]byte, error) {
	b, err := parseLocalBody[declined]("declination entry", body)
	if err != nil {
		return nil, err
	}
	license, back, err := b.parse()
	if err != nil {
		return nil, err
	}
	if err := license.VerifyKey(); err != nil {
		return nil, err
	}
	if err := back.Verify(license.Head.KeyPublic); err != nil {
		return nil, err
	}
	return l.Decline(b.ID, license, back, b.Own)
}

// judgeSettled verifies the receipt of such an entry.
func (l *Local) judgeSettled(body []byte) ([][]byte, error) {
	b, err := parseLocalBody[settled]("settlement entry", body)
	if err != nil {
		return nil, err
	}
	i := l.Intent(b.ID)
	if i == nil || b.Outcome != OutcomeReturned {
		return l.settle(settled{ID: b.ID, Outcome: b.Outcome, License: b.License}), nil
	}
	var proof document.Proof
	if err := document.Decode("receipt of a return", b.Proof, document.MaxReturn, &proof); err != nil {
		return nil, err
	}
	if h := l.held(i.License, i.Key); h != nil && h.state == heldCancelled {
		if err := VerifyReturned(proof, h.cancelled.Origin, h.cancelled.Return); err != nil {
			return nil, err
		}
	}
	return l.SettleReturned(b.ID, proof), nil
}

// intend and drop put an intent among the pending ones and take it away.
func (l *Local) intend(i *Intent) {
	l.intents.Set(i)
	l.ends.Set(i)
}

func (l *Local) drop(i *Intent) {
	l.intents.Delete(i)
	l.ends.Delete(i)
}

func intentByID(a, b *Intent) bool { return a.ID < b.ID }

func intentByUntil(a, b *Intent) bool {
	return cmp.Or(cmp.Compare(a.Until, b.Until), cmp.Compare(a.ID, b.ID)) < 0
}
