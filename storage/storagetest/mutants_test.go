package storagetest_test

import (
	"errors"
	"testing"
	"testing/synctest"

	"github.com/sojournlm/sojourn/storage/storagetest"
)

// TestMutants tests the suite: each mutant breaks one sentence, and the case of
// that sentence must notice. Each case must have one.
func TestMutants(t *testing.T) {
	all := mutants()
	for _, c := range storagetest.Cases() {
		if len(all[c.Name]) == 0 {
			t.Errorf("no mutant breaks what %s stands for", c.Name)
		}
		for name, m := range all[c.Name] {
			t.Run(c.Name+"/"+name, func(t *testing.T) {
				// In a bubble, a mutant that hangs is found at once.
				synctest.Test(t, func(t *testing.T) {
					err := c.Check(t.Context(), shelf(m), breakIt())
					var failure *storagetest.Failure
					if !errors.As(err, &failure) {
						t.Errorf("the mutant survives: %v", err)
					}
				})
			})
		}
		delete(all, c.Name)
	}
	for name := range all {
		t.Errorf("there are mutants for %s, which is no case", name)
	}
}

// mutants are flawed stores, by the case that kills them.
func mutants() map[string]map[string]mutant {
	all := readerMutants()
	for _, more := range []map[string]map[string]mutant{writerMutants(), updateMutants(), lifeMutants()} {
		for name, m := range more {
			all[name] = m
		}
	}
	return all
}
