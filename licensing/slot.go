package licensing

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/sojournlm/sojourn/detach"
	"github.com/sojournlm/sojourn/device"
	"github.com/sojournlm/sojourn/internal/document"
	"github.com/sojournlm/sojourn/internal/ledger"
	"github.com/sojournlm/sojourn/transport"
)

// slot is one key and the ledger of its pool. It is the ledger's anchor: it
// talks to the key where that is plugged in now, and connects again to a key
// that was away.
type slot struct {
	info   device.Info // as the key said when it was first seen
	public ed25519.PublicKey
	unseen bool // only its stored pool is known: the key was not here since the start
	heir   bool // another key had its place before, whose pool may be stored
	buses  []transport.Bus

	loading lock          // held while the pool's ledger is opened, and while the key gets a pool license
	loaded  chan struct{} // closed when it was opened for the first time; nil where it never is

	mu      sync.Mutex
	at      place
	key     *device.Key                  // nil: pulled out, or shut
	shut    error                        // why it is plugged in and cannot be opened; nil: it was not tried, or is pulled out
	met     *device.Key                  // the connection by which the key was last held against the ledger
	clock   *ledger.Clock                // the pool's
	license *document.Pool               // the newest one that the key was seen to hold
	pool    *ledger.Ledger[*detach.Pool] // nil: no pool license yet, or err
	stored  *ledger.Ledger[*detach.Pool] // what is stored of a pool that is not served, for reading; or nil
	foreign bool                         // stored is of a vendor who is not trusted: it is asked about request keys only
	unread  bool                         // something is stored of the pool, and cannot be read
	err     error                        // why the pool on the key is not served
	gone    bool                         // it was closed
	log     *slog.Logger
	wear    wear // of the key, as far as the log was told
	ahead   bool // the log was told that the pool's time is

	announced *announcement // the pool license on its way into the key, or nil
	recalled  bool          // announced was read from the store
	garbled   error         // why it could not be read: it is not known who asked for what
}

// carries tells of a request by the pool license that may be in the slot's key: whether
// that was brought by the very request, or by another one under its request key.
func (s *slot) carries(request document.RequestKey) (very bool, other error) {
	a := s.announcement()
	if a == nil || a.request.Key != request.Key {
		return false, nil
	}
	if pool := s.askable(); pool != nil {
		if state, _ := pool.Read(); !a.beyond(state) {
			return false, nil // it knows what came of it
		}
	}
	if a.request.Request == request.Request {
		return true, nil
	}
	return false, &detach.Refusal{Code: InvalidParameter, Message: "this request key was used for another request"}
}

// recordEnd records the time in the pool's ledger, if it has ended something there
// since the last batch: one more write of the key at most. Where that fails, nothing
// is lost that was answered.
func (s *slot) recordEnd(ctx context.Context, m *Manager) {
	pool, err := s.served()
	if pool == nil || err != nil || pool.Refusal() != nil || !s.present(ctx, m) {
		return
	}
	_, err = pool.Do(ctx, func(p *detach.Pool, now ledger.Moment) ([][]byte, error) {
		if now.Err != nil {
			return nil, now.Err
		}
		return p.Timed(pool.Header().Time, now.Unix), nil
	})
	if err != nil {
		m.opts.Logger.Warn("the time was not recorded in a pool", "key", s.info.ID, "error", err)
	}
}

// errLoading is a slot's until its pool was loaded for the first time.
var errLoading = fmt.Errorf("%w: its pool is being read", NoService)

// busy reports whether the slot serves a pool, or is about to. One whose pool another
// key has signed does not: it may be that key's place.
func (s *slot) busy() bool {
	pool, err := s.served()
	return err == errLoading || pool != nil && !errors.Is(pool.Refusal(), ledger.ErrAnchorLost)
}

// leave ends the slot, and reports that it did, where its key was last on a bus and is gone,
// and nothing is known of a pool of its. It is asked about no more.
func (s *slot) leave(bus int) bool {
	if !s.loading.try() {
		return false
	}
	defer s.loading.release()
	s.mu.Lock()
	defer s.mu.Unlock()
	known := s.pool != nil || s.stored != nil || s.unread || s.announced != nil || s.garbled != nil || !s.recalled
	if s.key != nil || s.at.bus != bus || s.shut != nil || s.unseen || s.heir || known || s.err == errLoading {
		return false
	}
	s.gone = true
	return true
}

func (s *slot) close(ctx context.Context) error {
	s.mu.Lock()
	s.gone = true
	pool := s.pool
	s.mu.Unlock()
	var errs []error
	if pool != nil {
		errs = append(errs, pool.Close(ctx))
	}
	s.mu.Lock()
	stored, key := s.stored, s.key
	s.key = nil
	s.mu.Unlock()
	if stored != nil {
		errs = append(errs, stored.Close(ctx))
	}
	if key != nil {
		errs = append(errs, key.Close())
	}
	return errors.Join(errs...)
}

// reconnect takes a known key back.
func (s *slot) reconnect(ctx context.Context, m *Manager, at place, key *device.Key) error {
	s.mu.Lock()
	if s.key != nil || s.gone {
		s.mu.Unlock()
		return key.Close()
	}
	s.at, s.key, s.shut = at, key, nil
	s.mu.Unlock()
	return s.load(ctx, m)
}

