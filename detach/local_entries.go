package detach

import (
	"github.com/sojournlm/sojourn/fingerprint"
	"github.com/sojournlm/sojourn/internal/document"
)

// Kinds of entries in a manager's own ledger. They lie above those of a pool's,
// so that no entry of one is ever read as one of the other, and a number is
// never used again for something else.
const (
	entryStarted          = uint32(64) // first start: the manager's id and keys
	entryComputerObserved = uint32(65) // what the manager found about its own computer
	entryComputerAdded    = uint32(66) // added by hand, or replaced by adding it again
	entryComputerEdited   = uint32(67)
	entryComputerRemoved  = uint32(68)
	entryInstalled        = uint32(69) // a license, or a higher revision of it
	entryCancelled        = uint32(70) // it was given back: the signed return
	entryForgotten        = uint32(71) // the record of a cancelled license was deleted
	entryEnded            = uint32(72) // time took all that was due
	entryMarked           = uint32(73) // the time, while grants are given
	entryClosed           = uint32(74) // the manager ended in good order
	entryAsked            = uint32(75) // a request is known that has no other entry
	entryUnasked          = uint32(76) // one of the next kind is not known any more: it has come to nothing
	entryAskedElsewhere   = uint32(77) // a request is known that another manager is about to be asked for

	entryIntentRecorded = uint32(80) // something is about to begin with another manager
	entryIntentSettled  = uint32(81) // how it ended
	entryDeclined       = uint32(90) // what it brought is not wanted any more and goes back

	// Kept free: 82 LossAccepted,
	// 83 Snapshotted, 84 TimeCorrected, 85 TimeConfirmed, 86 Adopted,
	// 87 IdentityRenewed, 88 IdentityWrapped, 89 KeyRetired.
)

// maxLocalEntry is the largest entry in bytes: a license and what is said of it.
const maxLocalEntry = document.MaxLicense + 1<<10

// started is the body of an [entryStarted]. It holds the manager's secrets.
type started struct {
	ID   uint64   `cbor:"1,keyasint"`
	Sign [32]byte `cbor:"2,keyasint"` // Ed25519 seed
	Seal [32]byte `cbor:"3,keyasint"` // what the sealing key derives from
}

// computer is the body of all entries about known computers.
type computer struct {
	Change  fingerprint.Change  `cbor:"1,keyasint"`
	Request document.RequestKey `cbor:"2,keyasint"`
}

// installed is the body of an [entryInstalled].
type installed struct {
	License []byte              `cbor:"1,keyasint"` // document.License: the entry's own proof
	Request document.RequestKey `cbor:"2,keyasint"`
}

// cancelled is the body of an [entryCancelled].
type cancelled struct {
	Return  []byte              `cbor:"1,keyasint"` // document.Return: the entry's own proof
	Request document.RequestKey `cbor:"2,keyasint"`
}

// forgotten is the body of an [entryForgotten].
type forgotten struct {
	License uint64              `cbor:"1,keyasint"`
	Origin  uint64              `cbor:"2,keyasint"`
	Request document.RequestKey `cbor:"3,keyasint"`
}

// ended is the body of an [entryEnded].
type ended struct {
	Time int64 `cbor:"1,keyasint"` // Unix seconds; everything due by then is gone
}

// marked is the body of an [entryMarked]. The time is the batch's.
type marked struct {
	Length int64 `cbor:"1,keyasint"` // of the grants that follow, in seconds
	Within int64 `cbor:"2,keyasint"` // seconds after which there is no grant without another entry
}

// closed is the body of an [entryClosed].
type closed struct {
	Until int64 `cbor:"1,keyasint"` // end of the last living grant, 0 for none; Unix seconds
}

// asking is the body of an [entryAsked]. What was asked under a request key, and was
// answered by things as they stood, is known from then on like what changed something.
type asking struct {
	Request document.RequestKey `cbor:"1,keyasint"`
	License uint64              `cbor:"2,keyasint"` // the given back one that was the answer; 0 for none
	Origin  uint64              `cbor:"3,keyasint"` // the key it came from; 0 for none
}

// askingElsewhere is the body of an [entryAskedElsewhere].
type askingElsewhere struct {
	Request document.RequestKey `cbor:"1,keyasint"`
	Peer    []byte              `cbor:"2,keyasint"` // the Ed25519 key of the manager that is asked
	Until   int64               `cbor:"3,keyasint"` // known at least until then, Unix seconds
}

// unasking is the body of an [entryUnasked].
type unasking struct {
	Request document.RequestKey `cbor:"1,keyasint"`
}

// parseLocalEntry splits an entry of the manager's own ledger into its kind and
// body. It reads longer ones than a pool has.
func parseLocalEntry(b []byte) (uint32, []byte, error) {
	var e document.Entry
	err := document.Decode("entry", b, maxLocalEntry, &e)
	return e.Kind, e.Body, err
}

// parseLocalBody reads the body of such an entry strictly.
func parseLocalBody[T any](name string, body []byte) (T, error) {
	var v T
	err := document.Decode(name, body, maxLocalEntry, &v)
	return v, err
}
