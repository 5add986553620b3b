package licensing

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"

	"github.com/sojournlm/sojourn/detach"
	"github.com/sojournlm/sojourn/device"
	"github.com/sojournlm/sojourn/fingerprint"
	"github.com/sojournlm/sojourn/internal/document"
	"github.com/sojournlm/sojourn/internal/ledger"
)

// Install takes a carried file and tells by its content what to do with it: a
// vendor's pool license goes into its key, a detached license is installed on
// its recipient, a return frees the seats at its origin. It fails with
// InvalidParameter (not one of our files), StorageIDMismatch (its key is not
// here), HardwareIDMismatch (for another computer), InvalidDigest (does not
// open or verify; the message names the link of the chain that failed),
// DetachedLicenseExpired, InvalidUpdateOrAlreadyInstalled, or NoService (its key
// is pulled out).
func (m *Manager) Install(ctx context.Context, file Buffer, opts *ChangeOptions) (err error) {
	const op = "install"
	request, err := opts.request(op, []byte(file))
	if err != nil {
		return m.unfit(op, err)
	}
	done, err := m.change(ctx, op, request)
	if err != nil {
		return err
	}
	defer func() { done(err) }()
	envelope, err := document.Unwrap(file)
	if err != nil {
		return fail(op, err)
	}
	if done, err := m.installed(envelope, request); done || err != nil {
		return fail(op, err)
	}
	switch envelope.Kind {
	case document.KindPool:
		err = m.inPool(ctx, envelope.Origin, request, func(s *slot) error { return m.installPool(ctx, s, envelope, request) })
		err = elsewhere(err, "pool license", envelope.Origin)
	case document.KindLicense:
		err = doubting(m.installLicense(ctx, envelope, request), request, m)
	case document.KindReturn:
		err = m.inPool(ctx, envelope.Origin, request, func(s *slot) error { return m.installReturn(ctx, s, envelope, request) })
		err = elsewhere(err, "return", envelope.Origin)
	default:
		err = invalid("license", "the file is a %v and cannot be installed; add it to the known computers", envelope.Kind)
	}
	var doc *document.Error
	if errors.As(err, &doc) && !ofStore(err) && !errors.Is(err, ErrUnknown) { // it is one of ours and for us, so its inside is at fault
		err = &detach.Refusal{Code: InvalidDigest, Message: doc.Error()}
	}
	return fail(op, err)
}

// installed reports whether the very request has installed a file before, wherever its
// key is now. The error says what became of a license since then.
func (m *Manager) installed(e *document.Envelope, request document.RequestKey) (bool, error) {
	if e.Kind != document.KindLicense {
		return m.remembers(e.Origin, request) != nil, nil
	}
	state, now := m.local.Read()
	in, err := state.Obtained(request, now.Unix)
	if in != nil {
		m.grants.now(in, now, m.opts.Clock.Elapsed())
	}
	return in != nil, err
}

// vendor gives the public key of a trusted vendor, or nil.
func (m *Manager) vendor(publicCode uint32) ed25519.PublicKey { return m.opts.Vendors[publicCode] }

// trusted gives the key of a vendor, or an error that says it is not trusted.
func (m *Manager) trusted(name string, publicCode uint32) (ed25519.PublicKey, error) {
	if key := m.vendor(publicCode); key != nil {
		return key, nil
	}
	return nil, &document.Error{
		Document: name, Link: document.LinkVendor,
		Reason: fmt.Sprintf("vendor %s (%d) is not trusted here", PublicCodeText(publicCode), publicCode),
	}
}

// verifyPool checks a pool license up to its vendor.
func (m *Manager) verifyPool(pool *document.Pool) error {
	vendor, err := m.trusted("pool license", pool.Head.Vendor)
	if err != nil {
		return err
	}
	return pool.Verify(vendor)
}

func (m *Manager) installPool(ctx context.Context, s *slot, e *document.Envelope, request document.RequestKey) error {
	license, err := e.Pool()
	if err != nil {
		return err
	}
	if err := m.verifyPool(license); err != nil {
		return err
	}
	if err := s.fits(license); err != nil {
		return err
	}
	if err := s.loading.acquire(ctx); err != nil {
		return err
	}
	defer s.loading.release()
	pool, err := s.served()
	if err != nil || s.announcement() != nil { // only the key can tell what became of that
		if err := s.reload(ctx, m); err != nil {
			return err
		}
		pool, _ = s.served()
	}
	if pool != nil {
		if err := pool.Refusal(); err != nil {
			return refused(err)
		}
		state, _ := pool.Read()
		if before, err := state.Asked(request); before || err != nil {
			return err
		}
		if state.Counter() >= license.Head.Counter {
			return &advised{&detach.Refusal{Code: InvalidUpdateOrAlreadyInstalled, Message: fmt.Sprintf(
				"pool license: update %d of key %d, it has update %d already", license.Head.Counter, s.info.ID, state.Counter())},
				"If this very file was used before, nothing needs to be done; else ask the vendor for one with a higher counter."}
		}
	}
	// To install is not done twice: what was pulled out and put in again is found out before.
	if _, err := withKey(ctx, s, func(k *device.Key) (device.Info, error) { return k.Info(ctx) }); err != nil {
		return err
	}
	if err := s.Ready(ctx); err != nil { // the pool could not follow
		return err
	}
	if err := s.announce(ctx, m, &announcement{license, request}); err != nil {
		return err
	}
	_, err = onKey(s, func(k *device.Key) (struct{}, error) { return struct{}{}, k.Install(ctx, license.Bytes()) })
	if doubt, ok := errors.AsType[*device.Error](err); ok && doubt.MayHaveActed {
		return errors.Join(ErrUnknown, err)
	}
	if err != nil {
		s.settled(ctx, m) // it will not come
		return err
	}
	if err := s.reload(ctx, m); err != nil {
		// The key has it, so the pool will follow.
		return errors.Join(ErrUnknown, err)
	}
	return nil
}

