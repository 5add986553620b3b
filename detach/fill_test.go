package detach

import (
	"fmt"

	"github.com/sojournlm/sojourn/internal/document"
	"github.com/sojournlm/sojourn/internal/ledger"
)

var somebody = pc(1)

// crowd asks like [request], for one of many computers. They share their keys,
// which take long to make.
func crowd(n int, duration int64, numbers ...uint32) DetachRequest {
	r := DetachRequest{Seats: 1, Duration: duration, Recipient: document.Recipient{
		ID: uint64(10_000 + n), HostName: fmt.Sprintf("PC-%d", n), Sign: somebody.Sign, Seal: somebody.Seal,
	}}
	for _, f := range numbers {
		r.Features = append(r.Features, one(16, f))
	}
	return r
}

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
