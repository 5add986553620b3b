package licensing

import (
	"cmp"
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"

	"github.com/sojournlm/sojourn/detach"
	"github.com/sojournlm/sojourn/device"
	"github.com/sojournlm/sojourn/internal/ledger"
)

// restore puts the keys whose pools are stored and that are not plugged in into
// the rack, for reading: a key that was seen before is pulled out, not unknown.
func (r *rack) restore(ctx context.Context, m *Manager) error {
	ids, err := m.storedPools(ctx, "pool/")
	if err != nil {
		return err
	}
	for _, id := range ids {
		s := r.find(id)
		unseen := s == nil
		if unseen {
			s = &slot{info: device.Info{ID: id}, unseen: true}
		} else if pool, _ := s.served(); pool != nil {
			continue
		}
		if err := s.restore(ctx, m); err != nil {
			return err
		}
		if unseen {
			if _, err := r.seat(s); err != nil {
				return err
			}
		}
	}
	return nil
}

// restore opens what is stored of the slot's pool. What cannot be believed is the
// slot's error; an error is about reading the store.
func (s *slot) restore(ctx context.Context, m *Manager) error {
	clock := m.clock.Sibling()
	if err := s.recall(ctx, m); err != nil {
		return err
	}
	public, err := ledger.Stored(ctx, s.ledger(m, nil, clock))
	var stored *ledger.Ledger[*detach.Pool]
	if err == nil && public != nil {
		stored, err = ledger.OpenUnanchored(ctx, s.ledger(m, public, clock), public)
	}
	if err != nil && !ofStore(err) {
		return err
	}
	foreign := false
	if stored != nil {
		if err = well(stored); err == nil {
			state, _ := stored.Read()
			err = state.Vouched()
			foreign = err != nil
		}
		if err == nil {
			if err = s.examine(ctx, m, stored); err != nil && !ofStore(err) {
				return errors.Join(err, stored.Close(ctx))
			}
		}
		if err != nil && !foreign {
			err = errors.Join(err, stored.Close(ctx))
			stored = nil
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.stored, s.foreign, s.unread = stored, foreign, stored == nil && (public != nil || err != nil)
	if s.unseen {
		s.public, s.err = public, err
	}
	if stored == nil || foreign {
		if s.unseen && s.announced != nil && m.verifyPool(s.announced.license) == nil {
			s.info.Vendor = s.announced.license.Head.Vendor
		}
		return nil
	}
	state, _ := stored.Read()
	if s.unseen {
		s.info.Vendor = state.Head().Vendor
	}
	clock.Raise(state.Head().Issued)
	return nil
}

// poolName is the name in the store of the ledger of a key's pool.
func poolName(key uint64) string { return fmt.Sprintf("pool/%08x", key) }

// well checks that what is stored is whole, as far as that is possible without the key.
func well(stored *ledger.Ledger[*detach.Pool]) error {
	if err := stored.Refusal(); !errors.Is(err, ledger.ErrUnanchored) {
		return err
	}
	return nil
}

// examine makes the manager refuse everything where a pool just opened shows that
// the whole store was put back. Its error says that this cannot be told now.
func (s *slot) examine(ctx context.Context, m *Manager, pool *ledger.Ledger[*detach.Pool]) error {
	refusal := pool.Refusal()
	switch {
	case errors.Is(refusal, ErrRolledBack):
		// A key that the store knows nothing of was used elsewhere before it came.
		public, err := ledger.Stored(ctx, s.ledger(m, nil, s.clock))
		if err != nil || public == nil {
			return err
		}
		return m.suspect(refusal)
	case refusal != nil && !errors.Is(refusal, ledger.ErrUnanchored):
		return nil
	case m.local.Refusal() != nil: // all is refused anyway, for a better reason
		return nil
	}
	return m.suspect(m.witness(ctx, pool))
}

// suspect makes the manager refuse everything where err says that its store was
// put back. It gives any other error back.
func (m *Manager) suspect(err error) error {
	if errors.Is(err, ErrRolledBack) || errors.Is(err, ErrForked) {
		m.distrust.CompareAndSwap(nil, &err)
		return nil
	}
	return err
}

// ledger is the settings of the ledger of a key's pool, without the anchor.
func (s *slot) ledger(m *Manager, public ed25519.PublicKey, clock *ledger.Clock) ledger.Config[*detach.Pool] {
	return ledger.Config[*detach.Pool]{
		Name:  poolName(s.info.ID),
		Store: m.store,
		Empty: detach.NewPool(detach.Trust{
			Key: s.info.ID, Public: public, Vendor: m.vendor, Skew: wholeSeconds(m.opts.SkewAllowance),
		}),
		Rules:   ledgerRules,
		Clock:   clock,
		Witness: m.local.Position,
	}
}

// shown gives the pool's ledger for reading: the one that is served, or what is
// stored of it while the key has not been here, nil where there is neither.
func (s *slot) shown() *ledger.Ledger[*detach.Pool] {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.pool == nil && s.foreign {
		return nil
	}
	return cmp.Or(s.pool, s.stored)
}

// askable gives the pool's ledger for questions about request keys: the one that is
// shown, or one that leads back to no vendor who is trusted here.
func (s *slot) askable() *ledger.Ledger[*detach.Pool] {
	s.mu.Lock()
	defer s.mu.Unlock()
	return cmp.Or(s.pool, s.stored)
}
