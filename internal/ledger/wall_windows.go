package ledger

import (
	"time"

	"golang.org/x/sys/windows"
)

// sinceBoot is the time since the computer started, with sleep (GetTickCount64).
func sinceBoot() (time.Duration, bool) { return windows.DurationSinceBoot(), true }
