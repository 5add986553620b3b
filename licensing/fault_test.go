package licensing_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sojournlm/sojourn/device"
	"github.com/sojournlm/sojourn/licensing"
	"github.com/sojournlm/sojourn/storage/memory"
	"github.com/sojournlm/sojourn/storage/storagetest"
	"github.com/sojournlm/sojourn/transport/simulator"
)

// stage is a world before an operation whose calls are made to fail.
type stage struct {
	*world
	office, laptop, tablet *machine
	lent                   *licensing.Detached
	file                   licensing.Buffer
	at                     *machine // where it is about to happen
}

func newStage(t testing.TB) *stage {
	s := &stage{world: newWorld(t)}
	s.office = s.world.office(feature(1, 3), feature(2, 1))
	s.laptop = s.world.laptop("LAPTOP", s.office)
	s.at = s.office
	return s
}

// askedOnce is how each operation is asked for.
var askedOnce = &licensing.ChangeOptions{RequestKey: "once"}

// act is an operation, and what comes before it.
type act struct {
	name string
	set  func(*stage)
	run  func(*stage) error
	// home allows the answer that it happened before, to who asks again.
	home bool
	// ends says that the program does not go on after it.
	ends bool
}

func acts() []act {
	lend := func(s *stage) { s.lent = s.office.lend(s.laptop, 1) }
	cancel := func(s *stage) { lend(s); s.file = s.laptop.giveBack(s.lent.LicenseID) }
	install := func(s *stage) error { return s.at.Install(s.ctx, s.file, askedOnce) }
	onLaptop := func(set func(*stage)) func(*stage) {
		return func(s *stage) { set(s); s.at = s.laptop }
	}
	return []act{
		{name: "detach", run: func(s *stage) error {
			_, err := s.office.Detach(s.ctx, s.office.request(s.laptop, 1), askedOnce)
			return err
		}},
		{name: "download detached", set: lend, run: func(s *stage) error {
			_, err := s.office.DownloadDetached(s.ctx, s.lent.LicenseID)
			return err
		}},
		{name: "install the first pool", home: true, set: func(s *stage) {
			s.at = s.bare("ANNEX", memory.New())
			s.at.addKey(worldKey + 1)
			s.ok(s.at.boot())
			s.file = s.at.pool(feature(1, 3))
		}, run: install},
		{name: "install a newer pool", home: true, set: func(s *stage) {
			lend(s)
			s.file = s.office.pool(feature(1, 5))
		}, run: install},
		{name: "install a license", set: onLaptop(func(s *stage) {
			s.file = s.office.detach(s.laptop, 1).License
		}), run: install},
		{name: "install a return", home: true, set: cancel, run: install},
		{name: "cancel", set: onLaptop(lend), run: func(s *stage) error {
			_, err := s.laptop.CancelDetach(s.ctx, licensing.CancelRequest{Offline: true, License: s.lent.LicenseID}, askedOnce)
			return err
		}},
		{name: "download cancelled", set: onLaptop(cancel), run: func(s *stage) error {
			_, err := s.laptop.DownloadCancelled(s.ctx, s.lent.LicenseID)
			return err
		}},
		{name: "forget cancelled", set: onLaptop(cancel), run: func(s *stage) error {
			return s.laptop.ForgetCancelled(s.ctx, s.lent.LicenseID, askedOnce)
		}},
		{name: "add fingerprint", set: func(s *stage) { s.tablet = s.world.laptop("TABLET") }, run: func(s *stage) error {
			env, err := s.tablet.Environment(s.ctx)
			s.ok(err)
			return s.office.AddFingerprint(s.ctx, licensing.FingerprintFields{Fingerprint: env.Fingerprint}, askedOnce)
		}},
		{name: "edit fingerprint", run: func(s *stage) error {
			return s.office.EditFingerprint(s.ctx, licensing.FingerprintFields{LMSID: &s.laptop.id, HostName: new("RENAMED")}, askedOnce)
		}},
		{name: "remove fingerprint", set: lend, run: func(s *stage) error {
			return s.office.RemoveFingerprint(s.ctx, s.laptop.id, askedOnce)
		}},
		{name: "check", set: onLaptop(lend), run: func(s *stage) error {
			_, err := s.laptop.check(1)
			return err
		}},
		{name: "check after a clean start", set: onLaptop(func(s *stage) { lend(s); s.laptop.restart() }), run: func(s *stage) error {
			_, err := s.laptop.check(1)
			return err
		}},
		{name: "verify", set: lend, run: func(s *stage) error {
			_, err := s.office.Verify(s.ctx)
			return err
		}},
		{name: "look for keys", set: lend, run: func(s *stage) error {
			_, err := s.office.Keys(s.ctx, licensing.Filter{})
			return err
		}},
		{name: "lists", set: func(s *stage) { cancel(s); s.at = s.laptop }, run: func(s *stage) error {
			s.laptop.look()
			s.office.look()
			return nil
		}},
		{name: "expire", set: func(s *stage) { lend(s); s.turn(48 * time.Hour) }, run: func(s *stage) error {
			_, err := s.office.Detach(s.ctx, s.office.request(s.laptop, 1), askedOnce)
			return err
		}},
		{name: "close an office", ends: true, set: lend, run: func(s *stage) error { return s.office.Close(s.ctx) }},
		{name: "close a laptop", ends: true, set: onLaptop(lend), run: func(s *stage) error { return s.laptop.Close(s.ctx) }},
		{name: "first start", ends: true, set: func(s *stage) { s.at = s.bare("ANNEX", memory.New()) }, run: (*stage).open},
		{name: "start after a crash", ends: true, set: func(s *stage) { lend(s); s.office.crash() }, run: (*stage).open},
		{name: "start after an end", ends: true, set: func(s *stage) { lend(s); s.ok(s.office.Close(s.ctx)); s.office.crash() }, run: (*stage).open},
		{name: "start with an unsigned batch", ends: true, set: func(s *stage) {
			s.office.keys[0].FailNth(0, simulator.PullFirst)
			_, err := s.office.Detach(s.ctx, s.office.request(s.laptop, 1), nil)
			s.refused(err, licensing.ErrUnknown)
			s.office.crash()
			s.ok(s.office.keys[0].Plug())
		}, run: (*stage).open},
		{name: "start with an unsigned batch of its own", ends: true, set: func(s *stage) {
			s.office.safe.FailNth(0, simulator.PullFirst)
			err := s.office.RemoveFingerprint(s.ctx, s.laptop.id, nil)
			s.refused(err, licensing.ErrUnknown)
			s.office.crash()
			s.ok(s.office.safe.Plug())
		}, run: (*stage).open},
	}
}

