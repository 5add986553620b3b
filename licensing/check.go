package licensing

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/sojournlm/sojourn/detach"
	"github.com/sojournlm/sojourn/internal/ledger"
)

// Grant is the permission to run for a short while. Check again before it ends.
type Grant struct {
	LicenseID uint64
	Seats     int
	Ends      time.Time // of this grant, by this computer's clock
	Death     time.Time // of the license
}

const (
	// maxBehind is how far, in seconds, the wall clock may lie behind a
	// license's issue time when the license is used.
	maxBehind = 5 * 60
	// markEvery is how often, in seconds, the time is recorded while grants
	// are given.
	markEvery = 10 * 60
)

// Check asks whether a program may use a feature on this computer, by the
// licenses installed here. The error says exactly why not: FeatureNotFound
// (nothing was installed), DetachedLicenseExpired, DetachedLicenseNotFound (it
// was given back), HardwareIDMismatch, FeatureExpired, FeatureInactive,
// RTCError (this computer's clock), StorageCorrupted.
func (m *Manager) Check(ctx context.Context, vendor, product, feature uint32) (*Grant, error) {
	const op = "check"
	done, err := m.change(op)
	if err != nil {
		return nil, err
	}
	defer done()
	state, now := m.local.Read()
	var why error = state.WhyNot(vendor, product, feature)
	for _, in := range state.Granting(vendor, product, feature) {
		end, err := m.mayRun(in, product, feature, now)
		if err == nil {
			err = m.grants.give(ctx, m.local, in, end, m.grantSeconds(), now)
		}
		if err != nil {
			why = err
			continue
		}
		t := in.License.Terms
		return &Grant{
			LicenseID: t.License,
			Seats:     int(t.Seats),
			Ends:      time.Unix(now.Wall+end-now.Unix, 0),
			Death:     time.Unix(t.Death, 0),
		}, nil
	}
	return nil, fail(op, why)
}

// mayRun gives the end of a grant, by the ledger's clock, or why there is none.
func (m *Manager) mayRun(in *detach.Installed, product, feature uint32, now ledger.Moment) (end int64, err error) {
	t := in.License.Terms
	at := max(now.Unix, now.Wall, t.Issued)
	no := func(c Code, format string, args ...any) (int64, error) {
		return 0, &detach.Refusal{Code: c, Message: fmt.Sprintf("license %d: ", t.License) + fmt.Sprintf(format, args...)}
	}
	switch {
	case now.Wall < t.Issued-maxBehind:
		return no(RTCError, "this computer's clock is %v behind the license's issue time", time.Duration(t.Issued-now.Wall)*time.Second)
	case at >= t.Death && now.Err != nil:
		return 0, now.Err
	case at >= t.Death:
		return no(DetachedLicenseExpired, "it ended at %s", time.Unix(t.Death, 0).UTC().Format(time.RFC3339))
	}
	for _, f := range in.License.Features {
		switch {
		case f.ProductNumber != product || f.FeatureNumber != feature:
		case f.ValidFrom > at:
			return no(FeatureInactive, "the feature is valid from %s", time.Unix(f.ValidFrom, 0).UTC().Format(time.RFC3339))
		case f.ValidUpTo != 0 && f.ValidUpTo <= at:
			return no(FeatureExpired, "the feature was valid up to %s", time.Unix(f.ValidUpTo, 0).UTC().Format(time.RFC3339))
		}
	}
	if err := m.self.matches(in.License); err != nil {
		return 0, err
	}
	return now.Unix + min(m.grantSeconds(), t.Death-at), nil
}

// grantSeconds is the length of a grant, rounded up.
func (m *Manager) grantSeconds() int64 {
	return int64((m.opts.GrantLength + time.Second - 1) / time.Second)
}

// grants remembers until when programs were told they may run, so that a
// return can say when the last of them has let go.
type grants struct {
	mu    sync.Mutex
	ends  map[uint64]int64 // by license id: end of its latest grant
	going map[uint64]int   // licenses that are being given back just now

	// Licenses whose cancel may have happened: no grant until that is known, for
	// the return, if it exists, says that none lives.
	doubted map[uint64]bool

	// A license installed by the batch bootSeq or before counts as granted
	// until boot: another run of this manager may have granted it.
	boot    int64
	bootSeq uint64
}

func (g *grants) start(local *ledger.Ledger[*detach.Local], length int64) {
	state, now := local.Read()
	g.ends = make(map[uint64]int64)
	g.going = make(map[uint64]int)
	g.doubted = make(map[uint64]bool)
	g.bootSeq = local.Position().Seq
	var known bool
	if g.boot, known = state.ClosedGrants(); !known {
		g.boot = now.Unix + max(length, state.GrantLength())
	}
}

// give records a grant, unless its license is being given back. It first
// records the time in the ledger when that is due, and before the first grant
// after a clean close, so that a crash is not taken for one.
func (g *grants) give(ctx context.Context, local *ledger.Ledger[*detach.Local], in *detach.Installed, end, length int64, now ledger.Moment) error {
	if err := mark(ctx, local, length, now); err != nil {
		return err
	}
	id := in.License.Terms.License
	if err := g.settle(ctx, local, id); err != nil {
		return err
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	state, _ := local.Read()
	if g.going[id] > 0 || g.doubted[id] || !state.IsInstalled(id) {
		return &detach.Refusal{Code: DetachedLicenseNotFound, Message: fmt.Sprintf("license %d: it was given back", id)}
	}
	g.ends[id] = max(g.ends[id], end)
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

// mark records the time when the last record is too old, or knows of shorter grants only.
func mark(ctx context.Context, local *ledger.Ledger[*detach.Local], length int64, now ledger.Moment) error {
	due := func(s *detach.Local, at int64) bool {
		_, closed := s.ClosedGrants()
		return closed || s.GrantLength() < length || at-s.LastMark() >= markEvery
	}
	if state, _ := local.Read(); !due(state, now.Unix) {
		return nil
	}
	_, err := local.Do(ctx, func(s *detach.Local, now ledger.Moment) ([][]byte, error) {
		if !due(s, now.Unix) {
			return nil, nil
		}
		return s.Mark(length), nil
	})
	return err
}

// leave stops granting a license and gives the end of its last grant, 0 where
// none lives. The caller calls done with what became of the cancel.
func (g *grants) leave(in *detach.Installed, now int64) (until int64, done func(error)) {
	id := in.License.Terms.License
	g.mu.Lock()
	defer g.mu.Unlock()
	g.going[id]++
	until = g.until(in)
	if until <= now {
		until = 0
	}
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

func (g *grants) until(in *detach.Installed) int64 {
	end := g.ends[in.License.Terms.License]
	if in.Seq <= g.bootSeq {
		end = max(end, g.boot)
	}
	return min(end, in.License.Terms.Death)
}

// last gives the end of the latest grant of all.
func (g *grants) last() int64 {
	g.mu.Lock()
	defer g.mu.Unlock()
	end := g.boot
	for _, e := range g.ends {
		end = max(end, e)
	}
	return end
}

// recordClose records the time and until when the last grant lives.
func (m *Manager) recordClose(ctx context.Context) error {
	_, err := m.local.Do(ctx, func(s *detach.Local, now ledger.Moment) ([][]byte, error) {
		until := m.grants.last()
		if until <= now.Unix {
			until = 0
		}
		return s.Close(until), nil
	})
	if errors.Is(err, ledger.ErrClock) { // an earlier batch waits for the clock; the next start takes it up
		m.opts.Logger.Warn("the end was not recorded", "error", err)
		return nil
	}
	return err
}
