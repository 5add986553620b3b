package detach

import (
	"bytes"
	"testing"

	"github.com/sojournlm/sojourn/internal/code"
	"github.com/sojournlm/sojourn/internal/document"
)

// A request about a license that is dead is known for a day.
func TestRequestKeysOutliveDeadLicenses(t *testing.T) {
	w := newLocalWorld(t)
	l := w.issue(1, 1)
	if err := w.install(l); err != nil {
		t.Fatal(err)
	}
	if _, err := w.cancel(1, document.RequestKey{}); err != nil {
		t.Fatal(err)
	}
	w.now = l.Terms.Death + 5
	before, forget := w.state, asked(1, 1)
	w.must(w.state.Forget(l.Terms.License, forget, w.now))
	w.now += requestLife - 1
	w.must(w.state.Mark(60, 600), nil)
	if entries, err := w.state.Forget(l.Terms.License, forget, w.now); len(entries) != 0 || err != nil {
		t.Errorf("within a day: %d entries, %v", len(entries), err)
	}
	w.now++
	_, err := w.state.Forget(l.Terms.License, forget, w.now)
	wantCode(t, err, code.NoResultsFound)
	if n := before.requests.Len(); n != 0 {
		t.Errorf("a state from before knows %d requests", n)
	}
}

// A request key may be used again once it is no longer known, whether or not
// that was entered.
func TestRequestKeysCanBeUsedAgain(t *testing.T) {
	w := newLocalWorld(t)
	f := printOf(t, testIdentity(t, 9), "pc", w.now)
	first, err := w.state.AddComputer(fieldsOf(f), asked(1, 1), w.now)
	w.must(first, err)
	w.now += requestLife
	second, err := w.state.RemoveComputer(f.Computer.ID, asked(1, 2), w.now)
	if err != nil {
		t.Fatal(err)
	}
	if err := w.state.Apply(w.position(0), second[0]); err != nil { // without what is due
		t.Fatal(err)
	}
	if err := w.state.Check(); err != nil || w.state.requests.Len() != 1 {
		t.Errorf("%d requests are known, %v", w.state.requests.Len(), err)
	}
}

func TestLocalRequestKeys(t *testing.T) {
	w := newLocalWorld(t)
	l := w.issue(1, 1)
	install := asked(1, 1)
	w.must(w.state.Install(l, install, w.now))
	if entries, err := w.state.Install(l, install, w.now); len(entries) != 0 || err != nil {
		t.Errorf("the same request: %d entries, %v", len(entries), err)
	}
	_, err := w.state.Install(l, asked(1, 2), w.now)
	wantCode(t, err, code.InvalidParameter)
	_, err = w.state.Install(l, asked(9, 1), w.now)
	wantCode(t, err, code.InvalidUpdateOrAlreadyInstalled)

	cancel := asked(2, 1)
	r, err := w.cancel(originID(1), cancel)
	if err != nil {
		t.Fatal(err)
	}
	_, err = w.state.Install(l, install, w.now)
	wantCode(t, err, code.InvalidUpdateOrAlreadyInstalled)

	// Another one from the same origin: the old request still means the old one.
	if err := w.install(w.issue(1, 2)); err != nil {
		t.Fatal(err)
	}
	again, err := w.cancel(originID(1), cancel)
	if err != nil || !bytes.Equal(again.Bytes(), r.Bytes()) {
		t.Errorf("the same cancelling again: %v, %v", again, err)
	}
	_, existing, err := w.state.Cancel(w.sign(w.issue(1, 2)), cancel, w.now)
	if err != nil || existing == nil || !bytes.Equal(existing.Bytes(), r.Bytes()) {
		t.Errorf("the same cancelling, signed for another license: %v, %v", existing, err)
	}
	_, err = w.state.Find(1, asked(2, 2), w.now)
	wantCode(t, err, code.InvalidParameter)
	_, _, err = w.state.Cancel(r, asked(2, 2), w.now)
	wantCode(t, err, code.InvalidParameter)

	if before, err := w.state.Asked(cancel, w.now); err != nil || !before {
		t.Errorf("asked before: %v, %v", before, err)
	}
	_, err = w.state.Asked(asked(2, 2), w.now)
	wantCode(t, err, code.InvalidParameter)
	for name, unknown := range map[string]document.RequestKey{"none": {}, "a new one": asked(9, 1)} {
		if before, err := w.state.Asked(unknown, w.now); err != nil || before {
			t.Errorf("%s asked before: %v, %v", name, before, err)
		}
	}
	if before, err := w.state.Asked(asked(2, 2), l.Terms.Death); err != nil || before {
		t.Errorf("still asked after the license's death: %v, %v", before, err)
	}

	forget := asked(3, 1)
	w.must(w.state.Forget(l.Terms.License, forget, w.now))
	if entries, err := w.state.Forget(l.Terms.License, forget, w.now); len(entries) != 0 || err != nil {
		t.Errorf("forgetting again: %d entries, %v", len(entries), err)
	}
	_, err = w.state.Forget(l.Terms.License, asked(3, 2), w.now)
	wantCode(t, err, code.InvalidParameter)
	_, err = w.cancel(originID(1), cancel)
	wantCode(t, err, code.DetachedLicenseNotFound)

	w.now = l.Terms.Death - 1
	_, err = w.state.Install(l, asked(1, 2), w.now)
	wantCode(t, err, code.InvalidParameter)
	w.now++
	w.must(w.state.Mark(60, 600), nil)
	if n := w.state.requests.Len(); n != 0 {
		t.Errorf("%d request keys are known after the license's death", n)
	}
	_, err = w.state.Install(l, asked(1, 2), w.now)
	wantCode(t, err, code.DetachedLicenseExpired)
}