// open starts the program, which is down.
func (s *stage) open() error { return s.at.boot() }

// trap is a way to fail.
type trap struct {
	name string
	// arm makes the n-th call from now on fail. What it gives says whether it
	// has, and disarms what has not.
	arm  func(m *machine, n int) (fired func() bool)
	live bool // the program can go on after it
	keys bool // it is about the first key
}

// traps are all ways to fail, or those that stand for them.
func traps() []trap {
	var all []trap
	for _, kind := range storagetest.Kinds() {
		all = append(all, trap{name: "store: " + kind.String(), live: true, arm: func(m *machine, n int) func() bool {
			return m.fail(n, kind).Fired
		}})
	}
	exchange := func(name string, fault simulator.Fault, times int, key func(*machine) *simulator.Key) trap {
		return trap{name: fmt.Sprintf("%s: fault %d, %d times", name, fault, times), arm: func(m *machine, n int) func() bool {
			armed := make([]*simulator.Armed, times)
			for i := range armed {
				armed[i] = key(m).FailNth(n, fault)
			}
			return armed[0].Fired
		}}
	}
	write := func(name string, key func(*machine) *simulator.Key) trap {
		return trap{name: name + ": power cut in a write", arm: func(m *machine, n int) func() bool {
			return key(m).FailWrite(n).Fired
		}}
	}
	key := func(m *machine) *simulator.Key { return m.keys[0] }
	anchor := func(m *machine) *simulator.Key { return m.safe }
	some := []simulator.Fault{simulator.LoseReply, simulator.Replug, simulator.PullFirst, simulator.CutPower}
	for _, fault := range simulator.Faults() {
		if !long && !slices.Contains(some, fault) {
			continue
		}
		one := exchange("key", fault, 1, key)
		one.live, one.keys = true, true
		all = append(all, one)
		if long || fault == simulator.LoseReply || fault == simulator.PullFirst {
			// More than the attempts of the device and of the ledger together.
			many := exchange("key", fault, 20, key)
			many.keys = true
			all = append(all, many, exchange("anchor", fault, 20, anchor))
		}
		if long {
			all = append(all, exchange("anchor", fault, 1, anchor))
		}
	}
	cut := write("key", key)
	cut.live, cut.keys = true, true
	return append(all, cut, write("anchor", anchor))
}

