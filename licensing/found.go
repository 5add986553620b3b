package licensing

import (
	"bytes"
	"errors"
	"iter"
	"math"
	"slices"
	"time"

	"github.com/sojournlm/sojourn/fingerprint"
	"github.com/sojournlm/sojourn/internal/document"
	"github.com/sojournlm/sojourn/internal/fold"
	"github.com/sojournlm/sojourn/internal/peer"
)

// computers is the known computers: those in the book, then those that were found
// and are in no book.
type computers struct {
	book  fingerprint.Computers
	found []Computer
	seen  []sight // all managers that were found
}

// computers lists the known computers whose host name contains search.
func (m *Manager) computers(search string) computers {
	state, _ := m.local.Read()
	book := state.Book()
	out := computers{book: book.Computers(search), seen: m.peers.managers()}
	query := fold.NewQuery(search)
	for _, s := range out.seen {
		if c := found(book, s, out.seen); c != nil && query.In(c.HostName) {
			out.found = append(out.found, *c)
		}
	}
	return out
}

// found shows a manager that was found, nil where it is in the book already.
func found(book *fingerprint.Book, s sight, all []sight) *Computer {
	f := s.computer
	known, inBook := book.Computer(f.Computer.ID)
	if inBook && sameKeys(known.Fingerprint(), f) {
		return nil
	}
	c := &Computer{
		LMSID: f.Computer.ID, HostName: f.Computer.HostName, Fingerprint: fingerprint.Buffer(f),
		IssueTime: time.Unix(f.Issued, 0), Auto: true, Remote: true, Conflict: inBook,
	}
	for _, o := range all {
		c.Conflict = c.Conflict || o.computer.Computer.ID == c.LMSID && !sameKeys(o.computer, f)
	}
	c.see(s)
	return c
}

// see adds what is seen of a computer's manager.
func (c *Computer) see(s sight) {
	const most = int64(math.MaxInt64 / time.Second) // a stranger may tell any time, and a Duration ends there
	c.Silent, c.Ahead = s.silent, time.Duration(min(max(s.ahead, -most), most))*time.Second
	c.Problem = plain(s.problem)
}

// plain is why another manager did not do as it was asked, for people who may use
// the API: without addresses and the network's own words, which are in the log.
func plain(err error) string {
	var refused *peer.Refused
	var doc *document.Error
	var own *Error
	switch {
	case err == nil:
		return ""
	case errors.As(err, &refused):
		return refused.Message
	case errors.As(err, &doc):
		return "its answer cannot be used: " + doc.Error()
	case errors.As(err, &own):
		return own.Message
	case errors.Is(err, errLate):
		return errLate.Error()
	}
	return "it does not answer"
}

// Len and From implement [sequence].
func (c computers) Len() int { return c.book.Len() + len(c.found) }

func (c computers) From(i int) iter.Seq[Computer] {
	return func(yield func(Computer) bool) {
		inBook := min(i, c.book.Len())
		for known := range c.book.From(inBook) {
			if !yield(c.show(known)) {
				return
			}
		}
		for _, f := range c.found[i-inBook:] {
			if !yield(f) {
				return
			}
		}
	}
}

// show shows a computer of the book, and what is seen of its manager.
func (c computers) show(known *fingerprint.Computer) Computer {
	out := showComputer(known)
	at := slices.IndexFunc(c.seen, func(s sight) bool {
		return s.computer.Computer.ID == known.ID && sameKeys(s.computer, known.Fingerprint())
	})
	if at >= 0 {
		out.see(c.seen[at])
	}
	return out
}

// silent gives those that do not answer, or have not in the time that a list waits.
func (p *peers) silent() (list []Computer) {
	for _, s := range p.stations() {
		switch {
		case !s.quiet(), s.rests, s.before && !s.fixed: // of what that one had nothing is shown
			continue
		case s.computer != nil && slices.ContainsFunc(p.of(s.computer.Computer.Sign), func(o sight) bool { return !o.quiet() }):
			continue // it does, elsewhere
		case s.silent.IsZero():
			s.silent, s.problem = s.late, errLate
		}
		c := Computer{HostName: s.address, Auto: true, Remote: true}
		if f := s.computer; f != nil {
			c.LMSID, c.HostName, c.Fingerprint = f.Computer.ID, f.Computer.HostName, fingerprint.Buffer(f)
			c.IssueTime = time.Unix(f.Issued, 0)
		}
		c.see(s)
		list = append(list, c)
	}
	return list
}

// foundRecipient gives a computer that is in no book as a license names it: the one
// with a public key, or, where that is nil, whoever has the lmsId. ok is false where
// none was found, or where another one claims to be it: one that is believed more, or
// one that is believed as much and answers; who gives no key may mean one that is
// silent, too. Where it must be live, one that only an earlier run has heard is none.
func (m *Manager) foundRecipient(lmsID uint64, public []byte, live bool) (r document.Recipient, conflict, ok bool) {
	var one *claimant
	all := m.known()
	for i, c := range all {
		if c.computer.Computer.ID == lmsID && (public == nil || bytes.Equal(c.computer.Computer.Sign, public)) && (one == nil || c.trust < one.trust) {
			one = &all[i]
		}
	}
	if one == nil {
		return r, false, false
	}
	for _, c := range all {
		if c.bars(*one) || public == nil && c.trust == one.trust && c.disputes(*one) {
			return r, true, false
		}
	}
	if live && one.before {
		return r, false, false
	}
	return one.computer.Computer, false, true
}

// knows reports whether a manager with an lmsId is known by itself.
func (p *peers) knows(lmsID uint64) bool {
	return slices.ContainsFunc(p.managers(), func(s sight) bool { return s.computer.Computer.ID == lmsID })
}
