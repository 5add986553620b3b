package badgerstore

import (
	"context"
	"log/slog"
	"math"
	"time"

	badger "github.com/dgraph-io/badger/v4"
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

// Tables is the number of tables that Badger has.
func (s *Store) Tables() int { return len(s.db.Tables()) }

// Versions is how many versions of key Badger has.
func (s *Store) Versions(key string) (n int) {
	txn := s.db.NewTransactionAt(math.MaxUint64, false)
	defer txn.Discard()
	it := txn.NewKeyIterator(storedKey(key), badger.IteratorOptions{AllVersions: true})
	defer it.Close()
	for it.Rewind(); it.Valid(); it.Next() {
		n++
	}
	return n
}

// OwnVersions opens the database in dir as Badger is by itself, which numbers
// its versions on its own.
func OwnVersions(dir string) (*badger.DB, error) {
	return badger.Open(settings(dir, slog.New(slog.DiscardHandler)))
}

// Stored is how a pair is stored.
func Stored(key, value string) (k, v []byte) { return storedKey(key), storedValue([]byte(value)) }

// NewVersions is a bookkeeping of versions without a database.
var NewVersions = newVersions

func (v *versions) Begin() uint64    { return v.begin() }
func (v *versions) End(n uint64)     { v.end(n) }
func (v *versions) Made(n uint64)    { v.made(n) }
func (v *versions) Next() (n uint64) { return v.next() }
