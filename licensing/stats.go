package licensing

import (
	"time"

	"github.com/sojournlm/sojourn/internal/ledger"
)

// Stats counts what one ledger of the manager did since it was opened. Entries
// by Batches is the batch size, InStore by Batches the latency of a commit and
// InKey by Batches that of the key's signature.
type Stats struct {
	Key      uint64 // whose pool it is, 0 for the manager's own ledger
	Batches  uint64 // committed, each with one write to the store and one signature
	Entries  uint64 // in them
	Commands uint64 // answered with them
	InStore  time.Duration
	InKey    time.Duration
}

// Stats gives the counts of the manager's own ledger, and of each pool's by key
// id.
func (m *Manager) Stats() []Stats {
	stats := []Stats{statsOf(0, m.local)}
	for _, s := range m.rack.all() {
		if pool, _ := s.served(); pool != nil {
			stats = append(stats, statsOf(s.info.ID, pool))
		}
	}
	return stats
}

func statsOf[S ledger.State[S]](key uint64, l *ledger.Ledger[S]) Stats {
	s := l.Stats()
	return Stats{Key: key, Batches: s.Batches, Entries: s.Entries, Commands: s.Commands, InStore: s.InStore, InKey: s.InKey}
}
