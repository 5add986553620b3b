// Package firmware is the program inside a license key: it has an identity that
// never leaves it, keeps the vendor's pool license, and is the anchor of a
// ledger: it keeps and signs the newest position and never an older one again.
//
// What runs is one and the same everywhere; only the [Flash] below it and the
// way requests reach it differ: a simulated key in memory or in a file, a
// software key in a file that is bound to the computer, a board with a USB port.
//
// # What is where in flash
//
//	pages 0 and 1          the identity, twice
//	two slots for a pool   64 KiB and a few bytes each; not in a mere anchor
//	all other pages        the log of positions
//
// Every record carries a hash. The power may fail in the middle of any write:
// after the next start the key is as it was before the command or as it is
// after it, and after it if the command was answered.
package firmware

import (
	"bytes"
	"crypto/ed25519"
	"crypto/sha256"
	"errors"
	"fmt"
	"time"

	"github.com/sojournlm/sojourn/internal/document"
	"github.com/sojournlm/sojourn/internal/wire"
)

// Key is a key at work. It is not safe for concurrent use: a key does one thing
// at a time.
type Key struct {
	flash   Flash
	clock   Clock
	id      identity
	private ed25519.PrivateKey
	pools   *poolStore   // nil for a mere anchor
	log     *positionLog // nil after the flash failed
	staged  []byte
}

// Clock is what a key's clock shows. It reports false when it has died.
type Clock func() (now time.Time, alive bool)

// Start brings the power to a key. The first start on a flash makes the key's
// identity, with made; later starts keep to what the flash says. A nil clock in
// a model that should have one is a clock that has died. An error wraps
// [ErrDamaged] where the flash has lost its identity or never held a key's.
func Start(flash Flash, made Manufacture, clock Clock) (*Key, error) {
	k := &Key{flash: flash, clock: clock}
	id, err := identify(flash, made)
	if err != nil {
		return nil, fmt.Errorf("start key: %w", err)
	}
	k.id, k.private = id, ed25519.NewKeyFromSeed(id.Seed[:])
	if err := k.mount(); err != nil {
		return nil, fmt.Errorf("start key: %w", err)
	}
	return k, nil
}

// identify reads the identity, mends its second copy, or makes the first.
func identify(f Flash, made Manufacture) (identity, error) {
	first, ok1, err := readIdentity(f, 0)
	if err != nil {
		return identity{}, err
	}
	second, ok2, err := readIdentity(f, 1)
	if err != nil {
		return identity{}, err
	}
	switch {
	case ok1 && ok2:
		return first, nil
	case ok1:
		return first, mend(writeIdentity(f, 1, first))
	case ok2:
		return second, mend(writeIdentity(f, 0, second))
	}
	if err := made.check(); err != nil {
		return identity{}, err
	}
	id := newIdentity(made)
	if used, err := inUse(f, id); err != nil || used {
		return identity{}, errors.Join(ErrDamaged, err)
	}
	if err := writeIdentity(f, 0, id); err != nil {
		return identity{}, err
	}
	return id, writeIdentity(f, 1, id)
}

// mend forgives a page that takes no more erases: the other copy is whole.
func mend(err error) error {
	if errors.Is(err, ErrWornOut) {
		return nil
	}
	return err
}

// inUse reports whether a flash without an identity holds what only a key with
// one can have written.
func inUse(f Flash, id identity) (bool, error) {
	first, err := logStart(f, id)
	if err != nil {
		return false, err
	}
	if !id.anchorOnly() {
		for slot := range 2 {
			if _, whole, err := readPool(f, slot); err != nil || whole {
				return whole, err
			}
		}
	}
	l, err := openLog(f, first)
	return err == nil && l.newest.Seq > 0, err
}

// logStart is the log's first page.
func logStart(f Flash, id identity) (int, error) {
	pages, pageSize := f.Size()
	first := identityPages
	if !id.anchorOnly() {
		first += 2 * slotPages(pageSize)
	}
	if pages-first < 2 || pageSize < 256 {
		return 0, fmt.Errorf("flash of %d pages of %d bytes is too small", pages, pageSize)
	}
	return first, nil
}

// mount reads everything but the identity from flash.
func (k *Key) mount() error {
	first, err := logStart(k.flash, k.id)
	if err != nil {
		return err
	}
	if !k.id.anchorOnly() {
		if k.pools, err = openPools(k.flash, owner{k.id, k.Public()}); err != nil {
			return err
		}
	}
	k.log, err = openLog(k.flash, first)
	return err
}

// Public is the key's public half.
func (k *Key) Public() ed25519.PublicKey { return k.private.Public().(ed25519.PublicKey) }

// VendorPublic is the key of the vendor whose pool licenses the key takes.
func (k *Key) VendorPublic() ed25519.PublicKey { return bytes.Clone(k.id.VendorPublic[:]) }

// ID is the key's id, 0 for a mere anchor.
func (k *Key) ID() uint64 { return k.id.KeyID }

// Handle answers one request frame with one answer frame. Any bytes may come. It
// gives nil when the power was lost in the middle: start the key again.
func (k *Key) Handle(request []byte) []byte {
	f, err := wire.Parse(request)
	switch {
	case errors.Is(err, wire.ErrVersion):
		return f.Answer(wire.BadVersion, nil).Encode()
	case err != nil || f.Op.IsAnswer():
		return wire.Frame{}.Answer(wire.BadFrame, nil).Encode()
	}
	payload, err := k.do(f)
	if errors.Is(err, ErrNoPower) {
		return nil
	}
	status := statusOf(err)
	if status == wire.FlashFailed {
		k.log = nil // what the flash holds is known only after reading it again
	}
	if status != wire.OK {
		payload = nil
	}
	return f.Answer(status, payload).Encode()
}

