package licensing

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/sojournlm/sojourn/detach"
	"github.com/sojournlm/sojourn/internal/document"
	"github.com/sojournlm/sojourn/internal/fold"
	"github.com/sojournlm/sojourn/internal/ledger"
)

// Model is the kind of a key (dongleModel).
type Model uint8

// The models of keys.
const (
	ModelUnknown  Model = 0
	ModelDL       Model = 1 // software key: an installed license
	ModelSign     Model = 2
	ModelTime     Model = 3 // has a clock
	ModelCode     Model = 4
	ModelCodeTime Model = 5
)

// Key is a key this manager works with, or a license installed here, which
// shows as a software key.
type Key struct {
	ID           uint64 // dongleId
	Model        Model
	Vendor       uint32    // publicCode
	Products     int       // how many it holds
	Firmware     string    // of a hardware key
	Manufactured time.Time // of a hardware key; zero: not known
	Installed    time.Time // of a software key
	Expired      bool
	Inaccessible bool   // pulled out or not to be opened, or a license that does not count here
	Problem      string // why its pool changes nothing now, or its license grants nothing; "" where they do, and where it is pulled out
	Remote       bool   // it is at another manager
	Manager      uint64 // of a remote key: lmsId of that manager
}

// Keys looks for keys on all buses and at the other managers and lists them, and
// the licenses installed here, by key id. A search finds a key by its features too.
// A key that does not answer is waited for two seconds, once; the log names it, and it
// is listed when it answers a later look. One that is pulled out stays in the list where
// its pool is known here.
// Filter.Product and Filter.Feature do not apply.
func (m *Manager) Keys(ctx context.Context, filter Filter) (*List[Key], error) {
	const op = "list keys"
	done, err := m.begin(op)
	if err != nil {
		return nil, err
	}
	defer done()
	m.rack.look(ctx, m, lookWithin)
	m.peers.refresh(ctx, false)
	query := fold.NewQuery(filter.Search)
	found := make(map[uint64]bool) // by key id, where a feature or the key itself is found
	for _, s := range m.shelves(filter.Key) {
		for range s.chosen(Filter{}, query) {
			found[s.key] = true
			break
		}
	}
	var keys []Key
	slots, away := m.here()
	unopened := m.rack.unopened()
	for _, s := range slots {
		k := s.describe()
		if k.Inaccessible && k.Problem == "" && unopened != nil {
			k.Problem = "it is pulled out, unless it is this: " + unopened.Error()
		}
		keys = append(keys, k)
	}
	state, now := m.local.Read()
	for in := range state.AllInstalled() {
		t := in.License.Terms
		problem := ""
		if err := untrusted(in); err != nil {
			problem = err.Error()
		}
		keys = append(keys, Key{
			ID: uint64(document.ShortID(t.License)), Model: ModelDL, Vendor: t.Vendor,
			Products: products(in.License.Features), Installed: time.Unix(in.At, 0), Expired: t.Death <= now.Unix,
			Inaccessible: problem != "", Problem: problem,
		})
	}
	for _, r := range away {
		keys = append(keys, r.key())
	}
	keys = slices.DeleteFunc(keys, func(k Key) bool {
		return filter.Key != nil && *filter.Key != k.ID || !found[k.ID] && !query.In(keyTexts(k.ID, k.Vendor)...)
	})
	slices.SortStableFunc(keys, func(a, b Key) int { return cmp.Compare(a.ID, b.ID) })
	return withSilent(m, func() (*List[Key], error) {
		return listOf(op, filter.Page, sliceSequence[Key](keys), func(k Key) Key { return k })
	})
}

// describe shows the key in a slot.
func (s *slot) describe() Key {
	k := Key{
		ID: s.info.ID, Model: Model(s.info.Model), Vendor: s.info.Vendor,
		Firmware: s.info.Firmware, Manufactured: s.info.Manufactured, Inaccessible: !s.accessible(),
	}
	_, err := s.served()
	if pool := s.shown(); pool != nil {
		state, _ := pool.Read()
		k.Products = products(vendorsFeatures(state))
		if err == nil {
			err = pool.Refusal()
		}
	}
	if err == nil && s.worn() {
		k.Problem = wornText
	}
	if why := s.whyNot(); why != nil {
		k.Problem = why.Error()
	}
	if err != nil && !errors.Is(err, ledger.ErrUnanchored) { // that it is pulled out is said above
		k.Problem = err.Error()
	}
	return k
}

