package licensing_test

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"sort"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"
)

// What a history knows of a pool: one feature's seats, and for each computer the
// one license of the feature that may be out to it.

const historyComputers = 4

// place is where the seats of a license are.
type place uint8

const (
	atHome         place = iota
	inFile               // out, in a file that can still be installed
	installedThere       // works at its recipient
	givenBack            // works nowhere any more; its return is on its way
)

// stay is a license that is out.
type stay struct {
	at      place
	license uint64 // 0: nobody was told its id
	op      int    // the operation that brought it about, where nobody was told
	seats   int
	death   int64 // Unix seconds
	granted bool  // a program was told that it may run: its return may name a later time
}

// shelf is the state of one feature. It is compared by ==.
type shelf struct {
	max    int
	now    int64
	stays  [historyComputers]stay
	ending int       // seats of returned licenses whose last grant may still live: free, or not yet
	doubts [4]uint64 // a bit for each event that may still happen
}

// free is how many seats are free for certain.
func (p shelf) free() int {
	free := p.max - p.ending
	for _, s := range p.stays {
		free -= s.seats
	}
	return free
}

// verb is what happened.
type verb uint8

const (
	leaves     verb = iota // a license was made
	getsIn                 // it was installed
	worksHere              // it was installed already when it was asked for again
	isGiven                // it was given back
	comesHome              // its return was entered
	mayRun                 // a program was granted
	mayHaveRun             // nobody knows whether one was: the computer's program ended, and may not have recorded it
	isHeld                 // refused: one is out to the computer
	isFull                 // refused: too few seats
	isKnown                // refused: the license's file is of no use (any more)
	isGone                 // refused: the license is not installed
	isNotOut               // refused: the license is not out
	isSpent                // it was given back, or is home
	freeIs                 // so many seats were free
	outIs                  // this license was out to the computer, 0: none
	timeIs                 // the clocks were turned to this

	inDoubt // from here on the event numbered seats may happen
	settled // from here on it can not
)

// event is one thing that happened to one feature's pool, at some moment between
// two others. Of what is in doubt (maybe) it is not known whether it happened.
type event struct {
	verb     verb
	feature  uint32
	computer int
	license  uint64 // 0: not known, then op tells which
	op       int
	seats    int   // or what was read
	duration int64 // seconds
	death    int64 // 0: not told
	time     int64
	strict   bool // it happened by this, not by something else before
	maybe    bool
	named    bool   // the operation that made the license told its id
	late     int64  // it may happen until then, however quiet all is
	why      string // what was answered, for people
}

var verbNames = [...]string{
	"leaves", "arrives", "works here", "is given back", "comes home", "may run", "may have run", "refused, one is out", "refused, full",
	"refused, the file is of no use", "refused, not installed", "refused, not out", "spent", "free", "out", "time", "in doubt", "settled",
}

func (e event) String() string {
	s := fmt.Sprintf("computer %d: license %d (op %d) of feature %d: %s, %d", e.computer, e.license, e.op, e.feature, verbNames[e.verb], e.seats)
	if e.maybe {
		s += ", perhaps"
	}
	if e.strict {
		s += ", by this"
	}
	if e.time != 0 {
		s += fmt.Sprint(", ", e.time)
	}
	if e.death != 0 {
		s += fmt.Sprint(", until ", e.death)
	}
	if e.why != "" {
		s += "; answered: " + e.why
	}
	return s
}

// is reports whether the license that is out is the one of the event.
func (s stay) is(e event) bool {
	switch {
	case s.at == atHome:
		return false
	case e.license == 0:
		return s.op == e.op && s.op != 0
	case s.license == 0:
		return !e.named
	}
	return s.license == e.license
}

// shelves are the states that a pool may be in, each once. What may still happen
// need not, and what may be free may be found free, so a state says nothing new where
// another one differs only in leaving more open.
type shelves []shelf

