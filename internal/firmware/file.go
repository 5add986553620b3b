package firmware

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
)

// File is a [Flash] in a file. Only one process at a time can have it open. It
// is not safe for concurrent use.
//
// After a failed write nobody knows what the disk holds; then every call fails
// until the file is opened afresh.
type File struct {
	file     *os.File
	geometry Geometry
	failed   error
}

// The file begins with a head: the magic, pages, page size, endurance, binding
// and a hash over these. The pages follow, each after 4 bytes that tell the
// erases it has left.
const (
	fileMagic = "sojourn flash 1\n"
	fileHead  = 512
	pageHead  = 4
)

// OpenFile opens the flash in the file at path, or makes it with that geometry
// and binding where there is none. Binding names the computer the file belongs
// to, all zero for any. An error wraps [ErrLocked] while the file is open
// elsewhere, [ErrBoundElsewhere] where its binding is another, and [ErrDamaged]
// where it is no whole flash.
func OpenFile(path string, g Geometry, binding [32]byte) (*File, error) {
	if err := g.check(); err != nil {
		return nil, err
	}
	file, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("key file: %w", err)
	}
	f := &File{file: file, geometry: g}
	if err := f.open(binding); err != nil {
		file.Close()
		return nil, fmt.Errorf("key file %s: %w", path, err)
	}
	return f, nil
}

func (f *File) open(binding [32]byte) error {
	if err := lock(f.file); err != nil {
		return err
	}
	made, err := f.made()
	if err != nil {
		return err
	}
	if !made {
		if err := f.make(binding); err != nil {
			return err
		}
	}
	return f.readHead(binding)
}

// made reports whether the file was ever finished. The head is one sector, which
// disks write whole or not at all, and is written last: a file without one never
// was, unless its first page says otherwise.
func (f *File) made() (bool, error) {
	b := make([]byte, fileHead+pageHead+identityPeek)
	n, err := f.file.ReadAt(b, 0)
	if err != nil && err != io.EOF {
		return false, err
	}
	top, page := b[:min(n, fileHead)], b[min(n, fileHead+pageHead):n]
	switch {
	case bytes.HasPrefix(top, []byte(fileMagic)):
		return true, nil
	case zero(top) && (zero(page) || blank(page)):
		return false, nil
	}
	return false, fmt.Errorf("%w: it is no key file, or has lost its head", ErrDamaged)
}

// identityPeek is how many bytes of the first page tell that it was written to.
const identityPeek = 64

func zero(b []byte) bool {
	for _, c := range b {
		if c != 0 {
			return false
		}
	}
	return true
}

func (f *File) make(binding [32]byte) error {
	// One that was there, and empty, may be open to everybody; a private key comes in.
	if err := f.file.Chmod(0o600); err != nil {
		return err
	}
	if err := f.file.Truncate(0); err != nil {
		return err
	}
	page := make([]byte, pageHead+f.geometry.PageSize)
	binary.BigEndian.PutUint32(page, f.geometry.Endurance)
	fill(page[pageHead:])
	for i := range f.geometry.Pages {
		if _, err := f.file.WriteAt(page, f.offset(i)); err != nil {
			return err
		}
	}
	if err := f.file.Sync(); err != nil {
		return err
	}
	if _, err := f.file.WriteAt(head(f.geometry, binding), 0); err != nil {
		return err
	}
	if err := f.file.Sync(); err != nil {
		return err
	}
	return syncDir(filepath.Dir(f.file.Name()))
}

func head(g Geometry, binding [32]byte) []byte {
	b := []byte(fileMagic)
	b = binary.BigEndian.AppendUint32(b, uint32(g.Pages))
	b = binary.BigEndian.AppendUint32(b, uint32(g.PageSize))
	b = binary.BigEndian.AppendUint32(b, g.Endurance)
	b = append(b, binding[:]...)
	s := sha256.Sum256(b)
	b = append(b, s[:]...)
	return append(b, make([]byte, fileHead-len(b))...)
}

// readHead holds the file to its own head, whatever geometry was asked for.
func (f *File) readHead(binding [32]byte) error {
	b := make([]byte, fileHead)
	if _, err := f.file.ReadAt(b, 0); err != nil {
		return fmt.Errorf("%w: its head is cut short", ErrDamaged)
	}
	fields := b[len(fileMagic):]
	g := Geometry{
		Pages:     int(binary.BigEndian.Uint32(fields)),
		PageSize:  int(binary.BigEndian.Uint32(fields[4:])),
		Endurance: binary.BigEndian.Uint32(fields[8:]),
	}
	bound := [32]byte(fields[12:])
	if !bytes.Equal(b, head(g, bound)) {
		return fmt.Errorf("%w: its head does not add up", ErrDamaged)
	}
	if err := g.check(); err != nil {
		return err
	}
	if bound != binding {
		return ErrBoundElsewhere
	}
	f.geometry = g
	info, err := f.file.Stat()
	if err != nil {
		return err
	}
	if want := f.offset(g.Pages); info.Size() != want {
		return fmt.Errorf("%w: it has %d bytes, want %d", ErrDamaged, info.Size(), want)
	}
	return nil
}

func (f *File) offset(page int) int64 {
	return fileHead + int64(page)*int64(pageHead+f.geometry.PageSize)
}

// Close lets others open the file. Closing twice is harmless.
func (f *File) Close() error {
	if err := f.file.Close(); err != nil && !errors.Is(err, os.ErrClosed) {
		return err
	}
	return nil
}

// Size implements [Flash].
func (f *File) Size() (pages, pageSize int) { return f.geometry.Pages, f.geometry.PageSize }

// Read implements [Flash].
func (f *File) Read(page, offset int, b []byte) error {
	if err := f.ready(page, offset, len(b)); err != nil {
		return err
	}
	_, err := f.file.ReadAt(b, f.offset(page)+pageHead+int64(offset))
	return err
}

// Program implements [Flash].
func (f *File) Program(page, offset int, b []byte) error {
	old := make([]byte, len(b))
	if err := f.Read(page, offset, old); err != nil {
		return err
	}
	if !blank(old) {
		return notErased(page, offset)
	}
	return f.write(f.offset(page)+pageHead+int64(offset), b)
}

// Erase implements [Flash].
func (f *File) Erase(page int) error {
	left, err := f.ErasesLeft(page)
	if err != nil {
		return err
	}
	if left == 0 {
		return wornOut(page)
	}
	b := make([]byte, pageHead+f.geometry.PageSize)
	binary.BigEndian.PutUint32(b, left-1)
	fill(b[pageHead:])
	return f.write(f.offset(page), b)
}

// ErasesLeft implements [Flash].
func (f *File) ErasesLeft(page int) (uint32, error) {
	if err := f.ready(page, 0, 0); err != nil {
		return 0, err
	}
	var b [pageHead]byte
	_, err := f.file.ReadAt(b[:], f.offset(page))
	return binary.BigEndian.Uint32(b[:]), err
}

func (f *File) ready(page, offset, n int) error {
	if f.failed != nil {
		return fmt.Errorf("an earlier write failed: %w", f.failed)
	}
	return within(f, page, offset, n)
}

func (f *File) write(at int64, b []byte) error {
	_, err := f.file.WriteAt(b, at)
	if err == nil {
		err = syncData(f.file)
	}
	f.failed = err
	return err
}
