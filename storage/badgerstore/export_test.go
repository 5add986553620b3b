package badgerstore

import (
	"context"
	"time"
)

// FreeSpace is how many bytes may be written on the disk of dir.
func FreeSpace(dir string) (uint64, error) { return freeSpace(dir) }

// SetPatience is how long Close waits for Badger.
func (s *Store) SetPatience(d time.Duration) { s.patience = d }

// AwaitBadger waits until Badger has ended, after a Close that gave up on it.
func (s *Store) AwaitBadger() error { return <-s.ended }

// Collect is a round of the collector, and says whether it gave a file back.
func (s *Store) Collect() bool { return s.collectFile(context.Background()) }

// Compact drops what was overwritten and deleted, which Badger does in its own
// time.
func (s *Store) Compact() error { return s.db.Flatten(1) }
