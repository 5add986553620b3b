package badgerstore

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	badger "github.com/dgraph-io/badger/v4"
)

// makeDir makes dir and what is missing above it, for the owner only, so that
// the names survive a power cut.
func makeDir(dir string) error {
	info, err := os.Stat(dir)
	if err == nil {
		if !info.IsDir() {
			return errors.New("not a directory")
		}
		return nil
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	parent := filepath.Dir(dir)
	if parent == dir {
		return err
	}
	if err := makeDir(parent); err != nil {
		return err
	}
	if err := os.Mkdir(dir, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	return syncDir(parent)
}

// lockName is the file that some systems need for a lock.
const lockName = "LOCK"

// registrySize is the size of Badger's register of encryption keys without a
// key in it.
const registrySize = 28

// checkDir refuses a directory that is neither new nor a store. Badger would
// begin a new database beside what it does not know, delete tables that are not
// in its manifest, and end the process over some files that are none.
func checkDir(dir string) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	store, foreign := false, ""
	for _, entry := range entries {
		switch name := entry.Name(); name {
		case badger.ManifestFilename:
			store = true
		case lockName, "MANIFEST-REWRITE", "lost+found": // of a first Open that was cut short, and of a whole disk
			continue
		case badger.KeyRegistryFileName:
			// Badger reads as much as the file says a key has, up to gigabytes.
			if info, err := entry.Info(); err != nil || info.Size() > registrySize {
				return fmt.Errorf("%s is damaged, or of an encrypted database", name)
			}
			foreign = name
		default:
			foreign = name
		}
		if !entry.Type().IsRegular() {
			return fmt.Errorf("%s is not a file: the directory is not a store", entry.Name())
		}
	}
	if !store && foreign != "" {
		return fmt.Errorf("no manifest, but other files (%s): the directory is not a store, or it is damaged", foreign)
	}
	return nil
}

// dropEmptyLogs removes the log files that are empty: a power cut may leave the
// name of a new one and not its size, and Badger then refuses to open. Nothing
// was acknowledged that stood in it.
func dropEmptyLogs(dir string) error {
	for _, pattern := range []string{"*.mem", "*.vlog"} {
		logs, err := fs.Glob(os.DirFS(dir), pattern)
		if err != nil {
			return err
		}
		for _, log := range logs {
			path := filepath.Join(dir, log)
			info, err := os.Lstat(path)
			if err == nil && info.Size() == 0 {
				err = os.Remove(path)
			}
			if err != nil {
				return err
			}
		}
	}
	return nil
}

// fresh knows the log files whose names are on the disk. Badger syncs what it
// writes into a log file, but not the directory in which it has just made it.
// Both kinds of files are numbered in sequence, so that asking for the next of
// each shows a new one.
type fresh struct {
	dir       string
	mem, vlog int // the numbers of the next files
}

const (
	memName  = "%05d.mem"
	vlogName = "%06d.vlog"
)

// freshNames syncs the directory and takes stock.
func freshNames(dir string) (fresh, error) {
	f := fresh{dir: dir}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return f, err
	}
	for _, entry := range entries {
		var n int
		if _, err := fmt.Sscanf(entry.Name(), memName, &n); err == nil {
			f.mem = max(f.mem, n+1)
		} else if _, err := fmt.Sscanf(entry.Name(), vlogName, &n); err == nil {
			f.vlog = max(f.vlog, n+1)
		}
	}
	return f, syncDir(dir)
}

// sync syncs the directory when it has a new log file.
func (f *fresh) sync() error {
	grown := false
	for _, log := range []struct {
		name string
		next *int
	}{{memName, &f.mem}, {vlogName, &f.vlog}} {
		for {
			_, err := os.Lstat(filepath.Join(f.dir, fmt.Sprintf(log.name, *log.next)))
			if errors.Is(err, fs.ErrNotExist) {
				break
			}
			if err != nil {
				return err
			}
			*log.next++
			grown = true
		}
	}
	if !grown {
		return nil
	}
	return syncDir(f.dir)
}
