package licensing_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/sojournlm/sojourn/internal/document"
	"github.com/sojournlm/sojourn/licensing"
	"github.com/sojournlm/sojourn/storage/memory"
	"github.com/sojournlm/sojourn/transport/simulator"
)

// until reads from a return for how long its license may still be in use, from
// now on; 0 says not at all.
func until(t testing.TB, m *machine, file licensing.Buffer) time.Duration {
	t.Helper()
	e, err := document.Unwrap(file)
	if err != nil {
		t.Fatal(err)
	}
	r, err := e.Return()
	if err != nil {
		t.Fatal(err)
	}
	if r.Until == 0 {
		return 0
	}
	return time.Unix(r.Until, 0).Sub(m.watch.Now())
}

// A return says when the last program lets go, whatever came between the grant
// and the return.
func TestUntil(t *testing.T) {
	const s = time.Second
	for name, c := range map[string]struct {
		play func(*stage) // after the license was installed
		want time.Duration
	}{
		"never granted":              {func(*stage) {}, 0},
		"just granted":               {(*stage).grant, 60 * s},
		"granted a while ago":        {func(w *stage) { w.grant(); w.turn(25 * s) }, 35 * s},
		"the grant has ended":        {func(w *stage) { w.grant(); w.turn(60 * s) }, 0},
		"granted twice":              {func(w *stage) { w.grant(); w.turn(20 * s); w.grant(); w.turn(10 * s) }, 50 * s},
		"near its death":             {func(w *stage) { w.turn(24*time.Hour - 20*s); w.grant() }, 20 * s},
		"crashed, never granted":     {func(w *stage) { w.laptop.reopen() }, 60 * s},
		"crashed after a grant":      {func(w *stage) { w.grant(); w.laptop.reopen() }, 60 * s},
		"crashed, up for a minute":   {func(w *stage) { w.grant(); w.laptop.reopen(); w.turn(60 * s) }, 0},
		"closed, never granted":      {func(w *stage) { w.laptop.restart() }, 0},
		"closed after its grant":     {func(w *stage) { w.grant(); w.turn(61 * s); w.laptop.restart() }, 0},
		"closed during a grant":      {func(w *stage) { w.grant(); w.turn(15 * s); w.laptop.restart() }, 45 * s},
		"closed, granted, crashed":   {func(w *stage) { w.laptop.restart(); w.grant(); w.turn(30 * s); w.laptop.reopen() }, 60 * s},
		"crashed, then closed":       {func(w *stage) { w.grant(); w.laptop.reopen(); w.turn(20 * s); w.laptop.restart() }, 40 * s},
		"closed twice, then crashed": {func(w *stage) { w.laptop.restart(); w.laptop.restart(); w.laptop.reopen() }, 0},
	} {
		t.Run(name, func(t *testing.T) {
			w := newStage(t)
			w.lent = w.office.lend(w.laptop, 1)
			c.play(w)
			back := w.laptop.giveBack(w.lent.LicenseID)
			// After a crash the laptop's time is up to eleven minutes ahead, so that
			// nobody gains by crashing.
			most := c.want
			if strings.Contains(name, "crashed") {
				most += 11 * time.Minute
			}
			got := until(t, w.laptop, back)
			if got < c.want || got > most {
				t.Errorf("it may be in use for %v, want %v to %v", got, c.want, most)
			}
			if _, err := w.laptop.check(1); !errors.Is(err, licensing.DetachedLicenseNotFound) {
				t.Errorf("it was given back, and still: %v", err)
			}
			w.ok(w.office.Install(w.ctx, back, nil))
			for left := got; left > 0; left -= s {
				if w.office.free(1) != 2 {
					t.Fatalf("the seat is free %v before the grant ends", left)
				}
				w.turn(s)
			}
			if w.office.free(1) != 3 {
				t.Error("the seat is not free")
			}
			w.checkPromises()
		})
	}
}