func (p shelf) within(q shelf) bool {
	for i := range p.doubts {
		if p.doubts[i]&^q.doubts[i] != 0 {
			return false
		}
	}
	if p.ending > q.ending {
		return false
	}
	p.doubts, p.ending = q.doubts, q.ending
	return p == q
}

func (all shelves) with(p shelf) shelves {
	for i, q := range all {
		switch {
		case p.within(q):
			return all
		case q.within(p):
			all = slices.Delete(all, i, i+1)
			return all.with(p)
		}
	}
	return append(all, p)
}

// closure adds the states that what is in doubt and concerns may have led to.
func (all shelves) closure(doubts []event, concerns func(event) bool) shelves {
	next := slices.Clone(all)
	for todo := all; len(todo) > 0; {
		var found shelves
		for _, p := range todo {
			for n, e := range doubts {
				if p.doubts[n/64]&(1<<(n%64)) == 0 || !concerns(e) {
					continue
				}
				p := p
				if e.verb == leaves { // all else goes one way, and twice is once
					p.doubts[n/64] &^= 1 << (n % 64)
				}
				for _, q := range p.step(e) {
					if q != p && !slices.ContainsFunc(next, q.within) {
						next, found = next.with(q), append(found, q)
					}
				}
			}
		}
		todo = found
	}
	return next
}

// step gives the states that an event leads to, in an order that depends on
// nothing else. What is in doubt is let happen as late as can be: when it is
// settled, or when what comes then depends on it.
func (all shelves) step(e event, doubts []event) (next shelves) {
	here := e.computer
	if e.verb == settled {
		here = doubts[e.seats].computer
	}
	concerns := func(d event) bool { return d.computer == here }
	switch e.verb {
	case inDoubt, freeIs:
		concerns = func(event) bool { return false }
	case timeIs: // when it dies depends on when it was made
		concerns = func(d event) bool { return d.verb == leaves && d.duration < 3600 }
	}
	for _, p := range all {
		concerns := concerns
		if p.short(doubts, concerns) { // what sets seats free elsewhere matters
			own := concerns
			concerns = func(d event) bool { return own(d) || d.verb != leaves }
		}
		enter := func(from shelves) (possible bool) {
			for _, p := range from {
				for _, q := range p.step(e) {
					next, possible = next.with(q), true
				}
			}
			return possible
		}
		possible := enter(shelves{p}.closure(doubts, concerns))
		switch free := p.free(); {
		case e.verb == leaves && (!possible || free < e.seats), e.verb == freeIs && (!possible || free != e.seats),
			e.verb == isFull && !possible: // seats elsewhere matter
			enter(shelves{p}.closure(doubts, func(event) bool { return true }))
		}
	}
	slices.SortFunc(next, shelf.compare)
	return next
}

// short reports whether a license that may have been made, of those that concern,
// finds too few seats.
func (p shelf) short(doubts []event, concerns func(event) bool) bool {
	for n, d := range doubts {
		if p.doubts[n/64]&(1<<(n%64)) != 0 && d.verb == leaves && d.seats > p.free() && concerns(d) {
			return true
		}
	}
	return false
}

func (p shelf) compare(q shelf) int {
	c := cmp.Or(cmp.Compare(p.ending, q.ending), slices.Compare(p.doubts[:], q.doubts[:]))
	for i := range p.stays {
		a, b := p.stays[i], q.stays[i]
		c = cmp.Or(c, cmp.Compare(a.at, b.at), cmp.Compare(a.license, b.license), cmp.Compare(a.op, b.op),
			cmp.Compare(a.death, b.death), cmp.Compare(a.seats, b.seats))
		if a.granted != b.granted && c == 0 {
			c = -1
			if a.granted {
				c = 1
			}
		}
	}
	return c
}

