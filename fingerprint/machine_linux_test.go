package fingerprint

import (
	"errors"
	"io/fs"
	"strings"
	"testing"
	"testing/fstest"
)

func TestFirstID(t *testing.T) {
	const id = "0123456789abcdef0123456789abcdef\n"
	file := func(s string) *fstest.MapFile { return &fstest.MapFile{Data: []byte(s)} }
	for _, tt := range []struct {
		name string
		root fstest.MapFS
		want string
	}{
		{"none", fstest.MapFS{}, ""},
		{"the first", fstest.MapFS{"a": file(id), "b": file("b")}, id},
		{"the second", fstest.MapFS{"b": file(id)}, id},
		{"an empty first", fstest.MapFS{"a": file(""), "b": file(id)}, id},
		{"an image's first", fstest.MapFS{"a": file("uninitialized\n"), "b": file(id)}, id},
		{"a huge one", fstest.MapFS{"a": file(strings.Repeat("0", 1<<20))}, ""},
	} {
		if got, err := firstID(tt.root, "a", "b"); got != tt.want || err != nil {
			t.Errorf("%s: %q, %v, want %q", tt.name, got, err, tt.want)
		}
	}
	if _, err := firstID(unreadable{}, "a", "b"); !errors.Is(err, fs.ErrPermission) {
		t.Errorf("an id that cannot be read counts as missing: %v", err)
	}
}

type unreadable struct{}

func (unreadable) Open(string) (fs.File, error) { return nil, fs.ErrPermission }
