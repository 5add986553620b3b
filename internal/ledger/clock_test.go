package ledger_test

import (
	"errors"
	"math"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/sojournlm/sojourn/internal/ledger"
)

const (
	minute = int64(60)
	hour   = 60 * minute
	day    = 24 * hour
)

// act is something that happens to a clock.
type act struct {
	pass  int64 // seconds that go by, the wall with them
	step  int64 // seconds that the wall is turned
	raise int64 // Raise to noon plus so much, unless 0
	again *int64

	time    int64 // what the clock then shows, after noon
	doubted bool
}

func restart(mark int64) *int64 { return &mark }

func TestClock(t *testing.T) {
	for name, acts := range map[string][]act{
		"follows the wall":             {{pass: day, time: day}, {pass: 30 * day, time: 31 * day}},
		"a small step forward":         {{pass: hour, step: hour, time: 2 * hour}},
		"a step too large":             {{pass: hour, step: hour + 2*minute, time: hour, doubted: true}, {pass: day, time: 25 * hour, doubted: true}},
		"and back":                     {{pass: hour, step: 2 * hour, time: hour, doubted: true}, {pass: hour, step: -2 * hour, time: 2 * hour}},
		"many small steps":             {{step: 40 * minute, time: 40 * minute}, {pass: hour, step: 40 * minute, time: 100 * minute, doubted: true}, {pass: hour, step: -40 * minute, time: 2*hour + 40*minute}},
		"down and up again":            {{step: -30 * minute, time: 0}, {step: 30 * minute, time: 0}, {step: -30 * minute, time: 0}, {step: 90 * minute, time: hour}},
		"back":                         {{pass: hour, time: hour}, {step: -day, time: hour}, {pass: 1024, time: hour + 1023}},
		"back and right again":         {{step: -day, time: 0}, {step: day, time: 0}, {pass: 7, time: 7}},
		"ahead comes home":             {{step: 30 * minute, time: 30 * minute}, {step: -30 * minute, time: 30 * minute}, {pass: 1024 * 20 * minute, time: 1024*20*minute + 10*minute}, {pass: 1024 * 11 * minute, time: 1024 * 31 * minute}},
		"honest drift":                 {{pass: 100 * day, step: 3 * hour, time: 100*day + 3*hour}},
		"sleep is no step":             {{pass: 60 * day, time: 60 * day}},
		"the key confirms":             {{step: day, time: 0, doubted: true}, {raise: day + 5*minute, time: day + 5*minute}, {pass: hour, time: day + hour + 5*minute - hour/1024 - 1}},
		"the key does not confirm":     {{step: day, time: 0, doubted: true}, {raise: 2 * hour, time: 2 * hour, doubted: true}, {pass: hour, time: 3 * hour, doubted: true}},
		"the key is behind":            {{pass: hour, time: hour}, {raise: minute, time: hour}},
		"the key is ahead":             {{raise: day, time: day}, {pass: 1024, time: day + 1023}},
		"restart":                      {{pass: hour, time: hour}, {again: restart(hour), time: hour}},
		"restart, wall behind":         {{again: restart(3 * hour), time: 3 * hour}, {pass: 1024, time: 3*hour + 1023}},
		"restart shrinks what's ahead": {{again: restart(3 * hour), time: 3 * hour}, {again: restart(3 * hour), pass: 2 * hour, time: 3 * hour}, {again: restart(3 * hour), pass: 2 * hour, time: 4 * hour}},
		"restart after long":           {{pass: 399 * day, again: restart(minute), time: 399 * day}},
		"restart after too long":       {{pass: 401 * day, again: restart(minute), time: minute, doubted: true}, {pass: hour, time: hour + minute, doubted: true}},
		"and put right":                {{pass: 401 * day, again: restart(minute), time: minute, doubted: true}, {step: -200 * day, time: 201 * day}, {step: 2 * hour, time: 201 * day, doubted: true}},
		"and confirmed":                {{pass: 401 * day, again: restart(minute), time: minute, doubted: true}, {raise: 401 * day, time: 401 * day}},
		"restart in doubt":             {{step: day, time: 0, doubted: true}, {again: restart(0), time: day}},
		"before 1970":                  {{pass: hour, step: -100 * 365 * day, time: hour - 4}, {pass: 1024, time: hour + 1019}},
	} {
		t.Run(name, func(t *testing.T) {
			hands := newHands()
			clock := ledger.NewClock(hands, 0, 0)
			clock.Start(noon.Unix() - day)
			for i, a := range acts {
				hands.pass(time.Duration(a.pass) * time.Second)
				hands.step(time.Duration(a.step) * time.Second)
				if a.again != nil {
					clock = ledger.NewClock(hands, 0, 0)
					clock.Start(noon.Unix() + *a.again)
				}
				if a.raise != 0 {
					clock.Raise(noon.Unix() + a.raise)
				}
				now := clock.Now()
				if now.Unix-noon.Unix() != a.time || (now.Err != nil) != a.doubted {
					t.Fatalf("act %d: it shows %v, %v; want %v, doubted %v", i,
						time.Duration(now.Unix-noon.Unix())*time.Second, now.Err, time.Duration(a.time)*time.Second, a.doubted)
				}
				if a.doubted && !errors.Is(now.Err, ledger.ErrClock) {
					t.Error(now.Err)
				}
			}
		})
	}
}

