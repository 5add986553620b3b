// Package badgerstore keeps a [storage.Store] in a directory on disk, in a Badger
// database.
//
// Every Update is synced to the disk before it returns, and no View waits for
// that. A store refuses to commit below a reserve of free space, because
// Badger's memory-mapped files would end the process on a full disk.
package badgerstore

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"sync"
	"time"

	badger "github.com/dgraph-io/badger/v4"

	"github.com/sojournlm/sojourn/storage"
)

// ErrLocked says that the directory is in use, by another process or by a Store
// of this one that is not closed.
var ErrLocked = errors.New("the directory is in use")

// Options are the choices in opening a store.
type Options struct {
	// Logger gets what Badger has to say and what befalls the store in the
	// background. nil is silence.
	Logger *slog.Logger

	// Reserve is the number of bytes that must be free on the disk for a
	// commit; with less, Update refuses with storage.ErrFull. Open and Close need
	// half of it. 0 is 256 MiB, a negative number is no reserve.
	Reserve int64
}

const defaultReserve = 256 << 20

// A Store is a [storage.Store] in a directory. It is safe for concurrent use.
type Store struct {
	dir     string
	db      *badger.DB
	gate    *storage.Gate
	log     *slog.Logger
	reserve int64
	version *versions
	names   fresh // the files whose names are on the disk; guarded by the gate's lock

	stop      context.CancelFunc // ends the collector
	collected chan struct{}      // closed when the collector has ended
	close     func() error       // shut, once
	patience  time.Duration      // how long shut waits for Badger
	ended     chan error         // gets what Badger said at its end
	unlock    func() error       // gives the directory free
}

// Open opens the store in dir. It makes the directory, for its owner only, where
// there is none.
//
// The error wraps [ErrLocked] when the directory is in use, and
// [storage.ErrFull] when there is too little room on its disk. A directory with
// other contents, or with a damaged store, is refused as it is.
func Open(dir string, opts *Options) (*Store, error) {
	s, err := open(dir, opts)
	if err != nil {
		return nil, &storage.Error{Op: "open", Key: dir, Err: err}
	}
	return s, nil
}

func open(dir string, opts *Options) (*Store, error) {
	if opts == nil {
		opts = new(Options)
	}
	s := &Store{
		dir:       dir,
		gate:      storage.NewGate(),
		log:       opts.Logger,
		reserve:   opts.Reserve,
		collected: make(chan struct{}),
		patience:  time.Minute,
		ended:     make(chan error, 1),
	}
	if s.log == nil {
		s.log = slog.New(slog.DiscardHandler)
	}
	if s.reserve == 0 {
		s.reserve = defaultReserve
	}
	s.close = sync.OnceValue(s.shut)

	if err := makeDir(dir); err != nil {
		return nil, err
	}
	var err error
	if s.unlock, err = lockDir(dir); err != nil {
		return nil, err
	}
	if err := s.start(); err != nil {
		return nil, errors.Join(err, s.unlock())
	}
	return s, nil
}

// start opens the database in the locked directory and starts the collector.
func (s *Store) start() error {
	// Opening writes too: it flushes up to three logs of 32 MiB into tables.
	if err := s.room(s.reserve / 2); err != nil {
		return err
	}
	if err := checkDir(s.dir); err != nil {
		return err
	}
	if err := dropEmptyLogs(s.dir); err != nil {
		return err
	}
	o := settings(s.dir, s.log)
	if err := checkTables(o); err != nil {
		return fmt.Errorf("the store cannot be read, is damaged, or is of another program: %w", err)
	}
	err := guard(func() (err error) {
		s.db, err = badger.OpenManaged(o)
		return err
	})
	if err != nil {
		return fmt.Errorf("the store cannot be read, is damaged, or is of another program: %w", err)
	}
	if s.names, err = freshNames(s.dir); err != nil {
		return errors.Join(err, s.db.Close())
	}
	s.version = newVersions(s.db.MaxVersion(), s.db.SetDiscardTs)
	stopped, stop := context.WithCancel(context.Background())
	s.stop = stop
	go s.collect(stopped)
	return nil
}

