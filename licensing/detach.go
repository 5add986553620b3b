package licensing

import (
	"cmp"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"github.com/sojournlm/sojourn/detach"
	"github.com/sojournlm/sojourn/internal/document"
	"github.com/sojournlm/sojourn/internal/ledger"
)

// Buffer is a file that people carry: a vendor's pool license, a detached
// license, a return or a fingerprint. Its text form is base64.
type Buffer = detach.Buffer

// Selector names features of a key: one by product and feature number, or with
// Whole every detachable one of a product.
type Selector = detach.Selector

// DetachRequest asks for seats of a pool.
type DetachRequest struct {
	// Offline true answers with a file to carry. False installs the license on
	// this computer before the answer comes.
	Offline bool
	// Recipient is the computer that will use the seats (lmsId).
	Recipient uint64
	// Key is the key whose pool the seats come from (dongleId), plugged in here or
	// at a manager elsewhere.
	Key uint64
	// Duration is how long the seats stay away: whole seconds, 1 to 2^31-1.
	Duration time.Duration
	// Seats are taken from every named feature: 1 to 65535. Zero: one.
	Seats int
	// Features that are wanted; all of them leave, or none.
	Features []Selector
}

// Detached is a detached license just made.
type Detached struct {
	LicenseID uint64
	Ends      time.Time // its death time
	License   Buffer    // sealed to the recipient; nil online, where it is installed already
}

// ChangeOptions are what any change may be given.
type ChangeOptions struct {
	// RequestKey makes a change safe to ask for again: the same key with the
	// same request gives the same answer, also where there was nothing to do, and
	// with another request is refused. A license's file is the same license, sealed
	// anew. Who asks while an earlier request under the key is under way, waited for
	// or not, waits until it is known what became of that. It is kept until the license's death time, or for a day where no license
	// is concerned. While a ledger here is rolled back, forked, damaged or written by
	// newer rules, a key that none shows may be known there: then the error wraps
	// [ErrUnknown] beside the reason ([ErrRolledBack], [ErrForked], [ErrDamaged],
	// [ErrRules]), whatever is asked for, and its advice names the pool. Without a
	// request key the change is made where its own pool is well. Empty: none.
	RequestKey string
}

// MaxRequestKey is the longest request key in bytes.
const MaxRequestKey = 255

// Detach takes seats out of a pool for a known computer, all or nothing. It
// fails with InvalidParameter, NoResultsFound (recipient), DongleNotFound,
// NoService (key pulled out), RTCError, or with one of the features' own codes
// and Details: FeatureNotFound, FeatureExpired, CanNotDetachSomeFeatures,
// CancelPreviousDetachRequired, FeatureResourceExhaust, DetachForbidden. Online it
// fails with OperationIsNotAllowed for another computer. Where the key is at
// another manager it fails with ServerNotFound when none is known to have it, with
// InvalidDigest, before anything is sent, when that tells of a vendor whom this
// program does not trust, with RTCError when their clocks differ too much for the
// license, or when it is silent: then the error names the pending [Intent], and Detach with
// the same request key goes on with it. While it surely has reached nobody the error
// does not wrap [ErrUnknown], and the same detach without a request key goes on with
// it too; of these no more than a few are pending with one manager at a time.
func (m *Manager) Detach(ctx context.Context, req DetachRequest, opts *ChangeOptions) (_ *Detached, err error) {
	const op = "detach"
	request, err := req.request(opts)
	if err != nil {
		return nil, m.unfit(op, err)
	}
	done, err := m.change(ctx, op, request.Request)
	if err != nil {
		return nil, err
	}
	defer func() { err = anew(err); done(err) }()
	if !req.Offline {
		return m.detachOnline(ctx, op, req, request)
	}
	if out, err := m.again(ctx, req.Key, request.Request); out != nil || err != nil {
		return out, fail(op, err)
	}
	var unknown error
	if request.Recipient, unknown = m.recipient(req.Recipient); unknown != nil && !(ledgers{m}).mayHold(request.Request) {
		return nil, fail(op, unknown)
	}
	var before *denial
	switch at, err := m.askedBefore(ctx, request.Request); {
	case err != nil:
		return nil, fail(op, err)
	case at != nil && unknown != nil:
		return nil, fail(op, &doubted{unknown})
	case at != nil:
		out, no, err := m.fetchFrom(ctx, op, at, req.Key, request, true)
		if no == nil {
			return out, err
		}
		before = no
	}
	out, err := m.detach(ctx, req.Key, request.Request, func(p *detach.Pool, now ledger.Moment) (detach.Detached, error) {
		if unknown != nil {
			return madeBefore(p, request.Request, now, unknown)
		}
		return p.Detach(request, m.opts.Policy, now.Unix, newLicenseID)
	})
	if unseen := errors.Is(err, DongleNotFound); m.peers != nil && (unseen || errors.Is(err, NoService) && !errors.Is(err, ErrUnknown)) {
		switch at, why := m.originsOf(ctx, req.Key); {
		case why == nil && !at[0].own() && unknown != nil:
			err = unknown
		case why == nil && !at[0].own():
			return m.fetchKnown(ctx, op, at, req.Key, request, before)
		case before != nil:
			return nil, fail(op, before.err)
		case at == nil && unseen:
			err = &detach.Refusal{Code: DongleNotFound, Message: fmt.Sprintf("key %d was never seen here, and %v", req.Key, why)}
		}
	}
	if err != nil && !errors.Is(err, ErrUnknown) && m.mayHold(request.Request) {
		err = &doubted{err} // the manager that had the key then may have made it
	}
	return out, fail(op, err)
}

