package lmhttp

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"iter"
	"strconv"
	"unicode/utf8"

	"github.com/sojournlm/sojourn/licensing"
)

// maxMembers is how many fields an object of a request may have: far more than
// any operation knows.
const maxMembers = 64

// parseObject reads a JSON object: nothing behind it, every name once. Values
// stay as they are until somebody asks for them.
func parseObject(text []byte) (map[string]json.RawMessage, error) {
	if len(bytes.TrimSpace(text)) == 0 {
		return nil, invalid("the body", "it is empty, want a JSON object")
	}
	if !utf8.Valid(text) {
		return nil, invalid("the body", "it is not UTF-8")
	}
	if err := json.Unmarshal(text, &json.RawMessage{}); err != nil {
		return nil, invalid("the body", "malformed JSON: %s", reason(err))
	}
	return objectMembers(text, "the body")
}

// reason is what is wrong with the syntax, and where.
func reason(err error) string {
	var syntax *json.SyntaxError
	if errors.As(err, &syntax) {
		return syntax.Error() + " (byte " + strconv.FormatInt(syntax.Offset, 10) + ")"
	}
	return "it cannot be read"
}

// objectMembers reads the members of what should be an object. text is
// well-formed JSON.
func objectMembers(text []byte, name string) (map[string]json.RawMessage, error) {
	d := json.NewDecoder(bytes.NewReader(text))
	if start, err := d.Token(); err != nil || start != json.Delim('{') {
		return nil, invalid(name, "want a JSON object")
	}
	members := make(map[string]json.RawMessage)
	for d.More() {
		key, err := d.Token()
		if err != nil {
			return nil, invalid(name, "malformed JSON: %s", reason(err))
		}
		member := key.(string) // the only token that stands here in well-formed JSON
		if _, twice := members[member]; twice {
			return nil, invalid(clip(member), "given twice")
		}
		if len(members) == maxMembers {
			return nil, invalid(name, "more than %d fields", maxMembers)
		}
		var value json.RawMessage
		if err := d.Decode(&value); err != nil {
			return nil, invalid(name, "malformed JSON: %s", reason(err))
		}
		members[member] = value
	}
	return members, nil
}

// fields reads an object's fields. Reading one says that it must be there; ask
// has first where it need not be. The first one that is missing or wrong is
// kept, what is read is then zero: who reads looks at err once, at the end.
type fields struct {
	at      string // of this object in the body, such as "productFeatures[2]."
	members map[string]json.RawMessage
	err     *error // shared with the objects inside
}

func newFields(members map[string]json.RawMessage) *fields {
	return &fields{members: members, err: new(error)}
}

// fault is the first thing that was wrong, or nil.
func (f *fields) fault() error { return *f.err }

func (f *fields) blame(name, format string, args ...any) {
	if *f.err == nil {
		*f.err = invalid(f.at+name, format, args...)
	}
}

func (f *fields) has(name string) bool {
	_, ok := f.members[name]
	return ok
}

// read gives a field's JSON, "" where it is missing.
func (f *fields) read(name string) string {
	value, ok := f.members[name]
	if !ok {
		f.blame(name, "it is missing")
	}
	return string(value)
}

// flag reads true or false.
func (f *fields) flag(name string) bool {
	value := f.read(name)
	if value != "true" && value != "false" {
		f.blame(name, "want true or false")
	}
	return value == "true"
}

// text reads a string.
func (f *fields) text(name string) string {
	value := f.read(name)
	if value == "" {
		return ""
	}
	text, ok := unquote(value)
	if !ok {
		f.blame(name, "want a string")
	}
	return text
}

func unquote(value string) (text string, ok bool) {
	if value[0] != '"' {
		return "", false
	}
	err := json.Unmarshal([]byte(value), &text)
	return text, err == nil
}

// number reads a whole number from 0 or 1 on.
func (f *fields) number(name string, from, to int64) int64 {
	value := f.read(name)
	if value == "" {
		return 0
	}
	negative, n, ok := parseInteger(value)
	if !ok || negative || n < uint64(from) || n > uint64(to) {
		f.blame(name, "%s, want a whole number from %d to %d", clip(value), from, to)
		return 0
	}
	return int64(n)
}

// id reads an id, which may be a number or a string of digits.
func (f *fields) id(name string, kind idKind) uint64 {
	value := f.read(name)
	if value == "" {
		return 0
	}
	text, ok := unquote(value)
	if !ok {
		if text = value; value[0] != '-' && (value[0] < '0' || value[0] > '9') {
			f.blame(name, "%s, want a whole number or a string of its digits", clip(value))
			return 0
		}
	}
	id, reason := kind.parse(text)
	if reason != "" {
		f.blame(name, "%s", reason)
	}
	return id
}

// file reads a carried file in its base64 form.
func (f *fields) file(name string) licensing.Buffer {
	var file licensing.Buffer
	if text := f.text(name); f.fault() == nil {
		if text == "" {
			f.blame(name, "it is empty")
			return nil
		}
		if err := file.UnmarshalText([]byte(text)); err != nil {
			f.blame(name, "%v", err)
		}
	}
	return file
}

// binary reads bytes in base64.
func (f *fields) binary(name string) []byte {
	text := f.text(name)
	if f.fault() != nil {
		return nil
	}
	b, err := base64.StdEncoding.Strict().DecodeString(text)
	if err != nil {
		f.blame(name, "it is not base64")
	}
	return b
}

// list reads an array of at most so many objects, one after the other.
func (f *fields) list(name string, most int) iter.Seq[*fields] {
	return func(yield func(*fields) bool) {
		value := f.read(name)
		if value == "" {
			return
		}
		d := json.NewDecoder(bytes.NewReader([]byte(value)))
		if start, err := d.Token(); err != nil || start != json.Delim('[') {
			f.blame(name, "want an array")
			return
		}
		for i := 0; d.More(); i++ {
			if i == most {
				f.blame(name, "more than %d entries", most)
				return
			}
			at := name + "[" + strconv.Itoa(i) + "]"
			var entry json.RawMessage
			err := d.Decode(&entry)
			if err == nil {
				var members map[string]json.RawMessage
				members, err = objectMembers(entry, f.at+at)
				if err == nil && !yield(&fields{f.at + at + ".", members, f.err}) {
					return
				}
			}
			if err != nil {
				if *f.err == nil {
					*f.err = err
				}
				return
			}
		}
	}
}
