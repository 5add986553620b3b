// Package storage remembers bytes: it is the seam between the ledger and
// whatever keeps its data, a [Store] of ordered keys and values with
// transactions.
//
// The package holds the contract and imports only the standard library. Package
// memory keeps a store in memory, package badgerstore on disk. Every
// implementation is held to the contract, sentence by sentence, by package
// storagetest; [Gate] does the part of the work that is the same for all.
package storage

import (
	"context"
	"iter"
)

// The sizes that every store accepts.
const (
	// MaxKey is the greatest length of a key in bytes.
	MaxKey = 1024

	// MaxValue is the greatest length of a value in bytes, 1 MiB.
	MaxValue = 1 << 20

	// MaxWrites is the number of Puts and Deletes that one Update may always
	// make, those of the same key each counted.
	MaxWrites = 10_000

	// MaxUpdate is how many bytes of keys and values one Update may always
	// write, 4 MiB.
	MaxUpdate = 4 << 20
)

// A Store is an ordered map of keys to values, read and changed by functions
// that see it alone. It is safe for concurrent use.
//
// Only one process owns a store at a time. A function given to View or Update
// must neither call Update of the same store nor Close it: both would wait for
// the function itself.
type Store interface {
	// View runs fn on one state of the store.
	//
	// A View sees one state of the store, that between two Updates, however long
	// it runs. Views and Updates do not wait for each other.
	//
	// An error of fn is returned as it is.
	View(ctx context.Context, fn func(Reader) error) error

	// Update runs fn and commits what it wrote.
	//
	// Updates are serializable: they happen one after the other, and each sees
	// all those before it. An Update happens as a whole or not at all. When
	// Update returns nil it is durable: it survives Close, a crash of the
	// process and a power cut.
	//
	// fn may run again, so it has no effects but its Writer; only its last run
	// counts. An error of fn is returned as it is, and nothing happened. When
	// fn panics or ends its goroutine, nothing happened, the panic goes on, and
	// the store works as before. A method of the Writer that fails with
	// anything but [ErrNotFound] spoils the Update: it returns an error and
	// nothing happened, even if fn returns nil.
	//
	// When ctx ends before the commit begins, also while the Update waits for
	// another, nothing happened and the error wraps that of ctx. A commit that
	// has begun is not interrupted.
	//
	// An error means that the Update did not happen, unless it wraps
	// [ErrUnknown]. After ErrUnknown the store refuses everything, with an
	// error that wraps ErrUnknown, until it is closed and opened anew. Then the
	// Update is there as a whole or not at all.
	Update(ctx context.Context, fn func(Writer) error) error

	// Close ends the use of the store and frees what it holds.
	//
	// Close waits for the functions that run, and they come to their end
	// undisturbed. From its beginning on, everything else is refused with
	// [ErrClosed]. Close may be called again.
	Close() error
}

// A Reader reads one state of a [Store]. It is used by one goroutine at a time.
//
// A key is any string of 1 to [MaxKey] bytes; any other is refused with
// [ErrKey]. After fn has returned, every method gives an error that wraps
// [ErrDone].
type Reader interface {
	// Get is the value of key.
	//
	// Get of a key that is not there gives an error that wraps [ErrNotFound].
	// What Get gives belongs to the caller, who may change it.
	Get(key string) ([]byte, error)

	// Scan ranges over the pairs whose keys begin with prefix.
	//
	// They come in ascending order of the bytes of their keys; the empty prefix
	// takes them all. What Scan gives belongs to the caller, who may change it.
	// A range over Scan shows what was there when it began, whatever is written
	// meanwhile. It may be left early, nested in another and ranged over again.
	// An error comes last, beside an empty Pair.
	Scan(prefix string) iter.Seq2[Pair, error]
}

// A Writer reads and changes the state of a [Store] in an Update. It is used by
// one goroutine at a time.
//
// Get and Scan see what the Update itself has written. An Update of up to
// [MaxWrites] writes and [MaxUpdate] bytes is accepted; a larger one may be
// refused with [ErrTooLarge].
type Writer interface {
	Reader

	// Put sets the value of key.
	//
	// A value is any 0 to [MaxValue] bytes, and an empty one is there like any
	// other; a longer one is refused with [ErrTooLarge]. After Put has returned
	// the caller may change the bytes of value.
	Put(key string, value []byte) error

	// Delete removes key and its value.
	//
	// Delete of a key that is not there changes nothing and is no error.
	Delete(key string) error
}

// A Pair is a key with its value.
type Pair struct {
	Key   string
	Value []byte
}
