package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// Where things are in the directory of a run, beside the two computers'.
const (
	vendorFile   = "vendor.public" // the vendor's public key, which every program of his has compiled in
	carriedDir   = "carried"
	backupDir    = "LAPTOP-store-of-yesterday"
	finishedFile = "finished" // written last
)

// The files that somebody carries.
const (
	poolFile        = keyName + ".license"
	fingerprintFile = "LAPTOP.fingerprint"
	seatFile        = "LAPTOP.license"
	returnFile      = keyName + "-return.license"
)

// maxCarried is more than any file has that a manager writes.
const maxCarried = 1 << 20

// emptyDir gives a directory to tell the story in.
func emptyDir(dir string) (string, error) {
	if dir == "" {
		return os.MkdirTemp("", "sojourn-")
	}
	found, err := os.ReadDir(dir)
	switch {
	case errors.Is(err, os.ErrNotExist):
		return dir, os.MkdirAll(dir, 0o700)
	case err == nil && hasFile(dir, finishedFile):
		return "", fmt.Errorf("%s is not empty; name another directory, or -replay this one", dir)
	case err == nil && len(found) > 0:
		return "", fmt.Errorf("%s is not empty; name another directory", dir)
	}
	return dir, err
}

// checkWhole refuses a directory in which no run was told to its end, or of
// which something is gone. Opening would make new what is missing, and what is
// shown by that would mean nothing.
func checkWhole(dir string) error {
	if _, err := os.ReadDir(dir); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	if !hasFile(dir, finishedFile) {
		if !hasFile(dir, vendorFile) {
			return fmt.Errorf("%s is not the directory of an earlier run", dir)
		}
		return fmt.Errorf("that run did not finish: %s has no file %q; tell the story again in another directory", dir, finishedFile)
	}
	var missing []string
	for _, name := range []string{
		vendorFile,
		filepath.Join(carriedDir, poolFile),
		filepath.Join(carriedDir, fingerprintFile),
		filepath.Join(carriedDir, seatFile),
		filepath.Join(carriedDir, returnFile),
		filepath.Join("OFFICE", keyFile),
		filepath.Join("OFFICE", anchorFile),
		filepath.Join("LAPTOP", anchorFile),
	} {
		if !hasFile(dir, name) {
			missing = append(missing, name)
		}
	}
	for _, name := range []string{
		filepath.Join("OFFICE", storeDir),
		filepath.Join("LAPTOP", storeDir),
		backupDir,
	} {
		if found, err := os.ReadDir(filepath.Join(dir, name)); err != nil || len(found) == 0 {
			missing = append(missing, name)
		}
	}
	if len(missing) > 0 {
		return fmt.Errorf("%s is not whole, and nothing of it was opened; missing or empty: %s", dir, strings.Join(missing, ", "))
	}
	return nil
}

// hasFile reports whether dir has a file of this name with something in it.
func hasFile(dir, name string) bool {
	info, err := os.Stat(filepath.Join(dir, name))
	return err == nil && info.Mode().IsRegular() && info.Size() > 0
}

// carriedFile is a file that is presented again.
type carriedFile struct {
	name    string
	content []byte
}

// readCarried reads what lies among the carried files, and says of everything
// that cannot be presented why it is passed over.
func readCarried(dir string) (files []carriedFile, passed []string, err error) {
	found, err := os.ReadDir(filepath.Join(dir, carriedDir))
	if err != nil {
		return nil, nil, err
	}
	for _, entry := range found {
		name := filepath.Join(dir, carriedDir, entry.Name())
		info, err := os.Stat(name)
		switch {
		case err != nil:
			passed = append(passed, err.Error())
		case !info.Mode().IsRegular():
			passed = append(passed, entry.Name()+" is not a file")
		case info.Size() == 0:
			passed = append(passed, entry.Name()+" is empty")
		case info.Size() > maxCarried:
			passed = append(passed, fmt.Sprintf("%s has %d bytes, more than any file that is carried", entry.Name(), info.Size()))
		default:
			content, err := os.ReadFile(name)
			if err != nil {
				return nil, nil, err
			}
			files = append(files, carriedFile{entry.Name(), content})
		}
	}
	return files, passed, nil
}
