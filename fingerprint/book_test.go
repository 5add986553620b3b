package fingerprint_test

import (
	"bytes"
	"crypto/ed25519"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/sojournlm/sojourn/fingerprint"
	"github.com/sojournlm/sojourn/internal/code"
	"github.com/sojournlm/sojourn/internal/document"
)

const (
	self = uint64(1) << 40
	now  = int64(1_700_000_000)
)

func signKey(id uint64, gen byte) ed25519.PrivateKey {
	seed := make([]byte, ed25519.SeedSize)
	binary.BigEndian.PutUint64(seed, id)
	seed[31] = gen
	return ed25519.NewKeyFromSeed(seed)
}

// print is the fingerprint of computer id with its own keys of generation gen.
func print(t interface{ Fatalf(string, ...any) }, id uint64, gen byte, host string, issued int64) *document.Fingerprint {
	key := signKey(id, gen)
	seal, err := document.NewSealKey(key.Seed())
	if err != nil {
		t.Fatalf("sealing key: %v", err)
	}
	f, err := document.SignFingerprint(key, document.Recipient{
		ID: id, HostName: host, Sign: key.Public().(ed25519.PublicKey), Seal: seal.Public(),
		Components: fingerprint.Hash(id, fingerprint.Static{{"MACHINE", fmt.Sprint(id)}}),
	}, issued)
	if err != nil {
		t.Fatalf("fingerprint: %v", err)
	}
	return f
}

// rekeyed is the fingerprint of computer id of which just one key is another.
func rekeyed(t interface{ Fatalf(string, ...any) }, id uint64, sign, seal byte) *document.Fingerprint {
	computer := print(t, id, sign, "PC", now).Computer
	computer.Seal = print(t, id, seal, "PC", now).Computer.Seal
	f, err := document.SignFingerprint(signKey(id, sign), computer, now)
	if err != nil {
		t.Fatalf("fingerprint: %v", err)
	}
	return f
}

func given(f *document.Fingerprint) fingerprint.Fields {
	return fingerprint.Fields{Fingerprint: fingerprint.Buffer(f)}
}

func wantRefusal(t *testing.T, err error, want code.Code, field string) {
	t.Helper()
	var e *fingerprint.Error
	if !errors.As(err, &e) || !errors.Is(err, want) || e.Field != field || e.Message == "" {
		t.Fatalf("got %v (%+v), want code %d for %s", err, e, uint32(want), field)
	}
}

// apply makes a decided change on a clone, like a ledger.
func apply(t interface{ Fatalf(string, ...any) }, b *fingerprint.Book, c *fingerprint.Change, err error) *fingerprint.Book {
	if err != nil {
		t.Fatalf("decided: %v", err)
	}
	next := b.Clone()
	if c == nil {
		return next
	}
	if err := next.Apply(*c); err != nil {
		t.Fatalf("applied: %v", err)
	}
	if err := next.Check(); err != nil {
		t.Fatalf("checked: %v", err)
	}
	return next
}

// bookOf has the local computer and the computers 1, 2 and 3, added by hand.
func bookOf(t *testing.T) *fingerprint.Book {
	t.Helper()
	b := fingerprint.NewBook(self)
	change, err := b.Observe(print(t, self, 0, "Here", now))
	b = apply(t, b, change, err)
	for id, host := range []string{"B2291-PC", "GRDBENCH-01", "Straße-Ä"} {
		change, err := b.Add(given(print(t, uint64(id+1), 0, host, now)))
		b = apply(t, b, change, err)
	}
	return b
}

func names(l fingerprint.Computers) []string {
	got := []string{}
	for c := range l.From(0) {
		got = append(got, c.HostName)
	}
	return got
}

func TestAddReadsTheFingerprint(t *testing.T) {
	b := fingerprint.NewBook(self)
	f := print(t, 7, 0, "PC", now)
	change, err := b.Add(given(f))
	b = apply(t, b, change, err)
	c, ok := b.Computer(7)
	if !ok || c.ID != 7 || c.HostName != "PC" || c.Issued != now || c.Auto || !c.Remote {
		t.Fatalf("added: %+v", c)
	}
	if !bytes.Equal(c.Buffer(), fingerprint.Buffer(f)) {
		t.Error("its fingerprint is another one")
	}

	id, host, issued := uint64(8), "Renamed", now+5
	all := given(print(t, 8, 0, "PC", now))
	all.ID, all.HostName, all.Issued = &id, &host, &issued
	change, err = b.Add(all)
	b = apply(t, b, change, err)
	c, _ = b.Computer(8)
	if c.HostName != host || c.Issued != issued || c.Fingerprint().Issued != now {
		t.Errorf("what was given was not taken: %+v", c)
	}
	if r := c.Recipient(); r.HostName != host || r.ID != 8 || c.Fingerprint().Computer.HostName != "PC" {
		t.Errorf("as a recipient it is %+v", r)
	}
}