func statusOf(err error) wire.Status {
	var status wire.Status
	switch {
	case err == nil:
		return wire.OK
	case errors.As(err, &status):
		return status
	case errors.Is(err, ErrWornOut):
		return wire.WornOut
	}
	return wire.FlashFailed
}

func (k *Key) do(f wire.Frame) ([]byte, error) {
	if k.log == nil {
		if err := k.mount(); err != nil {
			return nil, err
		}
	}
	switch f.Op {
	case wire.OpInfo:
		return parsed(f.Payload, nothing, k.info)
	case wire.OpReadPool:
		return parsed(f.Payload, wire.ParseReadPool, k.readPool)
	case wire.OpCheckpoint:
		return parsed(f.Payload, nothing, k.checkpoint)
	case wire.OpAdvance:
		return parsed(f.Payload, wire.ParseAdvance, k.advance)
	case wire.OpStage:
		return parsed(f.Payload, wire.ParseStage, k.stage)
	case wire.OpInstall:
		return parsed(f.Payload, wire.ParseInstall, k.install)
	case wire.OpTime:
		return parsed(f.Payload, nothing, k.time)
	}
	return nil, wire.UnknownOp
}

// parsed hands a request that has its opcode's layout to the command.
func parsed[T any](payload []byte, parse func([]byte) (T, error), command func(T) ([]byte, error)) ([]byte, error) {
	v, err := parse(payload)
	if err != nil {
		return nil, wire.Malformed
	}
	return command(v)
}

func nothing(b []byte) (struct{}, error) { return struct{}{}, wire.ParseEmpty(b) }

func (k *Key) info(struct{}) ([]byte, error) {
	left, err := k.log.writesLeft()
	if err != nil {
		return nil, err
	}
	i := wire.Info{
		KeyID:        k.id.KeyID,
		Model:        k.id.Model,
		Firmware:     k.id.Firmware,
		Manufactured: k.id.Manufactured,
		Vendor:       k.id.Vendor,
		Public:       [32]byte(k.Public()),
		Seq:          k.log.newest.Seq,
		WritesLeft:   left,
	}
	if p := k.pool(); p != nil {
		i.PoolCounter, i.PoolLength = p.Counter, uint32(len(p.Bytes()))
	}
	if k.id.hasClock() {
		i.Flags |= wire.HasClock
		if _, err := k.now(); err != nil {
			i.Flags |= wire.ClockHasDied
		}
	}
	if left == 0 {
		i.Flags |= wire.LogWornOut
	}
	return i.Encode(), nil
}

func (k *Key) pool() *document.PoolOutline {
	if k.pools == nil {
		return nil
	}
	return k.pools.pool
}

func (k *Key) readPool(r wire.ReadPool) ([]byte, error) {
	p := k.pool()
	if p == nil {
		return nil, wire.NoPool
	}
	b := p.Bytes()
	rest := b[min(int64(r.Offset), int64(len(b))):]
	return wire.PoolPiece{Length: uint32(len(b)), Data: rest[:min(len(rest), wire.MaxPiece)]}.Encode(), nil
}

func (k *Key) checkpoint(struct{}) ([]byte, error) {
	p := k.log.newest
	c := document.Checkpoint{Seq: p.Seq, Head: p.Head, Horizon: p.Horizon}
	if err := c.Sign(k.private); err != nil {
		return nil, err
	}
	return wire.Checkpoint{Seq: c.Seq, Head: c.Head, Horizon: c.Horizon, Signature: [64]byte(c.Signature)}.Encode(), nil
}

func (k *Key) advance(a wire.Advance) ([]byte, error) {
	h, err := document.ParseHeader(a.Header)
	if err != nil {
		return nil, wire.Malformed
	}
	now, next := k.log.newest, document.Chain(a.Prev, a.Header)
	switch {
	case now.Seq > 0 && now.Head == next:
	case now.Head == a.Prev && h.Seq == now.Seq+1:
		p := position{Seq: h.Seq, Head: next, Horizon: max(now.Horizon, h.Horizon)}
		if err := k.log.append(p); err != nil {
			return nil, err
		}
	default:
		return nil, wire.Fork
	}
	return k.checkpoint(struct{}{})
}

func (k *Key) stage(s wire.Stage) ([]byte, error) {
	if uint64(s.Offset) > uint64(len(k.staged)) {
		return nil, wire.NotStaged
	}
	k.staged = append(k.staged[:s.Offset], s.Data...)
	return nil, nil
}

func (k *Key) install(i wire.Install) ([]byte, error) {
	if k.pools != nil && k.pools.has(i.Length, i.Hash) {
		return nil, nil // asked again, and what was staged may be forgotten
	}
	if int(i.Length) != len(k.staged) || sha256.Sum256(k.staged) != i.Hash {
		return nil, wire.NotStaged
	}
	if k.pools == nil {
		return nil, wire.WrongKey
	}
	return nil, k.pools.install(k.staged)
}

func (k *Key) time(struct{}) ([]byte, error) {
	if !k.id.hasClock() {
		return nil, wire.NoClock
	}
	t, err := k.now()
	if err != nil {
		return nil, err
	}
	return wire.Time{Unix: t.Unix()}.Encode(), nil
}

func (k *Key) now() (time.Time, error) {
	if k.clock != nil {
		if t, alive := k.clock(); alive {
			return t, nil
		}
	}
	return time.Time{}, wire.ClockDied
}
