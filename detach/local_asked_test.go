package detach

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/sojournlm/sojourn/fingerprint"
	"github.com/sojournlm/sojourn/internal/code"
	"github.com/sojournlm/sojourn/internal/document"
)

// somePeer is the key of another manager.
var somePeer = bytes.Repeat([]byte{7}, 32)

// The bytes of the entries stand in ledgers for good.
func TestRequestEntriesAreGolden(t *testing.T) {
	request := document.RequestKey{Key: document.Hash{1, 2}, Request: document.Hash{3, 4}}
	hashes := "a201" + "5820" + "0102" + fmt.Sprintf("%060x", 0) + "02" + "5820" + "0304" + fmt.Sprintf("%060x", 0)
	for want, got := range map[string][]byte{
		"a20118" + "4b" + "02" + "a3" + "01" + hashes + "02" + "00" + "03" + "00": document.EncodeEntry(entryAsked,
			asking{Request: request}),
		"a20118" + "4b" + "02" + "a3" + "01" + hashes + "02" + "1b0000010000000005" + "03" + "1865": document.EncodeEntry(entryAsked,
			asking{Request: request, License: 1<<40 + 5, Origin: 101}),
		"a20118" + "4c" + "02" + "a1" + "01" + hashes: document.EncodeEntry(entryUnasked, unasking{request}),
		"a20118" + "4d" + "02" + "a3" + "01" + hashes + "02" + "5820" + strings.Repeat("07", 32) + "03" + "1903e8": document.EncodeEntry(entryAskedElsewhere,
			askingElsewhere{Request: request, Peer: somePeer, Until: 1000}),
	} {
		if hex.EncodeToString(got) != want {
			t.Errorf("%x, want %s", got, want)
		}
	}
}

// What needs no entry is remembered all the same: asked again when things stand
// otherwise, it changes nothing, and its request key is good for nothing else.
func TestNothingToDoIsRemembered(t *testing.T) {
	other := testIdentity(t, 9)
	print := func(w *localWorld) fingerprint.Fields { return fieldsOf(printOf(t, other, "laptop", start)) }
	add := func(w *localWorld, request document.RequestKey) ([][]byte, error) {
		return w.state.AddComputer(print(w), request, w.now)
	}
	known := func(w *localWorld) { w.must(add(w, document.RequestKey{})) }
	cancel := func(name uint64) func(*localWorld, document.RequestKey) ([][]byte, error) {
		return func(w *localWorld, request document.RequestKey) ([][]byte, error) {
			found, err := w.state.Find(name, request, w.now)
			if err != nil {
				return nil, err
			}
			r := found.Return
			if r == nil {
				r = w.sign(found.Installed.License)
			}
			entries, existing, err := w.state.Cancel(r, request, w.now)
			if err == nil && (existing == nil || existing.Terms().License != 1<<40+1) {
				t.Errorf("the answer is not the return of license 1")
			}
			return entries, err
		}
	}
	lend := func(w *localWorld, id uint64) {
		if err := w.install(w.issue(1, id)); err != nil {
			t.Fatal(err)
		}
	}
	given := func(w *localWorld) {
		lend(w, 1)
		if _, err := w.cancel(1, document.RequestKey{}); err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range []struct {
		name    string
		set     func(*localWorld)
		run     func(*localWorld, document.RequestKey) ([][]byte, error)
		between func(*localWorld) // makes that there is something to do
	}{
		{"add a known computer", known, add, func(w *localWorld) {
			w.must(w.state.RemoveComputer(other.ID, document.RequestKey{}, w.now))
		}},
		{"edit nothing", known, func(w *localWorld, request document.RequestKey) ([][]byte, error) {
			host := "laptop"
			return w.state.EditComputer(fingerprint.Fields{ID: &other.ID, HostName: &host}, request, w.now)
		}, func(w *localWorld) {
			host := "renamed"
			w.must(w.state.EditComputer(fingerprint.Fields{ID: &other.ID, HostName: &host}, document.RequestKey{}, w.now))
		}},
		{"cancel by the origin", given, cancel(originID(1)), func(w *localWorld) { lend(w, 2) }},
		{"cancel by the id", given, cancel(1), func(w *localWorld) { lend(w, 2) }},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newLocalWorld(t)
			c.set(w)
			w.must(c.run(w, asked(1, 1)))
			if before, err := w.state.Asked(asked(1, 1), w.now); !before || err != nil {
				t.Fatalf("it is not remembered: %v", err)
			}
			c.between(w)
			for range 2 {
				if entries, err := c.run(w, asked(1, 1)); len(entries) != 0 || err != nil {
					t.Errorf("asked again: %d entries, %v", len(entries), err)
				}
			}
			_, err := w.state.RemoveComputer(other.ID, asked(1, 2), w.now)
			wantCode(t, err, code.InvalidParameter)
			_, err = c.run(w, asked(1, 2))
			wantCode(t, err, code.InvalidParameter)

			w.now += requestLife
			w.must(w.state.Mark(60, 600), nil)
			if n := w.state.requests.Len(); n != 0 {
				t.Errorf("%d requests are known after a day", n)
			}
		})
	}
	t.Run("without a request key", func(t *testing.T) {
		w := newLocalWorld(t)
		known(w)
		given(w)
		for _, run := range []func(*localWorld, document.RequestKey) ([][]byte, error){add, cancel(1)} {
			if entries, err := run(w, document.RequestKey{}); len(entries) != 0 || err != nil {
				t.Errorf("%d entries, %v", len(entries), err)
			}
		}
	})
}

