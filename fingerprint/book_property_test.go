package fingerprint_test

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/sojournlm/sojourn/fingerprint"
	"github.com/sojournlm/sojourn/internal/code"
	"github.com/sojournlm/sojourn/internal/document"
)

// The book does what a map with three rules does, and no published book changes.
func TestPropertyBook(t *testing.T) {
	type entry struct {
		gen    byte
		host   string
		issued int64 // of the fingerprint
	}
	rapid.Check(t, func(t *rapid.T) {
		b, model := fingerprint.NewBook(self), map[uint64]entry{}
		t.Repeat(map[string]func(*rapid.T){
			"add": func(t *rapid.T) {
				id, e := rapid.Uint64Range(1, 4).Draw(t, "id"), entry{
					rapid.ByteRange(0, 1).Draw(t, "keys"), rapid.SampledFrom([]string{"a", "b"}).Draw(t, "host"), now + rapid.Int64Range(0, 2).Draw(t, "issued")}
				change, err := b.Add(given(print(t, id, e.gen, e.host, e.issued)))
				was, known := model[id]
				if bad := known && (was.gen != e.gen || was.issued > e.issued); bad != (err != nil) {
					t.Fatalf("adding %+v over %+v: %v", e, was, err)
				} else if !bad {
					b, model[id] = apply(t, b, change, err), e
				}
			},
			"edit": func(t *rapid.T) {
				id, host := rapid.Uint64Range(1, 4).Draw(t, "id"), rapid.SampledFrom([]string{"c", "d"}).Draw(t, "host")
				_, err := b.Edit(fingerprint.Fields{ID: &id, HostName: &host})
				e, known := model[id]
				if known == (err != nil) {
					t.Fatalf("editing %d: %v", id, err)
				} else if known {
					// An edit stays when the same fingerprint is added again. The model
					// cannot tell the two apart, so an edit brings a newer one along.
					e.host, e.issued = host, e.issued+1
					f := fingerprint.Buffer(print(t, id, e.gen, host, e.issued))
					change, err := b.Edit(fingerprint.Fields{ID: &id, HostName: &host, Fingerprint: f})
					b, model[id] = apply(t, b, change, err), e
				}
			},
			"remove": func(t *rapid.T) {
				id := rapid.Uint64Range(1, 4).Draw(t, "id")
				change, err := b.Remove(id)
				if _, known := model[id]; known == (err != nil) {
					t.Fatalf("removing %d: %v", id, err)
				} else if known {
					b = apply(t, b, change, err)
					delete(model, id)
				}
			},
			"": func(t *rapid.T) {
				var want []string
				for _, id := range slices.Sorted(maps.Keys(model)) {
					want = append(want, fmt.Sprint(id, model[id].host))
				}
				var got []string
				for c := range b.Computers("").From(0) {
					got = append(got, fmt.Sprint(c.ID, c.HostName))
				}
				if !slices.Equal(got, want) {
					t.Fatalf("listed %q, want %q", got, want)
				}
			},
		})
	})
}

func TestAPublishedBookNeverChanges(t *testing.T) {
	b := bookOf(t)
	want := names(b.Computers(""))
	done := make(chan bool)
	for range 4 {
		go func() {
			same := true
			for range 200 {
				same = same && cmp.Equal(names(b.Computers("")), want) && b.Clone().Computers("e").Len() == 3
			}
			done <- same
		}()
	}
	next := b
	for id := range uint64(40) {
		change, err := next.Add(given(print(t, 10+id, 0, "new", now)))
		next = apply(t, next, change, err)
	}
	for range 4 {
		if !<-done {
			t.Error("a book that is read has changed")
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add(fingerprint.Buffer(print(f, 7, 0, "PC", now)))
	f.Add(document.Wrap(document.KindFingerprint, 0, 7, nil))
	f.Add([]byte("w9l/ZEgKAAAA"))
	f.Fuzz(func(t *testing.T, b []byte) {
		p, err := fingerprint.Parse(b)
		if err != nil {
			if !errors.Is(err, code.InvalidParameter) {
				t.Errorf("refused with %v", err)
			}
			return
		}
		if !bytes.Equal(fingerprint.Buffer(p), b) {
			t.Error("a fingerprint has two files")
		}
		book := fingerprint.NewBook(self)
		if c, err := book.Add(fingerprint.Fields{Fingerprint: b}); err == nil {
			if err := book.Apply(*c); err != nil {
				t.Errorf("what was decided does not apply: %v", err)
			}
		}
	})
}
