package licensing_test

import (
	"errors"
	"flag"
	"fmt"
	"slices"
	"strconv"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/sojournlm/sojourn/licensing"
)

// TestPromises plays with several managers as life and enemies do, and holds
// all of them against the model after every step.
func TestPromises(t *testing.T) {
	rounds, others := 2, 0
	if long {
		rounds, others = 10, 2
	}
	// The same plays every time, so that a failure is about the change at hand, and
	// in the long run two more that nobody has seen, whose seed a failure prints;
	// -rapid.seed=N plays others.
	given := false
	flag.Visit(func(f *flag.Flag) { given = given || f.Name == "rapid.seed" })
	for round := range rounds + others {
		seed := int64(round + 1)
		if round >= rounds {
			seed = time.Now().UnixNano()
		}
		if !given {
			if err := flag.Set("rapid.seed", strconv.FormatInt(seed, 10)); err != nil {
				t.Fatal(err)
			}
		}
		rapid.Check(t, playPromises)
	}
	if !given {
		flag.Set("rapid.seed", "0")
	}
}

// playPromises is one play. What is named twice happens twice as often.
func playPromises(t *rapid.T) {
	w := newPlay(t)
	defer w.end()
	w.turned = rapid.Bool().Draw(t, "clocks are turned")
	t.Repeat(map[string]func(*rapid.T){
		"":            w.observe,
		"detach":      w.detach,
		"detach 2":    w.detach,
		"detach 3":    w.detach,
		"ask again":   w.again,
		"install any": w.install,
		"install":     w.installNewest,
		"install 2":   w.installNewest,
		"install 3":   w.installNewest,
		"install 4":   w.installNewest,
		"cancel":      w.cancel,
		"cancel 2":    w.cancel,
		"download":    w.download,
		"forget":      w.forget,
		"check":       w.check,
		"check 2":     w.check,
		"check 3":     w.check,
		"time passes": w.pass,
		"turn clock":  w.turn,
		"sell":        w.sell,
		"restart":     w.restart,
		"crash":       w.crash,
		"start":       w.boot,
		"plug":        w.plug,
		"key fault":   w.keyFault,
		"disk fault":  w.diskFault,
		"copy store":  w.backup,
		"put back":    w.restore,
		"put back 2":  w.restore,
	})
	w.finish()
}

func (w *play) observe(t *rapid.T) {
	w.t = t
	for _, s := range w.seats {
		s.running()
	}
	for _, p := range w.players {
		p.observe()
	}
}

// pick draws one of a list.
func pick[T any](t *rapid.T, label string, list []T) T {
	if len(list) == 0 {
		t.SkipNow()
	}
	return list[rapid.IntRange(0, len(list)-1).Draw(t, label)]
}

// running draws a manager that runs.
func (w *play) running(t *rapid.T, among []*player) *player {
	return pick(t, "computer", slices.DeleteFunc(slices.Clone(among), func(p *player) bool { return !p.up() }))
}

// newKey is a request key that was never used, or sometimes none.
func (w *play) newKey(t *rapid.T) *licensing.ChangeOptions {
	w.serial++
	if rapid.IntRange(0, 3).Draw(t, "without request key") == 0 {
		return nil
	}
	return &licensing.ChangeOptions{RequestKey: fmt.Sprint("request ", w.serial)}
}

// answered holds an answer against those that the model allows, licensing.OK
// among them, and says whether it was yes. An error that a fault explains is
// allowed too; where it does not know whether the change happened, d may.
func (w *play) answered(p *player, what string, err error, d *doubt, allowed ...licensing.Code) bool {
	w.t.Helper()
	w.note("%s: %s: %v", p.name, what, summary(err))
	var e *licensing.Error
	switch {
	case err == nil && !slices.Contains(allowed, licensing.OK):
		w.failf("%s: %s was answered with yes, want %v", p.name, what, names(allowed))
	case err == nil:
		return true
	case !errors.As(err, &e) || e.Code == licensing.OK || e.Message == "" || e.Advice == "":
		w.failf("%s: %s: an error that does not say enough: %#v", p.name, what, err)
	case errors.Is(err, licensing.ErrRolledBack), errors.Is(err, licensing.ErrForked),
		errors.Is(err, licensing.ErrAnchorLost), errors.Is(err, licensing.ErrDamaged), e.Code == licensing.InternalError && p.calm():
		w.failf("%s: %s: %v", p.name, what, err)
	case slices.Contains(allowed, e.Code):
	case p.calm():
		w.failf("%s: %s: %v, want %v", p.name, what, err, names(allowed))
	}
	if d != nil && errors.Is(err, licensing.ErrUnknown) {
		p.doubts = append(p.doubts, d)
	}
	return false
}

