package detach

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/sojournlm/sojourn/internal/code"
	"github.com/sojournlm/sojourn/internal/document"
)

func TestLocalLicenseIsInstalledCancelledAndForgotten(t *testing.T) {
	w := newLocalWorld(t)
	l := w.issue(1, 1)
	id := l.Terms.License
	if err := w.install(l); err != nil {
		t.Fatal(err)
	}
	if got := w.state.Granting(vendorCode, 16, 8); len(got) != 1 || got[0].License.Terms.License != id || got[0].At != w.now || got[0].Seq != w.seq {
		t.Fatalf("granting: %+v", got)
	}
	if in := w.state.Installed(id, l.Terms.Key); in == nil || in.License.Terms.License != id || w.state.Installed(id, l.Terms.Key+1) != nil {
		t.Fatalf("looked up by id and key: %v", in)
	}
	if !w.state.IsInstalled(id) || len(w.state.Granting(vendorCode, 16, 7)) != 0 {
		t.Fatal("the wrong things are installed")
	}
	w.now += 10
	r, err := w.cancel(id, document.RequestKey{})
	if err != nil {
		t.Fatal(err)
	}
	if err := r.Verify(publicOf(originKey(1))); err != nil {
		t.Fatal(err)
	}
	if w.state.IsInstalled(id) || len(w.state.Granting(vendorCode, 16, 8)) != 0 {
		t.Fatal("it still works after it was given back")
	}
	wantCode(t, w.install(l), code.InvalidUpdateOrAlreadyInstalled)
	again, err := w.cancel(id, document.RequestKey{})
	if err != nil || !bytes.Equal(again.Bytes(), r.Bytes()) {
		t.Fatalf("the second return: %v, %v", again, err)
	}
	record, ok := w.state.Cancelled(id)
	if list := w.state.CancelledList(); !ok || list.Len() != 1 || slices.Collect(list.From(0))[0] != (Cancelled{l.Terms.License, l.Terms.Key}) || record.At != w.now {
		t.Fatalf("its record: %+v, %v", record, ok)
	}
	w.must(w.state.Forget(id, document.RequestKey{}, w.now))
	if _, ok := w.state.Cancelled(id); ok || w.state.CancelledList().Len() != 0 {
		t.Fatal("it is still recorded")
	}
	wantCode(t, w.install(l), code.InvalidUpdateOrAlreadyInstalled)
	_, err = w.cancel(id, document.RequestKey{})
	wantCode(t, err, code.DetachedLicenseNotFound)
	_, err = w.state.Forget(id, document.RequestKey{}, w.now)
	wantCode(t, err, code.NoResultsFound)
}

func TestInstallRefuses(t *testing.T) {
	w := newLocalWorld(t)
	other := recipientOf(testIdentity(t, 9))
	rekeyed := w.me()
	rekeyed.Sign = other.Sign
	resealed := w.me()
	resealed.Seal = other.Seal
	for _, tt := range []struct {
		name  string
		terms func(*document.Terms)
		want  code.Code
	}{
		{"for another computer", func(t *document.Terms) { t.Recipient = other }, code.HardwareIDMismatch},
		{"for other signing keys", func(t *document.Terms) { t.Recipient = rekeyed }, code.HardwareIDMismatch},
		{"for other sealing keys", func(t *document.Terms) { t.Recipient = resealed }, code.HardwareIDMismatch},
		{"at its death", func(t *document.Terms) { t.Issued -= t.Duration }, code.DetachedLicenseExpired},
		{"for another computer and dead", func(t *document.Terms) { t.Recipient, t.Duration, t.Issued = other, 1, 0 }, code.HardwareIDMismatch},
	} {
		t.Run(tt.name, func(t *testing.T) {
			err := w.install(w.issue(1, 1, tt.terms))
			wantCode(t, err, tt.want)
		})
	}
	if err := w.install(w.issue(1, 1, func(t *document.Terms) { t.Issued -= t.Duration - 1 })); err != nil {
		t.Errorf("a second before its death: %v", err)
	}
}

