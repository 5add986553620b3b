package detach

import "github.com/sojournlm/sojourn/internal/document"

// Kinds of entries in a pool's ledger. A number is never used again for
// something else: ledgers live longer than programs.
const (
	entryDetached = document.EntryDetached // 1: seats left; the body is document.Terms
	entryReturned = uint32(2)              // a license was given back
	entryExpired  = uint32(3)              // time ended licenses and freed seats
	entryUpdated  = uint32(4)              // the vendor's pool license, first or newer
	entryTimed    = uint32(5)              // the time, for what it has ended

	// Kept free: 6 LossAccepted, 7 Snapshotted, 8 Extended,
	// 9 Revoked, 10 Adopted, 11 Succeeded, 12 SessionsTaken, 13 SessionsGiven,
	// 14 Reserved, 15 Unreserved, 16 TimeCorrected. 17 to 63 are free; 64 and
	// above belong to other ledgers.
)

// returned is the body of an [entryReturned].
type returned struct {
	License uint64              `cbor:"1,keyasint"`
	Until   int64               `cbor:"2,keyasint"` // as the return says, Unix seconds
	Return  []byte              `cbor:"3,keyasint"` // document.Return: the entry's own proof
	Request document.RequestKey `cbor:"4,keyasint"`
}

// expired is the body of an [entryExpired]. A license that dies leaves the
// lists by the one time, and its seats come home by the other, which allows for
// clocks that are behind. Both stand here, so that entries fold the same
// whatever is allowed for when they are read again.
type expired struct {
	Time  int64 `cbor:"1,keyasint"` // Unix seconds; licenses that died by then are gone
	Freed int64 `cbor:"2,keyasint"` // likewise, at most Time; seats are free whose license or last grant ended by then
}

// updated is the body of an [entryUpdated].
type updated struct {
	Pool    []byte              `cbor:"1,keyasint"` // document.Pool: the entry's own proof
	Request document.RequestKey `cbor:"2,keyasint"`
}

// timed is the body of an [entryTimed]. The time is the batch's.
type timed struct{}

// parseBody reads the body of an entry strictly.
func parseBody[T any](name string, body []byte) (T, error) {
	var v T
	err := document.Decode(name, body, document.MaxEntry, &v)
	return v, err
}