// A request that goes to another manager is known before it is sent, for as long as
// what it asks for lives, until it is known to have come to nothing.
func TestAskedElsewhere(t *testing.T) {
	w := newLocalWorld(t)
	request, until := asked(1, 1), w.now+3*requestLife
	w.must(w.state.AskElsewhere(request, somePeer, until, w.now))
	if entries, err := w.state.AskElsewhere(request, somePeer, until, w.now); len(entries) != 0 || err != nil {
		t.Errorf("again: %d entries, %v", len(entries), err)
	}
	_, err := w.state.AskElsewhere(asked(1, 2), somePeer, until, w.now)
	wantCode(t, err, code.InvalidParameter)
	_, err = w.state.AskedInVain(asked(1, 2), w.now)
	wantCode(t, err, code.InvalidParameter)
	w.now = until - 1
	w.must(w.state.Mark(60, 600), nil)
	if before, err := w.state.Asked(request, w.now); !before || err != nil {
		t.Errorf("it is not known: %v", err)
	}
	if peer, known, err := w.state.AskedOf(request, w.now); !bytes.Equal(peer, somePeer) || known != until || err != nil {
		t.Errorf("%x was asked, known until %d, %v", peer, known, err)
	}
	// Asked again, it is known for as long as what is asked for then lives; nobody else is
	// asked meanwhile.
	until += requestLife
	_, err = w.state.AskElsewhere(request, bytes.Repeat([]byte{8}, 32), until, w.now)
	wantCode(t, err, code.InvalidParameter)
	w.must(w.state.AskElsewhere(request, somePeer, until, w.now))
	w.now = until - 1
	w.must(w.state.Mark(60, 600), nil)
	if peer, known, err := w.state.AskedOf(request, w.now); !bytes.Equal(peer, somePeer) || known != until || err != nil {
		t.Errorf("asked again of %x, known until %d, %v", peer, known, err)
	}
	if n := w.state.lapses.Len(); n != 1 {
		t.Errorf("%d requests lapse", n)
	}
	w.must(w.state.AskedInVain(request, w.now))
	if entries, err := w.state.AskedInVain(request, w.now); len(entries) != 0 || err != nil {
		t.Errorf("in vain again: %d entries, %v", len(entries), err)
	}
	w.must(w.state.AskElsewhere(asked(1, 2), somePeer, w.now+1, w.now))

	f := printOf(t, testIdentity(t, 9), "pc", w.now)
	w.must(w.state.AddComputer(fieldsOf(f), asked(2, 1), w.now))
	if entries, err := w.state.AskedInVain(asked(2, 1), w.now); len(entries) != 0 || err != nil {
		t.Errorf("what happened here is said to be in vain: %d entries, %v", len(entries), err)
	}
	_, err = w.state.AskElsewhere(asked(2, 1), somePeer, w.now+9*requestLife, w.now)
	wantCode(t, err, code.InvalidParameter)
	for _, until := range []int64{-1, 0, w.now, document.MaxTime + 1} {
		if entries, err := w.state.AskElsewhere(asked(3, 1), somePeer, until, w.now); err == nil {
			t.Errorf("until %d: %d entries", until, len(entries))
		}
	}
	if entries, err := w.state.AskElsewhere(document.RequestKey{}, somePeer, w.now+1, w.now); len(entries) != 0 || err != nil {
		t.Errorf("without a key: %d entries, %v", len(entries), err)
	}
}

