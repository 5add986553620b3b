package transporttest_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/sojournlm/sojourn/transport"
)

// mutant breaks one sentence of the contract over a bus that keeps it. Each of
// its functions replaces one method; nil leaves the method as it is.
type mutant struct {
	name   string
	caught []string // by these cases at least

	keys     func(*mutantBus, context.Context) ([]transport.KeyInfo, error)
	open     func(*mutantBus, context.Context, transport.KeyID) (transport.Conn, error)
	exchange func(*mutantConn, context.Context, []byte) ([]byte, error)
	close    func(*mutantConn) error
	ended    func(*mutantConn) bool
}

type mutantBus struct {
	inner transport.Bus
	m     mutant

	mu    sync.Mutex
	known []transport.KeyInfo
	conns map[transport.KeyID]transport.Conn
	calls int
}

func (b *mutantBus) Keys(ctx context.Context) ([]transport.KeyInfo, error) {
	if b.m.keys != nil {
		return b.m.keys(b, ctx)
	}
	return b.inner.Keys(ctx)
}

func (b *mutantBus) Open(ctx context.Context, id transport.KeyID) (transport.Conn, error) {
	if b.m.open != nil {
		return b.m.open(b, ctx, id)
	}
	c, err := b.inner.Open(ctx, id)
	if err != nil {
		return nil, err
	}
	return &mutantConn{inner: c, bus: b, id: id}, nil
}

type mutantConn struct {
	inner transport.Conn
	bus   *mutantBus
	id    transport.KeyID

	mu      sync.Mutex
	request []byte
	reply   []byte
	late    [][]byte
	broken  error
	closed  bool
}

func (c *mutantConn) Exchange(ctx context.Context, request []byte) ([]byte, error) {
	if c.bus.m.exchange != nil {
		return c.bus.m.exchange(c, ctx, request)
	}
	return c.inner.Exchange(ctx, request)
}

func (c *mutantConn) Close() error {
	if c.bus.m.close != nil {
		return c.bus.m.close(c)
	}
	return c.inner.Close()
}

func (c *mutantConn) Ended() bool {
	if c.bus.m.ended != nil {
		return c.bus.m.ended(c)
	}
	return c.inner.(transport.Ender).Ended()
}

func (c *mutantConn) fail(err error, sent bool) error {
	return &transport.Error{Op: "exchange", Key: c.id, Sent: sent, Err: err}
}

func cannotOpen(id transport.KeyID, err error) error {
	return &transport.Error{Op: "open", Key: id, Err: err}
}

func (b *mutantBus) opened(id transport.KeyID) transport.Conn {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.conns[id]
}

func (b *mutantBus) setOpened(id transport.KeyID, c transport.Conn) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.conns[id] = c
}

var mutants = slices.Concat(busMutants, exchangeMutants, endMutants)