// step gives the states that an event leads to: none where it cannot happen.
func (p shelf) step(e event) (next []shelf) {
	s, ending := p.stays[e.computer], p.ending
	same := s.is(e)
	sure := same && (e.license == 0 || s.license != 0) // else it may be another one that nobody was told of
	become := func(at place) {
		q := p
		t := s
		t.at = at
		if e.license != 0 {
			t.license = e.license
		}
		if at == atHome {
			t = stay{}
		}
		q.stays[e.computer] = t
		next = append(next, q)
	}
	goOn := func(ok bool) {
		if ok {
			next = append(next, p)
		}
	}
	switch e.verb {
	case leaves:
		death := p.now + e.duration
		if left := p.free() + p.ending - e.seats; s.at == atHome && left >= 0 && (e.death == 0 || e.death == death) {
			q := p
			q.ending = min(q.ending, left)
			q.stays[e.computer] = stay{at: inFile, license: e.license, op: e.op, seats: e.seats, death: death}
			next = append(next, q)
		}
	case getsIn:
		switch {
		case same && s.at == inFile:
			become(installedThere)
		case same && s.at == installedThere && !e.strict:
			become(installedThere)
		}
	case worksHere:
		if same && s.at == installedThere {
			become(installedThere)
		}
	case isGiven:
		if same && (s.at != inFile || !e.named) { // a named one that never worked is not declined
			become(givenBack)
		}
		goOn(!sure) // it was, and is home
	case comesHome:
		if same && (s.at == givenBack || s.at == inFile && !e.named) { // undone without ever having worked
			become(atHome)
			if s.granted {
				next[len(next)-1].ending += s.seats
			}
		}
		goOn(!sure && !e.strict)
	case mayRun:
		if same && s.at == installedThere {
			become(installedThere)
			next[len(next)-1].stays[e.computer].granted = true
		}
	case mayHaveRun:
		q := p
		q.stays[e.computer].granted = s.at == installedThere || s.granted
		next = append(next, q)
	case isHeld:
		goOn(s.at != atHome)
	case isFull:
		goOn(s.at == atHome && p.free() < e.seats)
	case isKnown:
		goOn(!sure || s.at != inFile)
	case isGone:
		goOn(!sure || s.at != installedThere)
	case isNotOut:
		goOn(!sure)
	case isSpent:
		goOn(!sure || s.at == givenBack)
	case freeIs:
		p.ending += p.free() - e.seats
		goOn(p.ending >= 0 && p.ending <= ending)
	case outIs:
		switch {
		case e.license == 0:
			goOn(s.at == atHome)
		case same:
			become(s.at)
		}
	case inDoubt:
		p.doubts[e.seats/64] |= 1 << (e.seats % 64)
		goOn(true)
	case settled:
		p.doubts[e.seats/64] &^= 1 << (e.seats % 64)
		goOn(true)
	case timeIs:
		p.now = e.time
		for i := range p.stays {
			if p.stays[i].death <= e.time {
				p.stays[i] = stay{}
			}
		}
		goOn(true)
	}
	return next
}

// model is one feature of the pool as porcupine sees it: the states that it may
// be in.
func model(seats int, start time.Time, doubts []event) porcupine.Model {
	return porcupine.Model{
		Init: func() any { return shelves{{max: seats, now: start.Unix()}} },
		Step: func(state, input, _ any) (bool, any) {
			next := state.(shelves).step(input.(event), doubts)
			return len(next) > 0, next
		},
		Equal: func(a, b any) bool { return slices.Equal(a.(shelves), b.(shelves)) },
		Hash: func(state any) uint64 {
			var h uint64
			for _, p := range state.(shelves) {
				h = h*31 + p.hash()
			}
			return h
		},
	}
}