// shape is what can be seen of a manager's state, without what is random.
func (s *stage) shape() string {
	s.Helper()
	var b strings.Builder
	v := s.at.look()
	for _, f := range v.Features {
		fmt.Fprintf(&b, "feature %d: %d free, %d detached, %d overdrawn of %d\n", f.Number, f.Free, f.Detached, f.Overdrawn, f.Max)
	}
	for _, d := range v.Detached {
		fmt.Fprintf(&b, "out to %s: %d, from %v to %v\n", d.HostName, d.Seats, d.Issued, d.Death)
	}
	for range v.Cancelled {
		fmt.Fprintln(&b, "a cancelled license")
	}
	var names []string
	for _, c := range v.Computers {
		names = append(names, c.HostName)
	}
	slices.Sort(names) // they are listed by their random ids
	fmt.Fprintln(&b, "computers", names)
	return b.String()
}

// TestFaults fails each call of each operation in each way, and holds what comes
// of it against the promise that an answer is durable: what was acknowledged is
// there after a crash, what was refused has not happened, and where it is not
// known, asking again settles it.
func TestFaults(t *testing.T) {
	step := part(7)
	all := acts()
	for _, i := range idles() {
		all = append(all, i.act)
	}
	for _, a := range all {
		t.Run(a.name, func(t *testing.T) {
			t.Parallel()
			before, after := sound(t, a)
			keys := hasKey(t, a)
			for i, tr := range traps() {
				if tr.keys && !keys {
					continue
				}
				for _, goOn := range []bool{false, true} {
					if goOn && (!tr.live || a.ends) {
						continue
					}
					n := i % step
					for fallen(t, a, tr, n, goOn, before, after) {
						if n += step; n > 500 {
							t.Fatalf("%s: it fails for ever", tr.name)
						}
					}
				}
			}
		})
	}
}

func (a act) stage(t testing.TB) *stage {
	s := newStage(t)
	if a.set != nil {
		a.set(s)
	}
	return s
}

func hasKey(t testing.TB, a act) bool { return len(a.stage(t).at.keys) > 0 }

// sound gives the shapes before and after the operation where nothing fails.
func sound(t testing.TB, a act) (before, after string) {
	s := a.stage(t)
	if s.at.Manager != nil {
		before = s.shape()
	}
	s.ok(a.run(s))
	s.at.reopen()
	if after = s.shape(); before == "" {
		before = after
	}
	s.checkPromises()
	return before, after
}

// fallen lets the n-th call of the operation fail and looks what came of it. It
// reports false where there was none.
func fallen(t *testing.T, a act, tr trap, n int, goOn bool, before, after string) bool {
	t.Helper()
	s := a.stage(t)
	defer s.end()
	var fired func() bool
	s.at.opening = func() { fired = tr.arm(s.at, n) }
	if s.at.Manager != nil {
		s.at.opening()
		s.at.opening = nil
	}
	err := a.run(s)
	s.at.opening = nil
	if !fired() {
		if err != nil {
			t.Errorf("%s, call %d: nothing failed, but: %v", tr.name, n, err)
		}
		return false
	}
	report := func(format string, args ...any) {
		t.Helper()
		t.Errorf("%s, call %d, going on: %v, the answer was %v: %s", tr.name, n, goOn, err, fmt.Sprintf(format, args...))
	}
	unknown := errors.Is(err, licensing.ErrUnknown)
	if err != nil && !a.ends {
		checkError(t, err)
	}
	if !a.ends && !unknown {
		if got := s.shape(); err == nil && got != after || err != nil && got != before {
			report("it shows\n%sbefore\n%safter\n%s", got, before, after)
		}
	}
	if goOn && !unknown {
		s.plug()
		if err != nil {
			if again := a.run(s); again != nil {
				report("asked again: %v", again)
			}
		}
		err = nil
	}
	s.at.crash()
	without := error(licensing.ErrUnknown)
	if unknown && !goOn && !a.ends && len(s.at.keys) > 0 {
		without = s.withoutKey(a)
	}
	s.drain()
	s.at.reopen()
	got := s.shape()
	if !errors.Is(without, licensing.ErrUnknown) {
		if a.home && errors.Is(without, licensing.InvalidUpdateOrAlreadyInstalled) {
			without = nil
		}
		if without == nil && got != after || without != nil && got != before {
			report("asked again without the key: %v, and then there is\n%sbefore\n%safter\n%s", without, got, before, after)
		}
		unknown, err = false, without
	}
	switch {
	case err == nil && got != after, err != nil && !unknown && got != before, got != before && got != after:
		if a.ends && err != nil && got == after {
			break
		}
		report("after opening anew there is\n%sbefore\n%safter\n%s", got, before, after)
	}
	if err != nil && !a.ends {
		again := a.run(s)
		if a.home && unknown && errors.Is(again, licensing.InvalidUpdateOrAlreadyInstalled) {
			again = nil
		}
		if again != nil {
			report("asked again after opening anew: %v", again)
		} else if got := s.shape(); got != after {
			report("asked again it shows\n%safter\n%s", got, after)
		}
	}
	s.checkPromises()
	return !t.Failed()
}

