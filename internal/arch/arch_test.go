package arch

import (
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

const module = "github.com/sojournlm/sojourn"

// file is one source file's place and what it imports.
type file struct {
	name    string
	pkg     string // from the module's root
	test    bool
	imports []string
}

// TestFloors reads the files itself: a test that only ran the go command would
// be answered from the test cache and see nothing.
func TestFloors(t *testing.T) {
	files := sources(t)
	if len(files) < 20 {
		t.Fatalf("found only %d source files: is this the module's root?", len(files))
	}
	for _, f := range files {
		for _, imp := range f.imports {
			if why := forbidden(f, imp); why != "" {
				t.Errorf("%s imports %s: %s", f.name, imp, why)
			}
		}
	}
}

// TestPlanIsLivedIn fails for a room of the plan that nobody built, and for a
// permission nobody uses.
func TestPlanIsLivedIn(t *testing.T) {
	files := sources(t)
	for _, r := range Floors {
		lived := slices.ContainsFunc(files, func(f file) bool { return roomOf(f.pkg) != nil && roomOf(f.pkg).Path == r.Path })
		if !lived {
			t.Errorf("room %s has no source file", r.Path)
		}
		for _, third := range r.Third {
			used := slices.ContainsFunc(files, func(f file) bool {
				room := roomOf(f.pkg)
				return room != nil && room.Path == r.Path && slices.ContainsFunc(f.imports, func(i string) bool { return within(i, third) })
			})
			if !used {
				t.Errorf("room %s may import %s but does not", r.Path, third)
			}
		}
	}
}

// TestForbidden shows that the rules above catch what they are for.
func TestForbidden(t *testing.T) {
	for _, c := range []struct {
		pkg, imp string
		test, ok bool
	}{
		{"detach", module + "/licensing", false, false},
		{"detach", module + "/internal/ledger", false, true},
		{"licensing", module + "/storage/badgerstore", false, false},
		{"licensing", module + "/storage/badgerstore", true, true},
		{"licensing", "net/http", false, false},
		{"licensing/lmhttp", "net/http", false, true},
		{"licensing", "github.com/google/gousb", false, false},
		{"storage", module + "/internal/document", false, false},
		{"transport", "golang.org/x/sys/unix", false, false},
		{"device", "C", false, false},
		{"unplanned", "fmt", false, false},
	} {
		f := file{name: "x.go", pkg: c.pkg, test: c.test}
		if got := forbidden(f, c.imp) == ""; got != c.ok {
			t.Errorf("%s importing %s (test %v): allowed %v, want %v", c.pkg, c.imp, c.test, got, c.ok)
		}
	}
}

// forbidden says why f may not import imp, or "".
func forbidden(f file, imp string) string {
	room := roomOf(f.pkg)
	if room == nil {
		return "its package is not in the plan"
	}
	if imp == "C" {
		return "cgo is for transport/usb alone"
	}
	own, inside := strings.CutPrefix(imp, module+"/")
	if imp == module {
		own, inside = ".", true
	}
	switch {
	case f.test && inside:
		return ""
	case inside:
		return forbiddenRoom(room, f.pkg, own)
	case !strings.Contains(strings.SplitN(imp, "/", 2)[0], "."): // standard library
		if room.Floor <= 5 && within(imp, "net/http") && !f.test {
			return "the core does not speak HTTP"
		}
		return ""
	case f.test:
		return ""
	case room.Seam:
		return "a seam stands on the standard library alone"
	case !slices.ContainsFunc(room.Third, func(t string) bool { return within(imp, t) }):
		return "this third party has another door"
	}
	return ""
}

func forbiddenRoom(room *Room, pkg, own string) string {
	target := roomOf(own)
	switch {
	case target == nil:
		return "its target is not in the plan"
	case own == pkg:
		return ""
	case target.Plugin && room.Floor < 8 && !slices.Contains(target.UsedBy, pkg):
		return "a plug-in is chosen by programs, not by the library"
	case room.Seam:
		return "a seam stands on the standard library alone"
	case target.Floor >= room.Floor:
		return "it stands on floor " + strconv.Itoa(target.Floor) + ", not below floor " + strconv.Itoa(room.Floor)
	}
	return ""
}

// roomOf finds the room a package belongs to: its own, or its folder's.
func roomOf(pkg string) *Room {
	var below *Room
	for i := range Floors {
		r := &Floors[i]
		if r.Path == pkg {
			return r
		}
		if strings.HasSuffix(r.Path, "/") && strings.HasPrefix(pkg, r.Path) {
			below = r
		}
	}
	return below
}

func within(imp, parent string) bool { return imp == parent || strings.HasPrefix(imp, parent+"/") }

func sources(t *testing.T) []file {
	t.Helper()
	root := filepath.Join("..", "..")
	if _, err := os.Stat(filepath.Join(root, "go.mod")); err != nil {
		t.Fatal(err)
	}
	var files []file
	err := filepath.WalkDir(root, func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		base := d.Name()
		if d.IsDir() && name != root && (strings.HasPrefix(base, ".") || base == "testdata") {
			return filepath.SkipDir
		}
		if d.IsDir() || !strings.HasSuffix(base, ".go") {
			return nil
		}
		parsed, err := parser.ParseFile(token.NewFileSet(), name, nil, parser.ImportsOnly)
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(root, name)
		if err != nil {
			return err
		}
		rel = filepath.ToSlash(rel)
		f := file{name: rel, pkg: path.Dir(rel), test: strings.HasSuffix(base, "_test.go")}
		for _, spec := range parsed.Imports {
			imp, err := strconv.Unquote(spec.Path.Value)
			if err != nil {
				return err
			}
			f.imports = append(f.imports, imp)
		}
		files = append(files, f)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
}
