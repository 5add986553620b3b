package detach

import (
	"bytes"
	"errors"
	"fmt"
	"sync"

	"github.com/sojournlm/sojourn/fingerprint"
	"github.com/sojournlm/sojourn/internal/document"
	"github.com/sojournlm/sojourn/internal/ledger"
)

// Start decides on the manager's first entry: who it is from now on.
func (l *Local) Start(id *Identity) ([][]byte, error) {
	if l.identity != nil {
		return nil, errors.New("this manager has an identity already")
	}
	return [][]byte{id.entry()}, nil
}

// Mark is the entry that records the time, how long, in seconds, each grant
// is that follows, and within how many seconds of this or a later entry the manager
// enters something again before it grants. A manager enters it before the first grant
// of that length.
func (l *Local) Mark(length, within int64) [][]byte {
	return [][]byte{document.EncodeEntry(entryMarked, marked{
		Length: min(max(0, length), document.MaxTime), Within: min(max(0, within), document.MaxTime),
	})}
}

// Close is the last entry of a run that ends in good order: until is the end of
// the last grant that still lives, 0 for none.
func (l *Local) Close(until int64) [][]byte {
	return [][]byte{document.EncodeEntry(entryClosed, closed{max(0, until)})}
}

// Due gives the one entry for everything that time has made due by now:
// licenses that have ended, intents whose seats are home by themselves, and
// request keys that need not be known any longer.
// It is nil where nothing is due.
func (l *Local) Due(now int64) [][]byte {
	first, some := l.deaths.Min()
	lapse, more := l.lapses.Min()
	end, any := l.ends.Min()
	if (!some || first.death > now) && (!more || lapse.until > now) && (!any || end.Until > now) {
		return nil
	}
	return [][]byte{document.EncodeEntry(entryEnded, ended{now})}
}

// Apply folds one entry in. It refuses what contradicts the state as it stands;
// whether an entry is genuine is for Judge to say. After an error the Local is
// of no use.
func (l *Local) Apply(at ledger.Position, entry []byte) error {
	kind, body, err := parseLocalEntry(entry)
	if err != nil {
		return err
	}
	if at.Time < l.mark {
		return fmt.Errorf("entered at %d, after an entry of %d", at.Time, l.mark)
	}
	if (l.identity == nil) != (kind == entryStarted) {
		return fmt.Errorf("an entry of kind %d, where the identity is made by the first entry and by no other", kind)
	}
	if kind != entryEnded { // which comes by itself, and says nothing of what the manager did
		l.mark = at.Time
		l.isClosed = l.isClosed && kind == entryComputerObserved // a start may enter it, before any grant
	}
	switch kind {
	case entryStarted:
		err = l.applyStarted(body)
	case entryComputerObserved, entryComputerAdded, entryComputerEdited, entryComputerRemoved:
		err = l.applyComputer(at, kind, body)
	case entryInstalled:
		err = l.applyInstalled(at, body)
	case entryCancelled:
		err = l.applyCancelled(at, body)
	case entryForgotten:
		err = l.applyForgotten(at, body)
	case entryEnded:
		err = l.applyEnded(at, body)
	case entryMarked:
		err = l.applyMarked(at, body)
	case entryClosed:
		err = l.applyClosed(body)
	case entryAsked:
		err = l.applyAsked(at, body)
	case entryUnasked:
		err = l.applyUnasked(at, body)
	case entryAskedElsewhere:
		err = l.applyAskedElsewhere(at, body)
	case entryIntentRecorded:
		err = l.applyIntended(at, body)
	case entryIntentSettled:
		err = l.applySettled(at, body)
	case entryDeclined:
		err = l.applyDeclined(at, body)
	default:
		err = fmt.Errorf("a manager's own ledger has no entries of kind %d", kind)
	}
	return err
}

func (l *Local) applyStarted(body []byte) error {
	b, err := parseLocalBody[started]("start entry", body)
	if err != nil {
		return err
	}
	id, err := b.identity()
	if err != nil {
		return err
	}
	l.identity, l.book = id, fingerprint.NewBook(id.ID)
	return nil
}

func (l *Local) applyComputer(at ledger.Position, kind uint32, body []byte) error {
	b, err := parseLocalBody[computer]("computer entry", body)
	if err != nil {
		return err
	}
	removal := len(b.Change.Fingerprint) == 0
	if own := b.Change.ID == l.identity.ID; own != (kind == entryComputerObserved) || removal != (kind == entryComputerRemoved) {
		return fmt.Errorf("computer %d is not changed by an entry of kind %d", b.Change.ID, kind)
	}
	if kind == entryComputerObserved {
		f, err := document.ParseFingerprint(b.Change.Fingerprint)
		if err != nil {
			return err
		}
		if !bytes.Equal(f.Computer.Sign, l.identity.Public()) || !bytes.Equal(f.Computer.Seal, l.identity.Seal.Public()) {
			return errors.New("the manager's own computer is entered with other keys")
		}
	}
	if err := l.book.Apply(b.Change); err != nil {
		return err
	}
	l.remember(b.Request, nil, at.Time)
	return nil
}