// judged says whether some order explains what happened to one feature.
//
// Most of it needs no search. What is in doubt is part of the state from the
// moment it was asked for until it was settled. What happened by this or by
// something else before is in doubt too, and true when it ends; and what a refusal
// says of one license, which only ever goes on, is true then if it ever was.
func judged(history []porcupine.Operation, seats int, start time.Time) porcupine.CheckResult {
	var plain []porcupine.Operation
	var doubts []event
	at := func(e event, moment int64) {
		plain = append(plain, porcupine.Operation{Input: e, Call: moment, Return: moment + 1})
	}
	for _, o := range history {
		e := o.Input.(event)
		after, ends := e, e.verb
		switch {
		case e.maybe || e.strict:
		case e.verb == getsIn:
			ends = isKnown
		case e.verb == isGiven:
			ends = isSpent
		case e.verb == comesHome:
			ends = isNotOut
		}
		if e.maybe || ends != e.verb {
			at(event{verb: inDoubt, seats: len(doubts)}, o.Call+2)
			if o.Return != open {
				at(event{verb: settled, seats: len(doubts)}, o.Return+2)
			}
			doubts = append(doubts, e)
		}
		after.verb = ends
		switch {
		case e.maybe:
		case ends == isKnown || ends == isNotOut || ends == isSpent:
			if o.Return != open {
				at(after, o.Return+4)
			}
		default:
			plain = append(plain, o)
		}
	}
	if len(doubts) > 256 {
		return porcupine.Unknown
	}
	return porcupine.CheckOperationsTimeout(model(seats, start, doubts), plain, 10*time.Second)
}

func (p shelf) hash() uint64 {
	h := uint64(p.now)*31 + uint64(p.ending)
	for _, d := range p.doubts {
		h = h*31 + d
	}
	for _, s := range p.stays {
		h = h*1099511628211 ^ s.license ^ uint64(s.at)<<60 ^ uint64(s.op)<<40
	}
	return h
}

// record is what happened in a history. It is safe for concurrent use.
type record struct {
	moments atomic.Int64

	mu     sync.Mutex
	events []porcupine.Operation
	named  map[uint64]bool // licenses whose id the operation that made them told
}

// moment is a time in the order of things.
func (r *record) moment() int64 { return r.moments.Add(8) }

// open is the end of what may still happen.
const open = math.MaxInt64

// add notes an event that happened between two moments.
func (r *record) add(e event, call, end int64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.named == nil {
		r.named = make(map[uint64]bool)
	}
	if e.verb == leaves && e.license != 0 {
		r.named[e.license] = true
	}
	r.events = append(r.events, porcupine.Operation{ClientId: e.computer, Input: e, Call: call, Return: end})
}

// over says that what was in doubt has happened by now, or never will, and what
// was pending has. look may change an event, and says whether it stays in doubt.
func (r *record) over(look func(*event) bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	now := r.moment()
	for i := range r.events {
		e := r.events[i].Input.(event)
		if r.events[i].Return == open && !look(&e) {
			r.events[i].Input, r.events[i].Return = e, now
		}
	}
}

// notDecided says that porcupine was given up.
const notDecided = "not decided"

// check holds what happened against the model and says what does not fit, or "".
func (r *record) check(seats int, start time.Time) string {
	r.mu.Lock()
	defer r.mu.Unlock()
	history := slices.Clone(r.events)
	byFeature := map[uint32][]porcupine.Operation{}
	for i := range history {
		e := history[i].Input.(event)
		e.named = r.named[e.license]
		history[i].Input = e
		byFeature[e.feature] = append(byFeature[e.feature], history[i])
	}
	for feature, part := range byFeature {
		switch judged(part, seats, start) {
		case porcupine.Ok:
		case porcupine.Unknown:
			return notDecided
		default:
			return fmt.Sprintf("feature %d: no order of these explains them all; up to the last one some does:\n%s", feature, tell(part, seats, start))
		}
	}
	return ""
}