func TestClockWithoutMark(t *testing.T) {
	for _, wall := range []time.Time{{}, time.Unix(0, 0), noon, time.Date(9999, 1, 1, 0, 0, 0, 0, time.UTC)} {
		hands := &hands{wall: wall}
		clock := ledger.NewClock(hands, 0, 0)
		first := clock.Now()
		hands.pass(time.Minute)
		second := clock.Now()
		if first.Err != nil || second.Err != nil || first.Unix < 0 || second.Unix < first.Unix {
			t.Errorf("at %v: %+v, %+v", wall, first, second)
		}
	}
}

// TestClockUnsteady has the steady clock run back, which it must not.
func TestClockUnsteady(t *testing.T) {
	hands := newHands()
	hands.elapsed = time.Hour
	clock := ledger.NewClock(hands, 0, 0)
	clock.Start(noon.Unix() + minute)
	hands.elapsed = 0
	if now := clock.Now(); now.Unix < noon.Unix()+minute {
		t.Errorf("it ran back to %+v", now)
	}
}

// TestClockProperties turns the hands at will and holds the clock against what
// is promised of it, in whole seconds and without its arithmetic.
func TestClockProperties(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		hands := newHands()
		mark := noon.Unix()
		clock := ledger.NewClock(hands, 0, 0)
		clock.Start(mark)
		trusted := noon.Unix() // what the time may claim: the start or a Raise, going on steadily
		floor := mark          // and what it must at least show
		since := int64(0)      // elapsed since trusted was set
		all := int64(0)        // elapsed since the start: what was shown before a Raise stays
		shown := clock.Now().Unix
		passed := int64(0) // since the last reading
		check := func() {
			now := clock.Now()
			wall := hands.Now().Unix()
			switch {
			case now.Unix < shown:
				t.Fatalf("it ran back by %d s", shown-now.Unix)
			case now.Unix < floor:
				t.Fatalf("it shows %d s less than it must", floor-now.Unix)
			case now.Unix < shown+passed-passed/1024-2:
				t.Fatalf("it went on by %d s of %d s", now.Unix-shown, passed)
			case now.Err == nil && now.Unix < wall:
				t.Fatalf("it believes the wall and is %d s behind it", wall-now.Unix)
			case now.Err == nil && wall > trusted+hour+since/1024+2:
				t.Fatalf("it believes a wall %d s ahead", wall-trusted)
			case now.Err != nil && wall <= trusted+hour:
				t.Fatalf("it does not believe a wall %d s ahead: %v", wall-trusted, now.Err)
			case now.Unix > trusted+hour+all/1024+2:
				t.Fatalf("it shows %d s more than it may", now.Unix-trusted)
			}
			shown, passed = now.Unix, 0
		}
		t.Repeat(map[string]func(*rapid.T){
			"": func(*rapid.T) { check() },
			"pass": func(t *rapid.T) {
				s := rapid.Int64Range(0, 3*day).Draw(t, "seconds")
				hands.pass(time.Duration(s) * time.Second)
				trusted, passed, since, all = trusted+s, passed+s, since+s, all+s
			},
			"step": func(t *rapid.T) {
				s := rapid.Int64Range(-2*day, 2*day).Draw(t, "seconds")
				hands.step(time.Duration(s) * time.Second)
			},
			"small step": func(t *rapid.T) {
				s := rapid.Int64Range(-hour, hour).Draw(t, "seconds")
				hands.step(time.Duration(s) * time.Second)
			},
			"raise": func(t *rapid.T) {
				to := trusted + rapid.Int64Range(-day, day).Draw(t, "to")
				clock.Raise(to)
				floor = max(floor, to)
				if to > trusted {
					trusted, since = to, 0
				}
			},
			"restart": func(t *rapid.T) {
				mark := shown - rapid.Int64Range(0, 10*minute).Draw(t, "lost")
				down := rapid.Int64Range(0, day).Draw(t, "down")
				hands.pass(time.Duration(down) * time.Second)
				clock = ledger.NewClock(hands, 0, 0)
				clock.Start(mark)
				wall := hands.Now().Unix()
				if got, want := clock.Now().Unix, max(mark, wall); wall < mark+400*day && (got < want || got > want+1) {
					t.Fatalf("after a restart it shows %d, want %d", got, want)
				}
				trusted, since, all = max(mark, wall), 0, 0
				floor, shown, passed = mark, mark, 0
			},
		})
	})
}

