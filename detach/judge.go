package detach

import (
	"errors"
	"fmt"

	"github.com/sojournlm/sojourn/internal/document"
	"github.com/sojournlm/sojourn/internal/ledger"
)

// Judge says whether an entry that nobody has vouched for may be applied: it
// proves itself by the signatures it carries, and the rules hold. What only the
// administrator's policy forbids is not told apart, nor what [Trust].Skew would
// still keep out: either may be another today. What Judge takes, Apply takes too.
func (p *Pool) Judge(at ledger.Position, entry []byte) error {
	kind, body, err := document.ParseEntry(entry)
	if err != nil {
		return err
	}
	switch kind {
	case entryDetached:
		return p.judgeDetached(at, body)
	case entryReturned:
		return p.judgeReturned(at, body)
	case entryExpired:
		_, err := parseExpired(at, body)
		return err
	case entryTimed:
		_, err := parseBody[timed]("time entry", body)
		return err
	case entryUpdated:
		license, request, err := parseUpdated(body)
		if err != nil {
			return err
		}
		return errors.Join(p.follows(license), p.vouched(license), p.unasked(request))
	}
	return fmt.Errorf("a pool's ledger has no entries of kind %d", kind)
}

func (p *Pool) judgeDetached(at ledger.Position, body []byte) error {
	t, err := document.ParseTerms(body)
	if err != nil {
		return err
	}
	if _, err := p.admit(at, t); err != nil {
		return fmt.Errorf("license %d: %w", t.License, err)
	}
	r := DetachRequest{Seats: t.Seats, Duration: t.Duration, Recipient: t.Recipient}
	var obstacles []obstacle
	out := p.outFeatures(t.Recipient.ID)
	for _, ref := range t.Features {
		place, _ := p.find(ref)
		if o := p.obstacle(&p.license.Features[place], &r, out, Policy{}, t.Issued); o != nil {
			obstacles = append(obstacles, *o)
		}
	}
	if len(obstacles) > 0 {
		return fmt.Errorf("license %d: %w", t.License, refuseFeatures(obstacles))
	}
	return nil
}

func (p *Pool) judgeReturned(at ledger.Position, body []byte) error {
	b, err := parseBody[returned]("return entry", body)
	if err != nil {
		return err
	}
	r, err := document.ParseReturn(b.Return)
	if err != nil {
		return err
	}
	if r.Terms().License != b.License || r.Until != b.Until {
		return fmt.Errorf("license %d is given back with the return of license %d", b.License, r.Terms().License)
	}
	if err := r.Verify(p.trust.Public); err != nil {
		return err
	}
	if err := p.unasked(b.Request); err != nil {
		return fmt.Errorf("return of license %d: %w", b.License, err)
	}
	_, err = p.Return(r, b.Request, at.Time)
	return err
}
