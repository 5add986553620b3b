package detach

import (
	"bytes"
	"testing"

	"github.com/sojournlm/sojourn/fingerprint"
	"github.com/sojournlm/sojourn/internal/document"
)

// Folding refuses what contradicts the state, however it came into the chain.
func TestApplyRefusesContradictions(t *testing.T) {
	w := newLocalWorld(t)
	l, higher, back := w.issue(1, 1), w.issue(1, 1, func(t *document.Terms) { t.Revision = 2 }), w.issue(1, 2)
	for _, x := range []*document.License{l, back} {
		if err := w.install(x); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := w.cancel(2, document.RequestKey{}); err != nil {
		t.Fatal(err)
	}
	own := w.state.Identity()
	other := testIdentity(t, 9)
	observed := func(id *Identity) []byte {
		f := printOf(t, id, "x", w.now)
		return document.EncodeEntry(entryComputerObserved, computer{Change: fingerprint.Change{ID: id.ID, Issued: w.now, Fingerprint: f.Bytes()}})
	}
	for name, entry := range map[string][]byte{
		"a return of a revision that is not installed": document.EncodeEntry(entryCancelled, cancelled{Return: w.sign(higher).Bytes()}),
		"a second return":                         document.EncodeEntry(entryCancelled, cancelled{Return: w.sign(back).Bytes()}),
		"a license that is installed":             document.EncodeEntry(entryInstalled, installed{License: l.Bytes()}),
		"a license that was given back":           document.EncodeEntry(entryInstalled, installed{License: back.Bytes()}),
		"a license that has ended":                document.EncodeEntry(entryInstalled, installed{License: w.issue(2, 9, func(t *document.Terms) { t.Issued -= t.Duration }).Bytes()}),
		"a license for another computer":          document.EncodeEntry(entryInstalled, installed{License: w.issue(2, 9, func(t *document.Terms) { t.Recipient = recipientOf(other) }).Bytes()}),
		"a license that is none":                  document.EncodeEntry(entryInstalled, installed{License: []byte{0xa0}}),
		"a return that is none":                   document.EncodeEntry(entryCancelled, cancelled{Return: []byte{0xa0}}),
		"a deletion of what is installed":         document.EncodeEntry(entryForgotten, forgotten{License: l.Terms.License, Origin: l.Terms.Key}),
		"an expiry of what is still to come":      document.EncodeEntry(entryEnded, ended{w.now + 1}),
		"grants of a negative length":             document.EncodeEntry(entryMarked, marked{Length: -1}),
		"a mark that waits a negative time":       document.EncodeEntry(entryMarked, marked{Within: -1}),
		"a mark that waits for ever":              document.EncodeEntry(entryMarked, marked{Within: document.MaxTime + 1}),
		"grants without end":                      document.EncodeEntry(entryMarked, marked{Length: document.MaxTime + 1}),
		"a close with a negative time":            document.EncodeEntry(entryClosed, closed{-1}),
		"the own computer with other sign keys":   observed(&Identity{own.ID, other.Sign, own.Seal, nil}),
		"the own computer with other seal keys":   observed(&Identity{own.ID, own.Sign, other.Seal, nil}),
		"another computer as the own":             observed(other),
		"the own computer by hand":                bytes.Replace(observed(own), []byte{0x18, byte(entryComputerObserved)}, []byte{0x18, byte(entryComputerAdded)}, 1),
		"a computer that is none":                 document.EncodeEntry(entryComputerAdded, computer{Change: fingerprint.Change{ID: 7, Fingerprint: []byte{0xa0}}}),
		"an identity with an id that is none":     document.EncodeEntry(entryStarted, started{ID: 7}),
		"a body of another kind":                  document.EncodeEntry(entryForgotten, ended{w.now}),
		"a start entry of another shape":          document.EncodeEntry(entryStarted, ended{w.now}),
		"a kind that is kept free for the future": document.EncodeEntry(82, marked{}),
	} {
		if err := w.state.Clone().Apply(w.position(0), entry); err == nil {
			t.Errorf("%s was folded in", name)
		}
		if err := NewLocal(trustOne).Apply(w.position(0), entry); err == nil {
			t.Errorf("%s was a first entry", name)
		}
	}
	if err := w.state.Check(); err != nil {
		t.Error(err)
	}
}

// A license from a key whose id is the license's short id, too, is one license.
func TestFindCountsALicenseOnce(t *testing.T) {
	w := newLocalWorld(t)
	l := w.issue(1, originID(1))
	if err := w.install(l); err != nil {
		t.Fatal(err)
	}
	found, err := w.state.Find(originID(1), document.RequestKey{}, w.now)
	if err != nil || found.Installed.License.Terms.License != l.Terms.License {
		t.Errorf("found %+v, %v", found, err)
	}
}
