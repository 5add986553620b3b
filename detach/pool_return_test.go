package detach

import (
	"testing"

	"github.com/sojournlm/sojourn/internal/document"
)

// TestGivenBack: whoever enters a return, and however, its entry is found until the
// license's death, and not a second longer.
func TestGivenBack(t *testing.T) {
	w := worldOf(t, feature(1, 5))
	terms := w.mustDetach(request(1, 1000, 1))
	if _, _, known := w.pool.GivenBack(terms); known {
		t.Error("a license that is out is known as given back")
	}
	back := w.giveBack(1, terms.License, 0)
	before := w.pool.Clone()
	if err := w.install(back); err != nil {
		t.Fatal(err)
	}
	seq, index, known := w.pool.GivenBack(terms)
	if !known || seq != w.seq || index != 0 {
		t.Errorf("it was given back at %d, %d, %v, want %d, 0", seq, index, known, w.seq)
	}
	if _, _, known := before.GivenBack(terms); known {
		t.Error("a clone from before knows of it")
	}
	if _, _, known := w.pool.GivenBack(document.Terms{License: terms.License, Death: terms.Death + 1}); known {
		t.Error("another license is known as given back")
	}
	other := w.mustDetach(request(2, 999, 1)) // so that something is due
	w.now = terms.Death - 1
	w.settle()
	if _, _, known := w.pool.GivenBack(terms); !known || w.pool.License(other.License) != nil {
		t.Error("it is forgotten before its death")
	}
	if entries := w.pool.Due(terms.Death + 1); entries != nil {
		t.Error("an entry is made only to forget it")
	}
	third := w.mustDetach(request(3, 1, 1))
	w.now = third.Death
	w.settle()
	if _, _, known := w.pool.GivenBack(terms); known {
		t.Error("it is known beyond its death")
	}
}