// TestClockSiblings holds that it does not matter when a clock of a program is started:
// it believes what it would believe if that had been at the beginning.
func TestClockSiblings(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		hands := newHands()
		early := ledger.NewClock(hands, 0, 0)
		mark := int64(0)
		if rapid.Bool().Draw(t, "marked") {
			mark = noon.Unix() - rapid.Int64Range(0, 399*day).Draw(t, "before")
		}
		early.Start(mark)
		all := int64(0)
		turn := func(t *rapid.T) {
			s := 2 * rapid.Int64Range(0, 30*day).Draw(t, "pass") // in even seconds no part of the drift is cut off
			hands.pass(time.Duration(s) * time.Second)
			all += s
			size := rapid.SampledFrom([]int64{2 * minute, 2 * hour, 60 * day}).Draw(t, "size")
			hands.step(time.Duration(rapid.Int64Range(-size, size).Draw(t, "step")) * time.Second)
			early.Now()
		}
		for range rapid.IntRange(0, 5).Draw(t, "turns before") {
			turn(t)
		}
		late := early.Sibling()
		late.Start(mark)
		for range rapid.IntRange(1, 5).Draw(t, "turns") {
			a, b := early.Now(), late.Now()
			if (a.Err == nil) != (b.Err == nil) {
				t.Fatalf("one says %v, the other %v", a.Err, b.Err)
			}
			if b.Unix > a.Unix+all/1024+1 || b.Unix < mark || b.Err == nil && b.Unix < b.Wall {
				t.Fatalf("the late one shows %d s more than the early one, %d s more than the wall, %d s more than the mark", b.Unix-a.Unix, b.Unix-b.Wall, b.Unix-mark)
			}
			turn(t)
		}
	})
}

// TestClockComesHome holds that a clock that is ahead of a right wall is met by
// it, whether the program runs or not.
func TestClockComesHome(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		ahead := rapid.Int64Range(0, 30*day).Draw(t, "ahead")
		hands := newHands()
		clock := ledger.NewClock(hands, 0, 0)
		clock.Start(noon.Unix() + ahead)
		for left := ahead; left > 0; {
			run := rapid.Int64Range(0, 100*day).Draw(t, "run")
			hands.pass(time.Duration(run) * time.Second)
			now := clock.Now()
			if got := now.Unix - now.Wall; got > max(0, left-run/1024)+1 {
				t.Fatalf("it is still %d s ahead, before %d s of running it was %d", got, run, left)
			}
			down := rapid.Int64Range(hour, 100*day).Draw(t, "down")
			hands.pass(time.Duration(down) * time.Second)
			clock = ledger.NewClock(hands, 0, 0)
			clock.Start(now.Unix)
			left = now.Unix - hands.Now().Unix()
		}
		if now := clock.Now(); now.Unix != now.Wall || now.Err != nil {
			t.Fatalf("%+v", now)
		}
	})
}

func TestWalls(t *testing.T) {
	for _, wall := range []ledger.Wall{ledger.System(), ledger.Process()} {
		first, second := wall.Elapsed(), wall.Elapsed()
		if first < 0 || second < first || second-first > time.Minute {
			t.Errorf("%T: %v and then %v", wall, first, second)
		}
		if d := time.Since(wall.Now()).Abs(); d > time.Minute {
			t.Errorf("%T: %v off", wall, d)
		}
	}
}

// A clock that believes everything believes it also after a while.
func TestClockWithoutBounds(t *testing.T) {
	hands := newHands()
	clock := ledger.NewClock(hands, math.MaxInt64, math.MaxInt64)
	clock.Start(noon.Unix())
	for range 5 {
		hands.pass(30 * 24 * time.Hour)
		hands.step(365 * 24 * time.Hour)
		if now := clock.Now(); now.Err != nil || now.Unix != hands.Now().Unix() {
			t.Fatalf("%+v, want %v", now, hands.Now())
		}
	}
}
