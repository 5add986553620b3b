package detach

import (
	"math"
	"testing"
)

// Numbers are used again, when they are used up and what had them is forgotten.
func TestNumbersBeginAnew(t *testing.T) {
	w := worldOf(t, feature(1, 9))
	w.mustDetach(request(1, 1000, 1)) // has number 0 for longer
	w.pool = w.pool.Clone()
	w.pool.next = math.MaxUint32
	for n := range 3 {
		w.mustDetach(request(2+n, 1000, 1))
	}
	numbers := map[uint32]bool{}
	for r := range w.pool.Detached(Filter{}).From(0) {
		numbers[r.number] = true
	}
	for _, n := range []uint32{0, math.MaxUint32, 1, 2} {
		if !numbers[n] {
			t.Errorf("no license has number %d: %v", n, numbers)
		}
	}
	if err := w.pool.Check(); err != nil {
		t.Error(err)
	}
	w.now += 5000
	w.settle()
	if n := w.pool.records.Len(); n != 0 {
		t.Errorf("%d blocks of no licenses are kept", n)
	}
}

// Licenses of the same features share what says so.
func TestChoicesAreShared(t *testing.T) {
	w := worldOf(t, feature(1, 9), feature(2, 9))
	for n := range 4 {
		w.mustDetach(request(n, 1000, uint32(1+n%2)))
	}
	if n := w.pool.choices.Len(); n != 2 {
		t.Errorf("%d choices, want 2", n)
	}
}
