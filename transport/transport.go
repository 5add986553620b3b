// Package transport carries frames to a license key and back, and never reads
// them. A [Bus] is a place where keys are found, a [Conn] an exclusive
// connection to one of them. Package transport/simulator implements both with
// keys made of Go. The suite in transport/transporttest holds an implementation
// to every sentence below.
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

// MaxFrame is the length of the longest frame, request or response, in bytes.
const MaxFrame = 4<<10 + 14

// Bus lists and opens the keys of one kind of port. It is safe for concurrent
// use. A context that has ended makes its methods fail with an error that wraps
// ctx.Err().
type Bus interface {
	// Keys lists the keys that are plugged in now, ordered by ID. A key that
	// is open is listed too. None is an empty list, not an error.
	Keys(ctx context.Context) ([]KeyInfo, error)

	// Open connects to a key. A key has at most one connection: while one is
	// open a second Open fails with [ErrBusy]. A key that is not plugged in
	// fails with [ErrNoKey]. On failure the error is an *[Error], and nothing
	// stays open.
	Open(ctx context.Context, id KeyID) (Conn, error)
}

// Conn is a connection to one key. Its methods may be called from several
// goroutines; exchanges are made one at a time.
type Conn interface {
	// Exchange sends one request frame and waits for its response frame.
	// Neither slice is kept or written to by the Conn afterwards.
	//
	// On failure the error is an *[Error], whose Sent is true unless the key
	// has certainly not seen the request. A request of more than [MaxFrame]
	// bytes fails with [ErrTooLong] and is not sent. A response that is lost
	// or not whole, as far as the Conn can tell, is [ErrGarbled].
	//
	// When the context ends, Exchange returns promptly with an error that wraps
	// ctx.Err(). When it has ended before, nothing is sent. The response to an
	// abandoned request may come as that to a later one, but does not stay in
	// the way: callers tell them apart by the frames' sequence numbers, and
	// ask again.
	//
	// When the key is unplugged, an exchange in flight and all later ones fail
	// with [ErrNoKey], also after it is plugged in again. After any failure but
	// ErrNoKey and [ErrClosed] the Conn stays usable.
	Exchange(ctx context.Context, request []byte) (response []byte, err error)

	// Close ends the connection and lets the key be opened again. An exchange
	// in flight and all later ones fail with [ErrClosed]. Closing twice is
	// harmless, and closing after the key was unplugged is too.
	Close() error
}

// Ender is a Conn that knows, without talking to the key, whether it has ended: a key
// that was pulled out and put back is listed again, and its old connection is of no
// more use. A Conn need not be one.
type Ender interface {
	// Ended reports whether all exchanges from now on fail with [ErrNoKey] or
	// [ErrClosed].
	Ended() bool
}

// Sentinels that an [Error] wraps.
var (
	ErrNoKey   = errors.New("key is not plugged in")
	ErrBusy    = errors.New("key is open elsewhere")
	ErrClosed  = errors.New("connection is closed")
	ErrGarbled = errors.New("response was lost or damaged")
	ErrTooLong = errors.New("request is longer than a key takes")
)

// Error is a failed opening or exchange.
type Error struct {
	Op   string // "open" or "exchange"
	Key  KeyID
	Sent bool // the key may have seen the request and acted on it
	Err  error
}

// Error names the key, the reason and whether the key may have acted.
func (e *Error) Error() string {
	s := "transport: " + e.Op + " key " + string(e.Key) + ": " + e.Err.Error()
	if e.Sent {
		s += " (the key may have acted)"
	}
	return s
}

// Unwrap is the reason.
func (e *Error) Unwrap() error { return e.Err }
