package detach

import (
	"errors"
	"fmt"
	"iter"

	"github.com/sojournlm/sojourn/internal/document"
)

// Check says whether the pool agrees with itself: the seats that its licenses
// hold are the seats that are counted as away, and every index has exactly what
// it must have. It walks everything; it is for Verify, not for every day.
func (p *Pool) Check() error {
	type place struct{ records, due, requests, out, list int }
	var want, got place
	var errs []error
	held := map[document.FeatureRef]uint64{}
	having := map[*choice]int{}
	for r := range p.everyRecord() {
		want.records++
		want.due++
		having[r.choice]++
		if p.short(document.ShortID(r.License)) != r {
			errs = append(errs, fmt.Errorf("license %d is not known by its short id", r.License))
		}
		if _, ok := p.queue(r).Get(r.waiting()); !ok {
			errs = append(errs, fmt.Errorf("license %d is not among those that time will change", r.License))
		}
		if r.request != nil {
			want.requests++
			if x, ok := p.requests.Get(r); !ok || x != r {
				errs = append(errs, fmt.Errorf("license %d is not known by its request key", r.License))
			}
		}
		if r.status == isOut {
			want.out++
			want.list += p.listings(r, &errs)
		}
		if r.status != isHome {
			for _, at := range r.features {
				held[r.pool.Features[at].Ref()] += uint64(r.Seats)
			}
		}
		if len(errs) > 0 {
			break
		}
	}
	p.choices.Scan(func(c chosen) bool {
		if having[c.choice] != c.n {
			errs = append(errs, fmt.Errorf("%d licenses have the same features, %d are counted", having[c.choice], c.n))
		}
		return true
	})
	if len(having) != p.choices.Len() {
		errs = append(errs, fmt.Errorf("licenses have %d choices of features, %d are counted", len(having), p.choices.Len()))
	}
	p.taken.Scan(func(t taken) bool {
		if ref := t.feature.Ref(); held[ref] != uint64(t.seats) {
			errs = append(errs, fmt.Errorf("%s: %d seats are counted as away, licenses hold %d", nameRef(ref), t.seats, held[ref]))
		}
		return true
	})
	if len(held) != p.taken.Len() {
		errs = append(errs, fmt.Errorf("licenses hold seats of %d features, %d are counted as away", len(held), p.taken.Len()))
	}
	lengths := map[uint32]int{}
	p.list.Scan(func(l listed) bool {
		lengths[l.list]++
		return true
	})
	p.lengths.Scan(func(l length) bool {
		if lengths[l.list] != l.n {
			errs = append(errs, fmt.Errorf("a list has %d licenses, %d are counted", lengths[l.list], l.n))
		}
		delete(lengths, l.list)
		return true
	})
	if len(lengths) > 0 {
		errs = append(errs, fmt.Errorf("%d lists are not counted", len(lengths)))
	}
	got = place{p.shorts.Len(), p.deaths.Len() + p.ends.Len(), p.requests.Len(), p.out.Len(), p.list.Len()}
	if p.asked.Len() != p.lapses.Len() {
		errs = append(errs, fmt.Errorf("%d request keys are known, %d of them will be forgotten", p.asked.Len(), p.lapses.Len()))
	}
	if len(errs) == 0 && got != want {
		errs = append(errs, fmt.Errorf("indexes hold %+v, want %+v", got, want))
	}
	return errors.Join(errs...)
}

// listings counts the places in lists that a license that is out must have.
func (p *Pool) listings(r *Record, errs *[]error) int {
	if _, ok := p.out.Get(r.outTo()); !ok {
		*errs = append(*errs, fmt.Errorf("license %d is not known by its recipient", r.License))
	}
	tags := map[uint64]bool{}
	for tag := range r.tags() {
		tags[tag] = true
		l, _ := p.lengths.Get(length{tag: tag})
		if x, ok := p.list.Get(r.listed(l.list)); !ok || x.number != r.number {
			*errs = append(*errs, fmt.Errorf("license %d is missing in a list", r.License))
		}
	}
	return len(tags)
}

// everyRecord gives the licenses that are remembered.
func (p *Pool) everyRecord() iter.Seq[*Record] {
	return func(yield func(*Record) bool) {
		p.records.Scan(func(b block) bool {
			for _, r := range b.records {
				if r != nil && !yield(r) {
					return false
				}
			}
			return true
		})
	}
}
