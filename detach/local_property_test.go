package detach

import (
	"bytes"
	"maps"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/sojournlm/sojourn/internal/document"
	"github.com/sojournlm/sojourn/internal/ledger"
)

// localLogged is an entry with its place, for folding everything again.
type localLogged struct {
	at    ledger.Position
	entry []byte
}

// recipientModel is what a recipient may do, in as few words as possible: a license
// works from its installation to its death or its return, never again at the
// same or a lower revision, and never at all once it was given back.
type recipientModel struct {
	works map[uint64]*document.License // by id
	seen  map[uint64]uint32            // highest revision ever installed
	gone  map[uint64][]byte            // given back: the return
	shown map[uint64]bool              // and still recorded
}

func (m *recipientModel) install(l *document.License, now int64) bool {
	t := l.Terms
	if m.gone[t.License] != nil || m.seen[t.License] >= t.Revision || t.Death <= now {
		return false
	}
	m.works[t.License], m.seen[t.License] = l, t.Revision
	return true
}

func (m *recipientModel) expire(now int64) {
	maps.DeleteFunc(m.works, func(_ uint64, l *document.License) bool { return l.Terms.Death <= now })
}

// Whatever files arrive, late, twice or out of order, and whenever the manager
// stops: a cancelled license never works again, an installed one works once.
func TestPropertyRecipient(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := newLocalWorld(t)
		m := recipientModel{map[uint64]*document.License{}, map[uint64]uint32{}, map[uint64][]byte{}, map[uint64]bool{}}
		log := []localLogged{{ledger.Position{Seq: 1, Time: start, Rules: 1}, w.state.Identity().entry()}}
		var files []*document.License

		// commit is what a ledger does: what is due goes along with real entries.
		commit := func(entries [][]byte) {
			if len(entries) == 0 {
				return
			}
			batch := append(w.state.Due(w.now), entries...)
			if err := w.fold(entries); err != nil {
				t.Fatalf("%v", err)
			}
			for i, e := range batch {
				log = append(log, localLogged{w.position(i), e})
			}
		}
		name := func(t *rapid.T) uint64 { return 1<<40 + rapid.Uint64Range(1, 6).Draw(t, "license") }

		t.Repeat(map[string]func(*rapid.T){
			"issue": func(t *rapid.T) {
				id := name(t)
				revision := rapid.Uint32Range(1, 3).Draw(t, "revision")
				files = append(files, w.issue(1+id%2, id-1<<40, func(t *document.Terms) {
					t.Revision, t.Duration = revision, 40*int64(revision)
				}))
			},
			"install": func(t *rapid.T) {
				if len(files) == 0 {
					return
				}
				l := rapid.SampledFrom(files).Draw(t, "file")
				// A decision is made on the state with what is due.
				read := w.read()
				entries, err := read.Install(l, document.RequestKey{}, w.now)
				if m.install(l, w.now) != (err == nil) {
					t.Fatalf("license %d revision %d at %d: %v", l.Terms.License, l.Terms.Revision, w.now-start, err)
				}
				commit(entries)
			},
			"cancel": func(t *rapid.T) {
				id := name(t)
				found, err := w.read().Find(id, document.RequestKey{}, w.now)
				if want := m.works[id] != nil || m.shown[id]; want != (err == nil) {
					t.Fatalf("cancelling %d: %v", id, err)
				}
				switch {
				case err != nil:
				case found.Return != nil:
					if !bytes.Equal(found.Return.Bytes(), m.gone[id]) {
						t.Fatalf("a second return of %d", id)
					}
				default:
					r := w.sign(found.Installed.License)
					entries, _, err := w.read().Cancel(r, document.RequestKey{}, w.now)
					if err != nil {
						t.Fatalf("cancelling %d: %v", id, err)
					}
					commit(entries)
					delete(m.works, id)
					m.gone[id], m.shown[id] = r.Bytes(), true
				}
			},
			"forget": func(t *rapid.T) {
				id := name(t)
				entries, err := w.read().Forget(id, document.RequestKey{}, w.now)
				if m.shown[id] != (err == nil) {
					t.Fatalf("forgetting %d: %v", id, err)
				}
				commit(entries)
				delete(m.shown, id)
			},
			"mark": func(*rapid.T) { commit(w.state.Mark(60, 600)) },
			"time": func(t *rapid.T) {
				w.now += rapid.Int64Range(1, 60).Draw(t, "seconds")
				m.expire(w.now)
			},
			"start again": func(t *rapid.T) {
				again := NewLocal(trustOne)
				for _, x := range log {
					if err := again.Apply(x.at, x.entry); err != nil {
						t.Fatalf("folding everything again: %v", err)
					}
				}
				w.state = again
			},
			"": func(t *rapid.T) {
				s := w.read()
				if err := s.Check(); err != nil {
					t.Fatalf("%v", err)
				}
				if got, want := slices.Sorted(slices.Values(ids(s))), slices.Sorted(maps.Keys(m.works)); len(got) != len(want) {
					t.Fatalf("%v work, want %v", got, want)
				}
				for in := range s.AllInstalled() {
					if in.License.Terms.License == 0 || m.works[in.License.Terms.License].Terms.Revision != in.License.Terms.Revision {
						t.Fatalf("license %d works, which must not", in.License.Terms.License)
					}
				}
				for id := range m.gone {
					if s.IsInstalled(id) {
						t.Fatalf("cancelled license %d works", id)
					}
				}
				if got, want := s.CancelledList().Len(), len(m.shown); got != want {
					t.Fatalf("%d records, want %d", got, want)
				}
				if got, want := len(s.Granting(vendorCode, 16, 8)), len(m.works); got != want {
					t.Fatalf("%d grant, want %d", got, want)
				}
			},
		})
	})
}

// read is the state with everything that is due.
func (w *localWorld) read() *Local {
	s := w.state.Clone()
	for _, e := range s.Due(w.now) {
		if err := s.Apply(ledger.Position{Seq: w.seq + 1, Time: w.now, Rules: 1}, e); err != nil {
			w.t.Fatalf("what is due: %v", err)
		}
	}
	return s
}

// Expiry that is not yet entered and expiry that is answer the same.
func TestPropertyDueChangesNoAnswer(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := newLocalWorld(t)
		for id := range uint64(6) {
			l := w.issue(1+id%2, 1+id, func(terms *document.Terms) { terms.Duration = rapid.Int64Range(1, 9).Draw(t, "life") })
			if err := w.install(l); err != nil {
				t.Fatalf("%v", err)
			}
			if rapid.Bool().Draw(t, "cancel") {
				if _, err := w.cancel(1+id, asked(byte(id), 1)); err != nil {
					t.Fatalf("%v", err)
				}
			}
		}
		w.now += rapid.Int64Range(0, 10).Draw(t, "later")
		read := w.read()
		for _, name := range []uint64{1, 2, 3, 4, 5, 6, 1<<40 + 3, originID(1), originID(2)} {
			request := rapid.SampledFrom([]document.RequestKey{{}, asked(1, 1), asked(2, 2)}).Draw(t, "request")
			one, errOne := w.state.Find(name, request, w.now)
			two, errTwo := read.Find(name, request, w.now)
			if one != two || (errOne == nil) != (errTwo == nil) || errOne != nil && !cmp.Equal(errOne, errTwo) {
				t.Fatalf("%d: %v, %v before, %v, %v after", name, one, errOne, two, errTwo)
			}
		}
	})
}
