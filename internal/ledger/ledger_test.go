package ledger_test

import (
	"context"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/sojournlm/sojourn/internal/ledger"
	"github.com/sojournlm/sojourn/storage/memory"
)

func TestCommit(t *testing.T) {
	ctx := context.Background()
	s, k, wall := memory.New(), newKey(), newHands()
	l := open(t, config(s, k, wall))
	first := must(t, l, 1, 2)
	second := must(t, l, 3)
	if first.Seq != 1 || first.Index != 0 || first.Len() != 2 || second.Seq != 2 || second.Time != noon.Unix() {
		t.Errorf("receipts %+v, %+v", first, second)
	}
	holds(t, first.State, 1, 2)
	holds(t, second.State, 1, 2, 3)
	state, now := l.Read()
	holds(t, state, 1, 2, 3)
	if want := (ledger.Moment{Unix: noon.Unix(), Wall: noon.Unix()}); now != want {
		t.Errorf("now is %+v, want %+v", now, want)
	}
	for i := range 2 {
		p := first.Proof(i)
		if h, err := p.Verify("test", k.Public()); err != nil || h.Seq != 1 {
			t.Errorf("proof %d: %+v, %v", i, h, err)
		}
		stored, err := l.Proof(ctx, 1, i)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(p, stored); diff != "" {
			t.Errorf("stored proof %d differs: %s", i, diff)
		}
	}
	if err := l.Close(ctx); err != nil {
		t.Fatal(err)
	}
	again := open(t, config(s, k, wall))
	state, _ = again.Read()
	holds(t, state, 1, 2, 3)
	if err := again.Refusal(); err != nil {
		t.Error(err)
	}
	if diff := cmp.Diff(l.Position(), again.Position()); diff != "" {
		t.Error(diff)
	}
}
