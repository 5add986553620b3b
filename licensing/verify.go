package licensing

import (
	"context"
	"errors"
	"fmt"
	"strconv"

	"github.com/sojournlm/sojourn/detach"
	"github.com/sojournlm/sojourn/device"
	"github.com/sojournlm/sojourn/internal/ledger"
	"github.com/sojournlm/sojourn/storage"
)

// Report is what Verify went through.
type Report struct {
	Ledgers int // the manager's own and one for each pool
	Batches uint64
	Entries uint64
	// Unread are the keys whose pools are stored here and were not gone
	// through, because the key was not here since the start or its vendor is not
	// trusted.
	Unread []uint64
}

// Verify goes through everything that is stored of this manager and of the pools
// whose keys are here: the chains of batches, their hashes and signatures, the
// counters, that no seat was minted, and that the licenses installed here are by
// vendors that this program trusts. Its error names the first thing that
// does not add up. It reads in small pieces while work goes on.
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
		return report, fail(op, refused(err))
	}
	state, _ := m.local.Read()
	for in := range state.AllInstalled() {
		if err := untrusted(in); err != nil {
			return report, fail(op, err)
		}
	}
	for _, s := range m.rack.all() {
		pool, _ := s.served()
		if pool == nil {
			continue // it is named below, if something of it is stored
		}
		err := add(pool.Verify(ctx))
		if err == nil {
			err = m.witness(ctx, pool)
		}
		if err != nil {
			return report, fail(op, refused(err))
		}
	}
	stored, err := m.storedPools(ctx, "pool/")
	if err != nil {
		return report, fail(op, refused(err))
	}
	for _, key := range stored {
		s := m.rack.find(key)
		if s != nil {
			if pool, _ := s.served(); pool != nil {
				continue
			}
		}
		s = &slot{info: device.Info{ID: key}}
		public, err := ledger.Stored(ctx, s.ledger(m, nil, nil))
		if err != nil && !ofStore(err) {
			return report, fail(op, err)
		}
		if public != nil || err != nil { // else no more than an announcement
			report.Unread = append(report.Unread, key)
		}
	}
	return report, nil
}

// storedPools gives the ids of the keys that have a ledger in the store. It
// looks for the first entry below each name, not at the entries.
func (m *Manager) storedPools(ctx context.Context, prefix string) (keys []uint64, err error) {
	const digits, whole = "0123456789abcdef", len("pool/00000000")
	any := false
	err = m.store.View(ctx, func(r storage.Reader) error {
		for _, err := range r.Scan(prefix) {
			any = err == nil
			return err
		}
		return nil
	})
	if err != nil || !any {
		return nil, err
	}
	if len(prefix) == whole {
		key, err := strconv.ParseUint(prefix[len("pool/"):], 16, 32)
		return []uint64{key}, err
	}
	for _, digit := range digits {
		below, err := m.storedPools(ctx, prefix+string(digit))
		if err != nil {
			return nil, err
		}
		keys = append(keys, below...)
	}
	return keys, nil
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
