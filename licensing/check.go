package licensing

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"math"
	"sync"
	"time"

	"github.com/sojournlm/sojourn/detach"
	"github.com/sojournlm/sojourn/internal/document"
	"github.com/sojournlm/sojourn/internal/ledger"
)

// Grant is the permission to run for a short while. Check again before it ends.
type Grant struct {
	LicenseID uint64
	Seats     int
	Ends      time.Time     // of this grant, by this computer's clock
	Length    time.Duration // of this grant from now on, for who counts by a steady clock
	Death     time.Time     // of the license
}

const (
	// maxBehind is how far, in seconds, the wall clock may lie behind a
	// license's issue time when the license is used.
	maxBehind = 5 * 60
	// markFirst and markEvery are how soon, in seconds, the time is recorded again
	// while grants are given: soon after the start, doubled each time, and then so
	// often.
	markFirst = 10
	markEvery = 10 * 60
	// markExpired is how old, in seconds, the last record may be when a license
	// is found to have expired.
	markExpired = 60
)

// Check asks whether a program may use a feature on this computer, by the
// licenses installed here. The error says exactly why not: FeatureNotFound
// (nothing was installed), DetachedLicenseExpired, DetachedLicenseNotFound (it
// was given back), InvalidDigest (by the vendors that this program trusts the
// license is not genuine), HardwareIDMismatch, FeatureExpired, FeatureInactive,
// RTCError (this computer's clock, or the origin's when it made the license),
// StorageCorrupted.
func (m *Manager) Check(ctx context.Context, vendor, product, feature uint32) (_ *Grant, err error) {
	const op = "check"
	done, err := m.change(ctx, op, document.RequestKey{})
	if err != nil {
		return nil, err
	}
	defer func() { done(err) }()
	state, now := m.local.Read()
	var why error
	for _, in := range state.Granting(vendor, product, feature) {
		at, length, err := m.mayRun(in, product, feature, now)
		if err == nil {
			err = m.give(ctx, in, at, length, now)
		}
		if err != nil {
			why = err
			continue
		}
		t := in.License.Terms
		return &Grant{
			LicenseID: t.License,
			Seats:     int(t.Seats),
			Ends:      time.Unix(now.Wall+length, 0),
			Length:    time.Duration(length) * time.Second,
			Death:     time.Unix(t.Death, 0),
		}, nil
	}
	if why == nil {
		why = whyNot(state, now, vendor, product, feature)
	}
	if errors.Is(why, DetachedLicenseExpired) && now.Unix-m.local.Header().Time >= markExpired && m.local.Overdue() {
		// What was seen to have ended must not come back with the wall clock. Once that
		// is entered, asking again enters nothing; where it cannot be entered now, it has
		// ended all the same.
		if _, err := m.local.Do(ctx, m.mark(markFirst)); err != nil {
			m.opts.Logger.Warn("the time at which a license had expired was not recorded", "error", err)
		}
	}
	return nil, fail(op, why)
}

// whyNot says why nothing that is installed has a feature, and what to do.
func whyNot(state *detach.Local, now ledger.Moment, vendor, product, feature uint32) error {
	why := state.WhyNot(vendor, product, feature)
	switch {
	case why.Code == FeatureNotFound:
		return &advised{why, "Detach a license with this feature for this computer and install it here."}
	case why.Code == DetachedLicenseExpired && now.Unix > now.Wall:
		why.Message += fmt.Sprintf(", by a time that is %v ahead of this computer's clock", time.Duration(now.Unix-now.Wall)*time.Second)
	}
	return why
}

// mark is the command that records the time, and with it what is due.
func (m *Manager) mark(within int64) func(*detach.Local, ledger.Moment) ([][]byte, error) {
	return func(s *detach.Local, _ ledger.Moment) ([][]byte, error) {
		return s.Mark(m.grantSeconds(), within), nil
	}
}

// latest is the latest time that any clock shows, for one license: the wall's,
// the ledger's, and the origin's, which goes on steadily from the issue time, and
// in a later run from the start. Grants are counted by it, so that no clock that
// is behind makes one end too early.
func (g *grants) latest(in *detach.Installed, now ledger.Moment, elapsed time.Duration) int64 {
	id := in.License.Terms.License
	at := max(now.Unix, now.Wall, in.License.Terms.Issued)
	first, seen := g.floors[id]
	if !seen {
		// Not the wall's: where that is wrong now, it may be put right.
		first = floor{max(now.Unix, in.License.Terms.Issued), elapsed}
		g.floors[id] = first
	}
	return max(at, first.at+int64((elapsed-first.elapsed)/time.Second))
}