func (s *stage) grant() {
	s.Helper()
	g, err := s.laptop.check(1)
	s.ok(err)
	if g.LicenseID != s.lent.LicenseID || g.Seats != 1 || !g.Death.Equal(s.lent.Ends) || !g.Ends.After(s.laptop.watch.Now()) || g.Ends.After(g.Death) {
		s.Errorf("granted: %+v", g)
	}
}

// A wall clock that is ahead for a moment and is put right, whoever reads it
// meanwhile, ends no grant: a program that runs has until its grant's end.
func TestGrantsOutliveAClockThatWasAhead(t *testing.T) {
	ahead := func(w *stage, meanwhile func()) {
		w.laptop.watch.shift(10 * time.Minute)
		meanwhile()
		w.laptop.watch.shift(-10 * time.Minute)
	}
	read := func(w *stage) func() {
		return func() {
			_, err := w.laptop.ListCancelled(w.ctx, licensing.Page{})
			w.ok(err)
		}
	}
	for name, play := range map[string]func(*stage){
		"in a run":                    func(w *stage) { ahead(w, read(w)) },
		"while it is closed":          func(w *stage) { ahead(w, w.laptop.restart) },
		"at the end":                  func(w *stage) { ahead(w, func() { w.ok(w.laptop.Close(w.ctx)) }); w.laptop.reopen() },
		"at the start":                func(w *stage) { w.ok(w.laptop.Close(w.ctx)); ahead(w, w.laptop.reopen) },
		"in the next run":             func(w *stage) { w.laptop.restart(); ahead(w, read(w)) },
		"at the start after a crash":  func(w *stage) { ahead(w, w.laptop.reopen) },
		"in the next run, both ahead": func(w *stage) { ahead(w, w.laptop.reopen); ahead(w, read(w)) },
		"after a crash":               func(w *stage) { w.laptop.reopen(); ahead(w, read(w)) },
	} {
		t.Run(name, func(t *testing.T) {
			w := newStage(t)
			w.lent = w.office.lend(w.laptop, 1)
			g, err := w.laptop.check(1)
			w.ok(err)
			if g.Length != time.Minute {
				t.Errorf("the grant lives %v", g.Length)
			}
			w.turn(time.Second)
			play(w)
			w.ok(w.office.Install(w.ctx, w.laptop.giveBack(w.lent.LicenseID), nil))
			w.turn(g.Ends.Sub(w.laptop.watch.Now()) - time.Second)
			if w.office.free(1) != 2 {
				t.Error("the seat is free a second before the grant ends")
			}
			w.turn(24 * time.Hour)
			if w.office.free(1) != 3 {
				t.Error("the seat did not come home")
			}
		})
	}
}

// A return that comes when the last grant has ended frees the seat at once, and
// one that is lost costs nothing: the seat comes home at its death.
func TestReturnAfterTheGrant(t *testing.T) {
	s := newStage(t)
	s.lent = s.office.lend(s.laptop, 1)
	s.grant()
	back := s.laptop.giveBack(s.lent.LicenseID)
	lost := s.office.lend(s.laptop, 2)
	s.laptop.giveBack(lost.LicenseID)
	s.turn(10 * time.Minute)
	if s.office.free(1) != 2 {
		t.Error("the seat is free before its return is here")
	}
	s.ok(s.office.Install(s.ctx, back, nil))
	if s.office.free(1) != 3 {
		t.Error("the seat is not free, though nothing runs any more")
	}
	s.turn(24*time.Hour - 10*time.Minute - time.Second)
	if s.office.free(2) != 0 {
		t.Error("the seat whose return was lost is free before its death")
	}
	s.turn(time.Second)
	if s.office.free(2) != 1 {
		t.Error("the seat whose return was lost did not come home")
	}
	s.checkPromises()
}

