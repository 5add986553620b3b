package transporttest

import (
	"bytes"
	"context"
	"slices"
	"sync"

	"github.com/sojournlm/sojourn/transport"
)

// Recorder is a bus that remembers what goes over another one. It is safe for
// concurrent use.
type Recorder struct {
	bus transport.Bus

	mu   sync.Mutex
	said []Exchange
}

// Exchange is one that was recorded.
type Exchange struct {
	Key      transport.KeyID
	Request  []byte
	Response []byte
	Err      error
}

// Record makes a recorder of what goes over bus from now on.
func Record(bus transport.Bus) *Recorder { return &Recorder{bus: bus} }

// Exchanges gives all exchanges so far, in the order in which they ended.
func (r *Recorder) Exchanges() []Exchange {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.said)
}

// Keys implements [transport.Bus].
func (r *Recorder) Keys(ctx context.Context) ([]transport.KeyInfo, error) { return r.bus.Keys(ctx) }

// Open implements [transport.Bus].
func (r *Recorder) Open(ctx context.Context, id transport.KeyID) (transport.Conn, error) {
	c, err := r.bus.Open(ctx, id)
	if err != nil {
		return nil, err
	}
	return recorded{c, r, id}, nil
}

type recorded struct {
	transport.Conn
	recorder *Recorder
	id       transport.KeyID
}

func (c recorded) Exchange(ctx context.Context, request []byte) ([]byte, error) {
	response, err := c.Conn.Exchange(ctx, request)
	c.recorder.mu.Lock()
	defer c.recorder.mu.Unlock()
	c.recorder.said = append(c.recorder.said, Exchange{c.id, bytes.Clone(request), bytes.Clone(response), err})
	return response, err
}