// vendorsFeatures are the features of a pool as the vendor signed them.
func vendorsFeatures(p *detach.Pool) (out []document.Feature) {
	for _, f := range p.Features(detach.Filter{}) {
		out = append(out, f.Feature)
	}
	return out
}

// products counts the products that features, in their order, belong to.
func products(features []document.Feature) (n int) {
	for i, f := range features {
		if i == 0 || f.ProductNumber != features[i-1].ProductNumber || f.Modification != features[i-1].Modification {
			n++
		}
	}
	return n
}

// slot finds the key with that id, looking for it on the buses when it is not
// known or was away. It fails with DongleNotFound, NoService, or
// CanNotDetachSomeFeatures where it is no key but a license.
func (m *Manager) slot(ctx context.Context, id uint64) (*slot, error) {
	s := m.rack.find(id)
	if s == nil || !s.present(ctx, m) {
		m.rack.look(ctx, m, lookWithin)
		s = m.rack.find(id)
	}
	switch {
	case s == nil && m.installedAs(id):
		return nil, &detach.Refusal{Code: CanNotDetachSomeFeatures, Message: fmt.Sprintf(
			"%d is a license installed here: a detached license cannot be detached again", id)}
	case s == nil:
		return nil, m.unlessUnopened(DongleNotFound, fmt.Sprintf("key %d was never seen here", id))
	case !s.accessible():
		if why := s.whyNot(); why != nil {
			return nil, &advised{&detach.Refusal{Code: NoService, Message: fmt.Sprintf("key %d is plugged in, and cannot be used: %v", id, why)}, adviceUnopened}
		}
		return nil, m.unlessUnopened(NoService, fmt.Sprintf("key %d is pulled out", id))
	}
	return s, nil
}

const adviceUnopened = "Let this program use what is plugged in, by ending what else uses it or as the reason says, and ask again."

// unlessUnopened is the refusal of a key that is not here, unless it is one that is
// plugged in and cannot be asked who it is.
func (m *Manager) unlessUnopened(c Code, text string) error {
	if why := m.rack.unopened(); why != nil {
		return &advised{&detach.Refusal{Code: c, Message: fmt.Sprintf("%s, unless it is this: %v", text, why)}, adviceUnopened}
	}
	return &detach.Refusal{Code: c, Message: text}
}

// installedAs reports whether a license installed here shows as the software key
// of that id.
func (m *Manager) installedAs(id uint64) bool {
	state, _ := m.local.Read()
	for in := range state.AllInstalled() {
		if uint64(document.ShortID(in.License.Terms.License)) == id {
			return true
		}
	}
	return false
}

// remembers gives the ledger of a key's pool, here or away, where that has answered
// the request before; else nil.
func (m *Manager) remembers(key uint64, request document.RequestKey) *ledger.Ledger[*detach.Pool] {
	s := m.rack.find(key)
	if s == nil {
		return nil
	}
	pool := s.shown()
	if pool == nil {
		return nil
	}
	if refusal := pool.Refusal(); refusal != nil && !errors.Is(refusal, ledger.ErrUnanchored) {
		return nil
	}
	state, _ := pool.Read()
	if before, err := state.Asked(request); err != nil || !before {
		return nil
	}
	return pool
}

// inPool calls f with the key of that id. An error says so where the request may
// be in a batch of which the pool cannot tell yet what became of it.
func (m *Manager) inPool(ctx context.Context, key uint64, request document.RequestKey, f func(*slot) error) error {
	s, err := m.slot(ctx, key)
	if err == nil {
		err = f(s)
	} else if s = m.rack.find(key); s == nil {
		return err
	}
	return doubting(err, request, s)
}

// changeable gives the ledger of the key's pool, or why it changes nothing now.
func (m *Manager) changeable(ctx context.Context, s *slot) (*ledger.Ledger[*detach.Pool], error) {
	pool, err := s.served()
	if err != nil {
		// It may have been a bad moment: look at the key again.
		if err := s.load(ctx, m); err != nil {
			return nil, err
		}
		pool, _ = s.served()
	}
	switch {
	case pool == nil:
		return nil, &detach.Refusal{Code: FeatureNotFound, Message: fmt.Sprintf("key %d holds no pool license yet", s.info.ID)}
	case pool.Refusal() != nil:
		return nil, refused(pool.Refusal())
	}
	if _, now := pool.Read(); now.Err != nil {
		s.confirm(ctx) // the key may know the time better
	}
	s.watchClock(pool)
	if s.announcement() != nil {
		return pool, s.load(ctx, m) // the key tells what became of it
	}
	return pool, s.update(ctx)
}
