package lmhttp

import (
	"errors"
	"fmt"
	"net/http"
	"strings"

	"github.com/sojournlm/sojourn/device"
	"github.com/sojournlm/sojourn/licensing"
	"github.com/sojournlm/sojourn/storage"
)

// statusOf is the HTTP status of an error of the manager: one code, one status.
// Codes that are not named are the program's fault.
func statusOf(c licensing.Code) int {
	switch c {
	case licensing.InvalidParameter, licensing.InvalidDigest:
		return http.StatusBadRequest
	case licensing.AccessDenied, licensing.DetachForbidden, licensing.OperationIsNotAllowed:
		return http.StatusForbidden
	case licensing.FeatureNotFound, licensing.DongleNotFound, licensing.NoResultsFound, licensing.DetachedLicenseNotFound:
		return http.StatusNotFound
	case licensing.FeatureResourceExhaust, licensing.InvalidUpdateOrAlreadyInstalled, licensing.RecipientHasTheSameLicense,
		licensing.CanNotDetachSomeFeatures, licensing.CancelPreviousDetachRequired:
		return http.StatusConflict
	case licensing.FeatureExpired, licensing.DetachedLicenseExpired:
		return http.StatusGone
	case licensing.InvalidLicense, licensing.StorageIDMismatch, licensing.HardwareIDMismatch:
		return http.StatusUnprocessableEntity
	case licensing.RequestFailed, licensing.GetResponseFailed, licensing.ServerNotFound, licensing.IncorrectResponseData,
		licensing.NoService, licensing.OutdatedVersion, licensing.StorageCorrupted, licensing.RTCError:
		return http.StatusServiceUnavailable
	}
	return http.StatusInternalServerError
}

// retryAfter is how many seconds a client is asked to wait after status 503.
const retryAfter = "5"

// refusal is an answer that the handler gives without the manager.
type refusal struct {
	status          int
	code            licensing.Code
	message, advice string
}

func (r *refusal) Error() string { return r.message }

// invalid refuses a value of a request, which it names.
func invalid(name, format string, args ...any) *refusal {
	return &refusal{
		http.StatusBadRequest, licensing.InvalidParameter, name + ": " + fmt.Sprintf(format, args...),
		"Correct it and ask again; " + BasePath + "/openapi.yaml describes every request.",
	}
}

// problem is an error as JSON.
type problem struct {
	Code    licensing.Code `json:"code"`
	Name    string         `json:"name"`
	Message string         `json:"message"`
	Advice  string         `json:"advice"`
	Details []detail       `json:"details,omitempty"`
	Intent  uint64         `json:"intentId,omitempty,string"` // the operation with another manager that it was
}

// detail is why one feature, or one license, stands in the way.
type detail struct {
	ProductNumber uint32         `json:"productNumber"`
	Modification  uint32         `json:"modification,omitempty"`
	FeatureNumber *uint32        `json:"featureNumber,omitempty"`
	LicenseID     uint64         `json:"licenseId,omitempty,string"`
	Code          licensing.Code `json:"code"`
	Message       string         `json:"message"`
}

// fail answers with an error and tells its code.
func (a *answer) fail(err error) licensing.Code {
	status, p := describe(err)
	if status == http.StatusServiceUnavailable {
		a.Header().Set("Retry-After", retryAfter)
	}
	a.write(status, struct {
		Error problem `json:"error"`
	}{p})
	return p.Code
}

// describe is an error as a stranger may see it.
func describe(err error) (status int, p problem) {
	var own *refusal
	var failure *licensing.Error
	switch {
	case errors.As(err, &failure): // whatever it wraps
	case errors.As(err, &own):
		return own.status, problem{Code: own.code, Name: own.code.Name(), Message: own.message, Advice: own.advice}
	default:
		failure = &licensing.Error{Code: licensing.InternalError, Err: err}
	}
	p = problem{Code: failure.Code, Name: failure.Code.Name(), Message: message(failure), Advice: failure.Advice, Intent: failure.Intent}
	for _, d := range failure.Details {
		shown := detail{d.ProductNumber, d.Modification, &d.FeatureNumber, d.License, d.Code, d.Message}
		if d.Whole {
			shown.FeatureNumber = nil
		}
		p.Details = append(p.Details, shown)
	}
	return statusOf(failure.Code), p
}

const unchanged = ", so nothing is changed or granted"

// message is what happened, in words that name no file, device or host of this
// computer: where a cause from below could, the operator finds it in the log.
func message(e *licensing.Error) string {
	var key *device.Error
	var store *storage.Error
	if e.Err == nil || e.Code == licensing.ServerNotFound || e.Intent != 0 || statusOf(e.Code) < http.StatusInternalServerError && !errors.As(e.Err, &key) && !errors.As(e.Err, &store) {
		return e.Message
	}
	for _, known := range []struct {
		err  error
		text string
	}{
		{licensing.ErrRolledBack, "the store is older than its anchor: a backup was put back" + unchanged},
		{licensing.ErrForked, "store and key tell different stories: another manager used the key" + unchanged},
		{licensing.ErrAnchorLost, "the anchor does not belong to the store, or is older" + unchanged},
		{licensing.ErrDamaged, "the store is damaged" + unchanged},
		{licensing.ErrRules, "a newer program wrote the store" + unchanged},
		{licensing.ErrUnknown, "it is not known whether this happened"},
		{storage.ErrFull, "the store has too little room left; nothing happened"},
		{device.ErrWornOut, "the key is worn out: it can be read, and takes no change any more"},
		{licensing.ErrClosed, "the license manager is shutting down"},
	} {
		if !errors.Is(e.Err, known.err) {
			continue
		}
		if known.err != licensing.ErrUnknown && errors.Is(e.Err, licensing.ErrUnknown) {
			// A change without a request key may still be one that is made.
			return strings.TrimSuffix(known.text, unchanged) + "; this very request may have happened before"
		}
		return known.text
	}
	if e.Code == licensing.StorageCorrupted {
		return "the store failed, or holds what this program does not understand" + unchanged
	}
	return e.Code.Error()
}
