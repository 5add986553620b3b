package licensing

import (
	"context"
	"errors"
	"fmt"

	"github.com/sojournlm/sojourn/detach"
	"github.com/sojournlm/sojourn/device"
	"github.com/sojournlm/sojourn/internal/code"
	"github.com/sojournlm/sojourn/internal/document"
	"github.com/sojournlm/sojourn/internal/ledger"
	"github.com/sojournlm/sojourn/storage"
	"github.com/sojournlm/sojourn/transport"
)

// Sentinels that an [Error] wraps beside its code. Except for ErrUnknown they
// mean that this manager changes and grants nothing until an operator has acted.
var (
	// ErrUnknown: the change may or may not have happened, or it has, asked for before
	// under its request key, and only the answer cannot be had now. Ask again with the
	// same request key; if the error stays, close and open the manager.
	ErrUnknown = storage.ErrUnknown
	// ErrRolledBack: the store is older than its anchor; yesterday's store was put back.
	ErrRolledBack = ledger.ErrRolledBack
	// ErrForked: store and anchor tell different stories; another manager used the key.
	ErrForked = ledger.ErrForked
	// ErrAnchorLost: the anchor is older than the store, or another one.
	ErrAnchorLost = ledger.ErrAnchorLost
	// ErrDamaged: the store's content does not add up; Verify names the place.
	ErrDamaged = ledger.ErrDamaged
	// ErrRules: a newer program wrote the store; only one as new can go on with it.
	ErrRules = ledger.ErrRules
	// ErrClosed: the manager was closed.
	ErrClosed = errors.New("manager is closed")
)

// Error is what every operation of a [Manager] fails with. It wraps its Code
// and its cause.
type Error struct {
	Op      string   // the operation, such as "detach"
	Code    Code     // never OK
	Message string   // what happened
	Advice  string   // what to do about it
	Details []Detail // for a detach: each feature that stands in the way
	Intent  uint64   // the operation with another manager that is pending, 0 for none
	Err     error    // the cause, or nil; may name files and hosts
}

// Detail says why one feature stands in the way of a detach.
type Detail = detach.Detail

func (e *Error) Error() string { return e.Op + ": " + e.Message }

// Unwrap gives the code and the cause.
func (e *Error) Unwrap() []error {
	if e.Err == nil {
		return []error{e.Code}
	}
	return []error{e.Code, e.Err}
}

// refuse makes the error of an operation from a code and words.
func refuse(op string, c Code, format string, args ...any) *Error {
	return &Error{Op: op, Code: c, Message: fmt.Sprintf(format, args...), Advice: adviceFor(c)}
}

// fail makes the error of an operation from whatever a lower floor answered.
// It is the one place where causes become codes.
func fail(op string, err error) error {
	if err == nil {
		return nil
	}
	var own *Error
	if errors.As(err, &own) {
		return err
	}
	if doubt, ok := errors.AsType[*doubted](err); ok && stays(doubt.reason) {
		errors.As(fail(op, doubt.reason), &own)
		own.Message += "; this very request may have happened before"
		own.Err = errors.Join(ErrUnknown, own.Err)
		return own
	}
	e := &Error{Op: op, Err: err}
	var special *advised
	if errors.As(err, &special) {
		defer func() { e.Advice = special.advice }()
	}
	var refusal *detach.Refusal
	var doc *document.Error
	var earlier *failedEarlier
	switch {
	case errors.Is(err, storage.ErrUnknown):
		e.Code, e.Message = GetResponseFailed, "it is not known whether this happened"
	case ofStore(err):
		e.Code, e.Message, e.Advice = StorageCorrupted, err.Error(), adviceOf(err)
		return e
	case errors.As(err, &earlier):
		e.Code, e.Message = StorageCorrupted, "the store failed earlier and must be opened again"
		e.Advice = "End the program and start it again; the log says why the store failed."
		return e
	case errors.As(err, &refusal):
		e.Code, e.Message, e.Details, e.Err = refusal.Code, refusal.Message, refusal.Details, nil
	case errors.As(err, &doc):
		e.Code, e.Message = detach.CodeOf(err), doc.Error()
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		e.Code, e.Message = RequestFailed, "given up before it was done; nothing happened"
	case errors.Is(err, ledger.ErrClock):
		e.Code, e.Message = RTCError, err.Error()
		e.Advice = "Set this computer's clock right. If it was set right while the program ran, end it and start it again."
		return e
	case errors.Is(err, device.ErrWornOut):
		e.Code, e.Message = StorageCorrupted, wornText
		e.Advice = "Ask the vendor for a new key. What is out stays valid until its death time."
		return e
	case errors.Is(err, storage.ErrFull), errors.Is(err, storage.ErrClosed):
		e.Code, e.Message, e.Advice = StorageCorrupted, "the store refuses changes: "+err.Error(), "Open the store again, and the manager after it."
		if errors.Is(err, storage.ErrFull) {
			e.Advice = "Make room on the store's disk and ask again."
		}
		return e
	case errors.Is(err, ledger.ErrClosed):
		e.Code, e.Message, e.Err = RequestFailed, "the manager was closed meanwhile; nothing happened", ErrClosed
	default:
		e.Code, e.Message = codeOf(err), err.Error()
	}
	e.Advice = adviceFor(e.Code)
	return e
}