func TestAddRefuses(t *testing.T) {
	b := bookOf(t)
	wrong, negative, long, broken := uint64(9), int64(-1), strings.Repeat("x", 256), "\xff"
	control, never := "a\x1b[2Jb", int64(document.MaxTime+1)
	with := func(change func(*fingerprint.Fields)) fingerprint.Fields {
		f := given(print(t, 7, 0, "PC", now))
		change(&f)
		return f
	}
	for _, tt := range []struct {
		name  string
		given fingerprint.Fields
		code  code.Code
		field string
	}{
		{"nothing", fingerprint.Fields{}, code.InvalidParameter, "fingerprint"},
		{"an empty file", with(func(f *fingerprint.Fields) { f.Fingerprint = []byte{} }), code.InvalidParameter, "fingerprint"},
		{"a file of another make", with(func(f *fingerprint.Fields) { f.Fingerprint = []byte("w9l/ZEgKAAAA") }), code.InvalidParameter, "fingerprint"},
		{"another kind of file", with(func(f *fingerprint.Fields) {
			f.Fingerprint = document.Wrap(document.KindReturn, 1, 7, []byte("x"))
		}), code.InvalidParameter, "fingerprint"},
		{"an outside of another kind", with(func(f *fingerprint.Fields) {
			f.Fingerprint = document.Wrap(document.KindReturn, 0, 7, print(t, 7, 0, "PC", now).Bytes())
		}), code.InvalidParameter, "fingerprint"},
		{"an outside that names a key", with(func(f *fingerprint.Fields) {
			f.Fingerprint = document.Wrap(document.KindFingerprint, 1, 7, print(t, 7, 0, "PC", now).Bytes())
		}), code.InvalidParameter, "fingerprint"},
		{"an outside that lies", with(func(f *fingerprint.Fields) {
			f.Fingerprint = document.Wrap(document.KindFingerprint, 0, 8, print(t, 7, 0, "PC", now).Bytes())
		}), code.InvalidParameter, "fingerprint"},
		{"an inside that is altered", with(func(f *fingerprint.Fields) {
			f.Fingerprint = bytes.Replace(f.Fingerprint, []byte("PC"), []byte("QC"), 1)
		}), code.InvalidParameter, "fingerprint"},
		{"an id that contradicts", with(func(f *fingerprint.Fields) { f.ID = &wrong }), code.InvalidParameter, "lmsId"},
		{"a long host name", with(func(f *fingerprint.Fields) { f.HostName = &long }), code.InvalidParameter, "hostName"},
		{"a host name that is no text", with(func(f *fingerprint.Fields) { f.HostName = &broken }), code.InvalidParameter, "hostName"},
		{"a host name that clears the screen", with(func(f *fingerprint.Fields) { f.HostName = &control }), code.InvalidParameter, "hostName"},
		{"a time after 9999", with(func(f *fingerprint.Fields) { f.Issued = &never }), code.InvalidParameter, "issueTime"},
		{"a time before 1970", with(func(f *fingerprint.Fields) { f.Issued = &negative }), code.InvalidParameter, "issueTime"},
		{"the local computer", given(print(t, self, 0, "Here", now)), code.OperationIsNotAllowed, "lmsId"},
		{"a known one with other keys", given(print(t, 1, 1, "B2291-PC", now+9)), code.OperationIsNotAllowed, "lmsId"},
		{"a known one with another signing key", given(rekeyed(t, 1, 1, 0)), code.OperationIsNotAllowed, "lmsId"},
		{"a known one with another sealing key", given(rekeyed(t, 1, 0, 1)), code.OperationIsNotAllowed, "lmsId"},
		{"a known one, older", given(print(t, 1, 0, "B2291-PC", now-1)), code.InvalidUpdateOrAlreadyInstalled, "fingerprint"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			change, err := b.Add(tt.given)
			wantRefusal(t, err, tt.code, tt.field)
			if change != nil {
				t.Error("and there is a change")
			}
		})
	}
}

