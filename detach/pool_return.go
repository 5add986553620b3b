package detach

import (
	"cmp"

	"github.com/sojournlm/sojourn/internal/document"
	"github.com/sojournlm/sojourn/internal/ledger"
)

// homecoming is where in the ledger a license was given back.
type homecoming struct {
	death   int64 // of the license, Unix seconds; nobody asks later
	license uint64
	seq     uint64 // the batch with the entry
	index   int    // and its place there
}

func byDeath(a, b homecoming) bool {
	return cmp.Or(cmp.Compare(a.death, b.death), cmp.Compare(a.license, b.license)) < 0
}

// GivenBack gives the place of the entry by which a license came home, until the
// license's death. An id can be used again, so whether that entry has a certain
// return is for [VerifyReturned] to say.
func (p *Pool) GivenBack(t document.Terms) (seq uint64, index int, known bool) {
	h, known := p.returns.Get(homecoming{death: t.Death, license: t.License})
	return h.seq, h.index, known
}

func (p *Pool) noteReturn(r *Record, at ledger.Position) {
	p.returns.Set(homecoming{r.Death(), r.License, at.Seq, at.Index})
}

// forgetReturns forgets those of licenses that are dead. No entry is made for
// that alone.
func (p *Pool) forgetReturns(now int64) {
	for h, ok := p.returns.Min(); ok && h.death <= now; h, ok = p.returns.Min() {
		p.returns.Delete(h)
	}
}
