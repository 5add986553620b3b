package device

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/sha256"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync/atomic"
	"time"

	"github.com/sojournlm/sojourn/internal/code"
	"github.com/sojournlm/sojourn/internal/document"
	"github.com/sojournlm/sojourn/internal/wire"
	"github.com/sojournlm/sojourn/transport"
)

// Checkpoint is a key's signed statement of where its ledger stands.
type Checkpoint = document.Checkpoint

// Hash is a ledger's head: a hash over the chain of all its batches.
type Hash = document.Hash

// Key is an open key. It is safe for concurrent use; commands are carried out
// one at a time.
type Key struct {
	id     transport.KeyID
	conn   transport.Conn
	public ed25519.PublicKey
	number uint64 // its KeyID in documents

	left atomic.Uint32 // writes, by its last Info and what it has signed since

	turn chan struct{} // holds one token while no command is under way

	// What follows needs the token.
	seq     uint32    // of the last request
	writing time.Time // until then it may be at a change that it has not answered
}

// Open connects to a key on a bus. The caller closes it. One that is still at a change
// which somebody else has left is waited for: seven seconds, or as long as the context lets
// it.
func Open(ctx context.Context, bus transport.Bus, id transport.KeyID) (*Key, error) {
	conn, err := bus.Open(ctx, id)
	if err != nil {
		return nil, &Error{Op: "open", Key: id, Err: unreachable(err, false)}
	}
	return open(ctx, conn, id)
}

// open takes the connection over, and closes it when it fails.
func open(ctx context.Context, conn transport.Conn, id transport.KeyID) (*Key, error) {
	k := &Key{id: id, conn: conn, turn: make(chan struct{}, 1)}
	k.turn <- struct{}{}
	k.writing = time.Now().Add(writing) // by somebody before
	k.seq = rand.Uint32()               // so that a late answer to somebody before has another number
	i, err := k.info(ctx, "open")
	if err != nil {
		conn.Close()
		return nil, err
	}
	k.public, k.number = i.Public[:], i.KeyID
	return k, nil
}

// Public is the key's public half: what its checkpoints are signed with.
func (k *Key) Public() ed25519.PublicKey { return bytes.Clone(k.public) }

// Info is what a key says of itself.
type Info struct {
	ID           uint64    // as in documents; 0 for a key that is only an anchor
	Model        uint8     // 0 unknown, 1 software, 2 Sign, 3 Time, 4 Code, 5 Code Time
	Firmware     string    // version, such as "1.2"
	Manufactured time.Time // UTC
	Vendor       uint32    // the vendor's public code
	PoolCounter  uint64    // of its pool license, 0 where it has none
	Seq          uint64    // number of its ledger's newest batch, 0 for none
	WritesLeft   uint32    // how many more times it can Advance, at most

	HasClock  bool
	ClockDied bool // the battery is empty
	WornOut   bool // it can be read, but not Advance any more
}

// Info asks the key about itself.
func (k *Key) Info(ctx context.Context) (Info, error) {
	i, err := k.info(ctx, "info")
	if err != nil {
		return Info{}, err
	}
	if !bytes.Equal(i.Public[:], k.public) || i.KeyID != k.number {
		return Info{}, &Error{Op: "info", Key: k.id, Err: ErrOtherKey}
	}
	made, err := unixTime(i.Manufactured)
	if err != nil {
		return Info{}, k.wrong("info", "date of manufacture: "+err.Error())
	}
	return Info{
		ID:           i.KeyID,
		Model:        i.Model,
		Firmware:     fmt.Sprintf("%d.%d", i.Firmware>>16, i.Firmware&0xFFFF),
		Manufactured: made,
		Vendor:       i.Vendor,
		PoolCounter:  i.PoolCounter,
		Seq:          i.Seq,
		WritesLeft:   i.WritesLeft,
		HasClock:     i.Flags&wire.HasClock != 0,
		ClockDied:    i.Flags&wire.ClockHasDied != 0,
		WornOut:      i.Flags&wire.LogWornOut != 0,
	}, nil
}

func (k *Key) info(ctx context.Context, op string) (i wire.Info, err error) {
	err = k.command(ctx, op, func(ask asker) error {
		if i, err = answer(ask, wire.OpInfo, nil, wire.ParseInfo); err == nil {
			k.left.Store(i.WritesLeft)
		}
		return err
	})
	return i, err
}

