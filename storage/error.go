package storage

import (
	"errors"
	"fmt"
)

// What went wrong, for errors.Is. Where an error comes from a Store it is one of
// these, or that of a context, in an [*Error]; or it is that of the function.
var (
	// ErrNotFound says that the key is not there.
	ErrNotFound = errors.New("no such key")

	// ErrUnknown says that an Update may or may not have happened. The store
	// gives no other answer until it is closed and opened anew, and only then
	// can it be seen which it was.
	ErrUnknown = errors.New("outcome unknown, the store must be opened anew")

	// ErrFull says that there is too little room left to commit. Nothing
	// happened; the Update may be tried again when there is room.
	ErrFull = errors.New("too little free space")

	// ErrTooLarge says that a value or an Update is larger than the store takes.
	// Nothing happened.
	ErrTooLarge = errors.New("too large")

	// ErrKey says that a key is empty or longer than MaxKey. Nothing happened.
	ErrKey = errors.New("a key has 1 to 1024 bytes")

	// ErrClosed says that the store was closed. Nothing happened.
	ErrClosed = errors.New("the store is closed")

	// ErrDone says that a Reader or Writer was used after its function had
	// returned.
	ErrDone = errors.New("used after its function returned")
)

// An Error is a failure of a store, with what it was doing.
type Error struct {
	Op  string // "open", "close", "view", "update", "get", "scan", "put" or "delete"
	Key string // the key or prefix, or the directory of a store; empty where there is none
	Err error  // the reason; wraps one of the sentinels where one applies
}

// Error is the operation, its key and the reason.
func (e *Error) Error() string {
	if e.Key == "" {
		return fmt.Sprintf("storage: %s: %v", e.Op, e.Err)
	}
	return fmt.Sprintf("storage: %s %s: %v", e.Op, clip(e.Key), e.Err)
}

// Unwrap is the reason.
func (e *Error) Unwrap() error { return e.Err }

// clip quotes s, of which an error shows only so much: a refused key may have
// any length.
func clip(s string) string {
	const most = 80
	if len(s) <= most {
		return fmt.Sprintf("%q", s)
	}
	return fmt.Sprintf("%q… (%d bytes)", s[:most], len(s))
}

// CheckKey says whether key is one that every store takes: nil, or an error that
// wraps [ErrKey]. Implementations call it first in Get, Put and Delete.
func CheckKey(key string) error {
	if len(key) == 0 || len(key) > MaxKey {
		return fmt.Errorf("%w, not %d", ErrKey, len(key))
	}
	return nil
}

// CheckValue says whether value is one that every store takes: nil, or an error
// that wraps [ErrTooLarge]. Implementations call it in Put.
func CheckValue(value []byte) error {
	if len(value) > MaxValue {
		return fmt.Errorf("%w: a value of %d bytes, where %d are the most", ErrTooLarge, len(value), MaxValue)
	}
	return nil
}
