package main

import (
	"math/rand/v2"
	"strconv"
	"testing"
	"time"

	"github.com/sojournlm/sojourn/internal/netlab"
)

// errand is one of the two errands between managers, as it is asked for.
type errand struct {
	name   string
	verb   uint32 // of its message
	cancel bool
	key    bool // under a request key
	again  bool // asked for again until it is done
}

var errands = []errand{
	{name: "detach", verb: 2},
	{name: "detach under a key", verb: 2, key: true},
	{name: "detach under a key, asked again", verb: 2, key: true, again: true},
	{name: "cancel", verb: 3, cancel: true},
	{name: "cancel under a key, asked again", verb: 3, cancel: true, key: true, again: true},
}

// step is a moment of an operation.
type step struct {
	name   string
	greets bool         // at a greeting; else at the operation's own message
	served bool         // the origin has done what the message asks for
	phase  netlab.Phase // what becomes of the message where the line is cut then
}

var steps = []step{
	{"before the greeting", true, false, netlab.CutBefore},
	{"the greeting is answered", true, true, netlab.CutAfter},
	{"the request is on its way", false, false, netlab.CutBefore},
	{"the request is served", false, true, netlab.CutAfter},
	{"in the middle of the answer", false, true, netlab.CutHalfway},
	{"the answer arrives", false, true, netlab.Pass},
}

// failure is what goes wrong at a step.
type failure struct {
	name     string
	patience time.Duration // of who asks; zero: he waits
	slow     bool          // takes as long as a manager waits for another
	disks    bool          // on small disks
	codes    []int         // of refusals, besides 14
	late     bool          // who asks again may come too late
	apart    bool          // no packet passes until it is mended

	// strike is called with the message of the step, and may change what becomes of
	// it. What it gives is done at the step.
	strike func(s *stand, at step, f *netlab.Fault) (do func())
	// mend ends the failure, when who asked has his answer or no longer waits.
	mend func(t *testing.T, s *stand)
}

var failures = []failure{
	{
		name:   "the line is cut",
		strike: func(s *stand, _ step, _ *netlab.Fault) func() { return s.cut },
		mend:   func(_ *testing.T, s *stand) { s.down.Store(false) },
	},
	{
		name: "a short partition",
		strike: func(s *stand, _ step, f *netlab.Fault) func() {
			f.Phase = held(f.Phase)
			return func() {
				s.part()
				s.later.Go(func() {
					time.Sleep(3 * time.Second)
					s.lab.Heal()
				})
			}
		},
		mend: func(*testing.T, *stand) {},
	},
	{
		name:  "a long partition",
		slow:  true,
		apart: true,
		strike: func(s *stand, _ step, f *netlab.Fault) func() {
			f.Phase = held(f.Phase)
			return s.part
		},
		mend: func(_ *testing.T, s *stand) { s.lab.Heal() },
	},
	{
		name: "a partition, and the origin is killed",
		strike: func(s *stand, _ step, _ *netlab.Fault) func() {
			return func() {
				s.cut()
				s.office.kill()
			}
		},
		mend: func(t *testing.T, s *stand) {
			s.office.again(t)
			s.down.Store(false)
		},
	},
	{
		name: "a partition, and the recipient is killed",
		strike: func(s *stand, at step, _ *netlab.Fault) func() {
			if at.phase == netlab.Pass { // while it installs
				return func() {
					s.later.Go(func() {
						time.Sleep(rand.N(30 * time.Millisecond))
						s.laptop.kill()
					})
				}
			}
			return func() {
				s.cut()
				s.laptop.kill()
			}
		},
		mend: func(t *testing.T, s *stand) {
			s.laptop.again(t)
			s.down.Store(false)
		},
	},
	{
		name: "a partition, and both are killed",
		strike: func(s *stand, _ step, _ *netlab.Fault) func() {
			return func() {
				s.cut()
				s.laptop.kill()
				s.office.kill()
			}
		},
		mend: func(t *testing.T, s *stand) {
			s.laptop.again(t)
			s.office.again(t)
			s.down.Store(false)
		},
	},
	{
		name: "the origin is suspended",
		slow: true,
		strike: func(s *stand, _ step, f *netlab.Fault) func() {
			f.Phase = held(f.Phase)
			return func() { s.sleep(s.office) }
		},
		mend: func(*testing.T, *stand) {},
	},
	{
		name:  "the recipient is suspended",
		slow:  true,
		codes: []int{12, 13}, // where it wakes when nobody waits any more
		late:  true,
		strike: func(s *stand, _ step, f *netlab.Fault) func() {
			f.Phase = held(f.Phase)
			return func() { s.sleep(s.laptop) }
		},
		mend: func(*testing.T, *stand) {},
	},
	{
		name:   "the origin's disk is full",
		disks:  true,
		codes:  []int{46},
		strike: func(s *stand, _ step, f *netlab.Fault) func() { return s.fill(s.office, f) },
		mend:   func(_ *testing.T, s *stand) { s.clear() },
	},
	{
		name:   "the recipient's disk is full",
		disks:  true,
		codes:  []int{46},
		strike: func(s *stand, _ step, f *netlab.Fault) func() { return s.fill(s.laptop, f) },
		mend:   func(_ *testing.T, s *stand) { s.clear() },
	},
	{
		name:  "the key is pulled out",
		codes: []int{31, 33, 38},
		strike: func(s *stand, at step, f *netlab.Fault) func() {
			if !at.served {
				f.Phase = netlab.Pass
			}
			return func() { s.replug() }
		},
		mend: func(_ *testing.T, s *stand) { s.replug("-simulate", s.keys) },
	},
	{
		name: "packets are lost",
		strike: func(s *stand, _ step, f *netlab.Fault) func() {
			f.Phase = held(f.Phase)
			return func() { s.lab.Lose(30) }
		},
		mend: func(_ *testing.T, s *stand) { s.lab.Heal() },
	},
	{
		name: "a delay beyond the manager's patience",
		slow: true,
		strike: func(s *stand, at step, f *netlab.Fault) func() {
			if f.Phase = held(f.Phase); !at.served {
				f.Delay = longer
				return func() {}
			}
			return func() { time.Sleep(longer) }
		},
		mend: func(*testing.T, *stand) {},
	},
	{
		name:     "a delay beyond the caller's patience",
		patience: time.Second,
		strike: func(s *stand, at step, f *netlab.Fault) func() {
			if f.Phase = held(f.Phase); !at.served {
				f.Delay = 3 * time.Second
				s.quiet = time.Now().Add(4 * time.Second)
				return func() {}
			}
			return func() { time.Sleep(3 * time.Second) }
		},
		mend: func(*testing.T, *stand) {},
	},
	{
		name: "a page comes instead of the answer",
		strike: func(_ *stand, _ step, f *netlab.Fault) func() {
			f.Page = "<html>hello</html>"
			return func() {}
		},
		mend: func(*testing.T, *stand) {},
	},
	{
		name: "the message comes once more, late",
		strike: func(s *stand, _ step, f *netlab.Fault) func() {
			f.Copy = 3 * time.Second
			s.quiet = time.Now().Add(4 * time.Second)
			return func() {}
		},
		mend: func(*testing.T, *stand) {},
	},
}

