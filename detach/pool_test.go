package detach

import (
	"testing"

	"github.com/sojournlm/sojourn/internal/code"
)

func TestASeatLeavesAndComesHome(t *testing.T) {
	w := worldOf(t, feature(1, 2), feature(2, 5))
	terms := w.mustDetach(request(1, 3600, 1))
	if got := w.free(1); got != 1 {
		t.Fatalf("%d seats free after one of two left, want 1", got)
	}
	if w.pool.License(terms.License) == nil || w.pool.Horizon() != w.now+3600 {
		t.Fatal("the pool does not know the license it gave")
	}
	back := w.giveBack(1, terms.License, 0)
	w.now += 60
	if err := w.install(back); err != nil {
		t.Fatal(err)
	}
	if got := w.free(1); got != 2 {
		t.Fatalf("%d seats free after the return, want 2", got)
	}
	if w.pool.License(terms.License) != nil {
		t.Fatal("a license that came home is still listed")
	}
	wantCode(t, w.install(back), code.InvalidUpdateOrAlreadyInstalled)
	if err := w.pool.Check(); err != nil {
		t.Fatal(err)
	}
}
