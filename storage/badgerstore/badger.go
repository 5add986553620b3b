package badgerstore

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"runtime/debug"
	"strings"
	"time"

	badger "github.com/dgraph-io/badger/v4"
	"github.com/dgraph-io/badger/v4/options"
	"github.com/dgraph-io/badger/v4/table"
	"github.com/dgraph-io/ristretto/v2/z"
)

// magic stands in the manifest, so that a Badger database of another program is
// not taken for a store.
const magic = 'S'<<8 | 'J'

// settings are Badger's options for a store in dir. Where they differ from its
// defaults, those lose writes, or take gigabytes for a small store.
func settings(dir string, log *slog.Logger) badger.Options {
	o := badger.DefaultOptions(dir)
	o.ExternalMagicVersion = magic
	o.Logger = logger{log}
	o.MetricsEnabled = false

	o.SyncWrites = true       // each commit, before it returns
	o.DetectConflicts = false // there are none: Updates run one at a time

	o.MemTableSize = 32 << 20 // bounds a transaction: 15 % of it
	o.NumMemtables = 3
	o.NumLevelZeroTables = 3
	o.NumLevelZeroTablesStall = 8
	o.NumCompactors = 2

	// Values of a full MiB lie in logs of their own. When one of these is full,
	// who reads from it waits for the last sync of it, as for nothing else.
	o.ValueLogFileSize = 64 << 20

	o.Compression = options.None // then blocks are read from the mapped file
	o.BlockCacheSize = 0         // and need no cache
	o.IndexCacheSize = 16 << 20

	// A damaged block shows to a reader as keys that are not there. So tables
	// are verified as a whole, and by checkTables before Badger opens them.
	o.ChecksumVerificationMode = options.NoVerification
	o.VerifyValueChecksum = true

	o.BypassLockGuard = true // the lock is held by the Store, for longer
	return o
}

// checkTables verifies every table of the store. Badger would do so in goroutines
// of its own, and there the panic over a damaged one ends the process.
func checkTables(o badger.Options) error {
	file, err := os.Open(filepath.Join(o.Dir, badger.ManifestFilename))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer file.Close()
	manifest, _, err := badger.ReplayManifestFile(file, magic, o)
	if err != nil {
		return err
	}
	for id := range manifest.Tables {
		if err := checkTable(table.NewFilename(id, o.Dir), o); err != nil {
			return err
		}
	}
	return nil
}

func checkTable(name string, o badger.Options) error {
	file, err := z.OpenMmapFile(name, os.O_RDONLY, 0)
	if err != nil {
		return err
	}
	defer file.Close(-1)
	err = guard(func() error {
		// As a table in memory, because one on disk would close the file when
		// it is damaged, but not always.
		t, err := table.OpenInMemoryTable(file.Data, 0, &table.Options{ReadOnly: true, BlockSize: o.BlockSize})
		if err != nil {
			return err
		}
		return t.VerifyChecksum()
	})
	if err != nil {
		return fmt.Errorf("%s: %w", filepath.Base(name), err)
	}
	return nil
}

// guard runs f and turns its panic into an error: Badger panics over damaged
// files and after failed writes, and reading a mapped file faults when the disk
// does not give it.
func guard(f func() error) (err error) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("panic in Badger: %s", strings.Join(strings.Fields(fmt.Sprint(p)), " "))
		}
	}()
	return f()
}

// collectEvery is the time between two looks for garbage in the value log.
const collectEvery = 10 * time.Minute

// collect gives space of the value log back from time to time, until stopped.
func (s *Store) collect(stopped context.Context) {
	defer close(s.collected)
	tick := time.NewTicker(collectEvery)
	defer tick.Stop()
	for {
		select {
		case <-stopped.Done():
			return
		case <-tick.C:
			for s.collectFile(stopped) {
			}
		}
	}
}

// collectFile rewrites one file of the value log, where one is at least half
// garbage, and says whether there may be more. It is a writer like an Update: a
// failed rewrite leaves Badger unfit for the next commit, which must not begin
// before this is known.
func (s *Store) collectFile(stopped context.Context) (more bool) {
	if s.gate.Enter(stopped) != nil {
		return false
	}
	defer s.gate.Leave()
	if s.gate.Lock(stopped) != nil {
		return false
	}
	defer s.gate.Unlock()
	if err := s.room(s.reserve / 2); err != nil {
		s.log.Warn("the value log cannot be collected", "dir", s.dir, "error", err)
		return false
	}
	err := guard(func() error { return s.db.RunValueLogGC(0.5) })
	if errors.Is(err, badger.ErrNoRewrite) {
		return false
	}
	if err == nil {
		err = s.names.sync()
	}
	if err != nil {
		s.log.Error("collecting the value log failed, the store must be opened anew", "dir", s.dir, "error", err)
		s.gate.Break(err)
		return false
	}
	return true
}

// logger is a slog.Logger as Badger wants it. What Badger calls information is
// of interest only to someone who looks for a fault in it.
type logger struct{ log *slog.Logger }

func (l logger) Errorf(format string, args ...any)   { l.print(slog.LevelError, format, args) }
func (l logger) Warningf(format string, args ...any) { l.print(slog.LevelWarn, format, args) }
func (l logger) Infof(format string, args ...any)    { l.print(slog.LevelDebug, format, args) }
func (l logger) Debugf(format string, args ...any)   { l.print(slog.LevelDebug, format, args) }

func (l logger) print(level slog.Level, format string, args []any) {
	ctx := context.Background()
	if l.log.Enabled(ctx, level) {
		l.log.Log(ctx, level, "badger: "+strings.TrimSpace(fmt.Sprintf(format, args...)))
	}
}
