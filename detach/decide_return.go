package detach

import (
	"bytes"
	"fmt"

	"github.com/sojournlm/sojourn/internal/code"
	"github.com/sojournlm/sojourn/internal/document"
)

// Return decides about a license that is given back. The caller has verified
// the return ([document.Return.Verify]). The seats are free at once where no
// grant lives, else when [Pool.Due] finds that the last one has ended. Asked
// again under the same request key it gives no entry.
func (p *Pool) Return(r *document.Return, request document.RequestKey, now int64) ([][]byte, error) {
	if before, err := p.Asked(request); before || err != nil {
		return nil, err
	}
	t := r.Terms()
	if t.Key != p.trust.Key {
		return nil, refuse(code.StorageIDMismatch, "return of license %d: it belongs to key %d, this is key %d", t.License, t.Key, p.trust.Key)
	}
	switch home := t.Death + p.trust.Skew; {
	case home <= now:
		return nil, refuse(code.DetachedLicenseExpired, "return of license %d: it died at %s and its seats came home by themselves", t.License, clock(t.Death))
	case t.Death <= now:
		return nil, refuse(code.DetachedLicenseExpired, "return of license %d: it died at %s and its seats come home by themselves, at %s at the latest", t.License, clock(t.Death), clock(home))
	}
	if record := p.License(t.License); record == nil || !record.standsIn(r.Proof) {
		return nil, refuse(code.InvalidUpdateOrAlreadyInstalled, "return of license %d: it has come home before", t.License)
	}
	body := returned{License: t.License, Until: r.Until, Return: r.Bytes(), Request: request}
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
// fewer seats than are out, the excess is overdrawn. Asked again under the same
// request key it gives no entry.
func (p *Pool) Update(license *document.Pool, request document.RequestKey) ([][]byte, error) {
	if before, err := p.Asked(request); before || err != nil {
		return nil, err
	}
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
	return [][]byte{document.EncodeEntry(entryUpdated, updated{Pool: license.Bytes(), Request: request})}, nil
}

// Vouched says whether the vendor, if he is trusted, signed the newest pool
// license; nil before the first. A pool whose key cannot be asked has only that.
func (p *Pool) Vouched() error {
	if p.license == nil {
		return nil
	}
	return p.vouched(p.license)
}

// vouched says whether the pool's vendor signed the license.
func (p *Pool) vouched(license *document.Pool) error {
	vendor := license.Head.Vendor
	if p.license != nil && p.license.Head.Vendor != vendor {
		return fmt.Errorf("pool license: it is by vendor %d, the key belongs to vendor %d", vendor, p.license.Head.Vendor)
	}
	public, err := trusted("pool license", p.vendor(vendor), vendor)
	if err != nil {
		return err
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
