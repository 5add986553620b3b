package detach

import (
	"fmt"

	"github.com/sojournlm/sojourn/internal/code"
)

// Refusal is a rule's "no": a status code, the reason in words, and where
// several features stand in the way, a reason for each. Nothing has happened
// where one is returned. It unwraps to its code, so errors.Is(err, code) works.
type Refusal struct {
	Code    code.Code
	Message string   // what is refused and why; names the subject
	Details []Detail // one for each feature or license that stands in the way, ordered; may be empty
}

// Detail is one feature's part in a [Refusal]. Numbers that do not apply are 0.
type Detail struct {
	ProductNumber uint32
	Modification  uint32
	FeatureNumber uint32
	Whole         bool // it is about the product, or a license: FeatureNumber does not apply
	Code          code.Code
	License       uint64 // the existing license that has to be given back first, or a candidate
	Message       string
}

func (r *Refusal) Error() string { return r.Message }

// Unwrap gives the code, which is the sentinel to ask for.
func (r *Refusal) Unwrap() error { return r.Code }

// refuse makes a refusal without details.
func refuse(c code.Code, format string, args ...any) *Refusal {
	return &Refusal{Code: c, Message: fmt.Sprintf(format, args...)}
}