// settled drops what is in doubt: the ledger has answered something later.
func (p *player) settled(inPool bool) {
	p.observe() // what shows, happened
	p.doubts = slices.DeleteFunc(p.doubts, func(d *doubt) bool { return d.inPool == inPool && !d.inKey })
}

func summary(err error) string {
	var e *licensing.Error
	switch {
	case err == nil:
		return "yes"
	case errors.As(err, &e):
		return fmt.Sprintf("%s (%v)", e.Code.Name(), err)
	}
	return err.Error()
}

func names(codes []licensing.Code) (list []string) {
	for _, c := range codes {
		list = append(list, c.Name())
	}
	return list
}

// either gives codes for what a span leaves open.
func either(yes, no bool, ifYes, ifNo licensing.Code) (codes []licensing.Code) {
	if yes {
		codes = append(codes, ifYes)
	}
	if no {
		codes = append(codes, ifNo)
	}
	return codes
}

// keyless gives the answer of a pool whose key is not there, nil where it is.
func (p *player) keyless(neverSeen licensing.Code) []licensing.Code {
	switch {
	case p.plugged():
		if !p.loaded {
			p.pool.span.open(p.world.now, p.clock.off, p.world.now)
		}
		return nil
	case p.loaded, p.key != nil && head(p.disk, p.poolName()) != nil:
		return []licensing.Code{licensing.NoService}
	}
	return []licensing.Code{neverSeen}
}

// check asks whether a program may run: promise 2.
func (w *play) check(t *rapid.T) {
	p, feature := w.running(t, w.players), uint32(rapid.IntRange(1, 2).Draw(t, "feature"))
	live := slices.DeleteFunc(slices.Clone(w.seats), func(s *seat) bool {
		return s.there != installed || !s.to.up() || s.death <= s.to.local.lo
	})
	if len(live) > 0 && rapid.IntRange(0, 4).Draw(t, "any feature") > 0 {
		s := pick(t, "license", live)
		p, feature = s.to, s.features[0]
	}
	w.checkAt(p, feature)
}

func (w *play) checkAt(p *player, feature uint32) {
	var may, must []*seat
	allowed := []licensing.Code{licensing.FeatureNotFound}
	for _, s := range w.seats {
		if s.to != p || !slices.Contains(s.features, feature) {
			continue
		}
		if s.there != unseen && len(allowed) == 1 {
			allowed = []licensing.Code{licensing.DetachedLicenseExpired, licensing.DetachedLicenseNotFound, licensing.RTCError}
		}
		if s.doubted || len(p.doubts) > 0 {
			allowed = append(allowed, licensing.FeatureNotFound, licensing.DetachedLicenseExpired, licensing.DetachedLicenseNotFound)
		}
		if s.there != installed {
			continue
		}
		if alive, _ := p.local.before(s.death); alive {
			may = append(may, s)
		}
		began := s.issued + w.now - s.made // by the origin's time, which goes on from when it was installed
		if p.local.hi < s.death && p.wall() < s.death && began < s.death && p.wall() >= s.issued-300 {
			must = append(must, s)
		}
	}
	if len(must) > 0 {
		allowed = []licensing.Code{licensing.OK}
	} else if len(may) > 0 || len(p.doubts) > 0 {
		allowed = append(allowed, licensing.OK)
	}
	g, err := p.Check(w.ctx(), playVendor, playProduct, feature)
	if !w.answered(p, fmt.Sprintf("check %d", feature), err, nil, allowed...) {
		return
	}
	at := slices.IndexFunc(w.seats, func(s *seat) bool { return s.id == g.LicenseID })
	if at < 0 || w.seats[at].to != p || w.seats[at].there != installed {
		w.failf("%s was granted license %d, which cannot work there", p.name, g.LicenseID)
	}
	s := w.seats[at]
	w.note("  … by license %v until %v", s, g.Ends.UTC())
	_, out := s.from.latest.out[s.id]
	switch o := s.from; {
	case g.Seats != s.seats || g.Death.Unix() != s.death || g.Ends.After(g.Death) && !w.turned || g.Ends.Unix() > p.wall()+grantLength:
		w.failf("%s was granted %+v of license %v", p.name, g, s)
	case s.home:
		w.failf("%s was granted license %v, which is home", p.name, s)
	case o.up() && o.latest.pool != nil && !out && (o.pool.span.hi < s.death || p.local.lo >= s.death):
		w.failf("%s was granted license %v, which is not out", p.name, s)
	}
	ends := g.Ends.Unix()
	s.grants = append(s.grants, grant{w.now + ends - p.wall(), ends})
}
