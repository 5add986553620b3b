// Package fold finds text as people search for it: a substring, whatever the
// case of its letters in any script (Unicode simple case folding).
package fold

import (
	"strings"
	"unicode"
	"unicode/utf8"
)

// Query is a text that is searched for. The zero Query is in every text. A
// Query is safe for concurrent use.
type Query struct{ folded string }

// NewQuery makes the query for text.
func NewQuery(text string) Query { return Query{String(text)} }

// Empty reports whether the query is in every text.
func (q Query) Empty() bool { return q.folded == "" }

// In reports whether one of texts has the query's text within it.
func (q Query) In(texts ...string) bool {
	for _, t := range texts {
		if strings.Contains(String(t), q.folded) {
			return true
		}
	}
	return q.Empty()
}

// String folds the case of s: two texts differ only in case when their folds
// are equal.
func String(s string) string { return strings.Map(fold, s) }

// fold picks one letter of all that are the same but for their case: the
// smallest, save that ASCII letters stay lower.
func fold(r rune) rune {
	if r < utf8.RuneSelf {
		if 'A' <= r && r <= 'Z' {
			r += 'a' - 'A'
		}
		return r
	}
	least := r
	for next := unicode.SimpleFold(r); next != r; next = unicode.SimpleFold(next) {
		least = min(least, next)
	}
	if least < utf8.RuneSelf {
		return fold(least)
	}
	return least
}
