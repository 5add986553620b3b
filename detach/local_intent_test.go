package detach

import (
	"bytes"
	"crypto/ed25519"
	"testing"

	"github.com/sojournlm/sojourn/internal/code"
	"github.com/sojournlm/sojourn/internal/document"
)

// wish is an intent to detach from key number origin.
func (w *localWorld) wish(origin, id uint64, request document.RequestKey) Intent {
	return Intent{
		ID: 1<<40 + id, Kind: IntentDetach, Peer: 1 << 41, PeerKey: publicOf(privateKey(9)), Key: originID(origin),
		Own: document.Hash{byte(id)}, Ask: []byte("ask"), Until: w.now + 7200, Request: request,
	}
}

func (w *localWorld) intend(i Intent) {
	w.t.Helper()
	w.must(w.state.Intend(i, w.now))
}

// obtain installs a license in the batch that settles its intent.
func (w *localWorld) obtain(id uint64, l *document.License, request document.RequestKey) error {
	entries, err := w.state.Install(l, request, w.now)
	if err != nil {
		return err
	}
	return w.fold(append(entries, w.state.SettleInstalled(id, l.Terms.License)...))
}

func pendingIDs(l *Local) (list []uint64) {
	for i := range l.Intents() {
		list = append(list, i.ID-1<<40)
	}
	return list
}

func TestIntentObtained(t *testing.T) {
	w := newLocalWorld(t)
	request := asked(1, 1)
	w.intend(w.wish(1, 5, request))
	if i := w.state.IntentOf(request); i == nil || i.ID != 1<<40+5 || i.At != w.now {
		t.Fatalf("pending: %+v", i)
	}
	if before, err := w.state.Asked(request, w.now); !before || err != nil {
		t.Errorf("its request key is not known: %v", err)
	}
	_, err := w.state.Asked(asked(1, 2), w.now)
	wantCode(t, err, code.InvalidParameter)

	l := w.issue(1, 1)
	if err := w.obtain(1<<40+5, l, request); err != nil {
		t.Fatal(err)
	}
	if len(pendingIDs(w.state)) != 0 || len(ids(w.state)) != 1 {
		t.Errorf("%d pending, %d installed", len(pendingIDs(w.state)), len(ids(w.state)))
	}
	if in, err := w.state.Obtained(request, w.now); err != nil || in == nil || in.License.Terms.License != l.Terms.License {
		t.Errorf("asked again: %+v, %v", in, err)
	}
	if w.state.Settle(1<<40+5, OutcomeNothing) != nil {
		t.Error("it is settled twice")
	}
	if _, err := w.cancel(l.Terms.License, document.RequestKey{}); err != nil {
		t.Fatal(err)
	}
	_, err = w.state.Obtained(request, w.now)
	wantCode(t, err, code.InvalidUpdateOrAlreadyInstalled)
}

// What was refused may be asked for anew under the same request key, what was
// obtained and ended may not.
func TestIntentOfNothing(t *testing.T) {
	w := newLocalWorld(t)
	request := asked(1, 1)
	w.intend(w.wish(1, 5, request))
	w.must(w.state.Settle(1<<40+5, OutcomeNothing), nil)
	if before, err := w.state.Asked(request, w.now); before || err != nil {
		t.Errorf("a request that led to nothing is known: %v", err)
	}
	w.intend(w.wish(1, 6, request))
	if err := w.obtain(1<<40+6, w.issue(1, 1), request); err != nil {
		t.Fatal(err)
	}
	w.now += 3600
	_, err := w.state.Obtained(request, w.now-1)
	if err != nil {
		t.Error(err)
	}
	w.must(w.state.Mark(60, 600), nil)
	if in, err := w.state.Obtained(request, w.now); in != nil || err != nil {
		t.Errorf("after its death, when nobody need know: %+v, %v", in, err)
	}
}

// A license that nobody wants any more goes back without having worked, and
// never works after.
func TestIntentDeclined(t *testing.T) {
	w := newLocalWorld(t)
	request := asked(1, 1)
	w.intend(w.wish(1, 5, request))
	l := w.issue(1, 1)
	back := w.sign(l)
	w.must(w.state.Decline(1<<40+5, l, back, document.Hash{7}))
	i := w.state.Intent(1<<40 + 5)
	if i == nil || i.Kind != IntentReturn || i.License != l.Terms.License || i.Own != (document.Hash{7}) || i.Until != w.now+7200 {
		t.Fatalf("it is not to be handed over: %+v", i)
	}
	wantCode(t, w.install(l), code.InvalidUpdateOrAlreadyInstalled)
	_, err := w.state.Obtained(request, w.now)
	wantCode(t, err, code.InvalidUpdateOrAlreadyInstalled)
	if r, ok := w.state.Cancelled(l.Terms.License); !ok || !bytes.Equal(r.Return.Bytes(), back.Bytes()) || !r.Origin.Equal(publicOf(originKey(1))) {
		t.Errorf("its return cannot be downloaded: %+v", r)
	}
	proof := w.receipt(1, back)
	w.must(w.state.SettleReturned(i.ID, proof), nil)
	if len(pendingIDs(w.state)) != 0 {
		t.Error("it is still pending")
	}
	if _, ok := w.state.Cancelled(l.Terms.License); ok {
		t.Error("its record is still there")
	}
	wantCode(t, w.install(l), code.InvalidUpdateOrAlreadyInstalled)
	if license, _, given, err := w.state.Given(request, w.now); !given || license != l.Terms.License || err != nil {
		t.Errorf("given back: %d, %v, %v", license, given, err)
	}
}

