package licensing_test

import (
	"fmt"
	"slices"
	"time"

	"github.com/sojournlm/sojourn/licensing"
)

// The model is what the promises say, in as few words as can be: which licenses
// exist, where each of them is in its life, and how many seats the vendor sold.
// It knows nothing of ledgers, stores and keys.

// seat is a detached license. Its life at the origin and at the recipient are
// two things, and files carry news between them.
type seat struct {
	id            uint64
	from, to      *player
	features      []uint32
	seats         int
	issued, death int64
	made          int64  // true time, when it was first known here
	request       string // key it was detached under, "" for none

	home  bool  // its return was installed at the origin
	until int64 // then: when the seats are free
	there life  // at the recipient

	doubted   bool // it may have been installed though nobody saw it
	maybeHome bool // its return may have been, and may be all that hides it from a list

	back   licensing.Buffer // the return, once it is known
	grants []grant
}

// life is what a recipient knows of a license.
type life int

const (
	unseen life = iota
	installed
	cancelled
	forgotten
)

func (l life) String() string {
	return [...]string{"unseen", "installed", "cancelled", "forgotten"}[l]
}

// grant is a permission to run, which a program keeps to by either clock.
type grant struct{ true, wall int64 }

// running is for how long programs may still run on what was granted. One that
// has seen its grant end by either clock has ended.
func (s *seat) running() (left int64) {
	p := s.to
	s.grants = slices.DeleteFunc(s.grants, func(g grant) bool { return g.true <= p.world.now || g.wall <= p.wall() })
	for _, g := range s.grants {
		left = max(left, min(g.true-p.world.now, g.wall-p.wall()))
	}
	return left
}

func (s *seat) String() string { return fmt.Sprintf("#%d", slices.Index(s.from.world.seats, s)) }

// span is what is known from outside about a ledger's clock: its time lies in
// [lo, hi]. Where nobody turns clocks, the two are the same. What is observed
// narrows it, so a clock that runs back is found out as an empty span.
type span struct {
	lo, hi int64
	mark   int64 // a time that is certainly recorded
	base   int64 // how far the wall was off at the start
	off    int64 // and is now
}

// sure reports whether the ledger must believe the wall clock.
func (s *span) sure() bool { return s.off-s.base <= int64(time.Hour/time.Second) }

// open is a start: only what was recorded holds still.
func (s *span) open(now, off, least int64) {
	s.base, s.off = off, off
	s.lo = max(s.mark, now+off)
	s.hi = max(s.hi, now+off, least)
}

// pass lets time pass, up to what the wall then shows. A clock that is ahead of
// it falls back slowly.
func (s *span) pass(d, wall int64) {
	if s.lo == s.hi && s.hi+d <= wall {
		s.lo, s.hi = s.lo+d, s.hi+d
		return
	}
	s.lo, s.hi = s.lo+d-d/1024-1, s.hi+d
}

// read is a look at the clock by its ledger.
func (s *span) read(wall, off int64) {
	s.off = off
	s.hi = max(s.hi, wall)
	if s.sure() {
		s.lo = max(s.lo, wall)
	}
}

// at is a time that the ledger showed. It is recorded.
func (s *span) at(t int64) error {
	if t < s.lo || t > s.hi {
		return fmt.Errorf("a ledger's clock shows %d, which is not between %d and %d", t, s.lo, s.hi)
	}
	s.lo, s.hi, s.mark = t, t, t
	return nil
}

// due is an observation: something that is due at t has been seen to be due, or
// not to be.
func (s *span) due(t int64, is bool) error {
	switch {
	case is && t > s.hi:
		return fmt.Errorf("due at %d, and came at %d at the latest: too early", t, s.hi)
	case is:
		s.lo = max(s.lo, t)
	case s.sure() && t <= s.lo:
		return fmt.Errorf("due at %d, and did not come up to %d: too late", t, s.lo)
	case s.sure():
		s.hi = min(s.hi, t-1)
	}
	return nil
}

// before says what of "earlier than t" and "not earlier" can be.
func (s *span) before(t int64) (yes, no bool) { return s.lo < t, s.hi >= t }

// poolModel is the whole model of a pool: what was sold, and what follows for
// each feature from the licenses that are out.
type poolModel struct {
	counter uint64
	max     map[uint32]uint32 // by feature
	span    span
}

// away is the least and the most seats of a feature that may be away now.
func (p *poolModel) away(seats []*seat, feature uint32, listed func(*seat) bool) (least, most uint32) {
	for _, s := range seats {
		if !slices.Contains(s.features, feature) {
			continue
		}
		ends := s.death
		if s.home {
			ends = s.until
		}
		waits, over := p.span.before(ends)
		if s.home && s.until == 0 {
			waits, over = false, true
		}
		if !p.span.sure() && s.until != 0 {
			waits = true // what is due waits for a clock that is believed
		}
		if !s.home {
			waits, over = listed(s) || s.maybeHome, !listed(s)
		}
		if waits {
			most += uint32(s.seats)
		}
		if !over {
			least += uint32(s.seats)
		}
	}
	return least, most
}

// refusals gives for each feature of a request the first reason that stands in
// its way, licensing.OK for none. taken are the features out to the recipient.
func (p *poolModel) refusals(features []uint32, seats int, free map[uint32]uint32, taken []uint32) (codes []licensing.Code) {
	for _, f := range features {
		most, known := p.max[f]
		switch {
		case !known:
			codes = append(codes, licensing.FeatureNotFound)
		case most == 0:
			codes = append(codes, licensing.CanNotDetachSomeFeatures)
		case slices.Contains(taken, f):
			codes = append(codes, licensing.CancelPreviousDetachRequired)
		case free[f] < uint32(seats):
			codes = append(codes, licensing.FeatureResourceExhaust)
		}
	}
	return codes
}

// verdict is the one code for the reasons of all features.
func verdict(codes []licensing.Code) licensing.Code {
	switch same := slices.Compact(slices.Clone(codes)); len(same) {
	case 0:
		return licensing.OK
	case 1:
		return same[0]
	}
	return licensing.CanNotDetachSomeFeatures
}