// A license ends to the second, here and there.
func TestDeath(t *testing.T) {
	s := newStage(t)
	s.lent = s.office.lend(s.laptop, 1)
	s.turn(24*time.Hour - time.Second)
	s.grant()
	s.checkPromises()
	if s.office.free(1) != 2 {
		t.Error("the seat is free before the death")
	}
	s.turn(time.Second)
	_, err := s.laptop.check(1)
	s.refused(err, licensing.DetachedLicenseExpired)
	if s.office.free(1) != 3 {
		t.Error("the seat did not come home at the death")
	}
	_, err = s.laptop.CancelDetach(s.ctx, licensing.CancelRequest{Offline: true, License: s.lent.LicenseID}, nil)
	s.refused(err, licensing.DetachedLicenseExpired)
	s.checkPromises()
}

// The allowance for recipients whose clock is behind keeps the seat a while.
func TestSkewAllowance(t *testing.T) {
	s := newStage(t)
	s.office.crash()
	s.office.opts.SkewAllowance = time.Hour
	s.ok(s.office.boot())
	s.office.lend(s.laptop, 1)
	s.turn(25*time.Hour - time.Second)
	if s.office.free(1) != 2 {
		t.Error("the seat came home before the allowance had passed")
	}
	s.turn(time.Second)
	if s.office.free(1) != 3 {
		t.Error("the seat did not come home")
	}
	s.checkPromises()
}

// Turning the wall clock back revives nothing, now or after a restart.
func TestWallTurnedBack(t *testing.T) {
	s := newStage(t)
	s.lent = s.office.lend(s.laptop, 1)
	s.grant()
	s.turn(24 * time.Hour)
	dead := func(when string) {
		t.Helper()
		if _, err := s.laptop.check(1); !errors.Is(err, licensing.DetachedLicenseExpired) {
			t.Errorf("%s: %v", when, err)
		}
		s.refused(s.laptop.Install(s.ctx, s.lent.License, nil), licensing.DetachedLicenseExpired)
		if s.office.free(1) != 3 {
			t.Errorf("%s: the seat went away again", when)
		}
	}
	dead("in time")
	for _, m := range []*machine{s.laptop, s.office} {
		m.watch.shift(-23 * time.Hour)
	}
	dead("the clock turned back")
	s.laptop.restart()
	s.office.detach(s.laptop, 2) // its time is recorded with every change
	s.office.reopen()
	dead("after a restart")
	s.laptop.reopen()
	dead("after a crash")
	next := s.office.detach(s.laptop, 1)
	if next.Ends.Before(s.lent.Ends.Add(23 * time.Hour)) {
		t.Errorf("the next license ends at %v, by a clock that ran back", next.Ends)
	}
	s.checkPromises()
}

// What was seen to expire stays expired, also when the program is killed and the
// wall is turned back before it starts again.
func TestKilledAfterExpiry(t *testing.T) {
	s := newStage(t)
	s.lent = s.office.lend(s.laptop, 1)
	s.grant()
	s.turn(24 * time.Hour)
	_, err := s.laptop.check(1)
	s.refused(err, licensing.DetachedLicenseExpired)
	s.laptop.crash()
	s.laptop.watch.shift(-23 * time.Hour)
	s.ok(s.laptop.boot())
	_, err = s.laptop.check(1)
	s.refused(err, licensing.DetachedLicenseExpired)
}

// Who kills the manager and turns the wall back before every start uses up the
// license all the same, however long each run is.
func TestKilledAgainAndAgain(t *testing.T) {
	for _, most := range []time.Duration{time.Second, 10 * time.Second, time.Minute, 69 * time.Second, 9 * time.Minute, 25 * time.Minute} {
		t.Run(most.String(), func(t *testing.T) {
			s := newStage(t)
			s.lent = s.office.lend(s.laptop, 1)
			s.turn(23 * time.Hour)
			used := 23 * time.Hour
			for used <= 24*time.Hour {
				for run := time.Duration(0); run < most; {
					g, err := s.laptop.check(1)
					if err != nil {
						s.refused(err, licensing.DetachedLicenseExpired)
						return
					}
					step := min(g.Length, most-run)
					s.turn(step)
					run += step
					used += step
				}
				// Until its grant ends, a program may run on without a manager.
				used += (time.Minute - most%time.Minute) % time.Minute
				s.laptop.crash()
				s.laptop.watch.shift(-most)
				s.ok(s.laptop.boot())
			}
			t.Errorf("it has run for %v by a license for 24h", used)
		})
	}
}