// A license that came as a file while its detach was pending stays.
func TestIntentCarried(t *testing.T) {
	w := newLocalWorld(t)
	w.intend(w.wish(1, 5, document.RequestKey{}))
	l := w.issue(1, 1)
	if err := w.install(l); err != nil {
		t.Fatal(err)
	}
	w.must(w.state.Decline(1<<40+5, l, w.sign(l), document.Hash{7}))
	if len(pendingIDs(w.state)) != 0 || len(ids(w.state)) != 1 {
		t.Errorf("%d pending, %d installed", len(pendingIDs(w.state)), len(ids(w.state)))
	}
	// And so does one that was given back already.
	w.intend(w.wish(1, 6, document.RequestKey{}))
	if _, err := w.cancel(l.Terms.License, document.RequestKey{}); err != nil {
		t.Fatal(err)
	}
	w.must(w.state.Decline(1<<40+6, l, w.sign(l), document.Hash{7}))
	if _, ok := w.state.Cancelled(l.Terms.License); !ok || len(pendingIDs(w.state)) != 0 {
		t.Error("its return is gone, or it is still pending")
	}
}

// receipt is what the origin's key signs when a return is entered.
func (w *localWorld) receipt(origin uint64, back *document.Return) document.Proof {
	w.t.Helper()
	return w.receiptBy(originKey(origin), back)
}

func (w *localWorld) receiptBy(key ed25519.PrivateKey, back *document.Return) document.Proof {
	w.t.Helper()
	entry := document.EncodeEntry(entryReturned, returned{License: back.Terms().License, Until: back.Until, Return: back.Bytes()})
	tree := document.NewTree([][]byte{entry})
	header := document.Header{Seq: 2, Root: tree.Root(), Count: 1, Time: w.now, Rules: 1}.Encode()
	check := document.Checkpoint{Seq: 2, Head: document.Chain(document.Hash{1}, header)}
	if err := check.Sign(key); err != nil {
		w.t.Fatalf("signing: %v", err)
	}
	return document.Proof{Entry: entry, Path: tree.Prove(0), Prev: document.Hash{1}, Header: header, Signature: check.Signature}
}

// giving is a license given back whose return is to be handed over.
func (w *localWorld) giving(id uint64, request document.RequestKey) (*document.License, *document.Return, Intent) {
	w.t.Helper()
	l := w.issue(1, id)
	if err := w.install(l); err != nil {
		w.t.Fatalf("install: %v", err)
	}
	i := w.wish(1, id, request)
	i.Kind, i.Ask, i.License, i.Until = IntentReturn, nil, l.Terms.License, l.Terms.Death
	back := w.sign(l)
	entries, _, err := w.state.Cancel(back, request, w.now)
	if err != nil {
		w.t.Fatalf("cancel: %v", err)
	}
	more, err := w.state.Intend(i, w.now)
	w.must(append(entries, more...), err)
	return l, back, i
}

func TestIntentToReturn(t *testing.T) {
	w := newLocalWorld(t)
	request := asked(1, 1)
	l, back, i := w.giving(1, request)
	if found := w.state.ReturnOf(l.Terms.License, originID(1)); found == nil || found.ID != i.ID {
		t.Fatalf("pending: %+v", found)
	}
	for name, wrong := range map[string]document.Proof{
		"another key":    w.receipt(2, back),
		"another return": w.receipt(1, w.sign(w.issue(1, 2))),
		"the license":    l.Proof(),
	} {
		if err := VerifyReturned(wrong, publicOf(originKey(1)), back); err == nil {
			t.Errorf("%s: the receipt is taken", name)
		}
		forged := w.state.SettleReturned(i.ID, wrong)
		if err := w.state.Judge(w.position(0), forged[0]); err == nil {
			t.Errorf("%s: the entry is taken", name)
		}
	}
	if err := w.state.Judge(w.position(0), w.state.Settle(i.ID, OutcomeReturned)[0]); err == nil {
		t.Error("without a receipt the entry is taken")
	}
	proof := w.receipt(1, back)
	if err := VerifyReturned(proof, publicOf(originKey(1)), back); err != nil {
		t.Error(err)
	}
	w.must(w.state.SettleReturned(i.ID, proof), nil)
	if license, _, given, err := w.state.Given(request, w.now); !given || license != l.Terms.License || err != nil {
		t.Errorf("given back: %d, %v, %v", license, given, err)
	}
}