// anew gives better advice where the license of a request key is no more.
func anew(err error) error {
	if e, ok := errors.AsType[*Error](err); ok && (e.Code == InvalidUpdateOrAlreadyInstalled || e.Code == DetachedLicenseExpired) {
		e.Advice = "To have another license, ask with a new request key."
	}
	return err
}

// again gives the license that was made in the pool of a key under a request key
// before, nil where the pool knows of none. It needs neither the key nor the
// recipient.
func (m *Manager) again(ctx context.Context, key uint64, request document.RequestKey) (*Detached, error) {
	pool := m.remembers(key, request)
	if pool == nil {
		return nil, nil
	}
	state, now := pool.Read()
	record, err := state.Recall(request, now.Unix)
	if errors.Is(err, DetachedLicenseNotFound) {
		return nil, nil // forgotten this moment: it has died
	}
	if err != nil {
		return nil, err
	}
	proof, err := pool.Proof(ctx, record.Seq, int(record.Index))
	return m.made(record, proof, err)
}

// detach makes the license that decide allows in the pool of a key, or gives the
// one from before.
func (m *Manager) detach(ctx context.Context, key uint64, request document.RequestKey,
	decide func(*detach.Pool, ledger.Moment) (detach.Detached, error)) (*Detached, error) {
	var pool *ledger.Ledger[*detach.Pool]
	var out detach.Detached
	var receipt *ledger.Receipt[*detach.Pool]
	err := m.inPool(ctx, key, request, func(s *slot) (err error) {
		if pool, err = m.changeable(ctx, s); err != nil {
			return err
		}
		out, receipt, err = ledger.Decide(ctx, pool, func(p *detach.Pool, now ledger.Moment) (detach.Detached, [][]byte, error) {
			if now.Err != nil {
				return detach.Detached{}, nil, now.Err
			}
			out, err := decide(p, now)
			if err != nil || out.Entry == nil {
				return out, nil, err
			}
			return out, [][]byte{out.Entry}, nil
		})
		return err
	})
	if err != nil {
		return nil, err
	}
	record := out.Existing
	var proof document.Proof
	if record != nil {
		proof, err = pool.Proof(ctx, record.Seq, int(record.Index))
	} else {
		proof, record = receipt.Proof(0), receipt.State.License(out.Terms.License)
	}
	return m.made(record, proof, err)
}

// madeBefore gives the license that a request had, for it may be in a batch that was
// in doubt until now. Where there is none it says why none is made, if that is not nil.
func madeBefore(p *detach.Pool, request document.RequestKey, now ledger.Moment, why error) (detach.Detached, error) {
	r, err := p.Recall(request, now.Unix)
	if errors.Is(err, DetachedLicenseNotFound) {
		err = cmp.Or(why, err)
	}
	if err != nil {
		return detach.Detached{}, err
	}
	return detach.Detached{Terms: r.Terms(), Existing: r}, nil
}

