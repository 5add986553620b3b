package ledger

import "time"

// System is the clocks of this computer. The steady one counts sleep wherever
// the operating system has such a clock.
func System() Wall {
	if _, ok := sinceBoot(); ok {
		return system{}
	}
	return Process()
}

type system struct{}

func (system) Now() time.Time { return time.Now() }

func (system) Elapsed() time.Duration {
	// It was there when System looked, and is not taken away.
	d, _ := sinceBoot()
	return d
}

// Process is the clocks that Go itself keeps. The steady one may stand still
// while the computer sleeps, so that sleep looks like a step of the wall; under
// testing/synctest both are the test's.
func Process() Wall { return process{time.Now()} }

type process struct{ start time.Time }

func (process) Now() time.Time           { return time.Now() }
func (p process) Elapsed() time.Duration { return time.Since(p.start) }