// An intent ends by itself when the seats are home by themselves, or when there
// is nothing left to hand over.
func TestIntentEnds(t *testing.T) {
	w := newLocalWorld(t)
	l, _, _ := w.giving(1, document.RequestKey{})
	w.intend(w.wish(1, 5, document.RequestKey{}))
	w.must(w.state.Forget(l.Terms.License, document.RequestKey{}, w.now))
	if got := pendingIDs(w.state); len(got) != 1 || got[0] != 5 {
		t.Errorf("pending after the record is gone: %v", got)
	}
	w.giving(2, document.RequestKey{})
	w.now += 3600
	w.must(w.state.Mark(60, 600), nil)
	if got := pendingIDs(w.state); len(got) != 1 || got[0] != 5 {
		t.Errorf("pending after the license's death: %v", got)
	}
	w.now += 3600
	if w.state.Due(w.now) == nil {
		t.Fatal("nothing is due")
	}
	w.must(w.state.Mark(60, 600), nil)
	if got := pendingIDs(w.state); len(got) != 0 {
		t.Errorf("pending after its time: %v", got)
	}
}

// What the rules do not make is refused, judged or not.
func TestIntentForgeries(t *testing.T) {
	w := newLocalWorld(t)
	w.intend(w.wish(1, 5, asked(1, 1)))
	l := w.issue(1, 1)
	other := w.issue(1, 2)
	for name, change := range map[string]func(*Intent){
		"no kind":             func(i *Intent) { i.Kind = 0 },
		"no key":              func(i *Intent) { i.Key = 0 },
		"no peer":             func(i *Intent) { i.Peer = 0 },
		"short peer key":      func(i *Intent) { i.PeerKey = i.PeerKey[1:] },
		"no request":          func(i *Intent) { i.Ask = nil },
		"a license":           func(i *Intent) { i.License = l.Terms.License },
		"no own key":          func(i *Intent) { i.Own = document.Hash{} },
		"over already":        func(i *Intent) { i.Until = w.now },
		"after the year 9999": func(i *Intent) { i.Until = document.MaxTime + 1 },
		"no id":               func(i *Intent) { i.ID = 1 },
		"a return of nothing": func(i *Intent) { i.Kind, i.Ask, i.License = IntentReturn, nil, l.Terms.License },
	} {
		i := w.wish(1, 6, document.RequestKey{})
		change(&i)
		entry := document.EncodeEntry(entryIntentRecorded, i)
		if name != "a return of nothing" {
			if _, err := w.state.Intend(i, w.now); err == nil {
				t.Errorf("%s: intended", name)
			}
		}
		if err := w.state.Judge(w.position(0), entry); err == nil {
			t.Errorf("%s: judged good", name)
		}
		if err := w.state.Clone().Apply(w.position(0), entry); err == nil {
			t.Errorf("%s: applied", name)
		}
	}
	for name, entry := range map[string][]byte{
		"recorded twice":          document.EncodeEntry(entryIntentRecorded, w.wish(1, 5, document.RequestKey{})),
		"settled, not pending":    document.EncodeEntry(entryIntentSettled, settled{ID: 1<<40 + 9, Outcome: OutcomeNothing}),
		"no outcome":              document.EncodeEntry(entryIntentSettled, settled{ID: 1<<40 + 5}),
		"a detach returned":       document.EncodeEntry(entryIntentSettled, settled{ID: 1<<40 + 5, Outcome: OutcomeReturned}),
		"declined, not pending":   document.EncodeEntry(entryDeclined, declined{1<<40 + 9, l.Bytes(), w.sign(l).Bytes(), document.Hash{7}}),
		"declined by another":     document.EncodeEntry(entryDeclined, declined{1<<40 + 5, l.Bytes(), w.sign(other).Bytes(), document.Hash{7}}),
		"declined without return": document.EncodeEntry(entryDeclined, declined{1<<40 + 5, l.Bytes(), nil, document.Hash{7}}),
	} {
		if err := w.state.Judge(w.position(0), entry); err == nil {
			t.Errorf("%s: judged good", name)
		}
		if err := w.state.Clone().Apply(w.position(0), entry); err == nil {
			t.Errorf("%s: applied", name)
		}
	}
	stranger := testIdentity(t, 40)
	foreign := w.issue(1, 3, func(t *document.Terms) { t.Recipient = recipientOf(stranger) })
	_, err := w.state.Decline(1<<40+5, foreign, w.sign(l), document.Hash{7})
	wantCode(t, err, code.HardwareIDMismatch)
}