// tell lists the shortest beginning of a history that fits no order.
func tell(part []porcupine.Operation, seats int, start time.Time) string {
	slices.SortFunc(part, func(a, b porcupine.Operation) int { return cmp.Compare(a.Return, b.Return) })
	upTo := func(n int) []porcupine.Operation {
		last := part[n-1].Return
		var some []porcupine.Operation
		for i, o := range part {
			switch {
			case i < n:
				some = append(some, o)
			case o.Call < last: // under way: it may have happened, or not
				e := o.Input.(event)
				e.maybe = true
				o.Input = e
				some = append(some, o)
			}
		}
		return some
	}
	n := 1 + sort.Search(len(part)-1, func(i int) bool { return judged(upTo(i+1), seats, start) == porcupine.Illegal })
	var b strings.Builder
	some := upTo(n)
	for i, o := range some {
		if i+1 < len(some) && o.Input.(event).verb == timeIs && some[i+1].Input.(event).verb == timeIs {
			continue // of a row of turns the last one
		}
		fmt.Fprintf(&b, "  %5d to %5d  %v\n", o.Call, o.Return, o.Input)
	}
	return b.String()
}

// The checker catches what must never be, and takes what may.
func TestHistoryChecker(t *testing.T) {
	type at struct {
		call, end int64
		event
	}
	start := time.Unix(1_000_000, 0)
	out := func(call, end int64, computer int, license uint64) at {
		return at{call, end, event{verb: leaves, computer: computer, license: license, seats: 1, duration: 60}}
	}
	of := func(call, end int64, v verb, computer int, license uint64) at {
		return at{call, end, event{verb: v, computer: computer, license: license, seats: 1, strict: true}}
	}
	perhaps := func(a at) at { a.maybe = true; return a }
	for name, c := range map[string]struct {
		history []at
		legal   bool
	}{
		"two seats, two computers": {[]at{out(1, 2, 0, 7), out(1, 3, 1, 8)}, true},
		"one seat twice":           {[]at{out(1, 2, 0, 7), out(1, 3, 1, 8), out(1, 3, 2, 9)}, false},
		"one seat twice, to one":   {[]at{out(1, 2, 0, 7), out(3, 4, 0, 8)}, false},
		"a seat between two": {[]at{
			out(1, 2, 0, 7), out(1, 2, 1, 8), of(3, 8, getsIn, 0, 7), of(3, 8, isGiven, 0, 7), of(3, 8, comesHome, 0, 7), out(4, 6, 2, 9),
		}, true},
		"a seat before it is home": {[]at{
			out(1, 2, 0, 7), out(1, 2, 1, 8), out(3, 4, 2, 9), of(5, 8, getsIn, 0, 7), of(5, 8, isGiven, 0, 7), of(5, 8, comesHome, 0, 7),
		}, false},
		"full where it is not":   {[]at{out(1, 2, 0, 7), of(3, 4, isFull, 1, 0)}, false},
		"full where it may be":   {[]at{out(1, 2, 0, 7), perhaps(out(2, open, 2, 0)), of(3, 4, isFull, 1, 0)}, true},
		"a file installed twice": {[]at{out(1, 2, 0, 7), of(3, 4, getsIn, 0, 7), of(5, 6, getsIn, 0, 7)}, false},
		"installed after it was given back": {[]at{
			out(1, 2, 0, 7), of(3, 4, getsIn, 0, 7), of(5, 6, isGiven, 0, 7), of(7, 8, getsIn, 0, 7),
		}, false},
		"a grant after it was given back": {[]at{
			out(1, 2, 0, 7), of(3, 4, getsIn, 0, 7), of(5, 6, isGiven, 0, 7), of(7, 8, mayRun, 0, 7),
		}, false},
		"a return entered twice": {[]at{
			out(1, 2, 0, 7), of(3, 4, getsIn, 0, 7), of(5, 6, isGiven, 0, 7), of(7, 8, comesHome, 0, 7), of(7, 8, comesHome, 0, 7),
		}, false},
		"home while it works":      {[]at{out(1, 2, 0, 7), of(3, 4, getsIn, 0, 7), of(5, 6, comesHome, 0, 7)}, false},
		"refused, but it happened": {[]at{out(1, 2, 0, 7), {3, 4, event{verb: freeIs, seats: 2}}}, false},
		"undone, but it stays out": {[]at{
			perhaps(at{1, 4, event{verb: leaves, op: 5, seats: 1}}), perhaps(at{1, 4, event{verb: comesHome, op: 5}}), {5, 6, event{verb: outIs, license: 7}}, {7, 8, event{verb: freeIs, seats: 2}},
		}, false},
		"a file of no use, of another license that nobody was told of": {[]at{
			perhaps(at{1, 2, event{verb: leaves, op: 5, seats: 2, duration: 60}}), of(3, 4, isFull, 1, 0), of(5, 6, isKnown, 0, 9),
		}, true},
		"a seat that perhaps came home, perhaps left again": {[]at{
			out(1, 2, 0, 7), out(1, 2, 1, 8), of(3, 4, getsIn, 1, 8), of(5, 6, isGiven, 1, 8), perhaps(of(7, open, comesHome, 1, 8)),
			perhaps(at{8, 9, event{verb: leaves, computer: 2, op: 5, seats: 1, duration: 60}}), {10, 11, event{verb: outIs, computer: 2, license: 9}},
		}, true},
		"the same, and it died": {[]at{
			out(1, 2, 0, 7), out(1, 2, 1, 8), of(3, 4, getsIn, 1, 8), of(5, 6, isGiven, 1, 8), perhaps(of(7, open, comesHome, 1, 8)),
			perhaps(at{8, open, event{verb: leaves, computer: 2, op: 5, seats: 1, duration: 60}}), {10, 11, event{verb: timeIs, time: start.Unix() + 30}},
			{12, 13, event{verb: outIs, computer: 2, license: 9}}, {14, 15, event{verb: timeIs, time: start.Unix() + 60}},
			{16, 17, event{verb: outIs, computer: 2, license: 0}}, {18, 19, event{verb: timeIs, time: start.Unix() + 80}}, {20, 21, event{verb: freeIs, seats: 2}},
		}, true},
		"a seat of an ended grant": {[]at{
			out(1, 2, 0, 7), out(1, 2, 1, 8), of(3, 4, getsIn, 0, 7), of(5, 6, mayRun, 0, 7), of(7, 8, isGiven, 0, 7), of(7, 8, comesHome, 0, 7),
			of(9, 10, isFull, 2, 0), out(11, 12, 2, 9), {13, 14, event{verb: freeIs, seats: 0}},
		}, true},
		"the same seat twice": {[]at{
			out(1, 2, 0, 7), out(1, 2, 1, 8), of(3, 4, getsIn, 0, 7), of(5, 6, mayRun, 0, 7), of(7, 8, isGiven, 0, 7), of(7, 8, comesHome, 0, 7),
			out(9, 10, 2, 9), of(11, 12, isFull, 0, 0), out(13, 14, 0, 10),
		}, false},
		"full after it was free": {[]at{
			out(1, 2, 0, 7), out(1, 2, 1, 8), of(3, 4, getsIn, 0, 7), of(5, 6, mayRun, 0, 7), of(7, 8, isGiven, 0, 7), of(7, 8, comesHome, 0, 7),
			{9, 10, event{verb: freeIs, seats: 1}}, of(11, 12, isFull, 2, 0),
		}, false},
		"early expiry": {[]at{out(1, 2, 0, 7), {3, 4, event{verb: timeIs, time: start.Unix() + 59}}, {5, 6, event{verb: freeIs, seats: 2}}}, false},
		"expiry":       {[]at{out(1, 2, 0, 7), {3, 4, event{verb: timeIs, time: start.Unix() + 60}}, {5, 6, event{verb: freeIs, seats: 2}}}, true},
	} {
		t.Run(name, func(t *testing.T) {
			var r record
			for _, a := range c.history {
				if a.end != open {
					a.end *= 8
				}
				r.add(a.event, a.call*8, a.end)
			}
			if why := r.check(2, start); (why == "") != c.legal {
				t.Errorf("legal: %v, want %v\n%s", why == "", c.legal, why)
			}
		})
	}
}