// mayRun gives the latest time and the length of a grant, or why there is none.
func (m *Manager) mayRun(in *detach.Installed, product, feature uint32, now ledger.Moment) (at, length int64, err error) {
	if err := untrusted(in); err != nil {
		return 0, 0, err
	}
	t := in.License.Terms
	at = m.grants.now(in, now, m.opts.Clock.Elapsed())
	no := func(c Code, format string, args ...any) (int64, int64, error) {
		return 0, 0, &detach.Refusal{Code: c, Message: fmt.Sprintf("license %d: ", t.License) + fmt.Sprintf(format, args...)}
	}
	switch {
	case now.Wall < t.Issued-maxBehind:
		_, _, err := no(RTCError, "it was made at %s by the clock of the key's manager, and this computer's clock shows %s: one of the two is wrong; by this one it starts at %s",
			clockText(t.Issued), clockText(now.Wall), clockText(t.Issued-maxBehind))
		return 0, 0, &advised{err, wrongClock}
	case at >= t.Death && now.Err != nil:
		return 0, 0, now.Err
	case at >= t.Death:
		return no(DetachedLicenseExpired, "it ended at %s", clockText(t.Death))
	}
	for _, f := range in.License.Features {
		switch {
		case f.ProductNumber != product || f.FeatureNumber != feature:
		case f.ValidFrom > at:
			return no(FeatureInactive, "the feature is valid from %s", clockText(f.ValidFrom))
		case f.ValidUpTo != 0 && f.ValidUpTo <= at:
			return no(FeatureExpired, "the feature was valid up to %s", clockText(f.ValidUpTo))
		}
	}
	if err := m.self.matches(in.License); err != nil {
		return 0, 0, err
	}
	return at, min(m.grantSeconds(), t.Death-at), nil
}

// wrongClock is what to do where two clocks differ.
const wrongClock = "Set the clock right that is wrong: this computer's, and then the license works at once; or that of the key's manager, for the licenses to come."

func clockText(unix int64) string { return time.Unix(unix, 0).UTC().Format(time.RFC3339) }

// untrusted is nil, or why an installed license does not count for this program.
func untrusted(in *detach.Installed) error {
	err := in.Verify()
	if err == nil {
		return nil
	}
	return &advised{
		&detach.Refusal{Code: InvalidDigest, Message: fmt.Sprintf("license %d: %v", in.License.Terms.License, err)},
		"Give the license back, and install one by a vendor that this program trusts: this one was installed by a program that trusts others.",
	}
}

// grantSeconds is the length of a grant, rounded up.
func (m *Manager) grantSeconds() int64 {
	return wholeSeconds(m.opts.GrantLength)
}

// wholeSeconds is d in seconds, rounded up.
func wholeSeconds(d time.Duration) int64 {
	whole := int64(d / time.Second)
	if d%time.Second > 0 {
		whole++
	}
	return whole
}

// grants remembers until when programs were told they may run, so that a
// return can say when the last of them has let go.
type grants struct {
	mu    sync.Mutex
	ends  map[uint64]floor // by license id: end of its latest grant
	going map[uint64]int   // licenses that are being given back just now

	// Licenses whose cancel may have happened: no grant until that is known, for
	// the return, if it exists, says that none lives.
	doubted map[uint64]bool

	// A license installed by the batch bootSeq or before counts as granted
	// until boot: another run of this manager may have granted it.
	boot    floor
	bootSeq uint64

	floors map[uint64]floor // by license id

	marked bool // this run has recorded a time
}

// floor is a license's latest time at a reading of the steady clock.
type floor struct {
	at      int64
	elapsed time.Duration
}

// until is the later of two ends of grants, one by the latest time and one by the
// steady clock: a wall clock that was ahead for a moment ends no grant before its
// seconds have gone by. It is 0 where none lives.
func (f floor) until(latest int64, elapsed time.Duration) int64 {
	end := f.at
	if left := f.elapsed - elapsed; left > 0 {
		end = max(end, latest+int64((left+time.Second-1)/time.Second))
	}
	if end <= latest {
		return 0
	}
	return end
}

// after is the steady clock some seconds later, or its end.
func after(elapsed time.Duration, seconds int64) time.Duration {
	if seconds > int64((math.MaxInt64-elapsed)/time.Second) {
		return math.MaxInt64
	}
	return elapsed + time.Duration(seconds)*time.Second
}

// later is a floor that is neither before f nor before g.
func (f floor) later(g floor) floor { return floor{max(f.at, g.at), max(f.elapsed, g.elapsed)} }