var busMutants = []mutant{
	{
		name: "ids change with a replug", caught: []string{"IDStays"},
		keys: func(b *mutantBus, ctx context.Context) ([]transport.KeyInfo, error) {
			infos, err := b.inner.Keys(ctx)
			b.mu.Lock()
			defer b.mu.Unlock()
			b.calls++
			for i := range infos {
				infos[i].ID += transport.KeyID(fmt.Sprint("#", b.calls/2))
			}
			return infos, err
		},
	},
	{
		name: "opens for all who ask at once", caught: []string{"BusConcurrent"},
		open: func(b *mutantBus, ctx context.Context, id transport.KeyID) (transport.Conn, error) {
			free := b.opened(id) == nil
			if ctx.Err() == nil {
				time.Sleep(time.Millisecond)
			}
			c, err := b.inner.Open(ctx, id)
			if free && errors.Is(err, transport.ErrBusy) {
				return b.opened(id), nil
			}
			if err == nil {
				b.setOpened(id, c)
			}
			return c, err
		},
	},
	{
		name: "Keys does not look at its context", caught: []string{"BusContext"},
		keys: func(b *mutantBus, ctx context.Context) ([]transport.KeyInfo, error) {
			return b.inner.Keys(context.WithoutCancel(ctx))
		},
	},
	{
		name: "Open does not look at its context", caught: []string{"BusContext", "OpenFails"},
		open: func(b *mutantBus, ctx context.Context, id transport.KeyID) (transport.Conn, error) {
			return b.inner.Open(context.WithoutCancel(ctx), id)
		},
	},
	{
		name: "Keys lists what was unplugged", caught: []string{"KeysPlugged"},
		keys: func(b *mutantBus, ctx context.Context) ([]transport.KeyInfo, error) {
			infos, err := b.inner.Keys(ctx)
			b.mu.Lock()
			defer b.mu.Unlock()
			if len(infos) > len(b.known) {
				b.known = infos
			}
			return b.known, err
		},
	},
	{
		name: "Keys in any order", caught: []string{"KeysPlugged", "IDStays"},
		keys: func(b *mutantBus, ctx context.Context) ([]transport.KeyInfo, error) {
			infos, err := b.inner.Keys(ctx)
			slices.Reverse(infos)
			return infos, err
		},
	},
	{
		name: "Keys leaves out the open ones", caught: []string{"KeysOpen"},
		keys: func(b *mutantBus, ctx context.Context) ([]transport.KeyInfo, error) {
			infos, err := b.inner.Keys(ctx)
			return slices.DeleteFunc(infos, func(k transport.KeyInfo) bool {
				c, err := b.inner.Open(ctx, k.ID)
				if err == nil {
					c.Close()
				}
				return err != nil
			}), err
		},
	},
	{
		name: "no keys are an error", caught: []string{"KeysNone"},
		keys: func(b *mutantBus, ctx context.Context) ([]transport.KeyInfo, error) {
			infos, err := b.inner.Keys(ctx)
			if err == nil && len(infos) == 0 {
				err = transport.ErrNoKey
			}
			return infos, err
		},
	},
	{
		name: "one key at a time", caught: []string{"Open"},
		open: func(b *mutantBus, ctx context.Context, id transport.KeyID) (transport.Conn, error) {
			infos, _ := b.inner.Keys(ctx)
			for _, k := range infos {
				if k.ID == id {
					continue
				}
				c, err := b.inner.Open(ctx, k.ID)
				if err != nil {
					return nil, cannotOpen(id, transport.ErrBusy)
				}
				c.Close()
			}
			return b.inner.Open(ctx, id)
		},
	},
	{
		name: "a connection for everybody", caught: []string{"OpenBusy"},
		open: func(b *mutantBus, ctx context.Context, id transport.KeyID) (transport.Conn, error) {
			c, err := b.inner.Open(ctx, id)
			if errors.Is(err, transport.ErrBusy) {
				return b.opened(id), nil
			}
			b.setOpened(id, c)
			return c, err
		},
	},
	{
		name: "a busy key seems gone", caught: []string{"OpenBusy"},
		open: func(b *mutantBus, ctx context.Context, id transport.KeyID) (transport.Conn, error) {
			c, err := b.inner.Open(ctx, id)
			if errors.Is(err, transport.ErrBusy) {
				return nil, cannotOpen(id, transport.ErrNoKey)
			}
			return c, err
		},
	},
	{
		name: "a missing key seems busy", caught: []string{"OpenNoKey"},
		open: func(b *mutantBus, ctx context.Context, id transport.KeyID) (transport.Conn, error) {
			c, err := b.inner.Open(ctx, id)
			if errors.Is(err, transport.ErrNoKey) {
				return nil, cannotOpen(id, transport.ErrBusy)
			}
			return c, err
		},
	},
	{
		name: "a bare error from Open", caught: []string{"OpenFails"},
		open: func(b *mutantBus, ctx context.Context, id transport.KeyID) (transport.Conn, error) {
			c, err := b.inner.Open(ctx, id)
			if err != nil {
				return nil, errors.Unwrap(err)
			}
			return c, nil
		},
	},
	{
		name: "a failed Open keeps the key", caught: []string{"OpenFails"},
		open: func(b *mutantBus, ctx context.Context, id transport.KeyID) (transport.Conn, error) {
			c, err := b.inner.Open(ctx, id)
			if err != nil {
				b.setOpened(id, c)
			}
			b.mu.Lock()
			defer b.mu.Unlock()
			if _, kept := b.conns[id]; kept && err == nil {
				return nil, errors.Join(cannotOpen(id, transport.ErrBusy), c.Close())
			}
			return c, err
		},
	},
}
