// Package sojourn is the root of a library that lets a license seat leave its
// network pool for a while and come home by itself. It holds no code: a
// program imports [github.com/sojournlm/sojourn/licensing].
//
// # What happens
//
// A vendor sells a pool of seats in a key. An engineer who travels needs one of
// them offline: it is detached from the pool, carried to the laptop as a sealed
// file, installed there, and it returns by being cancelled early or, at its
// death time, by itself.
//
// # Six promises
//
//  1. Conservation: for every feature, free + detached = maximum, always. Where
//     the vendor shrank a pool below what is out, the excess shows as overdrawn
//     and nothing new leaves.
//  2. No double life: a seat works in at most one place.
//  3. An answer is durable: what was acknowledged survives a crash, what was
//     refused has not happened, and where that is not known the error says so.
//  4. Files are exactly-once: any file may be lost, repeated, late or out of
//     order; nothing is minted and nothing is lost.
//  5. Only the right computer, only the right key: a license opens on its
//     recipient alone, and every document counts only with an unbroken chain of
//     signatures up to a vendor key the program was given.
//  6. The past cannot be restored: putting back yesterday's store does not
//     bring back yesterday's seats, as far as the anchor reaches.
//
// SECURITY.md says how far each of them goes.
//
// # The ledger is the database
//
// Every change is an entry (detached, returned, expired up to, installed,
// cancelled, pool updated). Entries are committed in batches, a batch is one
// stored value chained by hash to the one before, and state is the fold of all
// entries. There is one ledger for each key, for its pool, and one for the
// manager itself.
//
// A committer takes all commands that wait, decides each on the state with this
// batch so far, and then makes one durable write and one round trip to the key:
// the key computes the new head of the chain itself, remembers it with the
// latest death time ever issued, and signs it. That one signature covers the
// batch's Merkle root, so it covers every license in it; a license carries its
// short inclusion proof. The key is thereby the ledger's anchor: a store that
// is behind it was rolled back, one beside it was forked, one far ahead of it
// has lost its anchor, and each is refused by an error of its own. Only a store
// that is exactly one batch ahead, which is what a crash leaves, is taken up,
// after that batch was judged like any hostile input.
//
// Rules are pure functions over plain values, without clock and without I/O.
// State is kept in copy-on-write trees: a published state never changes, so
// reading takes no lock and a batch that fails is simply dropped.
//
// # Other managers
//
// Online, a manager takes a seat from another one and installs it in one call.
// What it begins is first an intent in its own ledger, with a request key of its
// own, so that it can be asked for again with the same outcome: the origin
// answers the same key with the same license, and the batch that installs the
// license settles the intent. An intent whose caller was told that the other fell
// silent is recalled, and a license that it had brought about is given back
// without ever having worked; nothing is made for one that the license would
// outlive. A return is done when the origin's key has signed
// for it. A detach that another manager makes for a third computer is known here
// under its request key before it is sent. So whatever dies, the seat is in one
// place in the end, and in none for no longer than until the license's death time.
//
// # The rooms
//
//	transport/        carries frames to a key and never reads them
//	    usb/          real keys, over gousb: the only cgo, behind a build tag
//	    simulator/    keys made of Go, with hands that pull the cable
//	    transporttest/  what any transport must do
//	device/           speaks to one open key
//	fingerprint/      who a computer is, and the book of known ones
//	storage/          remembers bytes
//	    memory/  badgerstore/  storagetest/
//	detach/           the rules, and the documents' public face
//	licensing/        the public package
//	    lmhttp/       its HTTP API
//	    discovery/    managers find each other on the local network
//	    issuer/       the vendor's side: signs pools
//	    licensingtest/  a whole manager for a program's own tests
//	examples/         thin programs
//	internal/         document (encodings), wire (frames), firmware (the
//	                  program inside a key), gadget (its body on USB), usbip
//	                  and functionfs (ways to plug that in), ledger, peer (how
//	                  managers speak to each other), code, fold, usbtest and
//	                  netlab (USB and networks for tests), arch
//
// A package imports only from the floors below its own, from the top:
//
//	examples
//	licensing/licensingtest
//	licensing/*
//	licensing
//	detach
//	device, fingerprint, internal/ledger, internal/peer, and the plug-ins and suites
//	of the seams
//	transport, storage, internal/firmware
//	internal/document, internal/wire
//	internal/code, internal/fold
//
// The seams, transport and storage, import the standard library alone, so that
// anybody can stand on them. The plug-ins (usb, simulator, memory, badgerstore) are
// chosen by programs. internal/arch holds this plan as a test.
//
// # Not there yet
//
// Snapshots and pruning of a ledger; and an operator's word that accepts a store
// that was rolled back or has lost its anchor, or that confirms a clock.
package sojourn
