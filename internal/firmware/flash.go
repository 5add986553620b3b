package firmware

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
)

// Flash is memory in pages that keeps its content without power. An erased byte
// is 0xFF; it can be programmed once, then only erasing its whole page makes it
// 0xFF again, and a page takes a limited number of erases. What Program and
// Erase did is durable when they return nil. When the power is lost in the
// middle of either, the bytes it was writing hold anything afterwards, and all
// others what they held before.
//
// A Flash need not be safe for concurrent use.
type Flash interface {
	// Size tells how many pages there are and how many bytes each has.
	Size() (pages, pageSize int)
	// Read fills b from the page's bytes at offset on.
	Read(page, offset int, b []byte) error
	// Program writes b to erased bytes of one page.
	Program(page, offset int, b []byte) error
	// Erase makes all bytes of a page 0xFF. It fails with [ErrWornOut], and
	// does nothing, when no erase is left.
	Erase(page int) error
	// ErasesLeft tells how many more erases a page takes.
	ErasesLeft(page int) (uint32, error)
}

// Errors that those of a [Flash] and of this package wrap.
var (
	ErrWornOut        = errors.New("flash is worn out")
	ErrNoPower        = errors.New("flash has no power")
	ErrDamaged        = errors.New("flash is damaged")
	ErrLocked         = errors.New("file is in use, by another process or by this one")
	ErrBoundElsewhere = errors.New("file belongs to another computer")
)

// Geometry is the shape of a flash.
type Geometry struct {
	Pages     int
	PageSize  int    // in bytes
	Endurance uint32 // erases that each page takes
}

// KeyGeometry is the shape of a license key's flash: identity, two pool
// licenses, and a log for about two hundred million checkpoints.
var KeyGeometry = Geometry{Pages: 68, PageSize: 4096, Endurance: 100_000}

// AnchorGeometry is the shape of the flash of a key that is only an anchor, over
// a medium that does not wear.
var AnchorGeometry = Geometry{Pages: 8, PageSize: 4096, Endurance: 1<<32 - 1}

// Bounds on what a file may claim to be.
const (
	maxPages    = 4096
	maxPageSize = 64 << 10
)

func (g Geometry) check() error {
	if g.Pages < 4 || g.Pages > maxPages || g.PageSize < 256 || g.PageSize > maxPageSize {
		return fmt.Errorf("%w: %d pages of %d bytes", ErrDamaged, g.Pages, g.PageSize)
	}
	return nil
}

// Memory is a [Flash] that lasts as long as the program. It is not safe for
// concurrent use.
type Memory struct {
	geometry Geometry
	pages    [][]byte
	left     []uint32
}

// NewMemory makes an erased flash.
func NewMemory(g Geometry) *Memory {
	m := &Memory{geometry: g, pages: make([][]byte, g.Pages), left: make([]uint32, g.Pages)}
	for i := range m.pages {
		m.pages[i] = bytes.Repeat([]byte{0xFF}, g.PageSize)
		m.left[i] = g.Endurance
	}
	return m
}

// Clone gives an independent flash with the content of now.
func (m *Memory) Clone() *Memory {
	c := &Memory{geometry: m.geometry, pages: make([][]byte, len(m.pages)), left: slices.Clone(m.left)}
	for i, p := range m.pages {
		c.pages[i] = bytes.Clone(p)
	}
	return c
}

// Size implements [Flash].
func (m *Memory) Size() (pages, pageSize int) { return m.geometry.Pages, m.geometry.PageSize }

// Read implements [Flash].
func (m *Memory) Read(page, offset int, b []byte) error {
	if err := within(m, page, offset, len(b)); err != nil {
		return err
	}
	copy(b, m.pages[page][offset:])
	return nil
}

// Program implements [Flash].
func (m *Memory) Program(page, offset int, b []byte) error {
	if err := within(m, page, offset, len(b)); err != nil {
		return err
	}
	target := m.pages[page][offset:][:len(b)]
	if !blank(target) {
		return notErased(page, offset)
	}
	copy(target, b)
	return nil
}

// Erase implements [Flash].
func (m *Memory) Erase(page int) error {
	if err := within(m, page, 0, 0); err != nil {
		return err
	}
	if m.left[page] == 0 {
		return wornOut(page)
	}
	m.left[page]--
	fill(m.pages[page])
	return nil
}

// ErasesLeft implements [Flash].
func (m *Memory) ErasesLeft(page int) (uint32, error) {
	if err := within(m, page, 0, 0); err != nil {
		return 0, err
	}
	return m.left[page], nil
}

func within(f Flash, page, offset, n int) error {
	if pages, size := f.Size(); page < 0 || page >= pages || offset < 0 || offset > size || n > size-offset {
		return fmt.Errorf("flash: no bytes %d to %d on page %d", offset, offset+n, page)
	}
	return nil
}

func notErased(page, offset int) error {
	return fmt.Errorf("flash: page %d is not erased at %d", page, offset)
}

func wornOut(page int) error { return fmt.Errorf("page %d: %w", page, ErrWornOut) }

func blank(b []byte) bool {
	for _, c := range b {
		if c != 0xFF {
			return false
		}
	}
	return true
}

func fill(b []byte) {
	for i := range b {
		b[i] = 0xFF
	}
}
