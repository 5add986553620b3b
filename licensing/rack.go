package licensing

import (
	"bytes"
	"cmp"
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/semaphore"

	"github.com/sojournlm/sojourn/detach"
	"github.com/sojournlm/sojourn/device"
	"github.com/sojournlm/sojourn/internal/document"
	"github.com/sojournlm/sojourn/internal/ledger"
	"github.com/sojournlm/sojourn/transport"
)

// rack holds every key the manager has ever seen, plugged in or not, each in a slot
// of its own.
type rack struct {
	scanning lock // held while the buses are looked through

	mu     sync.RWMutex
	slots  []*slot // ordered by key id
	closed bool
}

// slot is one key and the ledger of its pool. It is the ledger's anchor: it
// talks to the key where that is plugged in now, and connects again to a key
// that was away.
type slot struct {
	info   device.Info // as the key said when it was first seen
	public ed25519.PublicKey
	unseen bool // only its stored pool is known: the key was not here since the start
	buses  []transport.Bus

	loading lock // held while the pool's ledger is opened

	mu      sync.Mutex
	at      place
	key     *device.Key                  // nil: pulled out
	clock   *ledger.Clock                // the pool's
	license *document.Pool               // the newest one that the key was seen to hold
	pool    *ledger.Ledger[*detach.Pool] // nil: no pool license yet, or err
	stored  *ledger.Ledger[*detach.Pool] // what is stored of a pool that is not served, for reading; or nil
	unread  bool                         // something is stored of the pool, and cannot be believed
	err     error                        // why the pool on the key is not served
	brought brought                      // the pool license on its way into the key
	log     *slog.Logger
	wear    wear // of the key, as far as the log was told
}

// brought is the counter of a pool license and the request that brought it.
type brought struct {
	counter uint64
	request document.RequestKey
}

// all gives the slots of now. The slice is the caller's to read.
func (r *rack) all() []*slot {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return r.slots[:len(r.slots):len(r.slots)]
}

// find gives the slot of the key with that id, or nil.
func (r *rack) find(id uint64) *slot {
	slots := r.all()
	if i, ok := slices.BinarySearchFunc(slots, id, func(s *slot, id uint64) int { return cmp.Compare(s.info.ID, id) }); ok {
		return slots[i]
	}
	return nil
}

// add puts a slot into its place, or in the place of another key with its id.
// The old slice stays as it is for those who are walking it. It reports false
// when the manager is closing.
func (r *rack) add(s *slot) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	i, there := slices.BinarySearchFunc(r.slots, s.info.ID, func(s *slot, id uint64) int { return cmp.Compare(s.info.ID, id) })
	if r.slots = slices.Clone(r.slots); there {
		r.slots[i] = s
	} else {
		r.slots = slices.Insert(r.slots, i, s)
	}
	return !r.closed
}

// close ends the ledgers of all pools and lets go of the keys.
func (r *rack) close(ctx context.Context, m *Manager) error {
	r.mu.Lock()
	r.closed = true
	r.mu.Unlock()
	var errs []error
	for _, s := range r.all() {
		if m.opened && m.refusal() == nil {
			s.recordEnd(ctx, m)
		}
		errs = append(errs, s.close(ctx))
	}
	return errors.Join(errs...)
}

// recordEnd records the time in the pool's ledger, if it has ended something there
// since the last batch: one more write of the key at most. Where that fails, nothing
// is lost that was answered.
func (s *slot) recordEnd(ctx context.Context, m *Manager) {
	pool, _ := s.served()
	if pool == nil || pool.Refusal() != nil || !s.present(ctx, m) {
		return
	}
	_, err := pool.Do(ctx, func(p *detach.Pool, now ledger.Moment) ([][]byte, error) {
		if now.Err != nil {
			return nil, now.Err
		}
		return p.Timed(pool.Header().Time, now.Unix), nil
	})
	if err != nil {
		m.opts.Logger.Warn("the time was not recorded in a pool", "key", s.info.ID, "error", err)
	}
}