// withoutKey starts the program while the keys are away, asks again, and ends it. Where
// it does not start, nothing is known.
func (s *stage) withoutKey(a act) error {
	for _, k := range s.at.keys {
		k.Unplug()
	}
	s.ok(s.at.safe.Plug())
	err := s.at.boot()
	if err == nil {
		err = a.run(s)
	} else {
		err = errors.Join(licensing.ErrUnknown, err)
	}
	s.at.crash()
	return err
}

// plug puts the keys back in.
func (s *stage) plug() {
	for _, k := range s.at.keys {
		s.ok(k.Plug())
	}
}

// drain lets all faults happen that still wait, with nobody there.
func (s *stage) drain() {
	for range 40 {
		for _, k := range s.at.keys {
			s.ok(k.Plug())
			if key, err := device.Open(s.ctx, s.at.bus, k.BusID()); err == nil {
				key.Close()
			}
		}
		s.ok(s.at.safe.Plug())
		if key, err := device.Open(s.ctx, s.at.vault, s.at.safe.BusID()); err == nil {
			key.Close()
		}
	}
}

// As long as a batch is stored and not signed, or the store is broken, nobody can
// say what became of a request in it: asked again under its request key, an
// answer that says "nothing happened" would be a lie later.
func TestAskAgainBeforeItIsKnown(t *testing.T) {
	ask := func(s *stage) {
		t.Helper()
		for range 3 {
			_, err := s.office.Detach(s.ctx, s.office.request(s.laptop, 1), askedOnce)
			s.refused(err, licensing.ErrUnknown)
		}
	}
	for _, fault := range []simulator.Fault{simulator.LoseReply, simulator.GarbleReply, simulator.PullFirst} {
		s := newStage(t)
		for range 60 {
			s.office.keys[0].FailNth(0, fault)
		}
		ask(s)
	}
	for _, kind := range []storagetest.Kind{storagetest.Lose, storagetest.Keep} {
		s := newStage(t)
		s.office.fail(0, kind)
		ask(s)
	}
}

// A key that does not answer for an hour holds nobody longer than he wants to
// wait, and nothing else up.
func TestKeyThatHangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStage(t)
		s.lent = s.office.lend(s.laptop, 1)
		back := s.laptop.giveBack(s.lent.LicenseID)
		s.office.keys[0].SetDelay(time.Hour, 0)
		patience := func(what string, f func(context.Context) error) error {
			t.Helper()
			began := time.Now()
			ctx, cancel := context.WithTimeout(s.ctx, 5*time.Second)
			defer cancel()
			err := f(ctx)
			if waited := time.Since(began); waited > 6*time.Second {
				t.Errorf("%s took %v", what, waited)
			}
			return err
		}
		detach := func(to *machine, number uint32) func(context.Context) error {
			return func(ctx context.Context) error {
				_, err := s.office.Detach(ctx, s.office.request(to, number), nil)
				return err
			}
		}
		s.refused(patience("a detach", detach(s.laptop, 2)), licensing.ErrUnknown)
		checkError(t, patience("the next detach", detach(s.office, 1)))
		checkError(t, patience("a return", func(ctx context.Context) error { return s.office.Install(ctx, back, nil) }))
		s.ok(patience("a change of something else", func(ctx context.Context) error {
			return s.office.EditFingerprint(ctx, licensing.FingerprintFields{LMSID: &s.laptop.id, HostName: new("RENAMED")}, nil)
		}))
		s.ok(patience("a look", func(ctx context.Context) error {
			_, err := s.office.ListDetached(ctx, licensing.Filter{})
			return err
		}))
		patience("the end", s.office.Close) // whether it is in good order is not known
		s.office.keys[0].SetDelay(0, 0)
		s.office.reopen()
		s.checkPromises()
		s.end()
	})
}
