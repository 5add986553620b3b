package licensing_test

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sojournlm/sojourn/device"
	"github.com/sojournlm/sojourn/licensing"
	"github.com/sojournlm/sojourn/storage"
)

// written is how many batches the office's key has seen. The office is down.
func (s *stage) written() uint64 {
	s.Helper()
	key, err := device.Open(s.ctx, s.office.bus, s.office.keys[0].BusID())
	s.ok(err)
	defer key.Close()
	at, err := key.Checkpoint(s.ctx)
	s.ok(err)
	return at.Seq
}

// What time has ended in a pool, a license or a feature's validity, does not come
// back with the wall clock over an end in good order. Where it has ended nothing,
// the end costs the key no write.
func TestPoolTimeOverARestart(t *testing.T) {
	const day = 24 * time.Hour
	for name, c := range map[string]struct {
		passes  time.Duration
		writes  uint64
		free    int
		expired bool
	}{
		"nothing ended":     {12 * time.Hour, 0, 2, false},
		"a license ended":   {day, 1, 3, false},
		"a feature expired": {20 * day, 1, 3, true},
	} {
		t.Run(name, func(t *testing.T) {
			s := newStage(t)
			f := feature(2, 1)
			f.ValidUpTo = s.office.watch.Now().Add(10 * day)
			s.ok(s.office.Install(s.ctx, s.office.pool(feature(1, 3), f), nil))
			s.office.detach(s.laptop, 1)
			s.turn(c.passes)
			s.office.crash()
			before := s.written()
			for _, writes := range []uint64{c.writes, 0} {
				s.ok(s.office.boot())
				s.ok(s.office.Close(s.ctx))
				s.office.crash()
				now := s.written()
				if now-before != writes {
					t.Errorf("the end cost the key %d writes, want %d", now-before, writes)
				}
				before = now
			}
			s.office.watch.shift(-c.passes)
			s.ok(s.office.boot())
			if n := s.office.free(1); n != c.free {
				t.Errorf("%d seats are free, %d were before the restart", n, c.free)
			}
			_, err := s.office.Detach(s.ctx, s.office.request(s.laptop, 2), nil)
			if errors.Is(err, licensing.FeatureExpired) != c.expired {
				t.Errorf("the feature: %v", err)
			}
			s.checkPromises()
		})
	}
}

// A Close whose context has ended closes all the same, says so, and loses nothing that
// was answered.
func TestCloseWithoutTime(t *testing.T) {
	s := newStage(t)
	s.office.lend(s.laptop, 1)
	_, err := s.laptop.check(1)
	s.ok(err)
	ended, cancel := context.WithCancel(s.ctx)
	cancel()
	for _, m := range []*machine{s.laptop, s.office} {
		err := m.Close(ended)
		s.refused(err, context.Canceled)
		if err == nil || !strings.Contains(err.Error(), "is closed") || strings.Contains(err.Error(), "nothing happened") {
			t.Errorf("%s: %v", m.name, err)
		}
		s.refused(m.Install(s.ctx, nil, nil), licensing.ErrClosed)
		s.ok(m.Close(s.ctx))
		m.reopen()
	}
	if _, err := s.laptop.check(1); err != nil {
		t.Errorf("after that: %v", err)
	}
	s.checkPromises()
}

// Where the first Close is still at work, the second one does not say that nothing
// happened.
func TestCloseTwiceAtOnce(t *testing.T) {
	s := newStage(t)
	busy := &busyStore{Store: s.office.disk, began: make(chan struct{}), goOn: make(chan struct{})}
	s.office.store.mu.Lock()
	s.office.store.store = busy
	s.office.store.mu.Unlock()
	closed := make(chan error)
	go func() { closed <- s.office.Close(s.ctx) }()
	<-busy.began
	ended, cancel := context.WithCancel(s.ctx)
	cancel()
	err := s.office.Close(ended)
	s.refused(err, context.Canceled)
	if err == nil || !strings.Contains(err.Error(), "still at work") {
		t.Errorf("the second Close says %v", err)
	}
	close(busy.goOn)
	s.ok(<-closed)
}

// busyStore does not begin to write before it may go on.
type busyStore struct {
	storage.Store
	once        sync.Once
	began, goOn chan struct{}
}

func (b *busyStore) Update(ctx context.Context, fn func(storage.Writer) error) error {
	b.once.Do(func() { close(b.began) })
	<-b.goOn
	return b.Store.Update(ctx, fn)
}