func TestInstallOfWhatIsKnown(t *testing.T) {
	revision := func(n uint32) func(*document.Terms) {
		return func(t *document.Terms) { t.Revision = n }
	}
	longer := func(t *document.Terms) { t.Revision, t.Duration = 3, 7200 }
	for _, tt := range []struct {
		name   string
		before func(w *localWorld)
		then   func(*document.Terms)
		want   code.Code
	}{
		{"installed at this revision", func(*localWorld) {}, revision(2), code.InvalidUpdateOrAlreadyInstalled},
		{"installed at a higher one", func(*localWorld) {}, revision(1), code.InvalidUpdateOrAlreadyInstalled},
		{"installed at a lower one", func(*localWorld) {}, revision(3), code.OK},
		{"cancelled", func(w *localWorld) { w.cancel(1<<40+1, document.RequestKey{}) }, revision(3), code.InvalidUpdateOrAlreadyInstalled},
		{"forgotten", func(w *localWorld) {
			w.cancel(1<<40+1, document.RequestKey{})
			w.must(w.state.Forget(1<<40+1, document.RequestKey{}, w.now))
		}, revision(3), code.InvalidUpdateOrAlreadyInstalled},
		{"expired, and so is this", func(w *localWorld) { w.now += 3600; w.must(w.state.Mark(60, 600), nil) }, revision(3), code.DetachedLicenseExpired},
		{"expired, and extended", func(w *localWorld) { w.now += 3600; w.must(w.state.Mark(60, 600), nil) }, longer, code.OK},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := newLocalWorld(t)
			if err := w.install(w.issue(1, 1, revision(2))); err != nil {
				t.Fatal(err)
			}
			then := w.issue(1, 1, tt.then)
			tt.before(w)
			err := w.install(then)
			if tt.want != code.OK {
				wantCode(t, err, tt.want)
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if got := w.state.Granting(vendorCode, 16, 8); len(got) != 1 || got[0].License.Terms.Revision != 3 {
				t.Errorf("installed: %+v", got)
			}
		})
	}
}

func TestInstallIsNotMadeForAnotherKeyOfTheSameID(t *testing.T) {
	w := newLocalWorld(t)
	l := w.issue(1, 1)
	if err := w.install(l); err != nil {
		t.Fatal(err)
	}
	terms := l.Terms
	terms.Revision = 2
	head := document.PoolHead{Key: terms.Key, KeyPublic: publicOf(originKey(2)), Vendor: vendorCode, Counter: 1}
	wantCode(t, w.install(seal(t, sign(t, privateKey(1), head, feature(8, 5)), originKey(2), terms)), code.InvalidUpdateOrAlreadyInstalled)
}