func (s *slot) close(ctx context.Context) error {
	var errs []error
	if pool, _ := s.served(); pool != nil {
		errs = append(errs, pool.Close(ctx))
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.stored != nil {
		errs = append(errs, s.stored.Close(ctx))
	}
	if s.key != nil {
		errs = append(errs, s.key.Close())
		s.key = nil
	}
	return errors.Join(errs...)
}

// scan looks through the buses for keys that are not connected: new ones get a
// slot, known ones their old slot back. A key that does not answer is left for
// the next scan.
func (r *rack) scan(ctx context.Context, m *Manager) {
	if r.scanning.acquire(ctx) != nil {
		return
	}
	defer r.scanning.release()
	for number, bus := range m.opts.Buses {
		infos, err := bus.Keys(ctx)
		if err != nil {
			m.opts.Logger.Warn("a bus cannot be listed", "error", err)
			continue
		}
		r.forget(number, infos)
		for _, info := range infos {
			at := place{number, info.ID}
			err := r.heal(ctx, m, at)
			if err == errEmpty {
				err = r.attach(ctx, m, at)
			}
			if err != nil {
				m.opts.Logger.Warn("a key cannot be used", "key", info.ID, "error", err)
			}
		}
	}
}

// place is where a key is plugged in: the number of a bus among the options', and
// the place on it.
type place struct {
	bus int
	id  transport.KeyID
}

// forget disconnects the slots whose key the bus no longer lists, or lists anew.
func (r *rack) forget(bus int, plugged []transport.KeyInfo) {
	for _, s := range r.all() {
		s.mu.Lock()
		here := slices.ContainsFunc(plugged, func(i transport.KeyInfo) bool { return i.ID == s.at.id })
		if s.key != nil && s.at.bus == bus && (!here || s.key.Ended()) {
			s.key.Close()
			s.key = nil
		}
		s.mu.Unlock()
	}
}

// errEmpty says that no connected key is known at a place.
var errEmpty = errors.New("no key is connected there")

// heal looks again at the key that is connected at a place, if its pool could
// not be loaded: it may have been a bad moment.
func (r *rack) heal(ctx context.Context, m *Manager, at place) error {
	for _, s := range r.all() {
		s.mu.Lock()
		here, failed := s.key != nil && s.at == at, s.err != nil
		s.mu.Unlock()
		switch {
		case here && failed:
			return s.load(ctx, m)
		case here:
			return nil
		}
	}
	return errEmpty
}

// attach opens the key at a place and puts it into its slot.
func (r *rack) attach(ctx context.Context, m *Manager, at place) error {
	key, err := device.Open(ctx, m.opts.Buses[at.bus], at.id)
	if err != nil {
		return err
	}
	info, err := key.Info(ctx)
	if err == nil && !document.ValidID(info.ID) {
		err = errors.New("it has no id of its own")
	}
	if err != nil {
		return errors.Join(err, key.Close())
	}
	old := r.find(info.ID)
	s := &slot{info: info, public: key.Public(), buses: m.opts.Buses, at: at, key: key, log: m.opts.Logger}
	switch {
	case old == nil:
	case old.unseen:
		s.stored, s.unread = old.shown(), old.unread // until the key has confirmed it
	case bytes.Equal(old.public, key.Public()):
		return old.reconnect(ctx, m, at, key)
	default:
		if pool, _ := old.served(); pool != nil {
			return errors.Join(fmt.Errorf("another key has the id %d too", info.ID), key.Close())
		}
		if err := old.close(ctx); err != nil { // it never served anything
			return errors.Join(err, key.Close())
		}
	}
	err = s.load(ctx, m)
	if !r.add(s) {
		return errors.Join(ErrClosed, s.close(ctx))
	}
	return err
}

// reconnect takes a known key back, sees that it is where its pool is, and finishes
// what was left undone when it went away.
func (s *slot) reconnect(ctx context.Context, m *Manager, at place, key *device.Key) error {
	s.mu.Lock()
	if s.key != nil {
		s.mu.Unlock()
		return key.Close()
	}
	s.at, s.key = at, key
	s.mu.Unlock()
	var met error
	if pool, _ := s.served(); pool != nil {
		met = pool.Meet(ctx)
	}
	return errors.Join(met, s.load(ctx, m))
}

// load reads the pool license in the key, opens its ledger, once, and makes it
// follow.
func (s *slot) load(ctx context.Context, m *Manager) error {
	if err := s.loading.acquire(ctx); err != nil {
		return err
	}
	defer s.loading.release()
	s.watchWear()
	license, err := s.read(ctx, m)
	pool, _ := s.served()
	if err == nil && license != nil && pool == nil {
		pool, err = s.open(ctx, m, license)
	}
	s.mu.Lock()
	s.license, s.pool, s.err = license, pool, err
	stored := s.stored
	if pool != nil {
		s.stored = nil
	}
	s.mu.Unlock()
	if pool != nil && stored != nil {
		stored.Close(ctx) // it wrote nothing
	}
	if err != nil || pool == nil {
		return err
	}
	if pool.Refusal() != nil {
		return s.examine(ctx, m, pool) // it can be read; every change says why not
	}
	if err := m.refusal(); err != nil {
		return err
	}
	return s.update(ctx)
}

// read gives the pool license in the key, verified; nil where there is none.
func (s *slot) read(ctx context.Context, m *Manager) (*document.Pool, error) {
	raw, err := withKey(ctx, s, func(k *device.Key) ([]byte, error) { return k.Pool(ctx) })
	if errors.Is(err, device.ErrNoPool) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	license, err := document.ParsePool(raw)
	if err != nil {
		return nil, err
	}
	return license, m.verifyPool(license)
}

// open opens the ledger of the pool. It is not served before it was held against
// the manager's own.
func (s *slot) open(ctx context.Context, m *Manager, license *document.Pool) (*ledger.Ledger[*detach.Pool], error) {
	s.clock = m.newClock()
	cfg := s.ledger(m, s.public, s.clock)
	cfg.Anchor = s
	pool, err := ledger.Open(ctx, cfg)
	if err != nil {
		return nil, err
	}
	err = s.examine(ctx, m, pool)
	if err == nil {
		state, _ := pool.Read()
		err = state.Vouched() // the ledger may be of a program that trusts others
	}
	if err != nil {
		return nil, errors.Join(err, pool.Close(ctx))
	}
	s.clock.Raise(license.Head.Issued)
	s.confirm(ctx)
	return pool, nil
}

// confirm tells the pool's clock what the key's own clock shows, if it has one.
func (s *slot) confirm(ctx context.Context) {
	t, err := withKey(ctx, s, func(k *device.Key) (time.Time, error) { return k.Time(ctx) })
	if err == nil {
		s.clock.Raise(t.Unix())
	}
}

// update makes the ledger follow the pool license in the key. The key's copy is
// the truth: a newer one found there becomes an entry, under the request that
// brought it, whoever finds it.
func (s *slot) update(ctx context.Context) error {
	s.mu.Lock()
	pool, license, brought := s.pool, s.license, s.brought
	s.mu.Unlock()
	if license == nil {
		return fmt.Errorf("key %d no longer holds the pool license it held", s.info.ID)
	}
	if state, _ := pool.Read(); state.Counter() >= license.Head.Counter {
		return nil
	}
	var request document.RequestKey
	if brought.counter == license.Head.Counter {
		request = brought.request
	}
	s.clock.Raise(license.Head.Issued)
	_, err := pool.Do(ctx, func(p *detach.Pool, _ ledger.Moment) ([][]byte, error) {
		if p.Counter() >= license.Head.Counter {
			return nil, nil
		}
		return p.Update(license, request)
	})
	return err
}

// served gives the pool's ledger, or why it is not served.
func (s *slot) served() (*ledger.Ledger[*detach.Pool], error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.pool, s.err
}

// serves reports whether the pool can be changed, as far as is known.
func (s *slot) serves() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.key != nil && s.pool != nil
}

