package licensing

import (
	"bytes"
	"cmp"
	"fmt"
	"slices"
	"time"

	"github.com/sojournlm/sojourn/internal/document"
	"github.com/sojournlm/sojourn/internal/ledger"
)

// seen is what is known of the manager at an address.
type seen struct {
	computer *document.Fingerprint // who answered there last; nil: nobody ever did
	silent   time.Time             // since when; zero while it answers
	problem  error                 // why it is silent, or does not tell its keys
	ahead    int64                 // its clock, seconds
	keys     []remoteKey           // ordered by id
	told     int                   // what they came in, bytes
	polled   time.Duration         // by the steady clock; when it answered last, 0 where its news are out of date
}

// sight is a station as it was seen at one moment.
type sight struct {
	*station
	seen
}

// age is how old the sight's news are.
func (s sight) age(clock ledger.Wall) time.Duration { return clock.Elapsed() - s.polled }

// stations gives what is seen of all addresses, those in the settings first.
func (p *peers) stations() []sight {
	if p == nil {
		return nil
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	var all []sight
	for _, s := range p.at {
		all = append(all, sight{s, s.now})
	}
	slices.SortFunc(all, func(a, b sight) int {
		switch {
		case a.fixed != b.fixed && a.fixed:
			return -1
		case a.fixed != b.fixed:
			return 1
		}
		return cmp.Compare(a.address, b.address)
	})
	return all
}

// managers gives one sight for each manager that was ever heard of, by lmsId,
// then public key: the same one may be found at several addresses, and of those
// one that answers counts.
func (p *peers) managers() []sight {
	var all []sight
	for _, s := range p.stations() {
		if s.computer == nil {
			continue
		}
		at := slices.IndexFunc(all, func(o sight) bool { return sameKeys(o.computer, s.computer) })
		switch {
		case at < 0:
			all = append(all, s)
		case !all[at].silent.IsZero() && (s.silent.IsZero() || s.silent.After(all[at].silent)):
			all[at] = s
		}
	}
	slices.SortStableFunc(all, func(a, b sight) int {
		x, y := a.computer.Computer, b.computer.Computer
		return cmp.Or(cmp.Compare(x.ID, y.ID), slices.Compare(x.Sign, y.Sign))
	})
	return all
}

// of gives the sights of the manager with a public key, those that answer first.
func (p *peers) of(public []byte) []sight {
	var all []sight
	for _, s := range p.stations() {
		if s.computer != nil && bytes.Equal(s.computer.Computer.Sign, public) {
			all = append(all, s)
		}
	}
	slices.SortStableFunc(all, func(a, b sight) int { return a.silent.Compare(b.silent) })
	return all
}

func sameKeys(a, b *document.Fingerprint) bool {
	return a.Computer.ID == b.Computer.ID && bytes.Equal(a.Computer.Sign, b.Computer.Sign) && bytes.Equal(a.Computer.Seal, b.Computer.Seal)
}

// name is a manager for people.
func (s sight) name() string {
	if s.computer == nil {
		return s.address
	}
	return fmt.Sprintf("%s (lmsId %d)", s.computer.Computer.HostName, s.computer.Computer.ID)
}
