package simulator

import (
	"bytes"
	"crypto/ed25519"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/sojournlm/sojourn/internal/document"
	"github.com/sojournlm/sojourn/internal/firmware"
	"github.com/sojournlm/sojourn/internal/wire"
	"github.com/sojournlm/sojourn/transport"
)

// Config is a key as it leaves the factory. Of a key whose file exists already
// only File and the delays count, and KeyID must be the file's: another is an
// [*OtherKeyError].
type Config struct {
	KeyID        uint64    // 1 to 0xFFFFFFFE
	Model        uint8     // 1 to 5 as documents number them; 0 means 3, one with a clock
	Firmware     uint32    // version: major in the high half, minor in the low; 0 means 1.0
	Manufactured time.Time // zero means now

	// The vendor whose pool licenses the key takes.
	Vendor       uint32 // public code
	VendorPublic ed25519.PublicKey

	// File is where the key's memory lives. Empty means in this process only.
	File string
	// Endurance is how often each page of the key's memory can be erased. 0 means
	// 100,000 times.
	Endurance uint32

	Delay     time.Duration // that every command takes
	SignDelay time.Duration // that Advance and Checkpoint take in addition
}

// OtherKeyError says that a file holds another key than the one that was asked for.
type OtherKeyError struct{ ID uint64 }

func (e *OtherKeyError) Error() string { return fmt.Sprintf("the file holds key %08X", e.ID) }

// Key is a simulated key. It is safe for concurrent use.
type Key struct {
	bus    transport.KeyID
	id     uint64
	public ed25519.PublicKey
	vendor ed25519.PublicKey
	file   io.Closer // nil for a key in memory

	mu               sync.Mutex
	flash            *firmware.Brownout
	made             firmware.Manufacture
	program          *firmware.Key // nil while unplugged
	closed           bool
	conn             *conn // nil while nobody has it open
	clock            clock
	delay, signDelay time.Duration
	idle             time.Time // when it will be done with what it was told
	armed            []*Armed
	cut              *Armed // a power cut that waits for its write
	last             []byte // the last response
	counts           map[string]int
}

const prefix = "sim:"

func busID(id uint64) transport.KeyID {
	return transport.KeyID(fmt.Sprintf("%s%08X", prefix, id))
}

func newKey(c Config) (*Key, error) {
	if c.KeyID == 0 {
		return nil, errors.New("a key on a bus needs an id")
	}
	if c.Model == 0 {
		c.Model = 3
	}
	if c.Firmware == 0 {
		c.Firmware = 1 << 16
	}
	if c.Manufactured.IsZero() {
		c.Manufactured = time.Now()
	}
	switch made := c.Manufactured.Unix(); {
	case made < 0 || made > document.MaxTime:
		return nil, fmt.Errorf("the time of manufacture, %s, is not between 1970 and 9999", c.Manufactured.UTC().Format(time.RFC3339))
	case c.Delay < 0 || c.SignDelay < 0:
		return nil, fmt.Errorf("delays of %v and %v: want 0 or more", c.Delay, c.SignDelay)
	}
	geometry := firmware.KeyGeometry
	if c.Endurance != 0 {
		geometry.Endurance = c.Endurance
	}
	k := &Key{
		bus: busID(c.KeyID),
		id:  c.KeyID,
		made: firmware.Manufacture{
			KeyID:        c.KeyID,
			Model:        c.Model,
			Firmware:     c.Firmware,
			Manufactured: c.Manufactured.Unix(),
			Vendor:       c.Vendor,
			VendorPublic: bytes.Clone(c.VendorPublic),
		},
		clock:     newClock(),
		delay:     c.Delay,
		signDelay: c.SignDelay,
		counts:    map[string]int{},
	}
	if c.File == "" {
		k.flash = &firmware.Brownout{Flash: firmware.NewMemory(geometry)}
	} else {
		f, err := firmware.OpenFile(c.File, geometry, [32]byte{})
		if err != nil {
			return nil, err
		}
		k.file, k.flash = f, &firmware.Brownout{Flash: f}
	}
	if err := k.Plug(); err != nil {
		k.Close()
		return nil, err
	}
	k.public, k.vendor = k.program.Public(), k.program.VendorPublic()
	if id := k.program.ID(); id != c.KeyID {
		k.Close()
		return nil, &OtherKeyError{id}
	}
	return k, nil
}

// BusID is the key's name on its bus.
func (k *Key) BusID() transport.KeyID { return k.bus }

// ID is the key's id in documents.
func (k *Key) ID() uint64 { return k.id }

// Public is the key's public half, which its vendor puts into the pool license.
func (k *Key) Public() ed25519.PublicKey { return bytes.Clone(k.public) }

// VendorPublic is the key of the vendor whose pool licenses the key takes, as it was when
// the key was made.
func (k *Key) VendorPublic() ed25519.PublicKey { return bytes.Clone(k.vendor) }

