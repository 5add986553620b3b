package licensing

import (
	"iter"
	"slices"
)

// Page selects a part of a list. The zero Page is the whole list.
type Page struct {
	Number int // from 1; zero: 1
	Limit  int // entries on a page; zero: all
}

// Filter selects entries of a list; all given conditions must hold. Search is a
// substring, letter case apart, over numbers, names, the vendor and the host
// name. The others are exact.
type Filter struct {
	Search  string
	Key     *uint64 // dongleId; of a detached license its origin's
	Product *uint32
	Feature *uint32
	Page    Page
}

// List is a list's total and the entries that were asked for. The entries are
// made while they are read, from the state of when the list was made.
type List[T any] struct {
	Total  int        // before paging
	Silent []Computer // managers elsewhere that do not answer: what they have is as it was when they last did
	items  iter.Seq[T]
}

// All gives the entries in their order.
func (l *List[T]) All() iter.Seq[T] { return l.items }

// sequence is an ordered collection that never changes.
type sequence[R any] interface {
	Len() int
	From(i int) iter.Seq[R] // what comes from entry i on, 0 ≤ i ≤ Len
}

// window gives the range of the page in a list of n entries.
func (p Page) window(n int) (from, to int, err error) {
	switch {
	case p.Number < 0:
		return 0, 0, invalid("page", "%d, want 1 or more", p.Number)
	case p.Limit < 0:
		return 0, 0, invalid("limit", "%d, want 0 or more", p.Limit)
	case p.Limit == 0 && p.Number <= 1:
		return 0, n, nil
	case p.Limit == 0 || p.Number-1 > n/p.Limit:
		return n, n, nil
	}
	from = max(0, p.Number-1) * p.Limit
	return min(from, n), min(from+p.Limit, n), nil
}

// listOf makes a list of a page of records.
func listOf[R, T any](op string, page Page, records sequence[R], show func(R) T) (*List[T], error) {
	from, to, err := page.window(records.Len())
	if err != nil {
		return nil, fail(op, err)
	}
	return &List[T]{Total: records.Len(), items: func(yield func(T) bool) {
		left := to - from
		if left == 0 {
			return
		}
		for r := range records.From(from) {
			if left--; !yield(show(r)) || left == 0 {
				return
			}
		}
	}}, nil
}

type sliceSequence[R any] []R

func (s sliceSequence[R]) Len() int { return len(s) }

func (s sliceSequence[R]) From(i int) iter.Seq[R] { return slices.Values(s[i:]) }

// withSilent says with a list which managers did not answer.
func withSilent[T any](m *Manager, list func() (*List[T], error)) (*List[T], error) {
	l, err := list()
	if err == nil {
		l.Silent = m.peers.silent()
	}
	return l, err
}
