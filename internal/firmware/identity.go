package firmware

import (
	"crypto/ed25519"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
)

// Manufacture is what the factory decides about a key. It is kept in the key's
// flash from the first start on.
type Manufacture struct {
	KeyID        uint64 // 1 to 0xFFFFFFFE, or 0 for a key that is only an anchor
	Model        uint8  // 0 unknown, 1 software, 2 Sign, 3 Time, 4 Code, 5 Code Time
	Firmware     uint32 // version: major in the high half, minor in the low
	Manufactured int64  // Unix seconds

	// The vendor whose pool licenses the key takes: its public code and its
	// Ed25519 key. Without meaning for a key that is only an anchor.
	Vendor       uint32
	VendorPublic ed25519.PublicKey
}

func (m Manufacture) check() error {
	switch {
	case m.KeyID >= 0xFFFFFFFF:
		return fmt.Errorf("key id %d is not between 0 and 0xFFFFFFFE", m.KeyID)
	case m.Model > 5:
		return fmt.Errorf("model %d is not between 0 and 5", m.Model)
	case m.KeyID != 0 && len(m.VendorPublic) != ed25519.PublicKeySize:
		return fmt.Errorf("the vendor's public key has %d bytes, want %d", len(m.VendorPublic), ed25519.PublicKeySize)
	case m.KeyID == 0 && (m.Vendor != 0 || len(m.VendorPublic) != 0):
		return errors.New("a key that is only an anchor has no vendor")
	}
	return nil
}

// identity is who a key is, as it lies in flash. Both of the first two pages
// hold it. The second is written only after the first is whole, so a loss of
// power at the first start leaves no identity or one, never two.
type identity struct {
	Layout       uint16
	Model        uint8
	KeyID        uint64
	Firmware     uint32
	Manufactured int64
	Vendor       uint32
	VendorPublic [ed25519.PublicKeySize]byte
	Seed         [ed25519.SeedSize]byte
}

const (
	identityPages  = 2
	identityLayout = 1
)

func (id identity) anchorOnly() bool { return id.KeyID == 0 }

// hasClock follows from the model.
func (id identity) hasClock() bool { return id.Model == 3 || id.Model == 5 }

// newIdentity makes up a key pair for a key that starts for the first time.
func newIdentity(m Manufacture) identity {
	id := identity{
		Layout:       identityLayout,
		Model:        m.Model,
		KeyID:        m.KeyID,
		Firmware:     m.Firmware,
		Manufactured: m.Manufactured,
		Vendor:       m.Vendor,
	}
	copy(id.VendorPublic[:], m.VendorPublic)
	rand.Read(id.Seed[:]) // never fails
	return id
}

func readIdentity(f Flash, page int) (id identity, whole bool, err error) {
	b := make([]byte, binary.Size(id)+sumSize)
	if err := f.Read(page, 0, b); err != nil {
		return id, false, err
	}
	body, whole := unseal(kindIdentity, b)
	if !whole {
		return id, false, nil
	}
	if _, err := binary.Decode(body, binary.BigEndian, &id); err != nil {
		return id, false, err
	}
	if id.Layout != identityLayout {
		return id, false, fmt.Errorf("flash has layout %d, this firmware knows %d", id.Layout, identityLayout)
	}
	return id, true, nil
}

func writeIdentity(f Flash, page int, id identity) error {
	b, err := binary.Append(nil, binary.BigEndian, id)
	if err != nil {
		return err
	}
	if err := f.Erase(page); err != nil {
		return err
	}
	return f.Program(page, 0, seal(kindIdentity, b))
}

// Records in flash end in a hash of their kind and content, so that what a
// write without power left behind is not taken for one.
const (
	kindIdentity   = "sojourn/flash/identity/1"
	kindPool       = "sojourn/flash/pool/1"
	kindCheckpoint = "sojourn/flash/checkpoint/1"

	sumSize = 16
)

func sum(kind string, body []byte) [sha256.Size]byte {
	h := sha256.New()
	h.Write([]byte(kind))
	h.Write([]byte{0})
	h.Write(body)
	return [sha256.Size]byte(h.Sum(nil))
}

func seal(kind string, body []byte) []byte {
	s := sum(kind, body)
	return append(body, s[:sumSize]...)
}

func unseal(kind string, record []byte) (body []byte, whole bool) {
	body, got := record[:len(record)-sumSize], record[len(record)-sumSize:]
	want := sum(kind, body)
	return body, [sumSize]byte(got) == [sumSize]byte(want[:])
}
