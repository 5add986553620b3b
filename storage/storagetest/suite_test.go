package storagetest_test

import (
	"errors"
	"fmt"
	"go/parser"
	"go/token"
	"os"
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
// quotes stands there, word by word.
func TestSentences(t *testing.T) {
	source, err := os.ReadFile("../storage.go")
	if err != nil {
		t.Fatal(err)
	}
	file, err := parser.ParseFile(token.NewFileSet(), "storage.go", source, parser.ParseComments)
	if err != nil {
		t.Fatal(err)
	}
	var all strings.Builder
	for _, group := range file.Comments {
		all.WriteString(strings.Join(strings.Fields(group.Text()), " ") + "\n")
	}
	for _, c := range storagetest.Cases() {
		if !strings.Contains(all.String(), c.Sentence) {
			t.Errorf("%s quotes what package storage does not say: %q", c.Name, c.Sentence)
		}
	}
}
