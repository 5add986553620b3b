package simulator

import "time"

// clock is a key's clock: it shows a time of its own and runs at its own rate.
type clock struct {
	dead  bool
	set   time.Time // when it was set, by the real clock
	shown time.Time // what it was set to
	rate  float64
}

func newClock() clock {
	now := time.Now()
	return clock{set: now, shown: now, rate: 1}
}

func (c clock) now() (time.Time, bool) {
	ran := time.Duration(float64(time.Since(c.set)) * c.rate)
	return c.shown.Add(ran), !c.dead
}

// SetClock sets the key's clock to t. From then on it runs at that rate: 1 is
// right, 1.0001 gains about nine seconds a day. A dead clock lives again.
func (k *Key) SetClock(t time.Time, rate float64) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.clock = clock{set: time.Now(), shown: t, rate: rate}
}

// KillClock empties the battery of the key's clock.
func (k *Key) KillClock() {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.clock.dead = true
}