func (l *Local) applyInstalled(at ledger.Position, body []byte) error {
	b, err := parseLocalBody[installed]("installation entry", body)
	if err != nil {
		return err
	}
	license, err := document.ParseLicense(b.License)
	if err != nil {
		return err
	}
	if err := l.forUs(license); err != nil {
		return err
	}
	t := license.Terms
	if t.Death <= at.Time {
		return fmt.Errorf("license %d ended at %d, but is installed at %d", t.License, t.Death, at.Time)
	}
	was := l.held(t.License, t.Key)
	if err := supersedes(was, license); err != nil {
		return err
	}
	h := &held{
		license: t.License, origin: t.Key, revision: t.Revision, death: t.Death,
		vendor: t.Vendor, features: t.Features, state: heldLive,
		installed: &Installed{license, at.Time, at.Seq, sync.OnceValue(l.verifier(license))},
	}
	if was != nil && was.declined == nil { // a newer revision of it
		h.from = was.from
	}
	if was != nil && was.declined != nil { // a liar's, and so is its return
		if i := l.ReturnOf(h.license, h.origin); i != nil {
			l.drop(i)
		}
	}
	l.become(was, h)
	l.remember(b.Request, h, at.Time)
	return nil
}

func (l *Local) applyCancelled(at ledger.Position, body []byte) error {
	b, err := parseLocalBody[cancelled]("cancellation entry", body)
	if err != nil {
		return err
	}
	r, err := document.ParseReturn(b.Return)
	if err != nil {
		return err
	}
	t := r.Terms()
	was := l.held(t.License, t.Key)
	if was == nil || was.state != heldLive || was.revision != t.Revision {
		return fmt.Errorf("license %d is given back, but its revision %d is not installed", t.License, t.Revision)
	}
	h := was.as(heldCancelled)
	h.cancelled = &CancelledRecord{r, at.Time, was.installed.License.Head.KeyPublic}
	l.become(was, h)
	l.remember(b.Request, h, at.Time)
	return nil
}

func (l *Local) applyForgotten(at ledger.Position, body []byte) error {
	b, err := parseLocalBody[forgotten]("deletion entry", body)
	if err != nil {
		return err
	}
	was := l.held(b.License, b.Origin)
	if was == nil || was.state != heldCancelled {
		return fmt.Errorf("the record of license %d is deleted, but there is none", b.License)
	}
	h := was.as(heldForgotten)
	l.become(was, h)
	l.remember(b.Request, h, at.Time)
	if i := l.ReturnOf(b.License, b.Origin); i != nil { // there is nothing left to hand over
		l.drop(i)
	}
	return nil
}

func (l *Local) applyEnded(at ledger.Position, body []byte) error {
	b, err := parseLocalBody[ended]("expiry entry", body)
	if err != nil {
		return err
	}
	if b.Time > at.Time {
		return fmt.Errorf("ends what is due at %d, but entered at %d", b.Time, at.Time)
	}
	for h, ok := l.deaths.Min(); ok && h.death <= b.Time; h, ok = l.deaths.Min() {
		l.become(h, h.as(heldExpired))
	}
	for i, ok := l.ends.Min(); ok && i.Until <= b.Time; i, ok = l.ends.Min() {
		l.drop(i)
	}
	for r, ok := l.lapses.Min(); ok && r.until <= b.Time; r, ok = l.lapses.Min() {
		l.lapses.Delete(r)
		l.requests.Delete(r)
	}
	return nil
}

func (l *Local) applyMarked(at ledger.Position, body []byte) error {
	b, err := parseLocalBody[marked]("mark entry", body)
	if err != nil {
		return err
	}
	if b.Length < 0 || b.Length > document.MaxTime {
		return fmt.Errorf("marked with grants of %d seconds", b.Length)
	}
	if b.Within < 0 || b.Within > document.MaxTime {
		return fmt.Errorf("marked for %d seconds", b.Within)
	}
	l.grantsUntil = max(l.grantsUntil, at.Time+l.grantLength)
	l.grantLength, l.markWithin = b.Length, b.Within
	return nil
}

func (l *Local) applyClosed(body []byte) error {
	b, err := parseLocalBody[closed]("close entry", body)
	if err != nil {
		return err
	}
	if b.Until < 0 || b.Until > document.MaxTime {
		return fmt.Errorf("closed with grants until %d", b.Until)
	}
	l.isClosed, l.grantsUntil, l.grantLength = true, b.Until, 0
	return nil
}

// as is the same license in another state, without what belonged to the old one.
func (h *held) as(state heldState) *held {
	return &held{
		license: h.license, origin: h.origin, revision: h.revision, death: h.death,
		vendor: h.vendor, features: h.features, state: state, from: h.from, declined: h.declined,
	}
}

// become puts now in the place of was, nil for a license that is new here, in
// every tree.
func (l *Local) become(was, now *held) {
	if was != nil {
		l.byID.Delete(was)
		l.byOrigin.Delete(was)
		for _, f := range was.features {
			l.features.Delete(was.feature(f))
		}
		switch was.state {
		case heldLive:
			l.deaths.Delete(was)
		case heldCancelled:
			l.given.Delete(was)
		}
	}
	l.byID.Set(now)
	l.byOrigin.Set(now)
	for _, f := range now.features {
		l.features.Set(now.feature(f))
	}
	switch now.state {
	case heldLive:
		l.deaths.Set(now)
	case heldCancelled:
		l.given.Set(now)
	}
}

func (h *held) feature(f document.FeatureRef) featureOf {
	return featureOf{h.vendor, f.ProductNumber, f.FeatureNumber, f.Modification, h}
}
