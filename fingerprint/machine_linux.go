package fingerprint

import (
	"errors"
	"io"
	"io/fs"
	"os"
)

// machineID reads systemd's id, or the older one of D-Bus where there is no
// systemd.
func machineID() (string, error) {
	return firstID(os.DirFS("/"), "etc/machine-id", "var/lib/dbus/machine-id")
}

// firstID gives the content of the first of the files that holds an id. A file
// that is missing or holds none is passed over.
func firstID(root fs.FS, names ...string) (string, error) {
	for _, name := range names {
		b, err := readSome(root, name)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return "", err
		}
		if _, ok := normalID(string(b)); ok {
			return string(b), nil
		}
	}
	return "", nil
}

// readSome reads as much of a file as an id can take, so that a file which
// never ends does no harm.
func readSome(root fs.FS, name string) ([]byte, error) {
	f, err := root.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(io.LimitReader(f, 128))
}
