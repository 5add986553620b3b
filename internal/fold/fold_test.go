package fold

import (
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	"pgregory.net/rapid"
)

func TestIn(t *testing.T) {
	for _, c := range []struct {
		query string
		text  string
		want  bool
	}{
		{"", "", true},
		{"", "anything", true},
		{"b2291-pc", "B2291-PC", true},
		{"91-p", "B2291-PC", true},
		{"b2291-pcx", "B2291-PC", false},
		{"x", "", false},
		{"MÜLLER", "müller-pc", true},
		{"станция", "СТАНЦИЯ-7", true},
		{"ΟΔΟΣ", "οδος", true},
		{"οδός", "ΟΔΌΣ", true}, // final and other sigma are one letter
		{"kelvin", "\u212Aelvin", true},
		{"\u212Aelvin", "kelvin", true},
		{"muller", "müller", false}, // case is folded, accents are not
	} {
		if got := NewQuery(c.query).In(c.text); got != c.want {
			t.Errorf("NewQuery(%q).In(%q) = %v, want %v", c.query, c.text, got, c.want)
		}
	}
	if !NewQuery("b").In("a", "B") {
		t.Error("a query that is in the second text only was not found")
	}
	if NewQuery("b").In() || !(Query{}).In() {
		t.Error("only the empty query is in no text at all")
	}
}

func TestFoldIsThatOfTheStandardLibrary(t *testing.T) {
	for r := rune(0); r <= unicode.MaxRune; r++ {
		f := fold(r)
		if !strings.EqualFold(string(f), string(r)) {
			t.Fatalf("%U folds to %U, which is another letter", r, f)
		}
		if fold(unicode.SimpleFold(r)) != f || fold(f) != f {
			t.Fatalf("%U does not fold like all of its cases", r)
		}
	}
}

func TestPropertyEveryPartIsFound(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		text := rapid.String().Draw(t, "text")
		from := rapid.IntRange(0, len(text)).Draw(t, "from")
		to := rapid.IntRange(from, len(text)).Draw(t, "to")
		part := text[from:to]
		if !utf8.ValidString(part) {
			t.Skip("cut within a letter")
		}
		for _, q := range []string{part, strings.ToUpper(part), strings.ToLower(part)} {
			if String(q) != String(part) {
				continue // upper-casing ß and its like gives other letters
			}
			if !NewQuery(q).In(text) {
				t.Fatalf("%q is not found in %q", q, text)
			}
		}
	})
}