func TestFind(t *testing.T) {
	w := newLocalWorld(t)
	const base = uint64(1) << 40
	twin := func(t *document.Terms) { t.License = 1<<41 + 3 } // the short id of license 3
	for _, l := range []*document.License{
		w.issue(1, 1), w.issue(1, 2), w.issue(2, 3), w.issue(3, 0, twin),
		w.issue(4, 5), w.issue(4, 6), w.issue(5, 7), w.issue(5, 8),
		w.issue(6, 9, func(t *document.Terms) { t.Duration = 60 }), w.issue(6, 10, func(t *document.Terms) { t.Duration = 30 }),
		w.issue(7, 11), w.issue(7, 12, func(t *document.Terms) { t.Duration = 60 }),
		w.issue(8, 102), w.issue(8, 13), // short id 102 is key 2's id, too
	} {
		if err := w.install(l); err != nil {
			t.Fatal(err)
		}
	}
	for _, id := range []uint64{5, 7, 8, 11} {
		if _, err := w.cancel(base+id, document.RequestKey{}); err != nil {
			t.Fatal(err)
		}
	}
	w.must(w.state.Forget(base+11, document.RequestKey{}, w.now))
	w.now += 60
	find := func(t *testing.T) {
		for _, tt := range []struct {
			name       string
			id         uint64
			want       uint64 // license found
			cancelled  bool
			code       code.Code
			candidates []uint64
		}{
			{"whole id", base + 2, base + 2, false, 0, nil},
			{"short id", 2, base + 2, false, 0, nil},
			{"a short id that two have", 3, 0, false, code.InvalidParameter, []uint64{base + 3, 1<<41 + 3}},
			{"the whole id of one of them", 1<<41 + 3, 1<<41 + 3, false, 0, nil},
			{"origin with two", originID(1), 0, false, code.InvalidParameter, []uint64{base + 1, base + 2}},
			{"origin with one live and one cancelled", originID(4), base + 6, false, 0, nil},
			{"a cancelled one by its own id", 5, base + 5, true, 0, nil},
			{"origin with two cancelled", originID(5), 0, false, code.InvalidParameter, []uint64{base + 7, base + 8}},
			{"origin with one", originID(3), 1<<41 + 3, false, 0, nil},
			{"a short id that is a key's, too", originID(2), 0, false, code.InvalidParameter, []uint64{base + 102, base + 3}},
			{"an expired one", 9, 0, false, code.DetachedLicenseExpired, nil},
			{"origin with expired ones", originID(6), 0, false, code.DetachedLicenseExpired, nil},
			{"a forgotten one", 11, 0, false, code.DetachedLicenseNotFound, nil},
			{"origin with a forgotten and an expired one", originID(7), 0, false, code.DetachedLicenseExpired, nil},
			{"unknown", 4711, 0, false, code.DetachedLicenseNotFound, nil},
			{"whole but unknown", 1<<42 + 2, 0, false, code.DetachedLicenseNotFound, nil},
			{"zero", 0, 0, false, code.InvalidParameter, nil},
			{"all ones", 0xFFFFFFFF, 0, false, code.InvalidParameter, nil},
		} {
			t.Run(tt.name, func(t *testing.T) {
				found, err := w.state.Find(tt.id, document.RequestKey{}, w.now)
				if tt.code != 0 {
					r := wantCode(t, err, tt.code)
					var got []uint64
					for _, d := range r.Details {
						got = append(got, d.License)
					}
					if d := cmp.Diff(tt.candidates, got); d != "" {
						t.Errorf("candidates (-want +got):\n%s", d)
					}
					return
				}
				if err != nil {
					t.Fatal(err)
				}
				if tt.cancelled {
					if found.Installed != nil || found.Return.Terms().License != tt.want {
						t.Errorf("found %+v", found)
					}
				} else if found.Return != nil || found.Installed.License.Terms.License != tt.want {
					t.Errorf("found %+v", found)
				}
			})
		}
	}
	t.Run("before the expiry is entered", find)
	w.must(w.state.Mark(60, 600), nil)
	t.Run("after", find)
}

func TestAmbiguousNamesListAFewCandidates(t *testing.T) {
	w := newLocalWorld(t)
	for id := range uint64(maxCandidates + 8) {
		if err := w.install(w.issue(1, 1+id)); err != nil {
			t.Fatal(err)
		}
	}
	_, err := w.state.Find(originID(1), document.RequestKey{}, w.now)
	r := wantCode(t, err, code.InvalidParameter)
	if len(r.Details) != maxCandidates || !strings.Contains(r.Message, fmt.Sprint(maxCandidates+8)) {
		t.Errorf("%d details: %s", len(r.Details), r)
	}
}

func TestCancelDecidesAnewInsideTheLedger(t *testing.T) {
	w := newLocalWorld(t)
	first := w.issue(1, 1)
	if err := w.install(first); err != nil {
		t.Fatal(err)
	}
	stale := w.sign(first)
	early := func() *document.Return {
		w.now++
		defer func() { w.now-- }()
		return w.sign(first)
	}()
	_, _, err := w.state.Cancel(early, document.RequestKey{}, w.now)
	wantCode(t, err, code.InvalidParameter)

	if err := w.install(w.issue(1, 1, func(t *document.Terms) { t.Revision = 2 })); err != nil {
		t.Fatal(err)
	}
	_, _, err = w.state.Cancel(stale, document.RequestKey{}, w.now)
	wantCode(t, err, code.InvalidUpdateOrAlreadyInstalled)

	never := w.sign(w.issue(1, 2))
	_, _, err = w.state.Cancel(never, document.RequestKey{}, w.now)
	wantCode(t, err, code.DetachedLicenseNotFound)

	w.now += 3600
	_, _, err = w.state.Cancel(stale, document.RequestKey{}, w.now)
	wantCode(t, err, code.DetachedLicenseExpired)
}

