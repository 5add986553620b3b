package ledger

import (
	"fmt"
	"math"
	"sync"
	"time"
)

// Wall is a computer's clocks: the one on the wall, which anybody may turn, and
// a steady one. It must be safe for concurrent use.
type Wall interface {
	// Now is the time of day.
	Now() time.Time
	// Elapsed is the time since some fixed moment, steadily, counting sleep.
	Elapsed() time.Duration
}

// Moment is a reading of a [Clock].
type Moment struct {
	Unix int64 // the ledger's time, Unix seconds
	Wall int64 // what the wall clock shows, Unix seconds
	Err  error // why the wall clock is not believed, wraps ErrClock; nil when it is
}

// What a Clock allows when NewClock is given zeros.
const (
	DefaultStep = time.Hour
	DefaultGap  = 400 * 24 * time.Hour
)

// drift is the part by which the wall and the steady clock may honestly part,
// a second in seventeen minutes: more than any quartz does, and too little for
// anybody to gain by. It is how fast a Clock that is ahead falls back to the
// wall.
const drift = 1024

// latest is the last moment a Clock shows, far enough from where nanoseconds
// overflow. Nothing later is ever recorded.
var latest = time.Date(2200, 1, 1, 0, 0, 0, 0, time.UTC)

// Clock is a ledger's own time. It follows the wall clock, but never runs back,
// never stands still and does not follow a step forward that is too large to
// believe. It is safe for concurrent use.
//
// A Clock keeps two moments that go on with the steady clock. One is the time
// it shows. The other, the line, is the time that it has reason to trust: what
// the wall showed when the program began, raised by nothing but Raise. The wall
// is believed as long as it is no further than a step ahead of the line, however
// it got there, so many small steps are worth no more than one. While it is believed,
// the time is the wall's if that is later; else it goes on a little slower than
// the steady clock, so that a wall that was once ahead and was put right is met
// again. While it is not, the time goes on with the steady clock alone.
//
// A restart keeps only the mark, the last recorded time. A wall that is behind
// the mark at the start counts from the mark; the time that passed while nothing
// ran shrinks the difference. A program's clocks are siblings, which know the wall
// equally long: one that starts late believes no step that came before.
type Clock struct {
	wall      Wall
	step, gap time.Duration
	first     int64         // the wall when the program began, Unix nanoseconds
	since     time.Duration // the steady clock then

	mu      sync.Mutex
	started bool
	trusted bool          // the wall was believed since the start, which the line is then drawn from
	elapsed time.Duration // the steady clock at the last reading
	time    int64         // the time shown then, Unix nanoseconds
	line    int64         // the line then
	slack   time.Duration // how far the wall may have drifted from the line since it was drawn
}

// NewClock is the first clock of a program. It believes a step forward of wall of up to
// step from now on and of up to gap between the mark and now, neither negative. Zeros
// mean [DefaultStep] and [DefaultGap].
func NewClock(wall Wall, step, gap time.Duration) *Clock {
	if step == 0 {
		step = DefaultStep
	}
	if gap == 0 {
		gap = DefaultGap
	}
	since := wall.Elapsed() // before the wall: a sleep between the two is then no step
	return &Clock{wall: wall, step: step, gap: gap, first: nanos(wall.Now()), since: since}
}

// Sibling is a clock for another ledger of the same program, not started.
func (c *Clock) Sibling() *Clock {
	return &Clock{wall: c.wall, step: c.step, gap: c.gap, first: c.first, since: c.since}
}

// Start begins, or begins again after a restart, at the last recorded time: Unix
// seconds, or 0 where nothing was recorded. The clock shows no earlier time from
// then on. It believes the wall when that was at most gap ahead as the program began
// and did not make a larger step since.
func (c *Clock) Start(mark int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.started {
		c.advance()
	}
	c.start(mark)
}

func (c *Clock) start(mark int64) {
	wall := nanos(c.wall.Now())
	c.started, c.elapsed = true, c.wall.Elapsed()
	c.time = max(c.time, nanos(time.Unix(mark, 0)))
	c.line, c.slack, c.trusted = c.time, 0, false
	known := max(0, c.elapsed-c.since)
	unturned := min(c.first+int64(known), nanos(latest)) // what the wall shows if nobody turned it
	// Without a mark there is nothing to compare with: what it showed is the beginning.
	if c.time == 0 || time.Duration(c.first-c.time) <= c.gap {
		c.trusted = true
		c.time = max(c.time, min(wall, unturned))
		if unturned > c.line {
			c.line, c.slack = unturned, known/drift
		}
	}
	c.read()
}

// Now is the time. A clock that was not started begins at the wall's.
func (c *Clock) Now() Moment {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.started {
		c.start(0)
	}
	return c.read()
}

// Raise tells the clock that it is at least unix, from a source that is trusted:
// the key's own clock or the vendor's signature. It also brings back belief in a
// wall that is not further than a step ahead of it.
func (c *Clock) Raise(unix int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.started {
		c.start(0)
	}
	c.read()
	at := nanos(time.Unix(unix, 0))
	c.time = max(c.time, at)
	if at > c.line {
		c.line, c.slack, c.trusted = at, 0, true
	}
	c.read()
}

// read advances everything to now and says what it shows.
func (c *Clock) read() Moment {
	wall := c.advance()
	tolerance := c.step + min(c.slack, math.MaxInt64-c.step)
	if !c.trusted {
		tolerance = c.gap
	}
	var err error
	ahead := time.Duration(wall - c.line)
	switch {
	case ahead > tolerance:
		err = fmt.Errorf("%w: it is %v ahead of the last moment that was certain, where at most %v is believed", ErrClock, ahead.Round(time.Second), tolerance.Round(time.Second))
	case !c.trusted:
		c.line, c.slack, c.trusted = max(c.line, wall), 0, true
		c.time = max(c.time, wall)
	default:
		c.time = max(c.time, wall)
	}
	return Moment{Unix: c.time / int64(time.Second), Wall: wall / int64(time.Second), Err: err}
}

// advance moves time and line on by what has elapsed, the time a little slower
// when it is ahead of the wall, and gives the wall.
func (c *Clock) advance() (wall int64) {
	// The wall first: a sleep between the two is then elapsed time, not a step.
	wall = nanos(c.wall.Now())
	elapsed := c.wall.Elapsed()
	gone := max(0, elapsed-c.elapsed)
	c.elapsed = elapsed
	c.line = min(c.line+int64(gone), nanos(latest))
	c.slack += gone / drift
	next := min(c.time+int64(gone), nanos(latest))
	if next > wall {
		next = max(wall, next-int64(gone/drift))
	}
	c.time = next
	return wall
}

// nanos is t in Unix nanoseconds, between 1970 and latest.
func nanos(t time.Time) int64 {
	switch {
	case t.Unix() < 0:
		return 0
	case t.After(latest):
		return latest.UnixNano()
	}
	return t.UnixNano()
}