// Pool gives the vendor's pool license that the key holds, encoded. It is whole
// and made for this key; whether the vendor is one to trust is for the caller to
// check. A key without one fails with [ErrNoPool], and one whose license is of a later
// version with the code OutdatedVersion.
func (k *Key) Pool(ctx context.Context) (pool []byte, err error) {
	err = k.command(ctx, "read pool of", func(ask asker) error {
		pool, err = readPool(ask)
		return err
	})
	if err != nil {
		return nil, err
	}
	p, err := document.ParsePool(pool)
	later, _ := errors.AsType[*document.Error](err)
	switch {
	case later != nil && later.Link == document.LinkVersion:
		return nil, &Error{Op: "read pool of", Key: k.id, Err: fmt.Errorf("%w: %w", code.OutdatedVersion, err)}
	case err != nil:
		return nil, k.wrong("read pool of", err.Error())
	case p.Head.Key != k.number || !bytes.Equal(p.Head.KeyPublic, k.public):
		return nil, k.wrong("read pool of", "the pool license is for another key")
	}
	return pool, nil
}

func readPool(ask asker) ([]byte, error) {
	var pool []byte
	for {
		request := wire.ReadPool{Offset: uint32(len(pool))}
		p, err := answer(ask, wire.OpReadPool, request.Encode(), wire.ParsePoolPiece)
		if err != nil {
			return nil, err
		}
		left := int(p.Length) - len(pool)
		if left <= 0 || len(p.Data) != min(left, wire.MaxPiece) {
			return nil, answered(wire.OpReadPool, fmt.Sprintf("%d bytes of a pool license where %d are left", len(p.Data), left))
		}
		if pool = append(pool, p.Data...); len(pool) == int(p.Length) {
			return pool, nil
		}
	}
}

// Install gives the key a pool license. When it returns nil the key has kept it.
// A license that the key already has is kept already.
//
// A refusal wraps a code: InvalidUpdateOrAlreadyInstalled for one that is not
// newer than the key's, StorageIDMismatch for another key's, InvalidDigest where
// the signature is not that of the key's vendor, InvalidParameter for bytes that
// are no pool license that managers could read: those do not go to the key, which
// judges less.
func (k *Key) Install(ctx context.Context, pool []byte) error {
	if _, err := document.ParsePool(pool); err != nil {
		err = fmt.Errorf("%w: %w", code.InvalidParameter, err)
		return &Error{Op: "install pool on", Key: k.id, Err: err}
	}
	return k.command(ctx, "install pool on", func(ask asker) error {
		err := install(ask, pool)
		before, forgotten := errors.AsType[*lost](err)
		if !forgotten || !errors.Is(err, wire.NotStaged) {
			return err
		}
		err = install(ask, pool) // it was reset meanwhile
		if now, ok := errors.AsType[*lost](err); ok {
			now.acted = now.acted || before.acted
		}
		return err
	})
}

// install stages a pool license and has the key take it.
func install(ask asker, pool []byte) error {
	for offset := 0; offset < len(pool); offset += wire.MaxPiece {
		piece := pool[offset:min(offset+wire.MaxPiece, len(pool))]
		stage := wire.Stage{Offset: uint32(offset), Data: piece}
		if _, err := answer(ask, wire.OpStage, stage.Encode(), empty); err != nil {
			return err
		}
	}
	request := wire.Install{Length: uint32(len(pool)), Hash: sha256.Sum256(pool)}
	_, err := answer(ask, wire.OpInstall, request.Encode(), empty)
	return err
}

// Checkpoint asks where the key's ledger stands. The key's signature is checked.
func (k *Key) Checkpoint(ctx context.Context) (c Checkpoint, err error) {
	err = k.command(ctx, "read checkpoint of", func(ask asker) error {
		c, err = k.checkpoint(ask, wire.OpCheckpoint, nil)
		return err
	})
	return c, err
}

