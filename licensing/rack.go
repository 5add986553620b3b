package licensing

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/semaphore"

	"github.com/sojournlm/sojourn/device"
	"github.com/sojournlm/sojourn/internal/document"
	"github.com/sojournlm/sojourn/transport"
)

// rack holds every key that is plugged in, or of whose pool something is stored, each in
// a slot of its own.
type rack struct {
	listings visits[int]   // of the buses, by number
	visits   visits[place] // at what they list

	mu      sync.RWMutex
	plugged map[int][]transport.KeyInfo // what the buses listed last
	shut    map[place]error             // why what is plugged in there, and was never seen, cannot be opened
	slots   []*slot                     // ordered by key id
	closed  bool
}

func (r *rack) start(log *slog.Logger) {
	r.plugged = make(map[int][]transport.KeyInfo)
	r.shut = make(map[place]error)
	r.listings.start("a bus", log)
	r.visits.start("a key", log)
}

// stop ends all looking at keys.
func (r *rack) stop() {
	r.listings.stop()
	r.visits.stop()
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

// seat puts a slot into its place. Where that is taken by a slot of the very same key,
// or by one that another key's pool is served from, it stays; had is what was there. The
// old slice stays as it is for those who are walking it.
func (r *rack) seat(s *slot) (had *slot, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		return nil, ErrClosed
	}
	i, there := slices.BinarySearchFunc(r.slots, s.info.ID, func(s *slot, id uint64) int { return cmp.Compare(s.info.ID, id) })
	if !there {
		r.slots = slices.Insert(slices.Clone(r.slots), i, s)
		return nil, nil
	}
	had = r.slots[i]
	switch {
	case had.unseen:
		had.mu.Lock()
		s.stored, s.foreign, s.unread = had.stored, had.foreign, had.unread // until the key has confirmed it
		s.announced, s.recalled, s.garbled = had.announced, had.recalled, had.garbled
		had.mu.Unlock()
	case bytes.Equal(had.public, s.public):
		return had, nil
	case had.busy():
		return had, fmt.Errorf("another key has the id %d too", s.info.ID)
	}
	s.heir = !had.unseen
	r.slots = slices.Clone(r.slots)
	r.slots[i] = s
	return had, nil
}

