package badgerstore

import (
	"slices"
	"sync"
)

// versions knows which version of the database is the last that is whole and
// durable, and which are being read. Left to itself, Badger would have who
// begins to read wait for the commit in flight, however long it takes and
// whatever becomes of the reader's context.
type versions struct {
	mu    sync.Mutex
	last  uint64    // that of the last Update
	reads []reading // in ascending order, each by somebody

	// discard lets Badger drop what no version from this one on shows. It is
	// called with numbers that never fall.
	discard func(uint64)
}

type reading struct {
	version uint64
	readers int
}

func newVersions(last uint64, discard func(uint64)) *versions {
	discard(last)
	return &versions{last: last, discard: discard}
}

// begin is the version that a reader sees who begins now. Each begin is followed
// by one end.
func (v *versions) begin() uint64 {
	v.mu.Lock()
	defer v.mu.Unlock()
	if n := len(v.reads); n == 0 || v.reads[n-1].version != v.last {
		v.reads = append(v.reads, reading{version: v.last})
	}
	v.reads[len(v.reads)-1].readers++
	return v.last
}

// end says that a reader who saw version sees it no longer.
func (v *versions) end(version uint64) {
	v.mu.Lock()
	defer v.mu.Unlock()
	i := slices.IndexFunc(v.reads, func(r reading) bool { return r.version == version })
	v.reads[i].readers--
	if v.reads[i].readers > 0 {
		return
	}
	v.reads = slices.Delete(v.reads, i, i+1)
	if i == 0 {
		v.discard(v.oldest())
	}
}

// next is the version that the next Update makes.
func (v *versions) next() uint64 {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.last + 1
}

// made says that version is whole and durable: who begins from now on sees it.
func (v *versions) made(version uint64) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.last = version
	v.discard(v.oldest())
}

// oldest is the oldest version that somebody sees, or will.
func (v *versions) oldest() uint64 {
	if len(v.reads) > 0 {
		return v.reads[0].version
	}
	return v.last
}
