package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"slices"
	"strconv"
	"unicode/utf8"
)

// A value is a piece of a JSON file and knows its place there. Reading never
// fails: what is missing or wrong reads as zero, and the first fault of the file
// is kept.
type value struct {
	path  string
	raw   json.RawMessage // nil where the value is missing
	fault *error
}

// parseJSON reads a file of one JSON value.
func parseJSON(text []byte, fault *error) value {
	root := value{fault: fault}
	if !utf8.Valid(text) {
		root.blame("not UTF-8")
		return root
	}
	err := json.Unmarshal(text, &root.raw)
	var syntax *json.SyntaxError
	if errors.As(err, &syntax) {
		before := text[:min(int(syntax.Offset), len(text))]
		root.blame("line %d: %v", 1+bytes.Count(before, []byte("\n")), err)
	} else if err != nil {
		root.blame("%v", err)
	}
	return root
}

func (v value) blame(format string, args ...any) {
	if *v.fault != nil {
		return
	}
	if v.path != "" {
		format = v.path + ": " + format
	}
	*v.fault = fmt.Errorf(format, args...)
}

// required is the value, which must not be missing.
func (v value) required() value {
	if v.raw == nil {
		v.blame("missing")
	}
	return v
}

// object gives the members of an object by name, which are these and no others.
func (v value) object(names ...string) func(name string) value {
	members := make(map[string]value)
	find := func(name string) value {
		if member, ok := members[name]; ok {
			return member
		}
		return v.member(name)
	}
	if v.raw == nil {
		return find
	}
	d := json.NewDecoder(bytes.NewReader(v.raw)) // over what is known to be well-formed
	if start, _ := d.Token(); start != json.Delim('{') {
		v.blame("want an object")
		return find
	}
	for d.More() {
		token, _ := d.Token()
		name := token.(string)
		member := v.member(name)
		if !slices.Contains(names, name) {
			member.blame("there is no such field")
		}
		if _, twice := members[name]; twice {
			member.blame("given twice")
		}
		d.Decode(&member.raw)
		members[name] = member
	}
	return find
}

func (v value) member(name string) value {
	if v.path != "" {
		name = v.path + "." + name
	}
	return value{path: name, fault: v.fault}
}

// list gives the entries of an array.
func (v value) list() iter.Seq2[int, value] {
	return func(yield func(int, value) bool) {
		if v.raw == nil {
			return
		}
		var entries []json.RawMessage
		if v.raw[0] != '[' || json.Unmarshal(v.raw, &entries) != nil {
			v.blame("want an array")
		}
		for i, raw := range entries {
			if !yield(i, value{fmt.Sprintf("%s[%d]", v.path, i), raw, v.fault}) {
				return
			}
		}
	}
}

// number reads a whole number in digits.
func (v value) number(lowest, highest uint64) uint64 {
	if v.raw == nil {
		return 0
	}
	n, err := strconv.ParseUint(string(v.raw), 10, 64)
	if err != nil || n < lowest || n > highest {
		v.blame("%s, want a whole number from %d to %d", v.raw, lowest, highest)
		return 0
	}
	return n
}

func (v value) text() (s string) {
	if v.raw != nil && (v.raw[0] != '"' || json.Unmarshal(v.raw, &s) != nil) {
		v.blame("want a text")
	}
	return s
}

func (v value) flag() bool {
	switch string(v.raw) {
	case "true":
		return true
	case "false", "":
	default:
		v.blame("want true or false")
	}
	return false
}
