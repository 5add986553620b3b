package licensing

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/sojournlm/sojourn/device"
	"github.com/sojournlm/sojourn/internal/document"
	"github.com/sojournlm/sojourn/transport"
)

// answerWithin is how long a key that is looked at is waited for: twice what it may take.
// One that is still at what somebody else has left takes longer, and is found by a later
// look.
const answerWithin = 2 * time.Second

// briefly calls f with a context that ends when a key has had long enough to answer.
func briefly[T any](ctx context.Context, within time.Duration, f func(context.Context) (T, error)) (T, error) {
	brief, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	v, err := f(brief)
	if err != nil && brief.Err() != nil && ctx.Err() == nil {
		err = fmt.Errorf("%w: the key did not answer within %v", NoService, within) // the caller's time is not over
	}
	return v, err
}

// connect opens the key at a place.
func connect(ctx context.Context, buses []transport.Bus, at place) (*device.Key, error) {
	return briefly(ctx, answerWithin, func(ctx context.Context) (*device.Key, error) { return device.Open(ctx, buses[at.bus], at.id) })
}

// whyNot gives why the key, which is not accessible, cannot be used, where it is plugged in.
func (s *slot) whyNot() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.key != nil {
		return nil
	}
	return s.shut
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
	ctx, cancel := context.WithTimeout(ctx, listWithin)
	defer cancel()
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
		last := s.key == key
		if last {
			s.key = nil
		}
		s.mu.Unlock()
		if last {
			key.Close() // which may take a while
		}
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
	key, err := connect(ctx, s.buses, at)
	if err != nil {
		return err
	}
	if !bytes.Equal(key.Public(), s.public) {
		return errors.Join(device.ErrOtherKey, key.Close())
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.key != nil || s.gone { // it was found meanwhile, or is not needed any more
		return key.Close()
	}
	s.at, s.key, s.shut = at, key, nil
	return nil
}

// Public implements [ledger.Anchor].
func (s *slot) Public() ed25519.PublicKey { return s.public }

// Checkpoint implements [ledger.Anchor].
func (s *slot) Checkpoint(ctx context.Context) (document.Checkpoint, error) {
	ask := func(ctx context.Context) (document.Checkpoint, error) {
		return withKey(ctx, s, func(k *device.Key) (document.Checkpoint, error) { return k.Checkpoint(ctx) })
	}
	if pool, err := s.served(); pool == nil || err == errUnmet { // it is being looked at
		return briefly(ctx, answerWithin, ask)
	}
	return ask(ctx)
}

// Advance implements [ledger.Anchor].
func (s *slot) Advance(ctx context.Context, prev document.Hash, header []byte) (document.Checkpoint, error) {
	return withKey(ctx, s, func(k *device.Key) (document.Checkpoint, error) { return k.Advance(ctx, prev, header) })
}
