package storagetest_test

import (
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"strings"
	"testing"

	"github.com/sojournlm/sojourn/storage"
	"github.com/sojournlm/sojourn/storage/memory"
	"github.com/sojournlm/sojourn/storage/storagetest"
)

// A sound mutant breaks nothing: what kills the others is their flaw.
func TestSound(t *testing.T) {
	storagetest.Run(t, shelf(mutant{}), breakIt())
}

func TestCheck(t *testing.T) {
	if err := storagetest.Check(t.Context(), shelf(mutant{}), breakIt()); err != nil {
		t.Error(err)
	}
	err := storagetest.Check(t.Context(), func(string) (storage.Store, error) {
		return nil, errors.New("no such disk")
	}, nil)
	var failure *storagetest.Failure
	if !errors.As(err, &failure) || failure.Sentence == "" || !strings.Contains(err.Error(), failure.Sentence) || !strings.Contains(err.Error(), "no such disk") {
		t.Errorf("Check of a store that does not open gives %v", err)
	}
}

// TestAnyUpdateMayRunAgain holds the suite to the contract: its own functions
// may run again.
func TestAnyUpdateMayRunAgain(t *testing.T) {
	for n := range 4 {
		t.Run(fmt.Sprint(n), func(t *testing.T) {
			stores := make(map[string]*memory.Store)
			storagetest.Run(t, func(dir string) (storage.Store, error) {
				s := memory.New()
				if old := stores[dir]; old != nil {
					s = old.Clone()
				}
				stores[dir] = s
				return &owner{storagetest.FailNth(s, n, storagetest.Rerun), s}, nil
			}, nil)
		})
	}
}

// owner is a Faulty that closes its inner store.
type owner struct {
	*storagetest.Faulty
	inner *memory.Store
}

func (o *owner) Close() error { return errors.Join(o.Faulty.Close(), o.inner.Close()) }

// TestSentences holds the suite to the documentation: every sentence that a case
// quotes stands there, word by word, and every one that stands there has a case.
func TestSentences(t *testing.T) {
	contract := contract(t)
	rest := contract
	for _, c := range storagetest.Cases() {
		if !strings.Contains(contract, c.Sentence) {
			t.Errorf("%s quotes what package storage does not say: %q", c.Name, c.Sentence)
		}
		rest = strings.ReplaceAll(rest, c.Sentence, "")
	}
	for _, s := range untested {
		if !strings.Contains(rest, s) {
			t.Errorf("package storage does not say %q any more", s)
		}
		rest = strings.ReplaceAll(rest, s, "")
	}
	if rest = strings.Join(strings.Fields(rest), " "); rest != "" {
		t.Errorf("no case for: %q", rest)
	}
}

// untested is what the contract says without anything in it to break that is not
// said again, and broken, elsewhere.
var untested = []string{
	// What things are.
	"A Store is an ordered map of keys to values, read and changed by functions that see it alone.",
	"View runs fn on one state of the store.",
	"Update runs fn and commits what it wrote.",
	"A Reader reads one state of a [Store].",
	"A Writer reads and changes the state of a [Store] in an Update.",

	// What is asked of the caller.
	"Only one process owns a store at a time.",
	"A function given to View or Update must neither call Update of the same store nor Close it: both would wait for the function itself.",
	"It is used by one goroutine at a time.",

	// Whole, serializable, snapshot, waitless and closing use a store from many
	// goroutines; the race detector tells what they do not.
	"It is safe for concurrent use.",

	// What is held shows when it is opened anew, in durable and others.
	"Close ends the use of the store and frees what it holds.",
}

// contract is the documentation of Store, Reader and Writer.
func contract(t *testing.T) string {
	t.Helper()
	file, err := parser.ParseFile(token.NewFileSet(), "../storage.go", nil, parser.ParseComments)
	if err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	for _, decl := range file.Decls {
		decl, ok := decl.(*ast.GenDecl)
		if !ok || decl.Tok != token.TYPE {
			continue
		}
		methods, ok := decl.Specs[0].(*ast.TypeSpec).Type.(*ast.InterfaceType)
		if !ok {
			continue
		}
		b.WriteString(decl.Doc.Text())
		for _, m := range methods.Methods.List {
			b.WriteString(m.Doc.Text())
		}
	}
	return strings.Join(strings.Fields(b.String()), " ")
}
