package ledger

import (
	"time"

	"golang.org/x/sys/unix"
)

// sinceBoot is the time since the computer started, with sleep: on this system
// both monotonic clocks count it, and the raw one is not turned either.
func sinceBoot() (time.Duration, bool) {
	var t unix.Timespec
	err := unix.ClockGettime(unix.CLOCK_MONOTONIC_RAW, &t)
	return time.Duration(t.Nano()), err == nil
}