func (g *grants) start(local *ledger.Ledger[*detach.Local], length int64, elapsed time.Duration) {
	state, now := local.Read()
	g.ends = make(map[uint64]floor)
	g.going = make(map[uint64]int)
	g.doubted = make(map[uint64]bool)
	g.floors = make(map[uint64]floor)
	for in := range state.AllInstalled() {
		g.latest(in, now, elapsed)
	}
	g.bootSeq = local.Position().Seq
	until, known := state.ClosedGrants()
	left := state.GrantLength() // how long ago the run before ended is not known for certain
	if !known {
		left = max(left, length)
		until = max(now.Unix, now.Wall) + left
	}
	g.boot = floor{until, after(elapsed, left)}
}

// give records a grant, unless its license is being given back. It first
// records the time in the ledger when that is due, and before the first grant
// after a clean close, so that a crash is not taken for one.
func (m *Manager) give(ctx context.Context, in *detach.Installed, at, length int64, now ledger.Moment) error {
	if err := m.markGrants(ctx, now); err != nil {
		return err
	}
	g, local, id := &m.grants, m.local, in.License.Terms.License
	if err := g.settle(ctx, local, id); err != nil {
		return err
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	state, _ := local.Read()
	if g.going[id] > 0 || g.doubted[id] || !state.IsInstalled(id) {
		return &detach.Refusal{Code: DetachedLicenseNotFound, Message: fmt.Sprintf("license %d: it was given back", id)}
	}
	end := floor{at + length, after(m.opts.Clock.Elapsed(), length)}
	g.ends[id] = g.ends[id].later(end)
	return nil
}

// settle finds out whether a license was given back by a cancel whose outcome
// was not known. The ledger answers in order, so the cancel is decided when it
// answers this.
func (g *grants) settle(ctx context.Context, local *ledger.Ledger[*detach.Local], id uint64) error {
	g.mu.Lock()
	doubted := g.doubted[id] && g.going[id] == 0
	g.mu.Unlock()
	if !doubted {
		return nil
	}
	if err := local.Settle(ctx); err != nil {
		return err
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.going[id] == 0 {
		delete(g.doubted, id)
	}
	return nil
}

// markGrants records the time: before the first grant of a run, and when the last
// record is too old. A run that is killed has used less than that unrecorded, and
// one grant.
func (m *Manager) markGrants(ctx context.Context, now ledger.Moment) error {
	g := &m.grants
	state, _ := m.local.Read()
	g.mu.Lock()
	first, within := !g.marked, state.MarkWithin()
	g.mu.Unlock()
	switch {
	case first:
		within = markFirst
	case now.Unix-state.LastMark() < within:
		return nil
	default:
		within = min(2*within, markEvery)
	}
	if _, err := m.local.Do(ctx, m.mark(within)); err != nil {
		return err
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.marked = true
	return nil
}

// now is latest, for those who do not hold the lock.
func (g *grants) now(in *detach.Installed, now ledger.Moment, elapsed time.Duration) int64 {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.latest(in, now, elapsed)
}

// leave stops granting a license and gives the end of its last grant, 0 where
// none lives. The caller calls done with what became of the cancel.
func (g *grants) leave(in *detach.Installed, now ledger.Moment, elapsed time.Duration) (until int64, done func(error)) {
	id := in.License.Terms.License
	g.mu.Lock()
	defer g.mu.Unlock()
	g.going[id]++
	until = g.until(in, now, elapsed)
	return until, func(err error) {
		g.mu.Lock()
		defer g.mu.Unlock()
		if g.going[id]--; g.going[id] == 0 {
			delete(g.going, id)
		}
		if errors.Is(err, ErrUnknown) {
			g.doubted[id] = true
		}
	}
}

// until gives the end of a license's last grant, 0 where none lives.
func (g *grants) until(in *detach.Installed, now ledger.Moment, elapsed time.Duration) int64 {
	end := g.ends[in.License.Terms.License]
	if in.Seq <= g.bootSeq {
		end = end.later(g.boot)
	}
	return min(end.until(g.latest(in, now, elapsed), elapsed), in.License.Terms.Death)
}

// last gives the end of the latest grant of all that are installed, 0 where none
// lives.
func (g *grants) last(installed iter.Seq[*detach.Installed], now ledger.Moment, elapsed time.Duration) (end int64) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for in := range installed {
		end = max(end, g.until(in, now, elapsed))
	}
	return end
}

// recordClose records the time and until when the last grant lives.
func (m *Manager) recordClose(ctx context.Context) error {
	_, err := m.local.Do(ctx, func(s *detach.Local, now ledger.Moment) ([][]byte, error) {
		return s.Close(m.grants.last(s.AllInstalled(), now, m.opts.Clock.Elapsed())), nil
	})
	if errors.Is(err, ledger.ErrClock) { // an earlier batch waits for the clock; the next start takes it up
		m.opts.Logger.Warn("the end was not recorded", "error", err)
		return nil
	}
	return err
}
