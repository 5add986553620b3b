package licensing

import (
	"context"
	"errors"

	"github.com/sojournlm/sojourn/device"
)

// fewWrites is when the log is told that a key should be replaced: at a thousand
// batches a day a few months before it is worn out.
const fewWrites = 100_000

// wear is how worn a key is.
type wear uint8

const (
	wearNone wear = iota
	wearSoon
	wearOut
)

// Ready says that the key can keep another batch. It is what a [ledger.Anchor] that wears
// out has. A worn key gives one of the writes that it keeps back for its pool to follow a
// license that it has taken: without it what became of that would never be known.
func (s *slot) Ready(ctx context.Context) error {
	left, err := withKey(ctx, s, func(k *device.Key) (uint32, error) {
		err := k.Ready(ctx)
		return k.WritesLeft(), err
	})
	s.watchWear()
	if errors.Is(err, device.ErrWornOut) && left > 0 && s.follows() {
		return nil
	}
	return err
}

// follows reports whether the key was seen to hold a newer pool license than its pool.
func (s *slot) follows() bool {
	s.mu.Lock()
	pool, license := s.pool, s.license
	s.mu.Unlock()
	if pool == nil || license == nil {
		return false
	}
	state, _ := pool.Read()
	return state.Counter() < license.Head.Counter
}

const wornText = "the key is worn out: it can be read, and takes no change any more"

// worn reports whether the connected key is worn out. It does not ask the key.
func (s *slot) worn() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.key != nil && s.key.Worn() != nil
}

// watchWear tells the log once that the key is nearly worn out, and once that it is.
func (s *slot) watchWear() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.key == nil {
		return
	}
	left, now := s.key.WritesLeft(), wearNone
	switch {
	case s.key.Worn() != nil:
		now = wearOut
	case left < fewWrites:
		now = wearSoon
	}
	if now <= s.wear {
		return
	}
	if s.wear = now; now == wearOut {
		s.log.Error("a key is worn out: its pool takes no change any more; ask the vendor for a new key", "key", s.info.ID, "writes left", left)
		return
	}
	s.log.Warn("a key is nearly worn out; ask the vendor for a new key in good time", "key", s.info.ID, "writes left", left)
}