// Advance moves the key's ledger on by the batch with that encoded header. prev
// is the head before it, zero before the first batch. When it returns nil, the
// key has kept the new head and the answer is its signature over it; its horizon
// is at least the header's. Repeating the last batch gives the same answer.
//
// A key whose ledger stands elsewhere fails with [ErrFork], one that can keep no
// more with [ErrWornOut].
func (k *Key) Advance(ctx context.Context, prev Hash, header []byte) (c Checkpoint, err error) {
	h, err := document.ParseHeader(header)
	if err != nil {
		err = fmt.Errorf("%w: %w", code.InvalidParameter, err)
		return Checkpoint{}, &Error{Op: "advance", Key: k.id, Err: err}
	}
	err = k.command(ctx, "advance", func(ask asker) error {
		request := wire.Advance{Prev: prev, Header: header}
		c, err = k.checkpoint(ask, wire.OpAdvance, request.Encode())
		if err != nil {
			return err
		}
		if c.Seq != h.Seq || c.Head != document.Chain(prev, header) || c.Horizon < h.Horizon {
			c = Checkpoint{}
			return answered(wire.OpAdvance, "the checkpoint is not over the batch")
		}
		k.left.Store(max(k.left.Load(), 1) - 1) // one command at a time
		return nil
	})
	return c, err
}

// The last writes of a key are kept back: it counts those that its memory may take, and
// some may fail, or were torn by a power cut. Where few more are left, every count of
// them is asked for.
const (
	keptBack = 64
	askBelow = 1000
)

// Ready says whether the key can keep one more batch. A key that is worn out, or has
// only the writes left that are kept back, fails with [ErrWornOut]; it is asked only
// where few are left.
func (k *Key) Ready(ctx context.Context) error {
	if k.WritesLeft() < askBelow {
		if _, err := k.Info(ctx); err != nil {
			return err
		}
	}
	return k.Worn()
}

// Worn is [Key.Ready] by what the key said last and has signed since. It does not ask the
// key.
func (k *Key) Worn() error {
	if left := k.WritesLeft(); left < keptBack {
		err := fmt.Errorf("%w: of the last %d writes that it keeps back, %d are left", ErrWornOut, keptBack, left)
		return &Error{Op: "advance", Key: k.id, Err: err}
	}
	return nil
}

// WritesLeft is how many more times the key can Advance, at most, by what it said last
// and has signed since. It does not ask the key.
func (k *Key) WritesLeft() uint32 { return k.left.Load() }

func (k *Key) checkpoint(ask asker, op wire.Op, request []byte) (Checkpoint, error) {
	w, err := answer(ask, op, request, wire.ParseCheckpoint)
	if err != nil {
		return Checkpoint{}, err
	}
	if _, err := unixTime(w.Horizon); err != nil {
		return Checkpoint{}, answered(op, "the checkpoint's horizon: "+err.Error())
	}
	c := Checkpoint{Seq: w.Seq, Head: w.Head, Horizon: w.Horizon, Signature: w.Signature[:]}
	switch none := c.Seq == 0; {
	case none != (c.Head == Hash{}) || none && c.Horizon != 0:
		return Checkpoint{}, answered(op, "the checkpoint contradicts itself")
	case !c.Verify(k.public):
		return Checkpoint{}, answered(op, "the checkpoint is not signed by the key")
	}
	return c, nil
}

// Time asks what the key's clock shows, in UTC and whole seconds. A key without a
// clock fails with [ErrNoClock], one whose clock has died with [ErrClockDied].
func (k *Key) Time(ctx context.Context) (t time.Time, err error) {
	err = k.command(ctx, "read clock of", func(ask asker) error {
		w, err := answer(ask, wire.OpTime, nil, wire.ParseTime)
		if err != nil {
			return err
		}
		if t, err = unixTime(w.Unix); err != nil {
			return answered(wire.OpTime, err.Error())
		}
		return nil
	})
	return t, err
}

// unixTime refuses times that have no usual notation, as documents do.
func unixTime(seconds int64) (time.Time, error) {
	if seconds < 0 || seconds > document.MaxTime {
		return time.Time{}, fmt.Errorf("%d is no time between 1970 and 9999", seconds)
	}
	return time.Unix(seconds, 0).UTC(), nil
}

func empty(b []byte) (struct{}, error) { return struct{}{}, wire.ParseEmpty(b) }

// Ended reports whether the connection is known to have ended, because the key was
// pulled out or it was closed. It does not ask the key.
func (k *Key) Ended() bool {
	e, ok := k.conn.(transport.Ender)
	return ok && e.Ended()
}

// Close ends the connection. A command under way fails. Closing twice is
// harmless.
func (k *Key) Close() error { return k.conn.Close() }