// fits refuses a pool license that is not made for the slot's key, which would never
// take it.
func (s *slot) fits(license *document.Pool) error {
	head := license.Head
	switch {
	case !bytes.Equal(head.KeyPublic, s.public):
		return &detach.Refusal{Code: StorageIDMismatch, Message: fmt.Sprintf(
			"pool license: it was made for another key with the id %d", head.Key)}
	case head.Vendor != s.info.Vendor:
		return &detach.Refusal{Code: StorageIDMismatch, Message: fmt.Sprintf(
			"pool license: it is by vendor %s, key %d belongs to vendor %s", PublicCodeText(head.Vendor), head.Key, PublicCodeText(s.info.Vendor))}
	}
	return nil
}

// elsewhere turns "no such key" into the answer for a file whose key is not here.
func elsewhere(err error, what string, key uint64) error {
	if errors.Is(err, DongleNotFound) {
		return &detach.Refusal{Code: StorageIDMismatch, Message: fmt.Sprintf("%s: it is for key %d, which is not here", what, key)}
	}
	return err
}

func (m *Manager) installLicense(ctx context.Context, e *document.Envelope, request document.RequestKey) error {
	if e.Recipient != m.self.id() {
		return &detach.Refusal{Code: HardwareIDMismatch, Message: fmt.Sprintf(
			"license: it is for the computer with lmsId %d, this one has %d", e.Recipient, m.self.id())}
	}
	license, err := m.openLicense(e)
	if err != nil {
		return err
	}
	if err := m.self.matches(license); err != nil {
		return err
	}
	_, err = m.enterLicense(ctx, license, func(s *detach.Local, now int64) ([][]byte, error) {
		return s.Install(license, request, now)
	})
	return err
}

// openLicense opens a license that is for this computer and verifies it.
func (m *Manager) openLicense(e *document.Envelope) (*document.License, error) {
	license, err := e.License(m.self.identity.Seal)
	if err != nil {
		return nil, err
	}
	return license, m.vouch(license)
}

// vouch verifies a license up to its vendor.
func (m *Manager) vouch(license *document.License) error {
	vendor, err := m.trusted("license", license.Head.Vendor)
	if err != nil {
		return err
	}
	return license.Verify(vendor)
}

// enterLicense enters a license by the entries that decide gives. It gives the
// license as it is installed, nil where it is not.
func (m *Manager) enterLicense(ctx context.Context, license *document.License,
	decide func(s *detach.Local, now int64) ([][]byte, error)) (*detach.Installed, error) {
	receipt, err := m.local.Do(ctx, func(s *detach.Local, now ledger.Moment) ([][]byte, error) {
		return decide(s, now.Unix)
	})
	if err != nil {
		return nil, err
	}
	_, now := m.local.Read()
	in := receipt.State.Installed(license.Terms.License, license.Terms.Key)
	if in != nil {
		m.grants.now(in, now, m.opts.Clock.Elapsed()) // its time runs from here on
	}
	return in, nil
}

// matches checks a license's hardware binding against this computer.
func (s *self) matches(l *document.License) error {
	return fingerprint.Match(l.Head.Binding, l.Terms.Recipient.Components, s.components)
}

func (m *Manager) installReturn(ctx context.Context, s *slot, e *document.Envelope, request document.RequestKey) error {
	ret, err := e.Return()
	if err != nil {
		return err
	}
	_, _, err = m.enterReturn(ctx, s, ret, request)
	return err
}

// enterReturn verifies a return and enters it in its pool.
func (m *Manager) enterReturn(ctx context.Context, s *slot, ret *document.Return, request document.RequestKey) (
	*ledger.Ledger[*detach.Pool], *ledger.Receipt[*detach.Pool], error) {
	if err := ret.Verify(s.public); err != nil {
		return nil, nil, err
	}
	pool, err := m.changeable(ctx, s)
	if err != nil {
		return nil, nil, err
	}
	receipt, err := pool.Do(ctx, func(p *detach.Pool, now ledger.Moment) ([][]byte, error) {
		return p.Return(ret, request, now.Unix)
	})
	return pool, receipt, err
}

// takeBack enters a return and gives the proof that the key has signed for it, the
// one from before where it was entered before: by the same request, or as a file.
func (m *Manager) takeBack(ctx context.Context, s *slot, ret *document.Return, request document.RequestKey) (document.Proof, error) {
	pool, receipt, err := m.enterReturn(ctx, s, ret, request)
	if errors.Is(err, InvalidUpdateOrAlreadyInstalled) {
		state, _ := pool.Read()
		if seq, index, known := state.GivenBack(ret.Terms()); known {
			proof, unproven := pool.Proof(ctx, seq, index)
			if unproven == nil && detach.VerifyReturned(proof, s.public, ret) == nil {
				return proof, nil
			}
		}
	}
	if err != nil {
		return document.Proof{}, err
	}
	if receipt.Len() > 0 {
		return receipt.Proof(0), nil
	}
	seq, index, _ := receipt.State.Entered(request)
	return pool.Proof(ctx, seq, index)
}
