package licensing

import (
	"context"
	"errors"
	"fmt"

	"github.com/sojournlm/sojourn/detach"
	"github.com/sojournlm/sojourn/internal/ledger"
)

// Report is what Verify went through.
type Report struct {
	Ledgers int // the manager's own and one for each pool
	Batches uint64
	Entries uint64
}

// Verify goes through everything that is stored: the chains of batches, their
// hashes and signatures, the counters, and that no seat was minted. Its error
// names the first thing that does not add up. It reads in small pieces while
// work goes on.
func (m *Manager) Verify(ctx context.Context) (Report, error) {
	const op = "verify"
	done, err := m.begin(op)
	if err != nil {
		return Report{}, err
	}
	defer done()
	var report Report
	add := func(r ledger.Report, err error) error {
		report.Ledgers++
		report.Batches += r.Batches
		report.Entries += r.Entries
		return err
	}
	if err := add(m.local.Verify(ctx)); err != nil {
		return report, fail(op, err)
	}
	for _, s := range m.rack.all() {
		pool, _ := s.served()
		if pool == nil {
			continue
		}
		err := add(pool.Verify(ctx))
		if err == nil {
			err = m.witness(ctx, pool)
		}
		if err != nil {
			return report, fail(op, err)
		}
	}
	return report, nil
}

// witness checks that what a pool's newest batch says of the manager's own
// ledger is true: a key that cannot be set back shields that ledger too.
func (m *Manager) witness(ctx context.Context, pool *ledger.Ledger[*detach.Pool]) error {
	saw := pool.Header().Witness
	head, err := m.local.HeadAt(ctx, saw.Seq)
	switch {
	case errors.Is(err, ledger.ErrNoProof):
		return fmt.Errorf("%w: a pool has seen batch %d of the manager's own ledger, which has only %d", ErrRolledBack, saw.Seq, m.local.Position().Seq)
	case err != nil:
		return err
	case head != saw.Head:
		return fmt.Errorf("%w: a pool has seen another batch %d of the manager's own ledger", ErrForked, saw.Seq)
	}
	return nil
}
