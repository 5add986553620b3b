package detach

import (
	"github.com/sojournlm/sojourn/internal/ledger"
)

// fill detaches many licenses without signing batches, for tests of size.
func fill(t fataler, w *world, many int, ask func(n int) DetachRequest) *Pool {
	t.Helper()
	p := w.pool.Clone()
	for n := range many {
		d, err := p.Detach(ask(n), Policy{}, w.now, w.newID)
		if err != nil {
			t.Fatalf("detach %d: %v", n, err)
		}
		at := ledger.Position{Seq: w.seq + 1 + uint64(n/1000), Index: n % 1000, Time: w.now, Rules: 1}
		if err := p.Apply(at, d.Entry); err != nil {
			t.Fatalf("apply %d: %v", n, err)
		}
	}
	w.seq += 1 + uint64(many/1000)
	return p
}
