package firmware

import (
	"bytes"
	"encoding/binary"
	"errors"
	"math"
)

// position is what a checkpoint says, as it lies in flash.
type position struct {
	Seq     uint64
	Head    [32]byte
	Horizon int64
}

const positionSize = 8 + 32 + 8 + sumSize

// positionLog keeps the newest position, and spreads the writes evenly over its
// pages: each position goes into the next slot, each full page is followed by
// the next page of the ring, freshly erased. Batch numbers only rise, so the
// highest whole one is the newest. The page that holds it is never erased.
type positionLog struct {
	flash       Flash
	first, size int // pages
	slots       int // per page

	newest     position // zero where there is none
	held       int      // the page it is on, -1 where there is none
	page, slot int      // the next slot to write, maybe not blank or behind its page's end
}

// openLog finds the newest position on the pages from first on.
func openLog(f Flash, first int) (*positionLog, error) {
	pages, pageSize := f.Size()
	l := &positionLog{flash: f, first: first, size: pages - first, slots: pageSize / positionSize, held: -1}
	if l.size < 2 {
		return nil, errors.New("flash is too small for a log")
	}
	l.page, l.slot = first+l.size-1, l.slots // so that the first write takes the first page
	buf := make([]byte, pageSize)
	for page := first; page < pages; page++ {
		if err := f.Read(page, 0, buf); err != nil {
			return nil, err
		}
		for slot := range l.slots {
			body, whole := unseal(kindCheckpoint, buf[slot*positionSize:][:positionSize])
			if !whole {
				continue
			}
			var p position
			if _, err := binary.Decode(body, binary.BigEndian, &p); err != nil {
				return nil, err
			}
			if p.Seq > l.newest.Seq {
				l.newest, l.held, l.page, l.slot = p, page, page, slot+1
			}
		}
	}
	return l, nil
}

// append keeps p, whose number must be higher than the newest one's. With
// [ErrWornOut] it was not kept.
func (l *positionLog) append(p position) error {
	b, err := binary.Append(nil, binary.BigEndian, p)
	if err != nil {
		return err
	}
	record := seal(kindCheckpoint, b)
	for range l.size {
		for ; l.slot < l.slots; l.slot++ {
			kept, err := l.write(record)
			if err != nil {
				return err
			}
			if kept {
				l.newest, l.held = p, l.page
				l.slot++
				return nil
			}
		}
		if err := l.turn(); err != nil {
			return err
		}
	}
	return errors.New("flash does not keep what it is given")
}

// write programs the next slot if it is blank, and reads it again: bytes that do
// not take what they are given count as used up.
func (l *positionLog) write(record []byte) (kept bool, err error) {
	got := make([]byte, positionSize)
	if err := l.flash.Read(l.page, l.slot*positionSize, got); err != nil || !blank(got) {
		return false, err
	}
	if err := l.flash.Program(l.page, l.slot*positionSize, record); err != nil {
		return false, err
	}
	err = l.flash.Read(l.page, l.slot*positionSize, got)
	return bytes.Equal(got, record), err
}

// turn erases the next page that can still be erased.
func (l *positionLog) turn() error {
	for i := 1; i < l.size; i++ {
		page := l.first + (l.page-l.first+i)%l.size
		if page == l.held {
			continue
		}
		switch err := l.flash.Erase(page); {
		case err == nil:
			l.page, l.slot = page, 0
			return nil
		case !errors.Is(err, ErrWornOut):
			return err
		}
	}
	return ErrWornOut
}

// writesLeft tells how many more positions the log can take, at most. The
// erases of the present page count only while another page can take over.
func (l *positionLog) writesLeft() (uint32, error) {
	var present, others uint64
	for page := l.first; page < l.first+l.size; page++ {
		n, err := l.flash.ErasesLeft(page)
		if err != nil {
			return 0, err
		}
		if page == l.page {
			present = uint64(n)
		} else {
			others += uint64(n)
		}
	}
	if others == 0 {
		present = 0
	}
	left := uint64(l.slots-l.slot) + (present+others)*uint64(l.slots)
	return uint32(min(left, math.MaxUint32)), nil
}
