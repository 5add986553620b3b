// Package simulator is a bus of license keys made of Go. They run the program
// that runs inside real keys, over memory or a file, and they have hands: plug
// and unplug them, lose or garble what is said, cut the power in the middle of a
// write, make them slow, turn or kill their clocks.
//
//	bus := simulator.New()
//	key, err := bus.Add(simulator.Config{KeyID: 0x1234, Vendor: code, VendorPublic: public})
//
// Delays use real timers, so they run in a testing/synctest bubble at no cost.
package simulator

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"

	"github.com/sojournlm/sojourn/transport"
)

// Bus is a place where simulated keys are plugged in. It implements
// [transport.Bus] and is safe for concurrent use.
type Bus struct {
	mu   sync.Mutex
	keys map[transport.KeyID]*Key
}

var _ transport.Bus = (*Bus)(nil)

// New makes a bus without keys.
func New() *Bus { return &Bus{keys: map[transport.KeyID]*Key{}} }

// Add makes a key and plugs it in. Its identity is made now, or read from its
// file. The caller closes it when it has a file; then it can be added again, as
// after the computer's restart.
func (b *Bus) Add(c Config) (*Key, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if old := b.keys[busID(c.KeyID)]; old != nil && !old.isClosed() {
		return nil, fmt.Errorf("simulator: key %08X is on the bus already", c.KeyID)
	}
	k, err := newKey(c)
	if err != nil {
		return nil, fmt.Errorf("simulator: key %08X: %w", c.KeyID, err)
	}
	b.keys[k.bus] = k
	return k, nil
}

// Keys implements [transport.Bus].
func (b *Bus) Keys(ctx context.Context) ([]transport.KeyInfo, error) {
	if err := ctx.Err(); err != nil {
		return nil, fmt.Errorf("simulator: list keys: %w", err)
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	infos := []transport.KeyInfo{}
	for id, k := range b.keys {
		if k.Plugged() {
			infos = append(infos, transport.KeyInfo{ID: id, Serial: strings.TrimPrefix(string(id), prefix)})
		}
	}
	slices.SortFunc(infos, func(a, b transport.KeyInfo) int { return strings.Compare(string(a.ID), string(b.ID)) })
	return infos, nil
}

// Open implements [transport.Bus].
func (b *Bus) Open(ctx context.Context, id transport.KeyID) (transport.Conn, error) {
	if err := ctx.Err(); err != nil {
		return nil, &transport.Error{Op: "open", Key: id, Err: err}
	}
	b.mu.Lock()
	k := b.keys[id]
	b.mu.Unlock()
	if k == nil {
		return nil, &transport.Error{Op: "open", Key: id, Err: transport.ErrNoKey}
	}
	return k.open()
}