// A program that dies soon after every start costs the license a little each time,
// not what is left of it, and stops no other.
func TestCrashLoop(t *testing.T) {
	s := newStage(t)
	s.lent = s.office.lend(s.laptop, 1)
	for range 200 {
		s.grant()
		s.turn(time.Second)
		s.laptop.crash()
		s.ok(s.laptop.boot())
	}
	s.grant()
	request := s.office.request(s.laptop, 2)
	request.Duration = 8 * time.Hour
	d, err := s.office.Detach(s.ctx, request, nil)
	s.ok(err)
	s.ok(s.laptop.Install(s.ctx, d.License, nil))
}

// A clock that is behind at the start goes on from the last recorded time.
func TestRestartWithTheWallBehind(t *testing.T) {
	s := newStage(t)
	s.lent = s.office.lend(s.laptop, 1)
	s.turn(time.Hour)
	s.grant() // the time is recorded
	s.laptop.crash()
	s.laptop.watch.shift(-50 * time.Minute)
	s.ok(s.laptop.boot())
	s.grant()
	s.turn(22*time.Hour + 48*time.Minute) // what is ahead falls back by a second in seventeen minutes
	s.grant()
	s.turn(14 * time.Minute) // the crash cost up to ten
	_, err := s.laptop.check(1)
	s.refused(err, licensing.DetachedLicenseExpired)
	s.checkPromises()
}

// A license does not start while the wall lies more than five minutes behind
// its issue time.
func TestFiveMinutesBehind(t *testing.T) {
	for behind, want := range map[time.Duration]error{
		5 * time.Minute:               nil,
		5*time.Minute + time.Second:   licensing.RTCError,
		24 * time.Hour:                licensing.RTCError,
		365 * 24 * time.Hour:          licensing.RTCError,
		-5 * time.Minute:              nil,
		-(24*time.Hour - time.Second): nil,
		-24 * time.Hour:               licensing.DetachedLicenseExpired,
	} {
		w := newWorld(t)
		office := w.office(feature(1, 1))
		tablet := w.bare("TABLET", memory.New())
		tablet.watch.shift(-behind)
		w.ok(tablet.boot())
		w.ok(office.know(tablet))
		d := office.detach(tablet, 1)
		err := tablet.Install(w.ctx, d.License, nil)
		if err == nil {
			_, err = tablet.check(1)
		}
		if !errors.Is(err, want) {
			t.Errorf("%v behind: %v, want %v", behind, err, want)
		}
		if want == licensing.RTCError { // put right, it works
			tablet.watch.shift(behind)
			if behind < time.Hour {
				_, err := tablet.check(1)
				w.ok(err)
			}
			tablet.reopen()
			_, err := tablet.check(1)
			w.ok(err)
		}
		w.checkPromises()
	}
}

// A step forward that is too large is not believed: the origin expires nothing
// and lets nothing leave, the recipient grants nothing past the death by the
// wall, and all goes on when the clock is put right.
func TestWallTurnedForward(t *testing.T) {
	s := newStage(t)
	s.lent = s.office.lend(s.laptop, 1)
	s.grant()
	for _, m := range []*machine{s.office, s.laptop} {
		m.watch.shift(48 * time.Hour)
	}
	s.office.unchanged(func() {
		_, err := s.office.Detach(s.ctx, s.office.request(s.laptop, 2), nil)
		s.refused(err, licensing.RTCError)
	})
	if s.office.free(1) != 2 || len(s.office.look().Detached) != 1 {
		t.Error("the origin expired a license by a clock that it does not believe")
	}
	_, err := s.laptop.check(1)
	s.refused(err, licensing.RTCError)
	if len(s.laptop.look().Features) != 1 {
		t.Error("the recipient removed a license by a clock that it does not believe")
	}
	s.laptop.watch.shift(-30 * time.Hour) // still too far ahead, but not past the death
	s.grant()
	s.laptop.watch.shift(-18 * time.Hour)
	s.office.watch.shift(-48 * time.Hour)
	s.grant()
	s.office.detach(s.laptop, 2)
	s.checkPromises()
}

