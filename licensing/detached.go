package licensing

import (
	"cmp"
	"context"
	"iter"
	"time"

	"github.com/sojournlm/sojourn/detach"
)

// DetachedLicense is a live license that was detached from one of the keys here.
type DetachedLicense struct {
	ID        uint64
	Origin    uint64 // the key it came from
	Vendor    uint32 // publicCode
	Recipient uint64 // lmsId
	HostName  string // of the recipient
	Seats     int
	Issued    time.Time
	Death     time.Time // when the seats come home by themselves
	Duration  time.Duration
	Features  []Feature // as the recipient has them
}

// ListDetached lists the live licenses detached from the keys here, by time of
// detaching, then id. Returned and expired ones are not in it.
func (m *Manager) ListDetached(ctx context.Context, filter Filter) (*List[DetachedLicense], error) {
	const op = "list detached"
	done, err := m.begin(op)
	if err != nil {
		return nil, err
	}
	defer done()
	var parts merged
	for _, s := range m.rack.all() {
		pool := s.shown()
		if pool == nil || filter.Key != nil && *filter.Key != s.info.ID {
			continue
		}
		state, now := pool.Read()
		found := state.Detached(detach.Filter{Search: filter.Search, Product: filter.Product, Feature: filter.Feature})
		if found.Len() > 0 {
			parts = append(parts, part{found, now.Unix})
		}
	}
	return listMerged(op, filter.Page, parts)
}

// part is the matching licenses of one pool, and its time.
type part struct {
	detach.Sequence
	now int64
}

// show gives a record for people.
func (p part) show(r *detach.Record) DetachedLicense {
	head := &r.Pool().Head
	out := DetachedLicense{
		ID: r.License, Origin: head.Key, Vendor: head.Vendor,
		Recipient: r.Recipient.ID, HostName: r.Recipient.HostName, Seats: int(r.Seats),
		Issued: time.Unix(r.Issued, 0), Death: time.Unix(r.Death(), 0), Duration: time.Duration(r.Duration) * time.Second,
		Features: make([]Feature, r.Len()),
	}
	for i := range out.Features {
		f := newFeature(0, head.Vendor, r.Feature(i), p.now)
		f.Max, f.Free = r.Seats, r.Seats
		out.Features[i] = f
	}
	return out
}

// merged is the licenses of several pools in one order.
type merged []part

func (ps merged) len() (n int) {
	for _, p := range ps {
		n += p.Len()
	}
	return n
}

func compareRecords(a, b *detach.Record) int {
	return cmp.Or(cmp.Compare(a.Issued, b.Issued), cmp.Compare(a.License, b.License))
}

// skip gives for each part how many of its records stand among the first n of
// the merged order: by halving what is left to skip, so that a far page of a
// long list costs what the first one does.
func (ps merged) skip(n int) []int {
	at := make([]int, len(ps))
	for n > 0 {
		// Of the parts that are not used up, the one whose record step places
		// ahead comes first can give up all before it.
		live := 0
		for i, p := range ps {
			if at[i] < p.Len() {
				live++
			}
		}
		if live == 0 {
			break
		}
		step := max(1, n/live)
		best, taken := -1, 0
		for i, p := range ps {
			if at[i] >= p.Len() {
				continue
			}
			k := min(step, p.Len()-at[i])
			if best < 0 || compareRecords(p.At(at[i]+k-1), ps[best].At(at[best]+taken-1)) < 0 {
				best, taken = i, k
			}
		}
		at[best] += taken
		n -= taken
	}
	return at
}

func listMerged(op string, page Page, ps merged) (*List[DetachedLicense], error) {
	total := ps.len()
	from, to, err := page.window(total)
	if err != nil {
		return nil, fail(op, err)
	}
	return &List[DetachedLicense]{Total: total, items: func(yield func(DetachedLicense) bool) {
		next := make([]func() (*detach.Record, bool), len(ps))
		first := make([]*detach.Record, len(ps)) // of what each part has left; nil: nothing
		for i, at := range ps.skip(from) {
			var stop func()
			next[i], stop = iter.Pull(ps[i].From(at))
			defer stop()
			first[i], _ = next[i]()
		}
		for range to - from {
			best := -1
			for i, r := range first {
				if r != nil && (best < 0 || compareRecords(r, first[best]) < 0) {
					best = i
				}
			}
			if !yield(ps[best].show(first[best])) {
				return
			}
			first[best], _ = next[best]()
		}
	}}, nil
}
