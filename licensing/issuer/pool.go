// Package issuer is the vendor's side: it signs the pool license of a key, the
// list of features with their seats, with any [crypto.Signer], so that the
// vendor's private key may live in an HSM.
//
// It reads no clock, keeps no state and is safe for concurrent use. A vendor
// keeps for each key what a new license must not contradict: the key's id and
// public half, and the last update counter.
package issuer

import (
	"crypto/ed25519"
	"time"
)

// Pool is what a vendor grants with one key. Times are cut to whole seconds.
type Pool struct {
	Key       uint32            // the key's id (dongleId): not 0 and not 0xFFFFFFFF
	KeyPublic ed25519.PublicKey // the key's public half, as the key itself tells it
	Vendor    uint32            // the vendor's public code
	Counter   uint64            // 1 or more, and higher with each license for this key
	Issued    time.Time         // must be given
	// Binding says how detached licenses are bound to their computers. Without
	// rules: to the machine id, which may not change.
	Binding Binding
	// MaxDuration is the longest time seats may be detached for, in whole
	// seconds; 0 for no limit.
	MaxDuration time.Duration
	Products    []Product // at least one
}

// Binding binds detached licenses to the hardware of their computers.
type Binding struct {
	Rules      []Rule // in any order, one for each component; others are not bound
	MaxChanges uint32 // the largest sum of the weights of changed components
}

// Rule binds one hardware component.
type Rule struct {
	Component   string // such as MACHINE, CPU, MAC; at most 32 bytes
	Weight      uint32 // at most 65535
	Replaceable bool   // false: a change of this one alone is a mismatch
}

// Product groups features. Its number with its modification is unique in a pool.
//
// A feature is known by its product's number and modification and its own number. A new
// license that changes one of these takes one feature away and grants another: what is
// out of the old one stays out until it comes home, shown as overdrawn, while all seats
// of the new one are free.
type Product struct {
	Number       uint32 // not 0xFFFFFFFF
	Modification uint32
	Name         string    // one line of at most 255 bytes
	Features     []Feature // at least one
}

// Feature is what a program asks for. Its number is unique in its product.
type Feature struct {
	Number       uint32 // not 0xFFFFFFFF
	Name         string // one line of at most 255 bytes
	Seats        uint32 // at most 2^24; a feature with 0 is no network resource
	Detachable   bool
	Remote       RemoteMode // where the feature may be used from; 0 for LocalAndRemote
	Consumption  Consumption
	ValidFrom    time.Time // zero for always
	ValidUpTo    time.Time // zero for ever
	MaxRuns      uint32    // 0 for no limit; a feature with a limit cannot be detached
	RDPForbidden bool      // not to be used over a remote desktop
	VMForbidden  bool      // not to be used in a virtual machine
}

// RemoteMode says where a feature may be used from.
type RemoteMode uint32

// The remote modes.
const (
	Local          RemoteMode = 1
	Remote         RemoteMode = 2
	LocalAndRemote RemoteMode = Local | Remote
)

// Consumption says what takes a seat.
type Consumption uint32

// The consumption modes.
const (
	PerStation Consumption = 0
	PerLogin   Consumption = 1
	PerProcess Consumption = 2
)