// At the start the same holds against the last recorded time, with another
// measure.
func TestStartedFarAhead(t *testing.T) {
	s := newStage(t)
	s.lent = s.office.lend(s.laptop, 1)
	s.office.crash()
	s.laptop.crash()
	for _, m := range []*machine{s.office, s.laptop} {
		m.watch.shift(500 * 24 * time.Hour)
		s.ok(m.boot())
	}
	_, err := s.office.Detach(s.ctx, s.office.request(s.laptop, 2), nil)
	s.refused(err, licensing.RTCError)
	if s.office.free(1) != 2 {
		t.Error("the origin expired a license by a clock that it does not believe")
	}
	_, err = s.laptop.check(1)
	s.refused(err, licensing.RTCError)
	for _, m := range []*machine{s.office, s.laptop} {
		m.watch.shift(-500 * 24 * time.Hour)
	}
	s.grant()
	s.office.detach(s.laptop, 2)
	s.checkPromises()
}

// timed is an office whose key has a clock, which stands still.
func timed(w *world) (*machine, *simulator.Key) {
	m := w.bare("OFFICE", memory.New())
	key, err := m.bus.Add(simulator.Config{KeyID: worldKey, Model: uint8(licensing.ModelTime), Vendor: worldVendor, VendorPublic: m.opts.Vendors[worldVendor]})
	w.ok(err)
	m.keys = append(m.keys, key)
	key.SetClock(m.watch.Now(), 0)
	w.ok(m.boot())
	w.ok(m.Install(w.ctx, m.pool(feature(1, 3), feature(2, 1)), nil))
	return m, key
}

// The clock in the key confirms what the wall says at the start.
func TestKeyClockConfirmsAtTheStart(t *testing.T) {
	w := newWorld(t)
	office, key := timed(w)
	laptop := w.laptop("LAPTOP", office)
	office.detach(laptop, 1)
	office.crash()
	office.watch.shift(500 * 24 * time.Hour)
	key.SetClock(office.watch.Now(), 0)
	w.ok(office.boot())
	if office.free(1) != 3 {
		t.Error("the license did not expire, though the key's clock says so too")
	}
	office.detach(laptop, 1)

	// A wall behind the key's clock does not hold the pool back.
	office.crash()
	office.watch.shift(-20 * 24 * time.Hour)
	w.ok(office.boot())
	if d := office.detach(laptop, 2); d.Ends.Before(office.watch.Now().Add(21 * 24 * time.Hour)) {
		t.Errorf("a license ends at %v, by a wall that is behind the key's clock", d.Ends)
	}
}

// The clock in the key confirms a step of the wall while the manager runs.
func TestKeyClockConfirmsAStep(t *testing.T) {
	w := newWorld(t)
	office, key := timed(w)
	laptop := w.laptop("LAPTOP", office)
	office.watch.shift(3 * time.Hour)
	_, err := office.Detach(w.ctx, office.request(laptop, 1), nil)
	w.refused(err, licensing.RTCError)
	key.SetClock(office.watch.Now(), 0)
	_, err = office.Detach(w.ctx, office.request(laptop, 1), nil)
	w.ok(err)
}