// stays reports whether an error is why nothing is changed until an operator has acted.
func stays(err error) bool {
	_, earlier := errors.AsType[*failedEarlier](err)
	return earlier || ofStore(err) && !errors.Is(err, ErrUnknown)
}

// ofStore reports whether what is stored is at fault.
func ofStore(err error) bool {
	for _, sentinel := range []error{
		ledger.ErrRolledBack, ledger.ErrForked, ledger.ErrAnchorLost, ledger.ErrDamaged, ledger.ErrRules, ledger.ErrNoProof,
	} {
		if errors.Is(err, sentinel) {
			return true
		}
	}
	return false
}

// adviceOf says what to do about an error that is ofStore.
func adviceOf(err error) string {
	if errors.Is(err, ErrRules) {
		return "Run a program at least as new as the one that wrote the store."
	}
	return advice[StorageCorrupted]
}

// refused is the error of a change that a ledger refuses for a reason of before.
// The reason may be that an earlier change is unknown; this one has not happened.
func refused(reason error) error {
	if !errors.Is(reason, storage.ErrUnknown) {
		return reason
	}
	return &failedEarlier{reason}
}

// advised is an error with better advice than its code's.
type advised struct {
	error
	advice string
}

func (e *advised) Unwrap() error { return e.error }

// failedEarlier refuses a change because the store failed at an earlier one. It
// does not wrap the reason: that one is unknown, this one is not.
type failedEarlier struct{ reason error }

func (e *failedEarlier) Error() string {
	return "the store failed earlier and must be opened again: " + e.reason.Error()
}
func (e *failedEarlier) Unwrap() error { return StorageCorrupted }

// codeOf finds the code that an error of the key or of a document carries.
func codeOf(err error) Code {
	var key *transport.Error
	var c code.Code
	switch {
	case errors.As(err, &c) && c == GetResponseFailed:
		// An earlier batch is in doubt, and this change had to wait for it.
		return NoService
	case errors.As(err, &c):
		return c
	case errors.As(err, &key), errors.Is(err, transport.ErrNoKey):
		return NoService
	}
	return InternalError
}

func adviceFor(c Code) string {
	if a, ok := advice[c]; ok {
		return a
	}
	return "Ask again; if it stays, report this with the program's log."
}

// advice says for each code that a Manager answers what to do about it.
var advice = map[Code]string{
	FeatureNotFound:                 "List the features of the key and name one of them.",
	FeatureResourceExhaust:          "Ask for fewer seats, or wait until seats come home; the list of detached licenses says when.",
	GetResponseFailed:               "Ask again with the same request key: you get the first answer if it happened.",
	ServerNotFound:                  "Ask again when the key's manager can be reached, or use the offline mode and carry the file.",
	InvalidParameter:                "Correct the named field and ask again.",
	InternalError:                   "Please report this with the program's log.",
	IncorrectResponseData:           "Pull the key out and plug it in again; if it stays, the key or its cable is faulty.",
	FeatureExpired:                  "Ask the vendor for an update of the key.",
	FeatureInactive:                 "Wait until the feature's validity begins.",
	NoService:                       "Plug the key in and ask again.",
	DongleNotFound:                  "List the keys and name one of them.",
	NoResultsFound:                  "List what there is and name one of those.",
	InvalidDigest:                   "Ask for the file again; it was altered, or made by somebody this program does not trust.",
	StorageCorrupted:                "Bring the newest state of the store back, with its anchor where it was. Verify (lmserver -verify) names what does not add up.",
	StorageIDMismatch:               "Plug in the key that the file is for, or install it where that key is.",
	InvalidUpdateOrAlreadyInstalled: "Nothing needs to be done: the file was used before.",
	HardwareIDMismatch:              "Install the file on the computer it was made for.",
	CanNotDetachSomeFeatures:        "Leave out the named features.",
	CancelPreviousDetachRequired:    "Give the named license back first.",
	DetachedLicenseExpired:          "The seats are back in the pool; detach again.",
	DetachedLicenseNotFound:         "List the licenses and name one of them.",
	DetachForbidden:                 "Ask for less, or ask the administrator of the pool.",
	OperationIsNotAllowed:           "This cannot be done to this entry.",
	RTCError:                        "Set this computer's clock right.",
	RequestFailed:                   "Ask again with more time.",
}
