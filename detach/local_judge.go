package detach

import (
	"bytes"
	"errors"
	"fmt"

	"github.com/sojournlm/sojourn/fingerprint"
	"github.com/sojournlm/sojourn/internal/document"
	"github.com/sojournlm/sojourn/internal/ledger"
)

// Judge looks at an entry that was found in the store without its signature, as
// if an enemy had written it. Documents are verified up to their vendor or
// their signer, and the entry must be the very one that the rules make of them
// at that time.
func (l *Local) Judge(at ledger.Position, entry []byte) error {
	kind, body, err := parseLocalEntry(entry)
	if err != nil {
		return err
	}
	made, err := l.remake(at, kind, body)
	if err != nil {
		return err
	}
	if len(made) != 1 || !bytes.Equal(made[0], entry) {
		return fmt.Errorf("the rules do not make this entry of kind %d", kind)
	}
	return l.Clone().Apply(at, entry)
}

// remake verifies what an entry says and decides on it again.
func (l *Local) remake(at ledger.Position, kind uint32, body []byte) ([][]byte, error) {
	switch kind {
	case entryStarted:
		b, err := parseLocalBody[started]("start entry", body)
		if err != nil {
			return nil, err
		}
		id, err := b.identity()
		if err != nil {
			return nil, err
		}
		return l.Start(id)
	case entryComputerObserved, entryComputerAdded, entryComputerEdited, entryComputerRemoved:
		return l.remakeComputer(at, kind, body)
	case entryInstalled:
		return l.remakeInstalled(at, body)
	case entryCancelled:
		return l.remakeCancelled(at, body)
	case entryForgotten:
		b, err := parseLocalBody[forgotten]("deletion entry", body)
		if err != nil {
			return nil, err
		}
		return l.Forget(b.License, b.Request, at.Time)
	case entryEnded:
		return l.Due(at.Time), nil
	case entryMarked:
		b, err := parseLocalBody[marked]("mark entry", body)
		return l.Mark(b.Length, b.Within), err
	case entryClosed:
		b, err := parseLocalBody[closed]("close entry", body)
		return l.Close(b.Until), err
	case entryAsked:
		return l.remakeAsked(at, body)
	case entryUnasked:
		b, err := parseLocalBody[unasking]("request entry", body)
		if err != nil {
			return nil, err
		}
		return l.AskedInVain(b.Request, at.Time)
	case entryAskedElsewhere:
		b, err := parseLocalBody[askingElsewhere]("request entry", body)
		if err != nil {
			return nil, err
		}
		return l.AskElsewhere(b.Request, b.Peer, b.Until, at.Time)
	case entryIntentRecorded:
		b, err := parseLocalBody[Intent]("intent entry", body)
		if err != nil {
			return nil, err
		}
		return l.Intend(b, at.Time)
	case entryIntentSettled:
		return l.judgeSettled(body)
	case entryDeclined:
		return l.judgeDeclined(body)
	}
	return nil, fmt.Errorf("a manager's own ledger has no entries of kind %d", kind)
}

func (l *Local) remakeComputer(at ledger.Position, kind uint32, body []byte) ([][]byte, error) {
	b, err := parseLocalBody[computer]("computer entry", body)
	if err != nil {
		return nil, err
	}
	c := b.Change
	if kind == entryComputerRemoved {
		return l.RemoveComputer(c.ID, b.Request, at.Time)
	}
	f, err := document.ParseFingerprint(c.Fingerprint)
	if err != nil {
		return nil, err
	}
	if kind == entryComputerObserved {
		return l.Observe(f)
	}
	given := fingerprint.Fields{ID: &c.ID, HostName: &c.HostName, Issued: &c.Issued, Fingerprint: fingerprint.Buffer(f)}
	if kind == entryComputerEdited {
		return l.EditComputer(given, b.Request, at.Time)
	}
	return l.AddComputer(given, b.Request, at.Time)
}

func (l *Local) remakeInstalled(at ledger.Position, body []byte) ([][]byte, error) {
	b, err := parseLocalBody[installed]("installation entry", body)
	if err != nil {
		return nil, err
	}
	license, err := document.ParseLicense(b.License)
	if err != nil {
		return nil, err
	}
	genuine := l.verifier(license)
	if l.vendor(license.Terms.Vendor) == nil { // the program that installed it trusted others; it grants nothing here
		genuine = license.VerifyKey
	}
	if err := genuine(); err != nil {
		return nil, err
	}
	return l.Install(license, b.Request, at.Time)
}

// verifier gives the check of a license up to its vendor, which does not hold on to
// the state.
func (l *Local) verifier(license *document.License) func() error {
	vendor := l.vendor
	return func() error {
		public, err := trusted("license", vendor(license.Terms.Vendor), license.Terms.Vendor)
		if err != nil {
			return err
		}
		return license.Verify(public)
	}
}

func (l *Local) remakeCancelled(at ledger.Position, body []byte) ([][]byte, error) {
	b, err := parseLocalBody[cancelled]("cancellation entry", body)
	if err != nil {
		return nil, err
	}
	r, err := document.ParseReturn(b.Return)
	if err != nil {
		return nil, err
	}
	entries, existing, err := l.Cancel(r, b.Request, at.Time)
	if err != nil {
		return nil, err
	}
	if existing != nil {
		return nil, errors.New("the license was given back before")
	}
	// Cancel found the license installed, by the proof the return carries.
	t := r.Terms()
	return entries, r.Verify(l.held(t.License, t.Key).installed.License.Head.KeyPublic)
}

// Check says whether the state agrees with itself: every license stands in
// exactly the trees that its state asks for.
func (l *Local) Check() error {
	var live, features, given int
	var err error
	l.byID.Scan(func(h *held) bool {
		features += len(h.features)
		switch h.state {
		case heldLive:
			live++
			err = l.checkLive(h)
		case heldCancelled:
			given++
			if t := h.cancelled.Return.Terms(); t.License != h.license || t.Key != h.origin {
				err = fmt.Errorf("license %d is recorded with the return of license %d", h.license, t.License)
			}
		}
		if _, ok := l.byOrigin.Get(h); !ok {
			err = fmt.Errorf("license %d is not known by its origin", h.license)
		}
		return err == nil
	})
	if err != nil {
		return err
	}
	for _, x := range [...]struct {
		what      string
		got, want int
	}{
		{"licenses by origin", l.byOrigin.Len(), l.byID.Len()},
		{"licenses by death", l.deaths.Len(), live},
		{"features", l.features.Len(), features},
		{"cancelled licenses", l.given.Len(), given},
		{"request keys by time", l.lapses.Len(), l.requests.Len()},
		{"intents by time", l.ends.Len(), l.intents.Len()},
	} {
		if x.got != x.want {
			return fmt.Errorf("%d %s are listed, where there are %d", x.got, x.what, x.want)
		}
	}
	return l.book.Check()
}

func (l *Local) checkLive(h *held) error {
	t := h.installed.License.Terms
	if t.License != h.license || t.Key != h.origin || t.Revision != h.revision || t.Death != h.death {
		return fmt.Errorf("license %d is known by the terms of license %d", h.license, t.License)
	}
	if _, ok := l.deaths.Get(h); !ok {
		return fmt.Errorf("license %d is not known by its death", h.license)
	}
	return l.forUs(h.installed.License)
}
