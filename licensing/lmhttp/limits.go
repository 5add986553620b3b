package lmhttp

import (
	"context"
	"net/http"
	"time"

	"golang.org/x/sync/semaphore"

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
type limits struct{ large, lists *semaphore.Weighted }

func newLimits() limits {
	return limits{semaphore.NewWeighted(maxLargeBodies), semaphore.NewWeighted(maxLists)}
}

// wait waits a short while for one of those that may be at a time. The call lets
// go of it at its end.
func (c *call) wait(ctx context.Context, among *semaphore.Weighted) error {
	ctx, cancel := context.WithTimeout(ctx, admitWithin)
	defer cancel()
	if among.Acquire(ctx, 1) != nil {
		return &refusal{
			http.StatusServiceUnavailable, licensing.RequestFailed, "too many requests of this size are under way; nothing happened",
			"Ask again later.",
		}
	}
	c.held = append(c.held, among)
	return nil
}

// end lets go of what the call holds.
func (c *call) end() {
	for _, s := range c.held {
		s.Release(1)
	}
	if c.cancel != nil {
		c.cancel()
	}
}
