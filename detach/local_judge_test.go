package detach

import (
	"bytes"
	"crypto/ed25519"
	"testing"

	"github.com/sojournlm/sojourn/fingerprint"
	"github.com/sojournlm/sojourn/internal/code"
	"github.com/sojournlm/sojourn/internal/document"
	"github.com/sojournlm/sojourn/internal/ledger"
)

// printOf is a fingerprint of an identity's computer.
func printOf(t fataler, id *Identity, host string, issued int64) *document.Fingerprint {
	t.Helper()
	r := recipientOf(id)
	r.HostName = host
	f, err := document.SignFingerprint(id.Sign, r, issued)
	if err != nil {
		t.Fatalf("fingerprint: %v", err)
	}
	return f
}

func fieldsOf(f *document.Fingerprint) fingerprint.Fields {
	return fingerprint.Fields{Fingerprint: fingerprint.Buffer(f)}
}

func TestComputersOfAManager(t *testing.T) {
	w := newLocalWorld(t)
	none := document.RequestKey{}
	own := printOf(t, w.state.Identity(), "here", w.now)
	w.must(w.state.Observe(own))
	if entries, err := w.state.Observe(printOf(t, w.state.Identity(), "here", w.now+9)); len(entries) != 0 || err != nil {
		t.Errorf("observed again: %d entries, %v", len(entries), err)
	}
	_, err := w.state.AddComputer(fieldsOf(own), none, w.now)
	wantCode(t, err, code.OperationIsNotAllowed)

	other := testIdentity(t, 9)
	add, edit, remove := asked(1, 1), asked(2, 1), asked(3, 1)
	w.must(w.state.AddComputer(fieldsOf(printOf(t, other, "laptop", w.now)), add, w.now))
	host := "renamed"
	w.must(w.state.EditComputer(fingerprint.Fields{ID: &other.ID, HostName: &host}, edit, w.now))
	if c, ok := w.state.Book().Computer(other.ID); !ok || c.HostName != host {
		t.Errorf("edited: %+v", c)
	}
	if entries, err := w.state.AddComputer(fingerprint.Fields{}, add, w.now); len(entries) != 0 || err != nil {
		t.Errorf("the same request again: %d entries, %v", len(entries), err)
	}
	_, err = w.state.EditComputer(fingerprint.Fields{}, asked(2, 2), w.now)
	wantCode(t, err, code.InvalidParameter)
	w.must(w.state.RemoveComputer(other.ID, remove, w.now))
	if entries, err := w.state.RemoveComputer(other.ID, remove, w.now); len(entries) != 0 || err != nil {
		t.Errorf("removed again by the same request: %d entries, %v", len(entries), err)
	}
	_, err = w.state.RemoveComputer(other.ID, none, w.now)
	wantCode(t, err, code.NoResultsFound)

	w.now += requestLife - 1
	if w.state.Due(w.now) != nil {
		t.Error("request keys are due before a day is over")
	}
	w.now++
	w.must(w.state.Mark(60, 600), nil)
	if w.state.requests.Len() != 0 {
		t.Error("request keys are known after a day")
	}
	_, err = w.state.RemoveComputer(other.ID, remove, w.now)
	wantCode(t, err, code.NoResultsFound)
}