// longer is longer than a manager waits for another one that moves a seat.
const longer = 17 * time.Second

// held is what becomes of a message on a line that is not cut, but carries nothing
// for a while.
func held(p netlab.Phase) netlab.Phase {
	if p == netlab.CutHalfway {
		return p
	}
	return netlab.Pass
}

// TestNetFaults: whatever fails at whichever step of an operation between two
// managers, and whoever dies there, in the end the seat is at its origin or
// installed on the laptop, and what was answered is true. Here is a part that
// stands for the whole, which -tags long runs: every step with every failure.
func TestNetFaults(t *testing.T) {
	t.Parallel()
	short := map[string]string{
		"detach":                          "the line is cut",
		"detach under a key, asked again": "a partition, and the recipient is killed",
		"cancel":                          "a partition, and the origin is killed",
	}
	for _, op := range errands {
		for _, f := range failures {
			switch {
			case !long && short[op.name] != f.name:
				continue
			case !long:
				t.Run(op.name+"/"+f.name, func(t *testing.T) {
					t.Parallel()
					newStand(t, 2, f.disks).play(t, op, f, steps[2:4]...)
				})
			case f.slow: // each for itself
				for _, at := range steps {
					t.Run(op.name+"/"+f.name+"/"+at.name, func(t *testing.T) {
						t.Parallel()
						s := newStand(t, 1, f.disks)
						s.play(t, op, f, at)
						s.look(t)
					})
				}
			default:
				t.Run(op.name+"/"+f.name, func(t *testing.T) {
					t.Parallel()
					s := newStand(t, len(steps), f.disks)
					s.play(t, op, f, steps...)
					s.look(t)
				})
			}
		}
	}
}

// TestNetMoments: either side is killed 0, 1, 2 … milliseconds after an operation
// begins, which is over in a few, and started again. -tags long runs it.
func TestNetMoments(t *testing.T) {
	if !long {
		t.Skip("it runs with -tags long")
	}
	t.Parallel()
	const moments = 25
	for _, op := range errands {
		for name, of := range map[string]func(*stand) *machine{
			"origin":    func(s *stand) *machine { return s.office },
			"recipient": func(s *stand) *machine { return s.laptop },
		} {
			t.Run(op.name+"/"+name, func(t *testing.T) {
				t.Parallel()
				s := newStand(t, moments, false)
				for i := range moments {
					s.play(t, op, failure{
						strike: func(s *stand, _ step, f *netlab.Fault) func() {
							f.Phase = netlab.Pass
							return func() {
								s.later.Go(func() {
									time.Sleep(time.Duration(i) * time.Millisecond)
									of(s).kill()
								})
							}
						},
						mend: func(t *testing.T, s *stand) { of(s).again(t) },
					}, step{name: strconv.Itoa(i), greets: true, phase: netlab.Pass})
				}
				s.look(t)
			})
		}
	}
}