// accessible reports whether the key was there when last looked at.
func (s *slot) accessible() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.key != nil
}

// present asks the bus whether the key is still plugged in. To ask first saves
// a change from being stored, and then not signed, because the key was pulled.
func (s *slot) present(ctx context.Context, m *Manager) bool {
	s.mu.Lock()
	at, key := s.at, s.key
	s.mu.Unlock()
	if key == nil {
		return false
	}
	plugged, err := m.opts.Buses[at.bus].Keys(ctx)
	return err == nil && !key.Ended() && slices.ContainsFunc(plugged, func(i transport.KeyInfo) bool { return i.ID == at.id })
}

// onKey calls f with the connected key and notices when the key is gone.
func onKey[T any](s *slot, f func(*device.Key) (T, error)) (T, error) {
	s.mu.Lock()
	key, at := s.key, s.at
	s.mu.Unlock()
	if key == nil {
		var none T
		return none, &transport.Error{Op: "open", Key: at.id, Err: transport.ErrNoKey}
	}
	v, err := f(key)
	if err != nil && away(err) {
		s.mu.Lock()
		if s.key == key {
			key.Close()
			s.key = nil
		}
		s.mu.Unlock()
	}
	return v, err
}

// away reports whether an error says that the key which was opened is not there.
func away(err error) bool {
	return errors.Is(err, transport.ErrNoKey) || errors.Is(err, transport.ErrClosed) || errors.Is(err, device.ErrOtherKey)
}