// An entry found without its signature is refused unless the rules make it, at
// that time and of genuine documents.
func TestJudgeRefusesForgeries(t *testing.T) {
	w := newLocalWorld(t)
	l, back, gone := w.issue(1, 1), w.issue(1, 2), w.issue(1, 3)
	for _, x := range []*document.License{l, back, gone} {
		if err := w.install(x); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := w.cancel(2, document.RequestKey{}); err != nil {
		t.Fatal(err)
	}
	if _, err := w.cancel(3, asked(5, 5)); err != nil {
		t.Fatal(err)
	}
	other := testIdentity(t, 9)
	w.must(w.state.AddComputer(fieldsOf(printOf(t, other, "laptop", w.now)), document.RequestKey{}, w.now))
	none := document.RequestKey{}
	install := func(l *document.License) []byte {
		return document.EncodeEntry(entryInstalled, installed{l.Bytes(), none})
	}
	cancel := func(r *document.Return, request document.RequestKey) []byte {
		return document.EncodeEntry(entryCancelled, cancelled{r.Bytes(), request})
	}
	change := func(kind uint32, f *document.Fingerprint, host string) []byte {
		c := fingerprint.Change{ID: f.Computer.ID, HostName: host, Issued: f.Issued, Fingerprint: f.Bytes()}
		return document.EncodeEntry(kind, computer{c, none})
	}
	returnBy := func(signer ed25519.PrivateKey, l *document.License) *document.Return {
		r, err := document.SignReturn(signer, l.Proof(), document.ReasonCancelled, w.now, 0)
		if err != nil {
			t.Fatal(err)
		}
		return r
	}
	late := func() *document.Return {
		w.now += 5
		defer func() { w.now -= 5 }()
		return w.sign(l)
	}()
	terms := func(key uint64, vendor uint32) (document.PoolHead, document.Terms) {
		x := l.Terms
		x.License, x.Key, x.Vendor = 1<<40+77, key, vendor
		return document.PoolHead{Key: key, KeyPublic: publicOf(originKey(1)), Vendor: vendor, Counter: 1}, x
	}
	head, x := terms(originID(1), vendorCode)
	wrongVendor := seal(t, sign(t, privateKey(66), head, feature(8, 5)), originKey(1), x)
	wrongKey := seal(t, sign(t, privateKey(1), head, feature(8, 5)), originKey(2), x)
	head, x = terms(originID(1), vendorCode+1)
	unknownVendor := seal(t, sign(t, privateKey(1), head, feature(8, 5)), originKey(1), x)

	genuine := map[string][]byte{
		"a license":             install(w.issue(2, 9)),
		"a return":              cancel(w.sign(l), none),
		"a deletion":            document.EncodeEntry(entryForgotten, forgotten{back.Terms.License, back.Terms.Key, none}),
		"a mark":                w.state.Mark(60, 600)[0],
		"a close":               w.state.Close(w.now + 60)[0],
		"the own computer":      change(entryComputerObserved, printOf(t, w.state.Identity(), "here", w.now), "here"),
		"an edit":               change(entryComputerEdited, printOf(t, other, "laptop", w.now), "renamed"),
		"an addition":           change(entryComputerAdded, printOf(t, testIdentity(t, 20), "pc", w.now), "pc"),
		"a request":             document.EncodeEntry(entryAsked, asking{Request: asked(6, 1)}),
		"a request of a return": document.EncodeEntry(entryAsked, asking{Request: asked(6, 1), License: back.Terms.License, Origin: back.Terms.Key}),
		"a removal":             document.EncodeEntry(entryComputerRemoved, computer{fingerprint.Change{ID: other.ID}, none}),
	}
	for name, entry := range genuine {
		if err := w.state.Judge(w.position(0), entry); err != nil {
			t.Errorf("%s, which is genuine: %v", name, err)
		}
	}
	for name, entry := range map[string][]byte{
		"nothing":                             nil,
		"a kind of a pool's":                  document.EncodeEntry(entryDetached, l.Terms),
		"an unknown kind":                     document.EncodeEntry(99, marked{}),
		"a second identity":                   other.entry(),
		"a license signed by another vendor":  install(wrongVendor),
		"a license signed by another key":     install(wrongKey),
		"a license for another computer":      install(w.issue(2, 9, func(x *document.Terms) { x.Recipient = recipientOf(other) })),
		"a license that has ended":            install(w.issue(2, 9, func(x *document.Terms) { x.Issued, x.Duration = 5, 5 })),
		"a license installed already":         install(l),
		"a license given back":                install(back),
		"a return signed by somebody else":    cancel(returnBy(privateKey(66), l), none),
		"a return from the future":            cancel(late, none),
		"a return of what is not installed":   cancel(w.sign(w.issue(2, 9)), none),
		"a second return":                     cancel(w.sign(back), none),
		"a return under a known request key":  cancel(w.sign(l), asked(5, 5)),
		"a return under another's request":    cancel(w.sign(l), asked(5, 6)),
		"a deletion of an installed license":  document.EncodeEntry(entryForgotten, forgotten{l.Terms.License, l.Terms.Key, none}),
		"a deletion from another key":         document.EncodeEntry(entryForgotten, forgotten{back.Terms.License, 999, none}),
		"an expiry with nothing due":          document.EncodeEntry(entryEnded, ended{w.now}),
		"an expiry of the future":             document.EncodeEntry(entryEnded, ended{w.now + 4000}),
		"a close with a negative time":        document.EncodeEntry(entryClosed, closed{-1}),
		"the own computer with other keys":    change(entryComputerObserved, printOf(t, &Identity{w.state.Identity().ID, other.Sign, other.Seal, nil}, "x", w.now), "x"),
		"the own computer under another name": change(entryComputerObserved, printOf(t, w.state.Identity(), "here", w.now), "there"),
		"the own computer added by hand":      change(entryComputerAdded, printOf(t, w.state.Identity(), "here", w.now), "here"),
		"another computer observed":           change(entryComputerObserved, printOf(t, other, "x", w.now), "x"),
		"an older fingerprint":                change(entryComputerAdded, printOf(t, other, "laptop", w.now-1), "laptop"),
		"an edit that changes nothing":        change(entryComputerEdited, printOf(t, other, "laptop", w.now), "laptop"),
		"an edit of an unknown computer":      change(entryComputerEdited, printOf(t, testIdentity(t, 20), "pc", w.now), "pc"),
		"a removal of an unknown computer":    document.EncodeEntry(entryComputerRemoved, computer{fingerprint.Change{ID: 4711}, none}),
		"a removal that adds":                 change(entryComputerRemoved, printOf(t, testIdentity(t, 20), "pc", w.now), "pc"),
		"an addition that removes":            document.EncodeEntry(entryComputerAdded, computer{fingerprint.Change{ID: other.ID}, none}),
	} {
		if err := w.state.Judge(w.position(0), entry); err == nil {
			t.Errorf("%s passes for genuine", name)
		}
	}
	// The program that made the entry may have trusted others. It grants nothing here.
	if err := w.state.Judge(w.position(0), install(unknownVendor)); err != nil {
		t.Errorf("a license of a vendor who is not trusted any more: %v", err)
	}
	for name, entry := range genuine {
		for i := range entry {
			forged := bytes.Clone(entry)
			forged[i] ^= 1 << (i % 8)
			if err := w.state.Judge(w.position(0), forged); err == nil && !harmless(forged, entry) {
				t.Errorf("%s with bit %d of byte %d flipped passes for genuine", name, i%8, i)
			}
		}
	}
}

// harmless reports whether a flipped bit gave another entry that the manager
// could have made itself: one that proves nothing, such as the deletion of
// another record, or the same documents under another request key or name.
func harmless(forged, genuine []byte) bool {
	kind, body, err := parseLocalEntry(forged)
	if err != nil {
		return false
	}
	_, was, _ := parseLocalEntry(genuine)
	switch kind {
	case entryClosed, entryMarked, entryForgotten, entryAsked:
		return true
	case entryInstalled:
		a, _ := parseLocalBody[installed]("", body)
		b, _ := parseLocalBody[installed]("", was)
		return bytes.Equal(a.License, b.License)
	case entryCancelled:
		a, _ := parseLocalBody[cancelled]("", body)
		b, _ := parseLocalBody[cancelled]("", was)
		return bytes.Equal(a.Return, b.Return)
	case entryComputerAdded, entryComputerEdited, entryComputerRemoved:
		a, _ := parseLocalBody[computer]("", body)
		b, _ := parseLocalBody[computer]("", was)
		return bytes.Equal(a.Change.Fingerprint, b.Change.Fingerprint)
	}
	return false
}

// The time of the batch counts: an entry that was genuine earlier is none later.
func TestJudgeLooksAtTheTime(t *testing.T) {
	w := newLocalWorld(t)
	l := w.issue(1, 1)
	entries, err := w.state.Install(l, document.RequestKey{}, w.now)
	if err != nil {
		t.Fatal(err)
	}
	at := w.position(0)
	at.Time = l.Terms.Death
	if w.state.Judge(at, entries[0]) == nil {
		t.Error("a license is installed at its death")
	}
	at.Time = w.now - 1
	if w.state.Judge(at, w.state.Mark(60, 600)[0]) == nil {
		t.Error("the time runs back")
	}
	w.must(entries, nil)
	at.Time = l.Terms.Death
	due := w.state.Due(at.Time)
	if err := w.state.Judge(at, due[0]); err != nil {
		t.Errorf("what is due: %v", err)
	}
	at.Time--
	if w.state.Judge(at, due[0]) == nil {
		t.Error("a license ends before its death")
	}
}

// No bytes bring Apply or Judge down, and what Judge passes, Apply takes.
func FuzzLocalApply(f *testing.F) {
	w := newLocalWorld(f)
	l := w.issue(1, 1)
	if err := w.install(l); err != nil {
		f.Fatal(err)
	}
	if err := w.install(w.issue(1, 2)); err != nil {
		f.Fatal(err)
	}
	if _, err := w.cancel(2, document.RequestKey{}); err != nil {
		f.Fatal(err)
	}
	other := printOf(f, testIdentity(f, 9), "pc", w.now)
	f.Add(int64(0), w.state.Identity().entry())
	f.Add(int64(0), document.EncodeEntry(entryInstalled, installed{License: w.issue(2, 9).Bytes()}))
	f.Add(int64(0), document.EncodeEntry(entryCancelled, cancelled{Return: w.sign(l).Bytes()}))
	f.Add(int64(0), document.EncodeEntry(entryForgotten, forgotten{License: 1<<40 + 2, Origin: originID(1)}))
	f.Add(int64(4000), document.EncodeEntry(entryEnded, ended{w.now + 4000}))
	f.Add(int64(1), w.state.Mark(60, 600)[0])
	f.Add(int64(1), w.state.Close(5)[0])
	f.Add(int64(1), document.EncodeEntry(entryComputerAdded, computer{Change: fingerprint.Change{ID: other.Computer.ID, Fingerprint: other.Bytes()}}))
	f.Add(int64(0), document.EncodeEntry(entryAsked, asking{Request: asked(1, 1), License: 1<<40 + 2, Origin: originID(1)}))
	f.Add(int64(0), document.EncodeEntry(entryAskedElsewhere, askingElsewhere{Request: asked(1, 1), Peer: somePeer, Until: w.now + 5}))
	f.Add(int64(0), document.EncodeEntry(entryUnasked, unasking{asked(1, 1)}))
	f.Fuzz(func(t *testing.T, later int64, entry []byte) {
		at := ledger.Position{Seq: w.seq + 1, Time: w.now + later, Rules: 1}
		for _, s := range []*Local{w.state, NewLocal(trustOne)} {
			judged := s.Judge(at, entry)
			next := s.Clone()
			err := next.Apply(at, entry)
			if judged == nil && err != nil {
				t.Errorf("judged genuine, but it does not apply: %v", err)
			}
			if err != nil {
				continue
			}
			if err := next.Check(); err != nil {
				t.Errorf("applied, and then: %v", err)
			}
			if next.IsInstalled(1<<40 + 2) {
				t.Error("a cancelled license works")
			}
			kind, body, err := parseLocalEntry(entry)
			if err != nil {
				t.Fatal(err)
			}
			if again := document.Encode(document.Entry{Kind: kind, Body: body}); !bytes.Equal(again, entry) {
				t.Error("an entry has two encodings")
			}
		}
	})
}
