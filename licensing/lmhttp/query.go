package lmhttp

import (
	"encoding/json"
	"math"
	"net/url"
	"strconv"

	"github.com/sojournlm/sojourn/licensing"
)

// query is the parameters of a request, each name once.
type query map[string]string

func parseQuery(raw string) (query, error) {
	values, err := url.ParseQuery(raw)
	if err != nil {
		return nil, invalid("the query", "it is malformed")
	}
	q := make(query, len(values))
	for name, given := range values {
		if len(given) > 1 {
			return nil, invalid(clip(name), "given %d times in the query", len(given))
		}
		q[name] = given[0]
	}
	return q, nil
}

// members gives the parameters as if they stood in a body, as strings.
func (q query) members() map[string]json.RawMessage {
	members := make(map[string]json.RawMessage, len(q))
	for name, value := range q {
		members[name], _ = json.Marshal(value) // a string always can be
	}
	return members
}

// id reads an id, nil where it is not given. A parameter without a value is not
// given: forms send their empty inputs too.
func (q query) id(name string, kind idKind) (*uint64, error) {
	if q[name] == "" {
		return nil, nil
	}
	id, reason := kind.parse(q[name])
	if reason != "" {
		return nil, invalid(name, "%s", reason)
	}
	return &id, nil
}

func (q query) number32(name string) (*uint32, error) {
	id, err := q.id(name, number32)
	if id == nil {
		return nil, err
	}
	return new(uint32(*id)), nil
}

// page reads which part of a list is wanted.
func (q query) page() (p licensing.Page, err error) {
	if p.Number, err = q.count("page"); err != nil {
		return p, err
	}
	p.Limit, err = q.count("limit")
	return p, err
}

// count reads a number from 1 on, 0 where it is not given.
func (q query) count(name string) (int, error) {
	text := q[name]
	if text == "" {
		return 0, nil
	}
	negative, n, ok := parseInteger(text)
	if !ok || negative || n < 1 || n > math.MaxInt32 {
		return 0, invalid(name, "%s, want a whole number from 1 to %d in digits", clip(strconv.Quote(text)), math.MaxInt32)
	}
	return int(n), nil
}

// search reads the text that is searched for.
func (q query) search() (string, error) {
	text := q["search"]
	if len(text) > maxSearch {
		return "", invalid("search", "%d bytes, at most %d are searched for", len(text), maxSearch)
	}
	return text, nil
}

// filter reads what selects entries of a list.
func (q query) filter() (f licensing.Filter, err error) {
	if f.Search, err = q.search(); err != nil {
		return f, err
	}
	if f.Key, err = q.id("dongle", keyID); err != nil {
		return f, err
	}
	if f.Product, err = q.number32("product"); err != nil {
		return f, err
	}
	if f.Feature, err = q.number32("feature"); err != nil {
		return f, err
	}
	f.Page, err = q.page()
	return f, err
}