func TestCancelledRecordOutlivesTheLicense(t *testing.T) {
	w := newLocalWorld(t)
	l := w.issue(1, 1)
	if err := w.install(l); err != nil {
		t.Fatal(err)
	}
	r, err := w.cancel(1, document.RequestKey{})
	if err != nil {
		t.Fatal(err)
	}
	w.now += 1_000_000
	w.must(w.state.Mark(60, 600), nil)
	again, err := w.cancel(1, document.RequestKey{})
	if err != nil || !bytes.Equal(again.Bytes(), r.Bytes()) {
		t.Fatalf("long after: %v, %v", again, err)
	}
	w.must(w.state.Forget(l.Terms.License, document.RequestKey{}, w.now))
	wantCode(t, w.install(l), code.DetachedLicenseExpired)
}

func TestCancelledListIsOrderedByTimeThenID(t *testing.T) {
	w := newLocalWorld(t)
	for _, id := range []uint64{1, 2, 3, 4} {
		if err := w.install(w.issue(id, id)); err != nil {
			t.Fatal(err)
		}
	}
	for _, step := range []struct {
		wait int64
		id   uint64
	}{{0, 3}, {0, 1}, {5, 4}, {5, 2}} {
		w.now += step.wait
		if _, err := w.cancel(step.id, document.RequestKey{}); err != nil {
			t.Fatal(err)
		}
	}
	var got []uint64
	list := w.state.CancelledList()
	for c := range list.From(0) {
		got = append(got, c.License-1<<40)
	}
	if want := []uint64{1, 3, 4, 2}; !cmp.Equal(got, want) {
		t.Errorf("listed %v, want %v", got, want)
	}
	for i := range list.Len() + 1 {
		if left := slices.Collect(list.From(i)); len(left) != list.Len()-i {
			t.Errorf("%d of %d from place %d on", len(left), list.Len(), i)
		}
	}
}

func TestInstalledIsOrderedByShortID(t *testing.T) {
	w := newLocalWorld(t)
	for _, id := range []uint64{3, 1<<33 + 1, 2} {
		if err := w.install(w.issue(1, id)); err != nil {
			t.Fatal(err)
		}
	}
	if got, want := ids(w.state), []uint64{1<<33 + 1, 2, 3}; !cmp.Equal(got, want) {
		t.Errorf("listed %v, want %v", got, want)
	}
}

func TestThousandsExpireInOneEntry(t *testing.T) {
	w := newLocalWorld(t)
	const n = 1000
	var entries [][]byte
	for id := range uint64(n) {
		l := w.issue(1+id%7, 1+id, func(t *document.Terms) { t.Duration = 100 + int64(id%2) })
		e, err := w.state.Install(l, document.RequestKey{}, w.now)
		if err != nil {
			t.Fatal(err)
		}
		entries = append(entries, e...)
	}
	for i, e := range entries { // one batch; judging each is not the point here
		if err := w.state.Apply(w.position(i), e); err != nil {
			t.Fatal(err)
		}
	}
	if due := w.state.Due(w.now + 99); due != nil {
		t.Errorf("%d entries are due before the first death", len(due))
	}
	w.now += 100
	if due := w.state.Due(w.now); len(due) != 1 {
		t.Fatalf("%d entries are due", len(due))
	}
	w.must(w.state.Mark(60, 600), nil)
	if got := len(ids(w.state)); got != n/2 {
		t.Errorf("%d are left, want the %d that live a second longer", got, n/2)
	}
	w.now++
	w.must(w.state.Mark(60, 600), nil)
	if got := len(ids(w.state)); got != 0 || w.state.Due(w.now+1_000_000) != nil {
		t.Errorf("%d are left", got)
	}
}

func TestAPublishedLocalNeverChanges(t *testing.T) {
	w := newLocalWorld(t)
	for id := range uint64(50) {
		if err := w.install(w.issue(1, 1+id)); err != nil {
			t.Fatal(err)
		}
	}
	before := w.state
	want := ids(before)
	done := make(chan error)
	for range 4 {
		go func() {
			for range 50 {
				if got := ids(before); !cmp.Equal(got, want) {
					done <- errors.New("a published state changed")
					return
				}
				before.Clone()
				before.Find(originID(1), document.RequestKey{}, start)
				before.Granting(vendorCode, 16, 8)
			}
			done <- nil
		}()
	}
	for id := range uint64(50) {
		if _, err := w.cancel(1+id, document.RequestKey{}); err != nil {
			t.Error(err)
		}
	}
	for range 4 {
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
	if len(ids(w.state)) != 0 || len(ids(before)) != 50 {
		t.Error("the clones are not independent")
	}
}
