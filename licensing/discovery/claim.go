package discovery

import (
	"cmp"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	"golang.org/x/net/dns/dnsmessage"
)

// Times of RFC 6762: 8.1 for probing, 8.3 for announcing, 6 for answering, 8.2
// and 9 for conflicts.
const (
	probes        = 3
	announcements = 2
	probeGap      = 250 * time.Millisecond
	announceGap   = time.Second
	answerGap     = time.Second
	defendGap     = 250 * time.Millisecond
	deferGap      = time.Second
	// After so many conflicts no name is tried more often than every contestGap.
	patience   = 15
	contestGap = 5 * time.Second
)

// claim is the life of a service's name on the network: probed for, announced,
// answered for and, where somebody else has it, changed. It does no I/O and
// reads no clock. A flood of messages costs no more packets than a single one:
// every answer is the whole announcement, and falls due at most once a second.
type claim struct {
	service
	shown     string // the name that was asked for
	renamed   int    // times, to a higher number each
	conflicts int

	sent    int       // probes, then announcements
	due     time.Time // of the next; zero when all are sent
	answers []answer  // one for each wire
}

type answer struct {
	due  time.Time // zero: nothing is to be answered
	last time.Time
}

// act is what a claim wants sent: on one wire, or on all for -1.
type act struct {
	wire  int
	probe bool
}

func newClaim(s service) *claim { return &claim{service: s, shown: s.instance} }

// start probes anew, on that many wires.
func (c *claim) start(now time.Time, wires int) {
	c.answers = make([]answer, wires)
	c.again(now.Add(rand.N(probeGap)))
}

func (c *claim) again(at time.Time) { c.sent, c.due = 0, at }

// established says whether the name was probed for, and announced.
func (c *claim) established() bool { return c.sent > probes }

// next is when the claim wants to act, or zero.
func (c *claim) next() time.Time {
	next := c.due
	for _, a := range c.answers {
		if !a.due.IsZero() && (next.IsZero() || a.due.Before(next)) {
			next = a.due
		}
	}
	return next
}

// act gives what is to be sent now.
func (c *claim) act(now time.Time) []act {
	var list []act
	if !c.due.IsZero() && !now.Before(c.due) {
		probe := c.sent < probes
		list = append(list, act{-1, probe})
		c.sent++
		switch {
		case probe:
			c.due = now.Add(probeGap)
		case c.sent < probes+announcements:
			c.due = now.Add(announceGap)
		default:
			c.due = time.Time{}
		}
		if !probe {
			for i := range c.answers {
				c.answers[i] = answer{last: now}
			}
		}
	}
	for i := range c.answers {
		if a := &c.answers[i]; !a.due.IsZero() && !now.Before(a.due) {
			list = append(list, act{i, false})
			*a = answer{last: now}
		}
	}
	return list
}

// hear takes in a message that came over a wire.
func (c *claim) hear(now time.Time, wire int, m message) {
	rival, contested := c.rival(m)
	switch {
	case m.response && contested:
		c.conflict(now)
	case m.response:
	case contested && !c.established():
		// Somebody probes for the same name at the same time: who says the
		// lesser waits, and finds the winner established.
		if c.sent > 0 && compare(rival, c.location()) > 0 {
			c.again(now.Add(deferGap))
		}
	case c.established():
		c.question(now, wire, m, contested)
	}
}

// rival finds somebody else's claim to the same name.
func (c *claim) rival(m message) (location, bool) {
	own := c.location()
	for _, s := range m.services {
		if s.instance == own.instance && s.host != own.host && s.ttl > 0 {
			return s, true
		}
	}
	return location{}, false
}

func (c *claim) location() location {
	return location{instance: lower(c.name()), ttl: ttlHost, port: c.port, host: lower(c.hostName())}
}

// compare orders simultaneous claims by their data (RFC 6762, 8.2).
func compare(a, b location) int {
	return cmp.Or(cmp.Compare(a.priority, b.priority), cmp.Compare(a.weight, b.weight), cmp.Compare(a.port, b.port), strings.Compare(a.host, b.host))
}

// conflict gives the name up while it is being probed for, and probes once more
// for an established one, which its owner will then defend.
func (c *claim) conflict(now time.Time) {
	if c.sent == 0 {
		return // it answers an older question
	}
	c.conflicts++
	if !c.established() {
		c.renamed++
		c.instance = fmt.Sprintf("%s (%d)", c.shown, c.renamed+1)
	}
	wait := probeGap
	if c.conflicts > patience {
		wait = contestGap
	}
	c.again(now.Add(wait))
}

// question answers a query, if it asks for anything of ours.
func (c *claim) question(now time.Time, wire int, m message, probed bool) {
	wait, asked := time.Duration(0), false
	for _, q := range m.questions {
		if class := q.Class &^ uniqueRecord; class != dnsmessage.ClassINET && class != dnsmessage.ClassANY {
			continue
		}
		of := func(types ...dnsmessage.Type) bool {
			return q.Type == dnsmessage.TypeALL || slices.Contains(types, q.Type)
		}
		switch lower(q.Name.String()) {
		case serviceType:
			if of(dnsmessage.TypePTR) && !c.knownTo(m) {
				asked, wait = true, c.spread()
			}
		case metaQuery:
			if of(dnsmessage.TypePTR) {
				asked, wait = true, c.spread()
			}
		case lower(c.name()):
			asked = asked || of(dnsmessage.TypeSRV, dnsmessage.TypeTXT)
		case lower(c.hostName()):
			asked = asked || of(dnsmessage.TypeA, dnsmessage.TypeAAAA)
		}
	}
	if !asked {
		return
	}
	a := &c.answers[wire]
	at, gap := now.Add(wait), answerGap
	if probed {
		at, gap = now, defendGap
	}
	if earliest := a.last.Add(gap); at.Before(earliest) {
		at = earliest
	}
	if a.due.IsZero() || at.Before(a.due) {
		a.due = at
	}
}

// spread keeps those who answer the same question from doing so at once.
func (c *claim) spread() time.Duration { return 20*time.Millisecond + rand.N(100*time.Millisecond) }

// knownTo says whether the asker has our answer, and will for a while.
func (c *claim) knownTo(m message) bool {
	for _, k := range m.known {
		if k.instance == lower(c.name()) && k.ttl >= ttlOther/2 {
			return true
		}
	}
	return false
}