// View implements [storage.Store].
func (s *Store) View(ctx context.Context, fn func(storage.Reader) error) error {
	if err := s.gate.Enter(ctx); err != nil {
		return &storage.Error{Op: "view", Err: err}
	}
	defer s.gate.Leave()
	tx := s.begin(ctx, false)
	defer tx.end()
	return fn(tx)
}

// Update implements [storage.Store].
func (s *Store) Update(ctx context.Context, fn func(storage.Writer) error) error {
	if err := s.gate.Enter(ctx); err != nil {
		return &storage.Error{Op: "update", Err: err}
	}
	defer s.gate.Leave()
	// Badger would let Updates run at once and refuse conflicts afterwards, or,
	// without its detection, lose some. One at a time needs neither.
	if err := s.gate.Lock(ctx); err != nil {
		return &storage.Error{Op: "update", Err: err}
	}
	defer s.gate.Unlock()

	tx := &writer{s.begin(ctx, true)}
	defer tx.end()
	if err := fn(tx); err != nil {
		return err
	}
	tx.finish()
	if tx.spoiled != nil {
		return tx.spoiled
	}
	if err := s.commit(ctx, tx.txn); err != nil {
		return &storage.Error{Op: "update", Err: err}
	}
	return nil
}

// commit makes txn durable. It is called with the lock.
func (s *Store) commit(ctx context.Context, txn *badger.Txn) error {
	if err := s.gate.Check(ctx); err != nil {
		return err
	}
	if err := s.room(s.reserve); err != nil {
		return err
	}
	version := s.version.next()
	err := guard(func() error { return txn.CommitAt(version, nil) })
	if errors.Is(err, badger.ErrTxnTooBig) {
		return tooLarge(err)
	}
	if err == nil {
		err = s.names.sync()
	}
	if err != nil {
		// After a failed sync the write may be on the disk or not, and stays
		// readable here either way; and the next write may find Badger without
		// a memtable, which ends the process. So nothing is asked of it again.
		s.log.Error("commit failed, the store must be opened anew", "dir", s.dir, "error", err)
		return s.gate.Break(err)
	}
	s.version.made(version)
	return nil
}

// Close implements [storage.Store]. It returns an error when Badger could not
// put its house in order, which loses nothing that was acknowledged: the next
// Open does it. With less than half of the reserve free on the disk it is not
// even tried, and the error wraps [storage.ErrFull]; when a broken disk does not
// let Badger come to an end within a minute, Close gives up on it. Either way the
// directory stays locked until the process ends, and closing once more gives the
// same error. A commit that the disk has begun and does not end is waited for
// without a bound, as all that runs.
func (s *Store) Close() error { return s.close() }

func (s *Store) shut() error {
	s.stop()
	s.gate.Shut()
	<-s.collected
	// Closing writes what is in memory into a table, as Open does.
	if err := s.room(s.reserve / 2); errors.Is(err, storage.ErrFull) {
		return &storage.Error{Op: "close", Key: s.dir, Err: err}
	}
	go func() { s.ended <- errors.Join(guard(s.db.Close), s.unlock()) }()
	patience := time.NewTimer(s.patience)
	defer patience.Stop()
	var err error
	select {
	case err = <-s.ended:
	case <-patience.C:
		err = errors.New("the database does not come to an end; its directory stays locked until the process ends")
	}
	if err != nil {
		return &storage.Error{Op: "close", Key: s.dir, Err: err}
	}
	return nil
}

// room says whether at least need bytes are free on the disk.
func (s *Store) room(need int64) error {
	if need <= 0 {
		return nil
	}
	free, err := freeSpace(s.dir)
	if err != nil {
		return fmt.Errorf("asking for the free space: %w", err)
	}
	if free < uint64(need) {
		return fmt.Errorf("%w: %d MiB on the disk of %s, where %d are kept in reserve",
			storage.ErrFull, free>>20, s.dir, int64(math.Ceil(float64(need)/(1<<20))))
	}
	return nil
}
