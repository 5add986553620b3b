package licensing

import (
	"cmp"
	"context"

	"github.com/sojournlm/sojourn/detach"
	"github.com/sojournlm/sojourn/internal/document"
	"github.com/sojournlm/sojourn/internal/ledger"
)

// CancelRequest asks to give a detached license back.
type CancelRequest struct {
	// Offline true answers with a file to carry to the origin. False hands it over
	// to the manager that has the key, here or elsewhere.
	Offline bool
	// License names the license installed here: by its id, its short id, or
	// its origin's key id where only one came from there.
	License uint64
}

// Cancelled is a return just made.
type Cancelled struct {
	LicenseID uint64
	Return    Buffer // for the origin's Install; nil online, where it has it already
}

// CancelDetach ends a license installed here and gives its return. From then on
// the license never works here again, whether or not the return arrives. Asked
// again, it gives the same return until the record is forgotten. It fails with
// DetachedLicenseNotFound, DetachedLicenseExpired, or InvalidParameter where
// the request names several licenses (Details lists them). Online a license goes to
// the manager that gave it, and one that came as a file to whoever has the key. It
// fails with ServerNotFound when nobody is known to have that, and nothing happened;
// or when the manager is silent: then the license is given back, the error names the
// pending [Intent], and the return can be downloaded until it is handed over.
func (m *Manager) CancelDetach(ctx context.Context, req CancelRequest, opts *ChangeOptions) (_ *Cancelled, err error) {
	const op = "cancel detach"
	request, err := opts.request(op, struct {
		Offline bool   `cbor:"1,keyasint"`
		License uint64 `cbor:"2,keyasint"`
	}{req.Offline, req.License})
	if err != nil {
		return nil, m.unfit(op, err)
	}
	done, err := m.change(ctx, op, request)
	if err != nil {
		return nil, err
	}
	defer func() { done(err) }()
	if !req.Offline {
		return m.cancelOnline(ctx, op, req.License, request)
	}
	state, now := m.local.Read()
	found, err := state.Find(req.License, request, now.Unix)
	if err != nil {
		return nil, fail(op, doubting(err, request, m))
	}
	ret, err := m.cancel(ctx, found, request, nil)
	if err != nil {
		return nil, fail(op, doubting(err, request, m))
	}
	return &Cancelled{LicenseID: ret.Terms().License, Return: wrapReturn(ret)}, nil
}

// cancel ends a license: no grant from here on, then the return, then the entry that
// makes it final, and with it what else is to be entered. Of one that was given back
// before it gives the return that exists, and enters that this request had it for its
// answer.
func (m *Manager) cancel(ctx context.Context, found detach.Found, request document.RequestKey,
	also func(s *detach.Local, now int64) ([][]byte, error)) (ret *document.Return, err error) {
	state, now := m.local.Read()
	made := found.Return
	if made == nil {
		until, done := m.grants.leave(found.Installed, now, m.opts.Clock.Elapsed())
		defer func() { done(err) }()
		made, err = document.SignReturn(state.Identity().Sign, found.Installed.License.Proof(), document.ReasonCancelled, now.Unix, until)
		if err != nil {
			return nil, err
		}
	} else if before, _ := state.Asked(request, now.Unix); also == nil && (before || request.Key == (document.Hash{})) {
		return made, nil
	}
	ret, _, err = ledger.Decide(ctx, m.local, func(s *detach.Local, now ledger.Moment) (*document.Return, [][]byte, error) {
		entries, existing, err := s.Cancel(made, request, now.Unix)
		if err != nil || also == nil {
			return cmp.Or(existing, made), entries, err
		}
		more, err := also(s, now.Unix)
		if existing != nil && len(more) > 0 {
			return existing, more, err // they say who asked
		}
		return cmp.Or(existing, made), append(entries, more...), err
	})
	return ret, err
}

func wrapReturn(r *document.Return) Buffer {
	t := r.Terms()
	return document.Wrap(document.KindReturn, t.Key, t.Recipient.ID, r.Bytes())
}

// CancelledLicense is the record of a license that was given back here.
type CancelledLicense struct {
	ID     uint64 // of the detached license
	Origin uint64 // the key it came from
}

// ListCancelled lists the licenses that were given back on this computer and
// whose returns can still be downloaded, by time of cancelling, then id.
func (m *Manager) ListCancelled(ctx context.Context, page Page) (*List[CancelledLicense], error) {
	const op = "list cancelled"
	done, err := m.begin(op)
	if err != nil {
		return nil, err
	}
	defer done()
	state, _ := m.local.Read()
	return listOf(op, page, state.CancelledList(), func(c detach.Cancelled) CancelledLicense {
		return CancelledLicense{ID: c.License, Origin: c.Origin}
	})
}

// DownloadCancelled gives the return of a cancelled license again. It fails
// with NoResultsFound.
func (m *Manager) DownloadCancelled(ctx context.Context, licenseID uint64) (Buffer, error) {
	const op = "download cancelled"
	done, err := m.begin(op)
	if err != nil {
		return nil, err
	}
	defer done()
	state, _ := m.local.Read()
	record, ok := state.Cancelled(licenseID)
	if !ok {
		return nil, refuse(op, NoResultsFound, "no cancelled license has the id %d", licenseID)
	}
	return wrapReturn(record.Return), nil
}

// ForgetCancelled deletes the record of a cancelled license and with it the
// return. The license stays given back: it can never be installed here again. A return
// that is still to be handed over to another manager is not handed over any more: where
// its file was not carried there, the seats come home at the death time.
// It fails with NoResultsFound.
func (m *Manager) ForgetCancelled(ctx context.Context, licenseID uint64, opts *ChangeOptions) (err error) {
	const op = "forget cancelled"
	request, err := opts.request(op, licenseID)
	if err != nil {
		return m.unfit(op, err)
	}
	done, err := m.change(ctx, op, request)
	if err != nil {
		return err
	}
	defer func() { done(err) }()
	return fail(op, m.enter(ctx, request, func(s *detach.Local, now int64) ([][]byte, error) {
		return s.Forget(licenseID, request, now)
	}))
}
