package ledger

import "time"

// Stats counts what a ledger did since it was opened.
type Stats struct {
	Batches  uint64        // committed
	Entries  uint64        // in them
	Commands uint64        // answered with them
	InStore  time.Duration // spent in commits of the store
	InKey    time.Duration // spent in advances of the key
}

// Stats is the counts as of now.
func (l *Ledger[S]) Stats() Stats {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.stats
}

func (l *Ledger[S]) count(add func(*Stats)) {
	l.mu.Lock()
	defer l.mu.Unlock()
	add(&l.stats)
}
