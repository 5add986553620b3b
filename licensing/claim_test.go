package licensing_test

import (
	"testing"
	"time"

	"github.com/sojournlm/sojourn/licensing"
	"github.com/sojournlm/sojourn/transport/simulator"
)

// deafen has a key lose whatever is asked of it, until it is drained.
func deafen(key *simulator.Key) {
	for range 40 {
		key.FailNth(0, simulator.LoseRequest)
	}
}

// What is stored and not signed may lie ahead of a clock that was put back. Until time
// tells what becomes of it, its request key is good for nothing else, and what was asked
// is in doubt.
func TestRequestKeyAheadOfTheClock(t *testing.T) {
	for name, c := range map[string]struct {
		anchor     func(s *stage) *simulator.Key
		ask, other func(s *stage) error
		happened   func(s *stage) (ask, other bool)
	}{
		"a detach": {
			func(s *stage) *simulator.Key { return s.office.keys[0] },
			func(s *stage) error { _, err := s.detachOnce(); return err },
			(*stage).renameOnce,
			func(s *stage) (bool, bool) { v := s.office.look(); return len(v.Detached) > 0, v.renamed() },
		},
		"an edit": {
			func(s *stage) *simulator.Key { return s.office.safe },
			(*stage).renameOnce,
			func(s *stage) error { _, err := s.detachOnce(); return err },
			func(s *stage) (bool, bool) { v := s.office.look(); return v.renamed(), len(v.Detached) > 0 },
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := newStage(t)
			s.turn(30 * time.Minute)
			deafen(c.anchor(s))
			s.refused(c.ask(s), licensing.ErrUnknown)
			s.office.crash()
			s.drain()
			s.office.watch.shift(-20 * time.Minute)
			s.office.reopen()
			for range 2 {
				s.refused(c.other(s), licensing.InvalidParameter)
				s.refused(c.ask(s), licensing.ErrUnknown)
			}
			s.turn(20 * time.Minute)
			s.refused(c.other(s), licensing.InvalidParameter)
			s.ok(c.ask(s))
			if ask, other := c.happened(s); !ask || other {
				t.Errorf("what was asked happened: %v, the other: %v", ask, other)
			}
			s.checkPromises()
		})
	}
}

// renamed reports whether [stage.renameOnce] happened.
func (v scene) renamed() bool {
	for _, c := range v.Computers {
		if c.HostName == "RENAMED" {
			return true
		}
	}
	return false
}