// made gives a license that is in its pool, or says that only its file could not be had.
func (m *Manager) made(record *detach.Record, proof document.Proof, err error) (*Detached, error) {
	var buffer Buffer
	if err == nil {
		buffer, err = m.seal(record, proof)
	}
	if err != nil {
		return nil, errors.Join(ErrUnknown, err)
	}
	return &Detached{LicenseID: record.License, Ends: time.Unix(record.Death(), 0), License: buffer}, nil
}

// request checks what needs no pool and gives the rules' form of r.
func (r DetachRequest) request(opts *ChangeOptions) (detach.DetachRequest, error) {
	seconds := int64(r.Duration / time.Second)
	switch {
	case r.Duration%time.Second != 0:
		return detach.DetachRequest{}, invalid("duration", "%v is not whole seconds", r.Duration)
	case r.Seats < 0 || r.Seats > 65535:
		return detach.DetachRequest{}, invalid("seats", "%d, want 1 to 65535", r.Seats)
	}
	out := detach.DetachRequest{Features: r.Features, Seats: uint32(max(1, r.Seats)), Duration: seconds}
	err := out.Check()
	if err != nil {
		return detach.DetachRequest{}, err
	}
	out.Request, err = opts.request("detach", struct {
		Offline   bool       `cbor:"1,keyasint"`
		Recipient uint64     `cbor:"2,keyasint"`
		Key       uint64     `cbor:"3,keyasint"`
		Duration  int64      `cbor:"4,keyasint"`
		Seats     uint32     `cbor:"5,keyasint"`
		Features  []Selector `cbor:"6,keyasint"`
	}{r.Offline, r.Recipient, r.Key, seconds, out.Seats, r.Features})
	return out, err
}

// request hashes a request under the caller's key.
func (o *ChangeOptions) request(op string, content any) (document.RequestKey, error) {
	if o == nil || o.RequestKey == "" {
		return document.RequestKey{}, nil
	}
	if len(o.RequestKey) > MaxRequestKey {
		return document.RequestKey{}, invalid("request key", "%d bytes, at most %d are allowed", len(o.RequestKey), MaxRequestKey)
	}
	return document.RequestKey{
		Key:     sha256.Sum256([]byte("sojourn/request-key/1\x00" + o.RequestKey)),
		Request: sha256.Sum256(append([]byte("sojourn/request/1\x00"+op+"\x00"), document.Encode(content)...)),
	}, nil
}

func invalid(field, format string, args ...any) error {
	return &detach.Refusal{Code: InvalidParameter, Message: field + ": " + fmt.Sprintf(format, args...)}
}

// newLicenseID gives a random candidate for a license id.
func newLicenseID() uint64 {
	var b [8]byte
	rand.Read(b[:])
	return binary.BigEndian.Uint64(b[:]) >> 11
}

// seal builds a license from its proof and seals it to its recipient.
func (m *Manager) seal(r *detach.Record, proof document.Proof) (Buffer, error) {
	license, err := document.NewLicense(r.Pool(), proof)
	if err != nil {
		return nil, err
	}
	t := license.Terms
	return m.sealer.Seal(document.KindLicense, t.Key, t.Recipient.ID, t.Recipient.Seal, license.Bytes())
}

// DownloadDetached gives the file of a live detached license again, as often as
// it is asked for. It fails with DetachedLicenseNotFound.
func (m *Manager) DownloadDetached(ctx context.Context, licenseID uint64) (Buffer, error) {
	const op = "download detached"
	done, err := m.begin(op)
	if err != nil {
		return nil, err
	}
	defer done()
	for _, s := range m.rack.all() {
		pool := s.shown()
		if pool == nil {
			continue
		}
		state, _ := pool.Read()
		record := state.License(licenseID)
		if record == nil {
			continue
		}
		proof, err := pool.Proof(ctx, record.Seq, int(record.Index))
		if err != nil {
			return nil, fail(op, refused(err))
		}
		buffer, err := m.seal(record, proof)
		if err != nil {
			return nil, fail(op, err)
		}
		return buffer, nil
	}
	return nil, refuse(op, DetachedLicenseNotFound, "no live detached license has the id %d", licenseID)
}
