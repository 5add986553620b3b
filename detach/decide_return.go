package detach

import (
	"bytes"
	"errors"
	"fmt"

	"github.com/sojournlm/sojourn/internal/code"
	"github.com/sojournlm/sojourn/internal/document"
	"github.com/sojournlm/sojourn/internal/ledger"
)

// Return decides about a license that is given back. The caller has verified
// the return ([document.Return.Verify]). The seats are free at once where no
// grant lives, else when the last one has ended.
func (p *Pool) Return(r *document.Return, now int64) ([][]byte, error) {
	t := r.Terms()
	if t.Key != p.trust.Key {
		return nil, refuse(code.StorageIDMismatch, "return of license %d: it belongs to key %d, this is key %d", t.License, t.Key, p.trust.Key)
	}
	if t.Death <= now {
		return nil, refuse(code.DetachedLicenseExpired, "return of license %d: it died at %s and its seats came home by themselves", t.License, clock(t.Death))
	}
	if record := p.License(t.License); record == nil || !record.standsIn(r.Proof) {
		return nil, refuse(code.InvalidUpdateOrAlreadyInstalled, "return of license %d: it has come home before", t.License)
	}
	body := returned{License: t.License, Until: r.Until, Return: r.Bytes()}
	return [][]byte{document.EncodeEntry(entryReturned, body)}, nil
}

// standsIn reports whether the proof is about the very entry the record was
// made from: an id may be used again after its first license is forgotten.
func (r *Record) standsIn(proof document.Proof) bool {
	h, err := document.ParseHeader(proof.Header)
	return err == nil && h.Seq == r.Seq && proof.Index == uint64(r.Index)
}

// Update decides about a pool license from the vendor, the first or a newer
// one. Licenses that are out stay as they are; where the vendor now allows
// fewer seats than are out, the excess is overdrawn.
func (p *Pool) Update(license *document.Pool) ([][]byte, error) {
	head := license.Head
	switch {
	case head.Key != p.trust.Key:
		return nil, refuse(code.StorageIDMismatch, "pool license: it belongs to key %d, this is key %d", head.Key, p.trust.Key)
	case !bytes.Equal(head.KeyPublic, p.trust.Public):
		return nil, refuse(code.StorageIDMismatch, "pool license: it was made for another key with the id %d", head.Key)
	}
	if err := p.vouched(license); err != nil {
		return nil, refuse(code.InvalidDigest, "%s", err)
	}
	if err := p.follows(license); err != nil {
		return nil, refuse(code.InvalidUpdateOrAlreadyInstalled, "%s", err)
	}
	return [][]byte{document.EncodeEntry(entryUpdated, updated{Pool: license.Bytes()})}, nil
}

// vouched says whether the pool's vendor signed the license.
func (p *Pool) vouched(license *document.Pool) error {
	vendor := license.Head.Vendor
	if p.license != nil && p.license.Head.Vendor != vendor {
		return fmt.Errorf("pool license: it is by vendor %d, the key belongs to vendor %d", vendor, p.license.Head.Vendor)
	}
	public := p.vendor(vendor)
	if public == nil {
		return fmt.Errorf("pool license: this program does not trust vendor %d", vendor)
	}
	return license.Verify(public)
}

// follows says whether the license is for this key and newer than the pool's.
func (p *Pool) follows(license *document.Pool) error {
	head := license.Head
	switch {
	case head.Key != p.trust.Key || !bytes.Equal(head.KeyPublic, p.trust.Public):
		return fmt.Errorf("pool license: it belongs to another key, with the id %d", head.Key)
	case head.Counter <= p.Counter():
		return fmt.Errorf("pool license: it is update %d, the key has update %d", head.Counter, p.Counter())
	}
	return nil
}

// Judge says whether an entry that nobody has vouched for may be applied: it
// proves itself by the signatures it carries, and the rules hold. What only the
// administrator's policy forbids is not told apart.
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
		return nil // carries no claim but its time, which Apply holds against the batch's
	case entryUpdated:
		license, err := parseUpdated(body)
		if err != nil {
			return err
		}
		return errors.Join(p.follows(license), p.vouched(license))
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
	for _, ref := range t.Features {
		place, _ := p.find(ref)
		if o := p.obstacle(&p.license.Features[place], &r, Policy{}, t.Issued); o != nil {
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
	_, err = p.Return(r, at.Time)
	return err
}