// The request key of a detach that is pending is known as long as it is pending.
func TestPendingRequestIsKnown(t *testing.T) {
	w := newLocalWorld(t)
	i := w.wish(1, 5, asked(1, 1))
	i.Until = w.now + 3*requestLife
	w.intend(i)
	w.now = i.Until - 1
	w.must(w.state.Mark(60, 600), nil)
	_, err := w.state.Asked(asked(1, 2), w.now)
	wantCode(t, err, code.InvalidParameter)
}

// requestModel is what is promised of a request key, in as few words as possible:
// once a request was answered well, the same one changes nothing and has no other
// good answer, and another one is refused.
type requestModel map[byte]struct {
	request byte
	until   int64
	answer  string
}

// Whatever is asked for under whatever key, in whatever order, twice and late.
func TestPropertyRequestKeys(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := newLocalWorld(t)
		m := requestModel{}
		ids := []*Identity{testIdentity(t, 9), testIdentity(t, 40)}
		var prints []*document.Fingerprint
		for _, id := range ids {
			prints = append(prints, printOf(t, id, "pc", start))
		}
		var licenses []*document.License
		for id := range uint64(4) {
			licenses = append(licenses, w.issue(1+id%2, 1+id, func(t *document.Terms) { t.Duration = 400 * int64(1+id) }))
		}
		// shape is what a request could change.
		shape := func(s *Local) (all []string) {
			for _, id := range ids {
				if c, ok := s.Book().Computer(id.ID); ok {
					all = append(all, fmt.Sprint(c.ID, c.HostName))
				}
			}
			s.byID.Scan(func(h *held) bool {
				all = append(all, fmt.Sprint(h.license, h.origin, h.state))
				return true
			})
			return all
		}
		// A command gives its entries, what it answers and when its license dies.
		type command func(s *Local, r document.RequestKey) (entries [][]byte, answer string, death int64, err error)
		commands := []command{}
		for n, id := range ids {
			commands = append(commands,
				func(s *Local, r document.RequestKey) ([][]byte, string, int64, error) {
					entries, err := s.AddComputer(fieldsOf(prints[n]), r, w.now)
					return entries, "", 0, err
				},
				func(s *Local, r document.RequestKey) ([][]byte, string, int64, error) {
					entries, err := s.RemoveComputer(id.ID, r, w.now)
					return entries, "", 0, err
				})
			for _, host := range []string{"pc", "renamed"} {
				commands = append(commands, func(s *Local, r document.RequestKey) ([][]byte, string, int64, error) {
					entries, err := s.EditComputer(fingerprint.Fields{ID: &id.ID, HostName: &host}, r, w.now)
					return entries, "", 0, err
				})
			}
		}
		for _, l := range licenses {
			commands = append(commands,
				func(s *Local, r document.RequestKey) ([][]byte, string, int64, error) {
					entries, err := s.Install(l, r, w.now)
					return entries, "", l.Terms.Death, err
				},
				func(s *Local, r document.RequestKey) ([][]byte, string, int64, error) {
					entries, err := s.Forget(l.Terms.License, r, w.now)
					return entries, "", l.Terms.Death, err
				})
		}
		for _, name := range []uint64{1, 2, 3, 4, originID(1), originID(2)} {
			commands = append(commands, func(s *Local, r document.RequestKey) ([][]byte, string, int64, error) {
				found, err := s.Find(name, r, w.now)
				if err != nil {
					return nil, "", 0, err
				}
				back := found.Return
				if back == nil {
					back = w.sign(found.Installed.License)
				}
				entries, existing, err := s.Cancel(back, r, w.now)
				if existing != nil {
					back = existing
				}
				return entries, string(back.Bytes()), back.Terms().Death, err
			})
		}
		t.Repeat(map[string]func(*rapid.T){
			"ask": func(t *rapid.T) {
				request := rapid.IntRange(0, len(commands)-1).Draw(t, "request")
				key := rapid.Byte().Filter(func(b byte) bool { return b < 4 }).Draw(t, "key")
				r := document.RequestKey{}
				if key != 0 {
					r = asked(key, byte(1+request))
				}
				read := w.read()
				before := shape(read)
				entries, answer, death, err := commands[request](read, r)
				if foldErr := w.fold(entries); foldErr != nil {
					t.Fatalf("%v", foldErr)
				}
				changed := !cmp.Equal(before, shape(w.read()))
				first, known := m[key]
				switch known = known && first.until > w.now; {
				case known && first.request != byte(request):
					if r, _ := errors.AsType[*Refusal](err); r == nil || r.Code != code.InvalidParameter || changed {
						t.Fatalf("request %d under the key of request %d: %v, changed: %v", request, first.request, err, changed)
					}
				case known && (changed || len(entries) != 0):
					t.Fatalf("request %d has changed something again", request)
				case known && err == nil && answer != first.answer:
					t.Fatalf("request %d has another answer than before", request)
				case !known && err == nil && key != 0:
					first.request, first.answer, first.until = byte(request), answer, w.now+requestLife
					if death > w.now {
						first.until = death
					}
					m[key] = first
				}
			},
			"time": func(t *rapid.T) { w.now += rapid.Int64Range(1, 300).Draw(t, "seconds") },
			"day":  func(*rapid.T) { w.now += requestLife },
			"": func(t *rapid.T) {
				if err := w.read().Check(); err != nil {
					t.Fatalf("%v", err)
				}
			},
		})
	})
}