func TestAddingAgain(t *testing.T) {
	b := bookOf(t)
	host := "edited"
	one := uint64(1)
	change, err := b.Edit(fingerprint.Fields{ID: &one, HostName: &host})
	b = apply(t, b, change, err)

	change, err = b.Add(given(print(t, 1, 0, "B2291-PC", now)))
	if change != nil || err != nil {
		t.Errorf("the same file changes %+v, %v", change, err)
	}
	bad, same := strings.Repeat("x", 256), given(print(t, 1, 0, "B2291-PC", now))
	same.HostName = &bad
	if _, err := b.Add(same); !errors.Is(err, code.InvalidParameter) {
		t.Errorf("the same file with a name that cannot be: %v", err)
	}
	for _, later := range []int64{0, 10} { // not older is enough
		change, err := b.Add(given(print(t, 1, 0, "new name", now+later)))
		next := apply(t, b, change, err)
		if c, _ := next.Computer(1); c.HostName != "new name" || c.Issued != now+later {
			t.Errorf("replaced by %+v", c)
		}
	}
}

func TestEdit(t *testing.T) {
	b := bookOf(t)
	id := func(n uint64) *uint64 { return &n }
	host, empty, issued, control := "edited", "", now+77, "a\x1b[2Jb"
	newer := fingerprint.Buffer(print(t, 1, 0, "other name", now+5))
	for _, tt := range []struct {
		name  string
		given fingerprint.Fields
		want  fingerprint.Computer // host name and time
		print []byte
	}{
		{"the name", fingerprint.Fields{ID: id(1), HostName: &host}, fingerprint.Computer{HostName: host, Issued: now}, nil},
		{"an empty name", fingerprint.Fields{ID: id(1), HostName: &empty}, fingerprint.Computer{Issued: now}, nil},
		{"the time", fingerprint.Fields{ID: id(1), Issued: &issued}, fingerprint.Computer{HostName: "B2291-PC", Issued: issued}, nil},
		{"the fingerprint alone", fingerprint.Fields{ID: id(1), Fingerprint: newer}, fingerprint.Computer{HostName: "B2291-PC", Issued: now}, newer},
		{"all", fingerprint.Fields{ID: id(1), HostName: &host, Issued: &issued, Fingerprint: newer}, fingerprint.Computer{HostName: host, Issued: issued}, newer},
	} {
		t.Run(tt.name, func(t *testing.T) {
			change, err := b.Edit(tt.given)
			next := apply(t, b, change, err)
			c, _ := next.Computer(1)
			if c.HostName != tt.want.HostName || c.Issued != tt.want.Issued {
				t.Errorf("edited to %+v", c)
			}
			if old, _ := b.Computer(1); tt.print == nil && !bytes.Equal(c.Buffer(), old.Buffer()) || tt.print != nil && !bytes.Equal(c.Buffer(), tt.print) {
				t.Error("the fingerprint is the wrong one")
			}
			if change, err := next.Edit(tt.given); change != nil || err != nil {
				t.Errorf("once more: %+v, %v", change, err)
			}
		})
	}
	for _, tt := range []struct {
		name  string
		given fingerprint.Fields
		code  code.Code
		field string
	}{
		{"without id", fingerprint.Fields{HostName: &host}, code.InvalidParameter, "lmsId"},
		{"unknown id", fingerprint.Fields{ID: id(99), HostName: &host}, code.NoResultsFound, "lmsId"},
		{"the local computer", fingerprint.Fields{ID: id(self), HostName: &host}, code.OperationIsNotAllowed, "lmsId"},
		{"a fingerprint of another id", fingerprint.Fields{ID: id(2), Fingerprint: newer}, code.InvalidParameter, "fingerprint"},
		{"a fingerprint of other keys", fingerprint.Fields{ID: id(1), Fingerprint: fingerprint.Buffer(print(t, 1, 1, "x", now))}, code.OperationIsNotAllowed, "lmsId"},
		{"a host name that clears the screen", fingerprint.Fields{ID: id(1), HostName: &control}, code.InvalidParameter, "hostName"},
		{"no fingerprint at all", fingerprint.Fields{ID: id(1), Fingerprint: []byte("nonsense")}, code.InvalidParameter, "fingerprint"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := b.Edit(tt.given)
			wantRefusal(t, err, tt.code, tt.field)
		})
	}
}

