package detach

import (
	"math"
	"time"

	"github.com/sojournlm/sojourn/internal/document"
)

// Policy is what a pool's administrator allows beyond what the vendor allows.
// The zero Policy forbids nothing. It is safe for concurrent use as long as
// nobody writes to it.
type Policy struct {
	// MaxDuration is the longest detach, in whole seconds. Zero: no limit.
	MaxDuration time.Duration

	// Reserve is how many seats of every feature must stay in the pool.
	Reserve uint32

	// Forbidden are the features and whole products that may not leave.
	Forbidden []Selector
}

// Selector names a feature of a product, or with Whole every feature of it
// that may be detached. FeatureNumber does not count where Whole is set.
type Selector struct {
	ProductNumber uint32
	FeatureNumber uint32
	Whole         bool
}

func (s Selector) matches(f *document.Feature) bool {
	return s.ProductNumber == f.ProductNumber && (s.Whole || s.FeatureNumber == f.FeatureNumber)
}

// Allows reports whether a feature may be detached at all: the vendor marked
// it so, it has seats, it is not limited by runs, and the policy does not
// forbid it.
func (y Policy) Allows(f document.Feature) bool {
	return immovable(&f) == "" && !y.forbids(&f)
}

func (y Policy) forbids(f *document.Feature) bool {
	for _, s := range y.Forbidden {
		if s.matches(f) {
			return true
		}
	}
	return false
}

// longest is how many seconds a feature may be away from now on by the
// administrator, the vendor and its own validity.
func (y Policy) longest(f *document.Feature, head document.PoolHead, now int64) int64 {
	most := int64(math.MaxInt64)
	if y.MaxDuration > 0 {
		most = int64(y.MaxDuration / time.Second)
	}
	if head.MaxDuration > 0 {
		most = min(most, head.MaxDuration)
	}
	if f.ValidUpTo > 0 {
		most = min(most, f.ValidUpTo-now)
	}
	return most
}

// immovable says why a feature can never be detached, "" where it can.
func immovable(f *document.Feature) string {
	switch {
	case f.Seats == 0:
		return "it has no seats"
	case !f.Detachable:
		return "the vendor does not allow it to be detached"
	case f.MaxRuns != 0:
		return "it is limited by runs, which cannot be detached"
	}
	return ""
}
