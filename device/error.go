package device

import (
	"context"
	"errors"
	"fmt"

	"github.com/sojournlm/sojourn/internal/code"
	"github.com/sojournlm/sojourn/internal/firmware"
	"github.com/sojournlm/sojourn/internal/wire"
	"github.com/sojournlm/sojourn/transport"
)

// Error is a failed command.
type Error struct {
	Op  string // such as "advance"
	Key transport.KeyID
	// MayHaveActed tells that the key may have carried the command out although
	// it failed: ask it for its Checkpoint or Info before going on. Otherwise
	// nothing has changed.
	MayHaveActed bool
	Err          error // wraps a status code, a sentinel, or the context's error
}

func (e *Error) Error() string {
	s := "device: " + e.Op + " key " + string(e.Key) + ": " + e.Err.Error()
	if e.MayHaveActed {
		s += " (it may have happened)"
	}
	return s
}

func (e *Error) Unwrap() error { return e.Err }

// Sentinels that an [*Error] wraps. Those that wrap a status code are found by
// it too.
var (
	// ErrNoPool: the key has no pool license.
	ErrNoPool = fmt.Errorf("the key has no pool license: %w", code.NoLicenseAvailable)
	// ErrFork: the key's ledger stands elsewhere than the caller's.
	ErrFork = fmt.Errorf("the key's ledger went another way: %w", code.StorageCorrupted)
	// ErrWornOut: the key can be read, but keeps nothing more.
	ErrWornOut = fmt.Errorf("the key is worn out: %w", code.StorageCorrupted)
	// ErrFlash: the key could not read or write its memory.
	ErrFlash = fmt.Errorf("the key's memory failed: %w", code.StorageCorrupted)
	// ErrNoClock: the key's model has no clock.
	ErrNoClock = fmt.Errorf("the key has no clock: %w", code.RTCError)
	// ErrClockDied: the battery of the key's clock is empty.
	ErrClockDied = fmt.Errorf("the key's clock has died: %w", code.RTCError)
	// ErrAnswer: what came from the key is not what a whole key answers.
	ErrAnswer = fmt.Errorf("the key's answer is wrong: %w", code.IncorrectResponseData)
	// ErrOtherKey: another key answers than the one that was opened.
	ErrOtherKey = fmt.Errorf("%w: it is another key than before", ErrAnswer)
)

// Sentinels of [OpenFile].
var (
	// ErrLocked: the file is in use by another process.
	ErrLocked = firmware.ErrLocked
	// ErrBoundElsewhere: the file was made on another computer.
	ErrBoundElsewhere = firmware.ErrBoundElsewhere
	// ErrDamaged: the file is not a key's memory, or no longer whole.
	ErrDamaged = firmware.ErrDamaged
)

// refusal is the meaning of a status other than OK.
func refusal(s wire.Status) error {
	switch s {
	case wire.NoPool:
		return ErrNoPool
	case wire.Fork:
		return ErrFork
	case wire.WornOut:
		return ErrWornOut
	case wire.FlashFailed:
		return ErrFlash
	case wire.NoClock:
		return ErrNoClock
	case wire.ClockDied:
		return ErrClockDied
	case wire.NotNewer:
		return fmt.Errorf("%w: %w", s, code.InvalidUpdateOrAlreadyInstalled)
	case wire.NotSigned:
		return fmt.Errorf("%w: %w", s, code.InvalidDigest)
	case wire.WrongKey:
		return fmt.Errorf("%w: %w", s, code.StorageIDMismatch)
	case wire.Malformed:
		return fmt.Errorf("%w: %w", s, code.InvalidParameter)
	case wire.BadVersion, wire.UnknownOp:
		return fmt.Errorf("%w: %w", s, code.OutdatedVersion)
	}
	return fmt.Errorf("%w: %w", ErrAnswer, s)
}

// unreachable is the meaning of a failed exchange or opening.
func unreachable(err error, acted bool) error {
	switch {
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return err
	case acted:
		return fmt.Errorf("%w: %w", code.GetResponseFailed, err)
	}
	return fmt.Errorf("%w: %w", code.NoService, err)
}

// lost is a failure inside a command, and whether the key may have acted.
type lost struct {
	err   error
	acted bool
}

func (l *lost) Error() string { return l.err.Error() }
func (l *lost) Unwrap() error { return l.err }

// answered is an answer that a whole key would not give. What the key did is
// anybody's guess.
func answered(op wire.Op, what string) error {
	return &lost{fmt.Errorf("%w: %s", ErrAnswer, what), changes(op)}
}

// wrong is the failure of a reading command whose answer does not add up.
func (k *Key) wrong(op, what string) error {
	return &Error{Op: op, Key: k.id, Err: fmt.Errorf("%w: %s", ErrAnswer, what)}
}
