package ledger

import (
	"time"

	"golang.org/x/sys/unix"
)

// sinceBoot is the time since the computer started, with sleep.
func sinceBoot() (time.Duration, bool) {
	var t unix.Timespec
	err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &t)
	return time.Duration(t.Nano()), err == nil
}