// leave takes away the slots of a bus's keys that are gone and left nothing behind: a
// device may be another key each time it is plugged in.
func (r *rack) leave(bus int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if kept := slices.DeleteFunc(slices.Clone(r.slots), func(s *slot) bool { return s.leave(bus) }); len(kept) < len(r.slots) {
		r.slots = kept
	}
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

// lookWithin is how long who asks for keys waits for those that were just plugged in.
const lookWithin = 2 * time.Second

// look is scan for those who wait no longer. What is begun goes on.
func (r *rack) look(ctx context.Context, m *Manager, within time.Duration) {
	ctx, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	r.scan(ctx, m)
}

// scan looks through the buses, all at once, for keys that are not connected: new ones
// get a slot, known ones their old slot back. A bus or key that does not answer is left
// for a later scan, and holds up this one only the first time.
func (r *rack) scan(ctx context.Context, m *Manager) {
	if ctx.Err() != nil {
		return
	}
	// A key that went from one bus to another is first let go of there.
	var buses, keys sync.WaitGroup
	for number, bus := range m.opts.Buses {
		buses.Go(func() {
			r.listings.make(ctx, number, func(ctx context.Context) error { return r.list(ctx, number, bus) })
		})
	}
	buses.Wait()
	for number := range m.opts.Buses {
		r.mu.RLock()
		plugged := r.plugged[number]
		r.mu.RUnlock()
		for _, info := range plugged {
			if at := (place{number, info.ID}); !r.works(at) {
				keys.Go(func() {
					r.visits.make(ctx, at, func(ctx context.Context) error { return r.visit(ctx, m, at) })
				})
			}
		}
	}
	keys.Wait()
}

// list lists the keys on a bus and lets go of those that are not there any more.
func (r *rack) list(ctx context.Context, number int, bus transport.Bus) error {
	ctx, cancel := context.WithTimeout(ctx, listWithin)
	defer cancel()
	infos, err := bus.Keys(ctx)
	r.mu.Lock()
	r.plugged[number] = infos
	r.mu.Unlock()
	if err == nil {
		r.forget(number, infos)
	}
	return err
}

// visit connects to the key at a place, unless it is connected, and loads its pool.
func (r *rack) visit(ctx context.Context, m *Manager, at place) error {
	s, err := r.connected(at)
	switch {
	case s == nil:
		return r.attach(ctx, m, at)
	case err != nil: // it may have been a bad moment
		return s.load(ctx, m)
	}
	return nil
}

// place is where a key is plugged in: the number of a bus among the options', and
// the place on it.
type place struct {
	bus int
	id  transport.KeyID
}

func (p place) String() string { return fmt.Sprintf("%s on bus %d", p.id, p.bus) }

// forget disconnects the slots whose key the bus no longer lists, or lists anew.
func (r *rack) forget(bus int, plugged []transport.KeyInfo) {
	here := func(id transport.KeyID) bool {
		return slices.ContainsFunc(plugged, func(i transport.KeyInfo) bool { return i.ID == id })
	}
	r.visits.keep(func(at place) bool { return at.bus != bus || here(at.id) })
	r.mu.Lock()
	maps.DeleteFunc(r.shut, func(at place, _ error) bool { return at.bus == bus && !here(at.id) })
	r.mu.Unlock()
	for _, s := range r.all() {
		var gone *device.Key
		s.mu.Lock()
		if s.at.bus == bus && !here(s.at.id) {
			s.shut = nil
		}
		if s.key != nil && s.at.bus == bus && (!here(s.at.id) || s.key.Ended()) {
			gone, s.key = s.key, nil
		}
		s.mu.Unlock()
		if gone != nil {
			gone.Close()
		}
	}
	r.leave(bus)
}

// connected gives the slot whose key is connected at a place, and why its pool is not
// served; nil where none is.
func (r *rack) connected(at place) (*slot, error) {
	for _, s := range r.all() {
		s.mu.Lock()
		here, err := s.key != nil && s.at == at, s.trouble()
		s.mu.Unlock()
		if here {
			return s, err
		}
	}
	return nil, nil
}

// works reports whether there is nothing to visit at a place.
func (r *rack) works(at place) bool {
	s, err := r.connected(at)
	return s != nil && err == nil
}

// attach opens the key at a place and puts it into its slot.
func (r *rack) attach(ctx context.Context, m *Manager, at place) error {
	key, err := connect(ctx, m.opts.Buses, at)
	r.note(at, err)
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
	s := &slot{info: info, public: key.Public(), buses: m.opts.Buses, at: at, key: key, err: errLoading, loaded: make(chan struct{}), log: m.opts.Logger}
	had, err := r.seat(s)
	if err != nil && had != nil { // that may turn out not to be the key of the pool stored here
		select {
		case <-had.loaded:
			had, err = r.seat(s)
		case <-ctx.Done():
		}
	}
	switch {
	case err != nil:
		return errors.Join(err, key.Close())
	case had == nil || had.unseen:
	case bytes.Equal(had.public, s.public):
		return had.reconnect(ctx, m, at, key)
	default:
		err = had.close(ctx) // it serves nothing
	}
	err = errors.Join(err, s.load(ctx, m))
	close(s.loaded)
	return err
}

// note notes why what is plugged in at a place cannot be opened, nil where it can: it may
// be the key that was there last, or, where none was, any.
func (r *rack) note(at place, err error) {
	if away(err) {
		err = nil
	}
	known := false
	for _, s := range r.all() {
		s.mu.Lock()
		if s.key == nil && s.at == at {
			s.shut, known = err, true
		}
		s.mu.Unlock()
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if delete(r.shut, at); err != nil && !known {
		r.shut[at] = err
	}
}

// unopened is why something that is plugged in and was never seen cannot be opened, nil
// where there is nothing of that kind.
func (r *rack) unopened() error {
	r.mu.RLock()
	defer r.mu.RUnlock()
	if len(r.shut) == 0 {
		return nil
	}
	at := slices.MinFunc(slices.Collect(maps.Keys(r.shut)), func(a, b place) int {
		return cmp.Or(cmp.Compare(a.bus, b.bus), cmp.Compare(a.id, b.id))
	})
	return fmt.Errorf("what is plugged in as %s cannot be opened: %w", at, r.shut[at])
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

// try acquires the lock if it is free.
func (l *lock) try() bool {
	l.once.Do(func() { l.one = semaphore.NewWeighted(1) })
	return l.one.TryAcquire(1)
}

func (l *lock) release() { l.one.Release(1) }
