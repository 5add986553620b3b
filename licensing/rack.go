package licensing

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"

	"golang.org/x/sync/semaphore"

	"github.com/sojournlm/sojourn/device"
	"github.com/sojournlm/sojourn/internal/document"
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

// scan looks through the buses for keys that are not connected: new ones get a
// slot, known ones their old slot back. A key that does not answer is left for
// the next scan.
func (r *rack) scan(ctx context.Context, m *Manager) {
	if r.scanning.acquire(ctx) != nil {
		return
	}
	defer r.scanning.release()
	// A key that went from one bus to another is first let go of there.
	plugged := make([][]transport.KeyInfo, len(m.opts.Buses))
	for number, bus := range m.opts.Buses {
		infos, err := bus.Keys(ctx)
		if err != nil {
			m.opts.Logger.Warn("a bus cannot be listed", "error", err)
			continue
		}
		plugged[number] = infos
		r.forget(number, infos)
	}
	for number, infos := range plugged {
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
		s.stored, s.foreign, s.unread = old.stored, old.foreign, old.unread // until the key has confirmed it
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