// meet sees that a key which was connected anew is where its pool's ledger is, and finishes
// what was left undone when it went away. Where it is elsewhere, the ledger refuses every
// change from now on; an error says that this cannot be told yet.
func (s *slot) meet(ctx context.Context, pool *ledger.Ledger[*detach.Pool]) error {
	s.mu.Lock()
	key := s.key
	known := key != nil && s.met == key
	s.mu.Unlock()
	if known {
		return nil
	}
	err := pool.Meet(ctx)
	if err != nil {
		if pool.Refusal() == nil {
			return err
		}
		s.log.Warn("a key came back, and its pool changes nothing any more", "key", s.info.ID, "error", err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.met = key
	return nil
}

// load reads the pool license in the key, opens its ledger, or holds the key against it
// where that is open, and makes it follow.
func (s *slot) load(ctx context.Context, m *Manager) error {
	if err := s.loading.acquire(ctx); err != nil {
		return err
	}
	defer s.loading.release()
	return s.reload(ctx, m)
}

// reload is load for who holds loading.
func (s *slot) reload(ctx context.Context, m *Manager) error {
	s.watchWear()
	err := s.recall(ctx, m)
	var license *document.Pool
	if err == nil {
		license, err = s.read(ctx, m)
	}
	pool, _ := s.served()
	switch {
	case err != nil:
	case pool != nil:
		err = s.meet(ctx, pool)
	case license != nil:
		pool, err = s.open(ctx, m, license)
	}
	s.mu.Lock()
	if s.gone {
		fresh := pool != s.pool
		s.mu.Unlock()
		if fresh {
			err = errors.Join(err, pool.Close(ctx))
		}
		return errors.Join(ErrClosed, err)
	}
	s.license, s.pool, s.err = license, pool, err
	stored := s.stored
	if pool != nil {
		s.stored, s.foreign = nil, false
	}
	s.mu.Unlock()
	if pool != nil && stored != nil {
		stored.Close(ctx) // it wrote nothing
	}
	if err != nil {
		return err
	}
	if pool == nil {
		s.settled(ctx, m) // what was announced is not in the key
		return nil
	}
	if pool.Refusal() != nil {
		return s.examine(ctx, m, pool) // it can be read; every change says why not
	}
	if err := m.refusal(); err != nil {
		return err
	}
	if err := s.update(ctx); err != nil {
		return err
	}
	s.settled(ctx, m) // it is entered, or not in the key
	return nil
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
	s.mu.Lock()
	key := s.key
	s.mu.Unlock()
	s.clock = m.clock.Sibling()
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
	s.mu.Lock()
	s.met = key
	s.mu.Unlock()
	s.clock.Raise(license.Head.Issued)
	s.confirm(ctx)
	return pool, nil
}

// confirm tells the pool's clock what the key's own clock shows, if it has one.
func (s *slot) confirm(ctx context.Context) {
	t, err := briefly(ctx, answerWithin, func(ctx context.Context) (time.Time, error) {
		return withKey(ctx, s, func(k *device.Key) (time.Time, error) { return k.Time(ctx) })
	})
	if err == nil {
		s.clock.Raise(t.Unix())
	}
}

// watchClock tells the log when the pool's time is so far ahead of the wall clock that the
// licenses made now do not start at once, and again after it was not.
func (s *slot) watchClock(pool *ledger.Ledger[*detach.Pool]) {
	_, now := pool.Read()
	ahead := now.Unix - now.Wall
	s.mu.Lock()
	told := s.ahead
	s.ahead = ahead > maxBehind
	s.mu.Unlock()
	if ahead > maxBehind && !told {
		s.log.Warn("a pool's time is ahead of this computer's clock, which was ahead before or is behind now: licenses made now start only when the recipient's clock gets there",
			"key", s.info.ID, "ahead", time.Duration(ahead)*time.Second, "start after", time.Duration(ahead-maxBehind)*time.Second)
	}
}

// update makes the ledger follow the pool license in the key. The key's copy is
// the truth: a newer one found there becomes an entry, under the request that
// brought it, whoever finds it.
func (s *slot) update(ctx context.Context) error {
	s.mu.Lock()
	pool, license, a := s.pool, s.license, s.announced
	s.mu.Unlock()
	if license == nil {
		return fmt.Errorf("key %d no longer holds the pool license it held", s.info.ID)
	}
	if state, _ := pool.Read(); state.Counter() >= license.Head.Counter {
		return nil
	}
	var request document.RequestKey
	if a != nil && bytes.Equal(a.license.Bytes(), license.Bytes()) {
		request = a.request
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

// errUnmet is a slot's whose key was connected anew.
var errUnmet = fmt.Errorf("%w: the key is back, and has not said yet where its pool stands", NoService)

// served gives the pool's ledger, and why it is not to be changed now.
func (s *slot) served() (*ledger.Ledger[*detach.Pool], error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.pool, s.trouble()
}

// trouble is why the pool is not to be changed before the key was loaded again. s.mu is held.
func (s *slot) trouble() error {
	if s.err == nil && s.pool != nil && s.key != nil && s.key != s.met {
		return errUnmet
	}
	return s.err
}

// serves reports whether the pool can be changed, as far as is known.
func (s *slot) serves() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.key != nil && s.pool != nil
}