// The vendor's signature is a time, too: a pool license that is installed now
// was not issued later than now.
func TestPoolLicenseRaisesTheTime(t *testing.T) {
	s := newStage(t)
	s.office.watch.shift(10 * 24 * time.Hour)
	newer := s.office.pool(feature(1, 3))
	s.office.watch.shift(-10 * 24 * time.Hour)
	s.ok(s.office.Install(s.ctx, newer, nil))
	if d := s.office.detach(s.laptop, 1); d.Ends.Before(s.office.watch.Now().Add(11 * 24 * time.Hour)) {
		t.Errorf("a license ends at %v, counted from before its pool license was made", d.Ends)
	}
}

// Why a program may not run is said exactly.
func TestWhyNot(t *testing.T) {
	s := newStage(t)
	_, err := s.laptop.check(1)
	s.refused(err, licensing.FeatureNotFound)
	first := s.office.lend(s.laptop, 1)
	_, err = s.laptop.check(2)
	s.refused(err, licensing.FeatureNotFound)
	_, err = s.laptop.Check(s.ctx, worldVendor+1, worldProduct, 1)
	s.refused(err, licensing.FeatureNotFound)
	s.laptop.giveBack(first.LicenseID)
	_, err = s.laptop.check(1)
	s.refused(err, licensing.DetachedLicenseNotFound)
	limited := feature(3, 1)
	limited.ValidUpTo = s.office.watch.Now().Add(48 * time.Hour)
	s.ok(s.office.Install(s.ctx, s.office.pool(limited), nil))
	s.office.lend(s.laptop, 3)
	s.laptop.crash()
	s.laptop.opts.Hardware = failingSource{}
	if err := s.laptop.boot(); err == nil {
		t.Error("a manager that cannot see its computer was opened")
	}
	s.laptop.opts.Hardware = machineOf("ANOTHER")
	s.ok(s.laptop.boot())
	_, err = s.laptop.check(3)
	s.refused(err, licensing.HardwareIDMismatch)
	s.laptop.crash()
	s.laptop.opts.Hardware = machineOf("LAPTOP")
	s.ok(s.laptop.boot())
	_, err = s.laptop.check(3)
	s.ok(err)
}

// A manager that was closed says so, and closing it again is harmless.
func TestClosed(t *testing.T) {
	s := newStage(t)
	s.ok(s.office.Close(s.ctx))
	s.ok(s.office.Close(s.ctx))
	_, err := s.office.check(1)
	s.refused(err, licensing.ErrClosed)
	_, err = s.office.Detach(s.ctx, licensing.DetachRequest{}, nil) // whatever is wrong with it
	s.refused(err, licensing.ErrClosed)
	long := &licensing.ChangeOptions{RequestKey: strings.Repeat("k", licensing.MaxRequestKey+1)}
	s.refused(s.office.Install(s.ctx, nil, long), licensing.ErrClosed)
	_, err = s.office.Environment(s.ctx)
	s.refused(err, licensing.ErrClosed)
	_, err = s.office.Detach(s.ctx, s.office.request(s.laptop, 1), nil)
	s.refused(err, licensing.ErrClosed)
	_, err = s.office.Keys(s.ctx, licensing.Filter{})
	s.refused(err, licensing.ErrClosed)
}

// A license that a program's crashes have ended early is not said to have ended at a time
// that is yet to come, without a word of why.
func TestEndedByCrashes(t *testing.T) {
	w := newWorld(t)
	office := w.office(feature(1, 3))
	laptop := w.laptop("LAPTOP", office)
	r := office.request(laptop, 1)
	r.Duration = 5 * time.Minute
	d, err := office.Detach(w.ctx, r, nil)
	w.ok(err)
	w.ok(laptop.Install(w.ctx, d.License, nil))
	for range 20 {
		if _, err = laptop.check(1); err != nil {
			break
		}
		laptop.reopen()
	}
	w.refused(err, licensing.DetachedLicenseExpired)
	if err == nil || !strings.Contains(err.Error(), "ahead of this computer's clock") {
		t.Error(err)
	}
}