func TestRemove(t *testing.T) {
	b := bookOf(t)
	change, err := b.Remove(2)
	next := apply(t, b, change, err)
	if _, ok := next.Computer(2); ok || next.Computers("").Len() != 3 {
		t.Error("it is still there")
	}
	_, err = next.Remove(2)
	wantRefusal(t, err, code.NoResultsFound, "lmsId")
	_, err = next.Remove(self)
	wantRefusal(t, err, code.OperationIsNotAllowed, "lmsId")
	change, err = next.Add(given(print(t, 2, 1, "with other keys", now-5)))
	next = apply(t, next, change, err)
	if c, ok := next.Computer(2); !ok || c.HostName != "with other keys" {
		t.Error("it cannot come back with other keys")
	}
}

func TestObserve(t *testing.T) {
	b := fingerprint.NewBook(self)
	if _, ok := b.Computer(self); ok || b.Local() != nil || b.Computers("").Len() != 0 {
		t.Error("the local computer is known before it was observed")
	}
	change, err := b.Observe(print(t, self, 0, "Here", now))
	b = apply(t, b, change, err)
	if c := b.Local(); c == nil || !c.Auto || c.Remote || c.HostName != "Here" {
		t.Fatalf("observed: %+v", c)
	}
	if change, err := b.Observe(print(t, self, 0, "Here", now+100)); change != nil || err != nil {
		t.Errorf("the time alone is news: %+v, %v", change, err)
	}
	change, err = b.Observe(print(t, self, 0, "Elsewhere", now+100))
	if b = apply(t, b, change, err); b.Local().HostName != "Elsewhere" || b.Local().Issued != now+100 {
		t.Errorf("observed anew: %+v", b.Local())
	}
	if _, err := b.Observe(print(t, 7, 0, "PC", now)); err == nil {
		t.Error("another computer was observed as the local one")
	}
}

func TestComputers(t *testing.T) {
	b := bookOf(t)
	for search, want := range map[string][]string{
		"":         {"Here", "B2291-PC", "GRDBENCH-01", "Straße-Ä"},
		"here":     {"Here"},
		"b2291-pc": {"B2291-PC"},
		"ä":        {"Straße-Ä"},
		"STRAẞE":   {"Straße-Ä"},
		"E":        {"Here", "GRDBENCH-01", "Straße-Ä"},
		"nowhere":  {},
	} {
		l := b.Computers(search)
		if got := names(l); !cmp.Equal(got, want) {
			t.Errorf("search %q: %q, want %q", search, got, want)
		}
		for i := -1; i <= l.Len(); i++ {
			var left []string
			for c := range l.From(i) {
				left = append(left, c.HostName)
			}
			var rest []string
			if i >= 0 {
				rest = want[i:]
			}
			if !slices.Equal(left, rest) {
				t.Errorf("search %q: %q from place %d on, want %q", search, left, i, rest)
			}
		}
	}
}

func TestApplyTakesNoStrangeChange(t *testing.T) {
	b := bookOf(t)
	f := print(t, 7, 0, "PC", now)
	for name, c := range map[string]fingerprint.Change{
		"removal of an unknown computer": {ID: 99},
		"removal of the local computer":  {ID: self},
		"removal that names a host":      {ID: 1, HostName: "x"},
		"fingerprint that is none":       {ID: 7, Fingerprint: []byte("x")},
		"fingerprint of another id":      {ID: 8, Fingerprint: f.Bytes()},
		"long host name":                 {ID: 7, HostName: strings.Repeat("x", 256), Fingerprint: f.Bytes()},
		"negative time":                  {ID: 7, Issued: -1, Fingerprint: f.Bytes()},
		"other keys":                     {ID: 1, Fingerprint: print(t, 1, 1, "x", now).Bytes()},
	} {
		next := b.Clone()
		if err := next.Apply(c); err == nil {
			t.Errorf("%s was applied", name)
		}
		if !cmp.Equal(names(next.Computers("")), names(b.Computers(""))) {
			t.Errorf("%s changed the book and failed", name)
		}
	}
}
