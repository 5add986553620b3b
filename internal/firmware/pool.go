package firmware

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"

	"github.com/sojournlm/sojourn/internal/document"
	"github.com/sojournlm/sojourn/internal/wire"
)

// The protocol carries just what documents can be.
var (
	_ = [1]struct{}{}[wire.MaxPool-document.MaxPool]
	_ = [1]struct{}{}[wire.MaxHeader-document.MaxHeader]
)

// poolStore keeps the vendor's pool license in one of two slots and writes the
// next one into the other. A slot begins with its content's length and hash,
// which are written last.
type poolStore struct {
	flash  Flash
	owner  owner
	active int                   // slot, -1 for none
	pool   *document.PoolOutline // nil for none
}

// owner is what a pool license must be made for.
type owner struct {
	identity identity
	public   []byte
}

const poolHeader = 4 + sumSize // length, then the hash's beginning

// slotPages tells how many pages one slot takes.
func slotPages(pageSize int) int {
	return (poolHeader + wire.MaxPool + pageSize - 1) / pageSize
}

// openPools finds the pool license with the highest counter.
func openPools(f Flash, o owner) (*poolStore, error) {
	s := &poolStore{flash: f, owner: o, active: -1}
	for slot := range 2 {
		b, whole, err := readPool(f, slot)
		if err != nil {
			return nil, err
		}
		if !whole {
			continue
		}
		p, err := o.judge(b)
		if err == nil && (s.pool == nil || p.Counter > s.pool.Counter) {
			s.active, s.pool = slot, p
		}
	}
	return s, nil
}

// has reports whether the pool license is the one of that length and hash.
func (s *poolStore) has(length uint32, hash [sha256.Size]byte) bool {
	return s.pool != nil && len(s.pool.Bytes()) == int(length) && sha256.Sum256(s.pool.Bytes()) == hash
}

// judge accepts a pool license that is the vendor's for this key.
func (o owner) judge(b []byte) (*document.PoolOutline, error) {
	p, err := document.ParsePoolOutline(b)
	if err != nil {
		return nil, wire.Malformed
	}
	if p.Key != o.identity.KeyID || p.Vendor != o.identity.Vendor || !bytes.Equal(p.KeyPublic, o.public) {
		return nil, wire.WrongKey
	}
	if p.Verify(o.identity.VendorPublic[:]) != nil {
		return nil, wire.NotSigned
	}
	return p, nil
}

// install keeps a pool license if it is newer than the one there is.
func (s *poolStore) install(b []byte) error {
	p, err := s.owner.judge(b)
	if err != nil {
		return err
	}
	if s.pool != nil && p.Counter <= s.pool.Counter {
		return wire.NotNewer
	}
	slot := 0
	if s.active == 0 {
		slot = 1
	}
	if err := writePool(s.flash, slot, b); err != nil {
		return err
	}
	s.active, s.pool = slot, p
	return nil
}

// readPool gives what is in a slot, if it is whole.
func readPool(f Flash, slot int) (b []byte, whole bool, err error) {
	_, pageSize := f.Size()
	first := slotPage(slot, pageSize)
	header := make([]byte, poolHeader)
	if err := f.Read(first, 0, header); err != nil {
		return nil, false, err
	}
	n := binary.BigEndian.Uint32(header)
	if n == 0 || n > wire.MaxPool {
		return nil, false, nil
	}
	area := make([]byte, poolHeader+int(n))
	for i := 0; i*pageSize < len(area); i++ {
		part := area[i*pageSize : min((i+1)*pageSize, len(area))]
		if err := f.Read(first+i, 0, part); err != nil {
			return nil, false, err
		}
	}
	want := sum(kindPool, area[poolHeader:])
	return area[poolHeader:], bytes.Equal(header[4:], want[:sumSize]), nil
}

func writePool(f Flash, slot int, b []byte) error {
	_, pageSize := f.Size()
	s := sum(kindPool, b)
	area := binary.BigEndian.AppendUint32(nil, uint32(len(b)))
	area = append(area, s[:sumSize]...)
	area = append(area, b...)

	first := slotPage(slot, pageSize)
	for i := 0; i*pageSize < len(area); i++ {
		if err := f.Erase(first + i); err != nil {
			return err
		}
	}
	for i := 0; i*pageSize < len(area); i++ {
		from, to := i*pageSize, min((i+1)*pageSize, len(area))
		if i == 0 {
			from = poolHeader
		}
		if err := f.Program(first+i, from-i*pageSize, area[from:to]); err != nil {
			return err
		}
	}
	if err := f.Program(first, 0, area[:poolHeader]); err != nil {
		return err
	}
	got, whole, err := readPool(f, slot)
	if err != nil {
		return err
	}
	if !whole || !bytes.Equal(got, b) {
		return errors.New("flash does not keep what it is given")
	}
	return nil
}

func slotPage(slot, pageSize int) int { return identityPages + slot*slotPages(pageSize) }
