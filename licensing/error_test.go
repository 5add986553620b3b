package licensing

import (
	"errors"
	"fmt"
	"testing"

	"github.com/sojournlm/sojourn/internal/ledger"
)

// What a newer program wrote is not mended by putting a store back.
func TestAdviceOfTheStore(t *testing.T) {
	advised := make(map[string]error)
	for _, cause := range []error{ErrDamaged, ErrRules} {
		err := fail("op", &ledger.Error{Op: "open", Name: "pool/1", Err: fmt.Errorf("batch: %w", cause)})
		e, ok := errors.AsType[*Error](err)
		if !ok || e.Code != StorageCorrupted || !errors.Is(err, cause) {
			t.Fatalf("%v: %v", cause, err)
		}
		if other := advised[e.Advice]; other != nil || e.Advice == "" {
			t.Errorf("%v and %v have the same advice: %q", cause, other, e.Advice)
		}
		advised[e.Advice] = cause
	}
}
