package transporttest_test

import (
	"bytes"
	"context"
	"errors"
	"time"

	"github.com/sojournlm/sojourn/transport"
)

// notSent is Exchange that says of one failure that the key has not seen the request.
func notSent(which error) func(*mutantConn, context.Context, []byte) ([]byte, error) {
	return func(c *mutantConn, ctx context.Context, request []byte) ([]byte, error) {
		response, err := c.inner.Exchange(ctx, request)
		if errors.Is(err, which) {
			return nil, c.fail(which, false)
		}
		return response, err
	}
}

var exchangeMutants = []mutant{
	{
		name: "exchanges run into each other", caught: []string{"ConnConcurrent"},
		exchange: func(c *mutantConn, ctx context.Context, request []byte) ([]byte, error) {
			c.mu.Lock()
			c.request = request
			c.mu.Unlock()
			if len(request) <= transport.MaxFrame && ctx.Err() == nil {
				time.Sleep(time.Millisecond)
			}
			c.mu.Lock()
			request = c.request
			c.mu.Unlock()
			return c.inner.Exchange(ctx, request)
		},
	},
	{
		name: "an echo", caught: []string{"Exchange"},
		exchange: func(c *mutantConn, ctx context.Context, request []byte) ([]byte, error) {
			_, err := c.inner.Exchange(ctx, request)
			return bytes.Clone(request), err
		},
	},
	{
		name: "takes only short requests", caught: []string{"Exchange"},
		exchange: func(c *mutantConn, ctx context.Context, request []byte) ([]byte, error) {
			if len(request) > 4096 {
				return nil, c.fail(transport.ErrTooLong, false)
			}
			return c.inner.Exchange(ctx, request)
		},
	},
	{
		name: "one buffer for all responses", caught: []string{"Slices"},
		exchange: func(c *mutantConn, ctx context.Context, request []byte) ([]byte, error) {
			response, err := c.inner.Exchange(ctx, request)
			if err != nil {
				return nil, err
			}
			c.mu.Lock()
			defer c.mu.Unlock()
			if cap(c.reply) < len(response) {
				c.reply = make([]byte, transport.MaxFrame)
			}
			return c.reply[:copy(c.reply[:cap(c.reply)], response)], nil
		},
	},
	{
		name: "writes to the request", caught: []string{"Slices"},
		exchange: func(c *mutantConn, ctx context.Context, request []byte) ([]byte, error) {
			response, err := c.inner.Exchange(ctx, request)
			if len(request) > 0 {
				request[0] = 0
			}
			return response, err
		},
	},
	{
		name: "a bare error from Exchange", caught: []string{"ExchangeError"},
		exchange: func(c *mutantConn, ctx context.Context, request []byte) ([]byte, error) {
			response, err := c.inner.Exchange(ctx, request)
			if err != nil {
				return nil, errors.Unwrap(err)
			}
			return response, nil
		},
	},
	{
		name: "says that nothing was sent", caught: []string{"ExchangeError"},
		exchange: func(c *mutantConn, ctx context.Context, request []byte) ([]byte, error) {
			response, err := c.inner.Exchange(ctx, request)
			if e := (*transport.Error)(nil); errors.As(err, &e) {
				return nil, c.fail(e.Err, false)
			}
			return response, err
		},
	},
	{
		name: "says that nothing was sent when the response was lost", caught: []string{"Lost"},
		exchange: notSent(transport.ErrGarbled),
	},
	{
		name: "a lost response is an empty one", caught: []string{"Lost", "LostStaysUsable"},
		exchange: func(c *mutantConn, ctx context.Context, request []byte) ([]byte, error) {
			response, err := c.inner.Exchange(ctx, request)
			if errors.Is(err, transport.ErrGarbled) {
				return nil, nil
			}
			return response, err
		},
	},
	{
		name: "a lost response is a missing key", caught: []string{"Lost"},
		exchange: func(c *mutantConn, ctx context.Context, request []byte) ([]byte, error) {
			response, err := c.inner.Exchange(ctx, request)
			if errors.Is(err, transport.ErrGarbled) {
				return nil, c.fail(transport.ErrNoKey, true)
			}
			return response, err
		},
	},
	{
		name: "sends the beginning of what is too long", caught: []string{"TooLong"},
		exchange: func(c *mutantConn, ctx context.Context, request []byte) ([]byte, error) {
			return c.inner.Exchange(ctx, request[:min(len(request), transport.MaxFrame)])
		},
	},
	{
		name: "is not sure about what is too long", caught: []string{"TooLong"},
		exchange: func(c *mutantConn, ctx context.Context, request []byte) ([]byte, error) {
			if len(request) > transport.MaxFrame {
				return nil, c.fail(transport.ErrTooLong, true)
			}
			return c.inner.Exchange(ctx, request)
		},
	},
	{
		name: "does not look at its context in flight", caught: []string{"ContextEnds"},
		exchange: func(c *mutantConn, ctx context.Context, request []byte) ([]byte, error) {
			if err := ctx.Err(); err != nil {
				return nil, c.fail(err, false)
			}
			return c.inner.Exchange(context.WithoutCancel(ctx), request)
		},
	},
	{
		name: "looks at its context too late", caught: []string{"ContextEnds"},
		exchange: func(c *mutantConn, ctx context.Context, request []byte) ([]byte, error) {
			response, err := c.inner.Exchange(context.WithoutCancel(ctx), request)
			if ctx.Err() != nil {
				return nil, c.fail(ctx.Err(), true)
			}
			return response, err
		},
	},
	{
		name: "an end of its own", caught: []string{"ContextEnds"},
		exchange: func(c *mutantConn, ctx context.Context, request []byte) ([]byte, error) {
			response, err := c.inner.Exchange(ctx, request)
			if ctx.Err() != nil {
				return nil, c.fail(errors.New("interrupted"), true)
			}
			return response, err
		},
	},
	{
		name: "waits for its turn whatever the context", caught: []string{"ContextEndsInTurn"},
		exchange: func(c *mutantConn, ctx context.Context, request []byte) ([]byte, error) {
			for !c.mu.TryLock() {
				time.Sleep(time.Millisecond)
			}
			defer c.mu.Unlock()
			return c.inner.Exchange(ctx, request)
		},
	},
	{
		name: "is not sure about what waits for its turn", caught: []string{"ContextEndsInTurn"},
		exchange: func(c *mutantConn, ctx context.Context, request []byte) ([]byte, error) {
			response, err := c.inner.Exchange(ctx, request)
			if errors.Is(err, context.DeadlineExceeded) {
				return nil, c.fail(err, true)
			}
			return response, err
		},
	},
	{
		name: "sends although the context has ended", caught: []string{"ContextEnded"},
		exchange: func(c *mutantConn, ctx context.Context, request []byte) ([]byte, error) {
			if ctx.Err() != nil {
				c.inner.Exchange(context.WithoutCancel(ctx), request)
			}
			return c.inner.Exchange(ctx, request)
		},
	},
	{
		name: "late responses stay in the way", caught: []string{"Abandoned"},
		exchange: func(c *mutantConn, ctx context.Context, request []byte) ([]byte, error) {
			response, err := c.inner.Exchange(ctx, request)
			c.mu.Lock()
			defer c.mu.Unlock()
			if e := (*transport.Error)(nil); errors.As(err, &e) && e.Sent {
				c.late = append(c.late, []byte("late"))
			}
			if err == nil && len(c.late) > 0 {
				c.late = append(c.late, response)
				response, c.late = c.late[0], c.late[1:]
			}
			return response, err
		},
	},
}