// What is given back has room when nothing more can be begun.
func TestIntentsAreBounded(t *testing.T) {
	w := newLocalWorld(t)
	_, _, back := w.giving(9000, document.RequestKey{})
	next := w.state.Clone()
	for n := range uint64(maxBegun - 1) {
		i := w.wish(1, n+1, document.RequestKey{})
		i.Own = document.Hash{1, byte(n), byte(n >> 8)}
		entries, err := next.Intend(i, w.now)
		if err != nil {
			t.Fatal(err)
		}
		if err := next.Apply(w.position(int(n)), entries[0]); err != nil {
			t.Fatal(err)
		}
	}
	_, err := next.Intend(w.wish(1, 5000, document.RequestKey{}), w.now)
	wantCode(t, err, code.ServerNotFound)
	for n := range uint64(maxIntents - maxBegun) {
		back.ID = 1<<41 + n + 1
		entries, err := next.Intend(back, w.now)
		if err != nil {
			t.Fatal(err)
		}
		if err := next.Apply(w.position(int(n)), entries[0]); err != nil {
			t.Fatal(err)
		}
	}
	back.ID = 1 << 42
	_, err = next.Intend(back, w.now)
	wantCode(t, err, code.ServerNotFound)
}

// A pool gives a recalled license again while it is out, and none for a request
// that made none, or whose license is home.
func TestRecall(t *testing.T) {
	w := worldOf(t, feature(7, 5))
	r := request(1, 3600, 7)
	r.Request = asked(1, 1)
	_, err := w.pool.Recall(r.Request, w.now)
	wantCode(t, err, code.DetachedLicenseNotFound)
	terms := w.mustDetach(r)
	if got, err := w.pool.Recall(r.Request, w.now); err != nil || got.License != terms.License {
		t.Errorf("recalled: %+v, %v", got, err)
	}
	_, err = w.pool.Recall(asked(1, 2), w.now)
	wantCode(t, err, code.InvalidParameter)
	if err := w.install(w.giveBack(1, terms.License, 0)); err != nil {
		t.Fatal(err)
	}
	_, err = w.pool.Recall(r.Request, w.now)
	wantCode(t, err, code.InvalidUpdateOrAlreadyInstalled)

	again := request(1, 3600, 7)
	again.Request = asked(2, 1)
	w.mustDetach(again)
	w.now += 3600
	_, err = w.pool.Recall(again.Request, w.now)
	wantCode(t, err, code.DetachedLicenseExpired)
}

// What is for local use only does not exist for other managers, by number or as
// part of its product.
func TestHiddenFromOthers(t *testing.T) {
	hidden, shown := feature(7, 5), feature(8, 5)
	hidden.RemoteMode, shown.RemoteMode = 1, RemoteBit|1
	w := worldOf(t, hidden, shown)
	r := request(1, 3600, 7)
	r.Remote = true
	_, err := w.detach(r, Policy{})
	wantCode(t, err, code.FeatureNotFound)
	whole := DetachRequest{
		Features: []Selector{{ProductNumber: hidden.ProductNumber, Whole: true}}, Seats: 1, Duration: 3600, Recipient: pc(1), Remote: true,
	}
	out, err := w.detach(whole, Policy{})
	if err != nil || len(out.Terms.Features) != 1 || out.Terms.Features[0] != shown.Ref() {
		t.Errorf("the whole product: %+v, %v", out.Terms.Features, err)
	}
	if _, err := w.detach(request(2, 3600, 7), Policy{}); err != nil {
		t.Errorf("here: %v", err)
	}
}

// A detach whose license came another way and was given back is over: its request has its
// answer, as long as it would be known, and may not be asked for anew.
func TestDetachIsOver(t *testing.T) {
	w := newLocalWorld(t)
	l := w.issue(1, 1)
	w.intend(w.wish(1, 5, asked(1, 1)))
	until := w.state.Intent(1<<40 + 5).Until
	if err := w.install(l); err != nil {
		t.Fatal(err)
	}
	back, err := w.cancel(1, document.RequestKey{})
	if err != nil {
		t.Fatal(err)
	}
	w.must(w.state.Decline(1<<40+5, l, back, document.Hash{7}))
	for ; w.now < max(until, start+requestLife)-1; w.now = max(until, start+requestLife) - 1 {
		_, err = w.state.Obtained(asked(1, 1), w.now)
		wantCode(t, err, code.InvalidUpdateOrAlreadyInstalled)
		_, err = w.state.Asked(asked(1, 2), w.now)
		wantCode(t, err, code.InvalidParameter)
	}
	if err := w.state.Apply(w.position(0), document.EncodeEntry(entryIntentSettled, settled{ID: 1<<40 + 5, Outcome: OutcomeOver})); err == nil {
		t.Error("it is over twice")
	}
}
