package licensing_test

import (
	"errors"
	"testing"
	"time"

	"github.com/sojournlm/sojourn/device"
	"github.com/sojournlm/sojourn/licensing"
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