var endMutants = []mutant{
	{
		name: "never knows that it has ended", caught: []string{"Ended"},
		ended: func(*mutantConn) bool { return false },
	},
	{
		name: "has ended from the first", caught: []string{"Ended"},
		ended: func(*mutantConn) bool { return true },
	},
	{
		name: "a replugged key is taken up again", caught: []string{"Unplugged"},
		exchange: func(c *mutantConn, ctx context.Context, request []byte) ([]byte, error) {
			inner := c.inner
			if again := c.bus.opened(c.id); again != nil {
				inner = again
			}
			response, err := inner.Exchange(ctx, request)
			if errors.Is(err, transport.ErrNoKey) {
				if again, err := c.bus.inner.Open(ctx, c.id); err == nil {
					c.bus.setOpened(c.id, again)
					return again.Exchange(ctx, request)
				}
			}
			return response, err
		},
	},
	{
		name: "an unplugged key is a damaged response", caught: []string{"Unplugged", "UnpluggedInFlight"},
		exchange: func(c *mutantConn, ctx context.Context, request []byte) ([]byte, error) {
			response, err := c.inner.Exchange(ctx, request)
			if errors.Is(err, transport.ErrNoKey) {
				return nil, c.fail(transport.ErrGarbled, true)
			}
			return response, err
		},
	},
	{
		name: "does not notice that the key is gone in flight", caught: []string{"UnpluggedInFlight"},
		exchange: func(c *mutantConn, ctx context.Context, request []byte) ([]byte, error) {
			began := time.Now()
			response, err := c.inner.Exchange(ctx, request)
			if errors.Is(err, transport.ErrNoKey) && time.Since(began) > 0 {
				time.Sleep(10 * time.Second)
			}
			return response, err
		},
	},
	{
		name: "says that nothing was sent when the key was pulled out", caught: []string{"UnpluggedInFlight"},
		exchange: notSent(transport.ErrNoKey),
	},
	{
		name: "says that nothing was sent when it was closed", caught: []string{"CloseInFlight"},
		exchange: notSent(transport.ErrClosed),
	},
	{
		name: "a lost response is the end", caught: []string{"LostStaysUsable"},
		exchange: func(c *mutantConn, ctx context.Context, request []byte) ([]byte, error) {
			response, err := c.inner.Exchange(ctx, request)
			if errors.Is(err, transport.ErrGarbled) {
				c.inner.Close()
			}
			return response, err
		},
	},
	{
		name: "any failure is the end", caught: []string{"StaysUsable"},
		exchange: func(c *mutantConn, ctx context.Context, request []byte) ([]byte, error) {
			c.mu.Lock()
			broken := c.broken
			c.mu.Unlock()
			if broken != nil {
				return nil, broken
			}
			response, err := c.inner.Exchange(ctx, request)
			c.mu.Lock()
			defer c.mu.Unlock()
			c.broken = err
			return response, err
		},
	},
	{
		name: "Close keeps the key", caught: []string{"Close"},
		close: func(*mutantConn) error { return nil },
	},
	{
		name: "Close waits for the exchange in flight", caught: []string{"CloseInFlight"},
		exchange: func(c *mutantConn, ctx context.Context, request []byte) ([]byte, error) {
			began := time.Now()
			response, err := c.inner.Exchange(ctx, request)
			if errors.Is(err, transport.ErrClosed) && time.Since(began) > 0 {
				time.Sleep(10 * time.Second)
			}
			return response, err
		},
	},
	{
		name: "a closed connection is a missing key", caught: []string{"Closed", "CloseInFlight"},
		exchange: func(c *mutantConn, ctx context.Context, request []byte) ([]byte, error) {
			response, err := c.inner.Exchange(ctx, request)
			if errors.Is(err, transport.ErrClosed) {
				return nil, c.fail(transport.ErrNoKey, false)
			}
			return response, err
		},
	},
	{
		name: "closing twice is an error", caught: []string{"CloseTwice"},
		close: func(c *mutantConn) error {
			if c.closed {
				return transport.ErrClosed
			}
			c.closed = true
			return c.inner.Close()
		},
	},
	{
		name: "closing twice closes what comes after", caught: []string{"CloseTwice"},
		open: func(b *mutantBus, ctx context.Context, id transport.KeyID) (transport.Conn, error) {
			c, err := b.inner.Open(ctx, id)
			if err != nil {
				return nil, err
			}
			b.setOpened(id, c)
			return &mutantConn{inner: c, bus: b, id: id}, nil
		},
		close: func(c *mutantConn) error {
			c.bus.mu.Lock()
			defer c.bus.mu.Unlock()
			return c.bus.conns[c.id].Close()
		},
	},
}