// Plugged reports whether the key is plugged in.
func (k *Key) Plugged() bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.program != nil
}

func (k *Key) isClosed() bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.closed
}

// Plug puts the key in. It fails when the key does not start, because its memory
// is damaged. A key that is in stays in.
func (k *Key) Plug() error {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.start()
}

// Unplug pulls the key out. Its connection ends.
func (k *Key) Unplug() {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.stop()
}

// Replug pulls the key out and puts it back. Its connection ends.
func (k *Key) Replug() error {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.stop()
	return k.start()
}

// Close unplugs the key for good and closes its file. Closing twice is harmless.
func (k *Key) Close() error {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.stop()
	k.closed = true
	if k.file == nil {
		return nil
	}
	return k.file.Close()
}

// SetDelay changes how long commands take: delay for each, sign in addition for
// those that sign.
func (k *Key) SetDelay(delay, sign time.Duration) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.delay, k.signDelay = delay, sign
}

// Exchanges counts the requests made so far, by the name of their opcode, such
// as "Advance". Those that faults lost count too.
func (k *Key) Exchanges() map[string]int {
	k.mu.Lock()
	defer k.mu.Unlock()
	return maps.Clone(k.counts)
}

// FailWrite arms a power cut in the middle of the write to the key's memory
// after n more, 0 for the next one. The key comes back at once; its connection
// has ended. One such cut can be armed at a time. A fault loop arms n = 0, 1, 2 …
// until none fires.
func (k *Key) FailWrite(n int) *Armed {
	k.mu.Lock()
	defer k.mu.Unlock()
	a := &Armed{key: k, tear: firmware.Tear{Whole: 7 * n, Garbage: n%2 == 1}}
	k.cut = a
	k.flash.CutAt(n, a.tear)
	return a
}

// Snapshot is the content of a key's memory at one time.
type Snapshot struct{ pages [][]byte }

// Equal reports whether the memory held the same at both times.
func (s Snapshot) Equal(other Snapshot) bool {
	return slices.EqualFunc(s.pages, other.pages, bytes.Equal)
}

// Snapshot reads out the key's memory, as only a thief in a laboratory can.
func (k *Key) Snapshot() (Snapshot, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	pages, size := k.flash.Size()
	s := Snapshot{make([][]byte, pages)}
	for i := range s.pages {
		s.pages[i] = make([]byte, size)
		if err := k.flash.Read(i, 0, s.pages[i]); err != nil {
			return Snapshot{}, fmt.Errorf("simulator: snapshot: %w", err)
		}
	}
	return s, nil
}

// Restore puts back what the key's memory held once, and restarts the key: its
// ledger is rolled back. Its connection ends.
func (k *Key) Restore(s Snapshot) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.stop()
	for i, page := range s.pages {
		if err := k.flash.Erase(i); err != nil {
			return fmt.Errorf("simulator: restore: %w", err)
		}
		if err := k.flash.Program(i, 0, page); err != nil {
			return fmt.Errorf("simulator: restore: %w", err)
		}
	}
	return k.start()
}

// start brings the power. The key is locked.
func (k *Key) start() error {
	if k.closed {
		return fmt.Errorf("simulator: key %08X is closed", k.id)
	}
	if k.program != nil {
		return nil
	}
	p, err := firmware.Start(k.flash, k.made, func() (time.Time, bool) { return k.clock.now() })
	if err != nil {
		return fmt.Errorf("simulator: key %08X: %w", k.id, err)
	}
	k.program = p
	return nil
}

// stop takes the power, and with it the connection. The key is locked.
func (k *Key) stop() {
	k.program, k.last, k.idle = nil, nil, time.Time{}
	if k.conn != nil {
		k.conn.end(transport.ErrNoKey)
		k.conn = nil
	}
}

// restart is what a cut of the power does. A key that does not start any more
// stays out. The key is locked.
func (k *Key) restart() {
	k.flash.Restore()
	k.stop()
	_ = k.start() // Plug tells why it does not
}

// handle has the program act, and reports false when the power was lost. The key
// is locked.
func (k *Key) handle(request []byte) (response []byte, powered bool) {
	response = k.program.Handle(request)
	if response != nil {
		return response, true
	}
	if k.cut != nil {
		k.cut.fired = true
		k.cut = nil
	}
	k.restart()
	return nil, false
}

// busy tells how long the caller waits for the response to a command that the
// key begins now, or when it is done with the ones before. The key is locked.
func (k *Key) busy(request []byte) time.Duration {
	took := k.delay
	if f, err := wire.Parse(request); err == nil && (f.Op == wire.OpAdvance || f.Op == wire.OpCheckpoint) {
		took += k.signDelay
	}
	if took == 0 && k.idle.IsZero() {
		return 0
	}
	now := time.Now()
	if k.idle.Before(now) {
		k.idle = now
	}
	k.idle = k.idle.Add(took)
	return k.idle.Sub(now)
}