// withKey is onKey for what may be done twice: once more where the key turns out to
// have been pulled out and put in again since it was opened.
func withKey[T any](ctx context.Context, s *slot, f func(*device.Key) (T, error)) (T, error) {
	s.mu.Lock()
	connected := s.key != nil
	s.mu.Unlock()
	v, err := onKey(s, f)
	if err != nil && connected && away(err) && s.rejoin(ctx) == nil {
		return onKey(s, f)
	}
	return v, err
}

// rejoin connects to the slot's key again where it was.
func (s *slot) rejoin(ctx context.Context) error {
	s.mu.Lock()
	at := s.at
	s.mu.Unlock()
	key, err := device.Open(ctx, s.buses[at.bus], at.id)
	if err != nil {
		return err
	}
	if !bytes.Equal(key.Public(), s.public) {
		return errors.Join(device.ErrOtherKey, key.Close())
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.key != nil { // it was found meanwhile
		return key.Close()
	}
	s.at, s.key = at, key
	return nil
}

// Public implements [ledger.Anchor].
func (s *slot) Public() ed25519.PublicKey { return s.public }

// Checkpoint implements [ledger.Anchor].
func (s *slot) Checkpoint(ctx context.Context) (document.Checkpoint, error) {
	return withKey(ctx, s, func(k *device.Key) (document.Checkpoint, error) { return k.Checkpoint(ctx) })
}

// Advance implements [ledger.Anchor].
func (s *slot) Advance(ctx context.Context, prev document.Hash, header []byte) (document.Checkpoint, error) {
	return withKey(ctx, s, func(k *device.Key) (document.Checkpoint, error) { return k.Advance(ctx, prev, header) })
}

// lock is a mutex whose waiting ends with a context: it is held while keys are
// talked to. The zero lock is free.
type lock struct {
	once sync.Once
	one  *semaphore.Weighted
}

func (l *lock) acquire(ctx context.Context) error {
	l.once.Do(func() { l.one = semaphore.NewWeighted(1) })
	return l.one.Acquire(ctx, 1)
}

func (l *lock) release() { l.one.Release(1) }
