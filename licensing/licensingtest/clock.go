package licensingtest

import (
	"sync"
	"time"
)

// Clock is the time of a world. It stands still until it is turned. It
// implements licensing.Clock and is safe for concurrent use.
type Clock struct {
	mu      sync.Mutex
	wall    time.Time
	elapsed time.Duration
}

// Now is what the wall clock shows.
func (c *Clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.wall
}

// Elapsed is how much time has really passed.
func (c *Clock) Elapsed() time.Duration {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.elapsed
}

// Turn lets time pass.
func (c *Clock) Turn(d time.Duration) {
	if d < 0 {
		panic("licensingtest: time does not pass backwards; use Shift to set the wall clock")
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.wall = c.wall.Add(d)
	c.elapsed += d
}

// Shift sets the wall clock forward or back while no time passes, as somebody
// does who wants to cheat.
func (c *Clock) Shift(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.wall = c.wall.Add(d)
}
