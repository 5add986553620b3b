package fingerprint

import "github.com/sojournlm/sojourn/internal/code"

// Error is a "no" of this package: nothing has changed where one is returned.
// It unwraps to its code, so errors.Is(err, code) works.
type Error struct {
	Code    code.Code
	Field   string // the value that is at fault, named as in the API: fingerprint, hostName, issueTime, lmsId; or the component
	Message string // what is refused and why
}

func (e *Error) Error() string { return e.Message }

// Unwrap gives the code, which is the sentinel to ask for.
func (e *Error) Unwrap() error { return e.Code }
