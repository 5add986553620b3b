package badgerstore

import (
	"path/filepath"

	"golang.org/x/sys/windows"
)

// freeSpace is how many bytes this process may still write on the disk of dir.
func freeSpace(dir string) (uint64, error) {
	name, err := windows.UTF16PtrFromString(dir)
	if err != nil {
		return 0, err
	}
	var free uint64
	err = windows.GetDiskFreeSpaceEx(name, &free, nil, nil)
	return free, err
}

// lockDir takes dir for this Store alone: it holds a file that nobody else can
// open meanwhile, and that is gone when the process is.
func lockDir(dir string) (unlock func() error, err error) {
	name, err := windows.UTF16PtrFromString(filepath.Join(dir, lockName))
	if err != nil {
		return nil, err
	}
	const alone = 0
	lock, err := windows.CreateFile(name, windows.GENERIC_WRITE|windows.DELETE, alone, nil, windows.OPEN_ALWAYS,
		windows.FILE_ATTRIBUTE_TEMPORARY|windows.FILE_FLAG_DELETE_ON_CLOSE, 0)
	if err == windows.ERROR_SHARING_VIOLATION {
		return nil, ErrLocked
	}
	if err != nil {
		return nil, err
	}
	return func() error { return windows.CloseHandle(lock) }, nil
}

// syncDir has nothing to do: Windows keeps the names in a directory durable by
// itself and has no call for it.
func syncDir(string) error { return nil }
