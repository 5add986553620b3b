package lmhttp

import (
	"context"
	"net/http"
	"time"

	"github.com/sojournlm/sojourn/licensing"
)

const (
	// operationTime is how long an operation may take. A key that needs longer is
	// not waited for: the answer says that the outcome is not known.
	operationTime = 20 * time.Second

	// smallBody is how much of a body every request may hold, in bytes: more than
	// most operations need, and little beside what a connection costs.
	smallBody = 16 << 10

	// maxLargeBodies is how many requests may hold a larger body at a time.
	maxLargeBodies = 16

	// maxLists is how many lists may be written at a time: a client that does not
	// read holds one.
	maxLists = 256

	// admitWithin is how long a request waits to be one of them.
	admitWithin = time.Second

	// maxSearch is the longest text that is searched for, in bytes.
	maxSearch = 255
)

// limits bounds what all clients together may hold in memory.
type limits struct{ large, strangers, lists crowd }

func newLimits() limits {
	return limits{make(crowd, maxLargeBodies), make(crowd, maxLargeBodies), make(crowd, maxLists)}
}

// bodies are those who may hold a larger body. Of other managers nobody asks for a
// token, so they have a crowd of their own.
func (l limits) bodies(k kind) crowd {
	if k == peering {
		return l.strangers
	}
	return l.large
}

// crowd has room for as many as may be at a time.
type crowd chan struct{}

// wait waits a short while for one of those that may be at a time. The call lets
// go of it at its end.
func (c *call) wait(ctx context.Context, among crowd) error {
	ctx, cancel := context.WithTimeout(ctx, admitWithin)
	defer cancel()
	select {
	case among <- struct{}{}:
		c.held = append(c.held, among)
		return nil
	case <-ctx.Done():
		return &refusal{
			http.StatusServiceUnavailable, licensing.RequestFailed, "too many requests of this size are under way; nothing happened",
			"Ask again later.",
		}
	}
}

// end lets go of what the call holds.
func (c *call) end() {
	for _, among := range c.held {
		<-among
	}
	if c.cancel != nil {
		c.cancel()
	}
}
