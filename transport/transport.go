// Package transport carries frames to a license key and back, and never reads
// them. A [Bus] is a place where keys are found, a [Conn] an exclusive
// connection to one of them. Implementations: transport/usb for real keys,
// transport/simulator for keys made of Go. The suite in
// transport/transporttest holds an implementation to every sentence below.
package transport

import (
	"context"
	"errors"
)

// KeyID names a key on a bus. It is chosen by the bus, opaque to everybody
// else, and stays the same while the key stays where it is and across replugs
// of the same key.
type KeyID string

// KeyInfo is what a bus knows of a key without talking to it.
type KeyInfo struct {
	ID     KeyID
	Serial string // as the bus reports it, for people
}

// Bus lists and opens the keys of one kind of port. It is safe for concurrent
// use.
type Bus interface {
	// Keys lists the keys that are plugged in now, ordered by ID. A key that
	// is open is listed too. None is an empty list, not an error.
	Keys(ctx context.Context) ([]KeyInfo, error)

	// Open connects to a key. A key has at most one connection: while one is
	// open a second Open fails with [ErrBusy]. A key that is not plugged in
	// fails with [ErrNoKey].
	Open(ctx context.Context, id KeyID) (Conn, error)
}

// Conn is a connection to one key. Its methods may be called from several
// goroutines; exchanges are made one at a time.
type Conn interface {
	// Exchange sends one request frame and waits for its response frame.
	// Neither slice is kept; the response belongs to the caller.
	//
	// On failure the error is an *[Error]. When the context ends, Exchange
	// returns promptly with an error that wraps ctx.Err(). A late response to
	// an abandoned request is never taken for the response to a later one by
	// the caller, because frames carry sequence numbers; the Conn stays usable
	// unless the error wraps [ErrNoKey] or [ErrClosed].
	Exchange(ctx context.Context, request []byte) (response []byte, err error)

	// Close ends the connection and lets the key be opened again. An exchange
	// in flight ends with [ErrClosed]. Closing twice is harmless.
	Close() error
}

// Sentinels that an [Error], or an error of a Bus, wraps.
var (
	ErrNoKey   = errors.New("key is not plugged in")              // on a Conn: for good, open again
	ErrBusy    = errors.New("key is open elsewhere")              //
	ErrClosed  = errors.New("connection is closed")               //
	ErrGarbled = errors.New("response was damaged")               // lost, cut short or too long
	ErrTooLong = errors.New("request is longer than a key takes") // never sent
)

// Error is a failed exchange.
type Error struct {
	Op   string // "open", "exchange"
	Key  KeyID
	Sent bool // the key may have seen the request and acted on it
	Err  error
}

func (e *Error) Error() string {
	s := "transport: " + e.Op + " key " + string(e.Key) + ": " + e.Err.Error()
	if e.Sent {
		s += " (the key may have acted)"
	}
	return s
}

func (e *Error) Unwrap() error { return e.Err }