// TestJudgeOfRequestEntries: such an entry, found without its signature, must fit.
func TestJudgeOfRequestEntries(t *testing.T) {
	w := newLocalWorld(t)
	for id := range uint64(2) {
		if err := w.install(w.issue(1, 1+id)); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := w.cancel(1, asked(1, 1)); err != nil {
		t.Fatal(err)
	}
	w.must(w.state.AskElsewhere(asked(2, 1), somePeer, w.now+60, w.now))
	ask := func(a asking) []byte { return document.EncodeEntry(entryAsked, a) }
	elsewhere := func(request document.RequestKey, peer []byte, until int64) []byte {
		return document.EncodeEntry(entryAskedElsewhere, askingElsewhere{request, peer, until})
	}
	for name, entry := range map[string][]byte{
		"known":                    ask(asking{Request: asked(1, 1)}),
		"of another request":       ask(asking{Request: asked(1, 2)}),
		"without a key":            ask(asking{}),
		"with a license that is":   ask(asking{Request: asked(3, 1), License: 1<<40 + 2, Origin: originID(1)}),
		"with an unknown license":  ask(asking{Request: asked(3, 1), License: 1<<40 + 9, Origin: originID(1)}),
		"with an origin only":      ask(asking{Request: asked(3, 1), Origin: originID(1)}),
		"until before":             elsewhere(asked(3, 1), somePeer, w.now),
		"until never":              elsewhere(asked(3, 1), somePeer, -1),
		"until far too late":       elsewhere(asked(3, 1), somePeer, document.MaxTime+1),
		"elsewhere, known":         elsewhere(asked(1, 1), somePeer, w.now+60),
		"elsewhere, known as long": elsewhere(asked(2, 1), somePeer, w.now+60),
		"elsewhere, of another":    elsewhere(asked(2, 1), bytes.Repeat([]byte{8}, 32), w.now+9*requestLife),
		"elsewhere, other request": elsewhere(asked(1, 2), somePeer, w.now+60),
		"elsewhere without a key":  elsewhere(document.RequestKey{}, somePeer, w.now+60),
		"of nobody":                elsewhere(asked(3, 1), nil, w.now+60),
		"of half a key":            elsewhere(asked(3, 1), somePeer[:16], w.now+60),
		"with a tail":              append(ask(asking{Request: asked(3, 1)}), 0),
		"in vain, unknown":         document.EncodeEntry(entryUnasked, unasking{asked(3, 1)}),
		"in vain, of this manager": document.EncodeEntry(entryUnasked, unasking{asked(1, 1)}),
		"in vain, another request": document.EncodeEntry(entryUnasked, unasking{asked(2, 2)}),
	} {
		if err := w.state.Judge(w.position(0), entry); err == nil {
			t.Errorf("%s: judged genuine", name)
		}
		if err := w.state.Clone().Apply(w.position(0), entry); err == nil {
			t.Errorf("%s: applied", name)
		}
	}
}
