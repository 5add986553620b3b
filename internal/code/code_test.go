package code

import (
	"errors"
	"fmt"
	"strings"
	"testing"
)

// names are the names of the API by number. The API numbers its codes without
// gaps but for 11.
var names = [...]string{
	0: "OK", 1: "INVALID_HANDLE", 2: "FEATURE_NOT_FOUND", 3: "FEATURE_RESOURCE_EXHAUST", 4: "INVALID_FEATURE",
	5: "INVALID_SERIAL_NUMBER", 6: "INVALID_LICENSE", 7: "LICENSE_NOT_ACTIVATED", 8: "LICENSE_ALREADY_ACTIVATED",
	9: "GET_HARDWARE_ID_ERROR", 10: "NOT_ENOUGH_HARDWARE_TO_BIND", 12: "REQUEST_FAILED", 13: "GET_RESPONSE_FAILED",
	14: "SERVER_NOT_FOUND", 15: "INCORRECT_RESPONSE_DATA", 16: "FILE_CREATION_ERROR", 17: "SERIAL_NUMBER_RESOURCE_EXHAUSTED",
	18: "NO_UPDATES_AVAILABLE", 19: "ACTIVATION_NOT_AVAILABLE", 20: "NO_CUSTOMER_SPECIFIED",
	21: "CAN_NOT_ACTIVATE_NON_DEMO_LICENSE", 22: "OUTDATED_API_VERSION", 23: "INVALID_PARAMETER", 24: "BUFFER_TOO_SMALL",
	25: "INTERNAL_ERROR", 26: "LICENSE_IS_BANNED", 27: "NO_LICENSE_AVAILABLE", 28: "FEATURE_RUNCOUNTER_EXHAUST",
	29: "FEATURE_EXPIRED", 30: "INVALID_PUBLIC_KEY", 31: "NO_SERVICE", 32: "SERVICE_MISSING_OR_OUTDATED",
	33: "DONGLE_NOT_FOUND", 34: "NO_RESULTS_FOUND", 35: "INVALID_DIGEST", 36: "FEATURE_INACTIVE", 37: "MEMORY_OUT_OF_RANGE",
	38: "ACCESS_DENIED", 39: "NUMBER_ATTEMPTS_EXHAUSTED", 40: "SERIAL_NUMBER_NOT_FOUND", 41: "INVALID_MEMORY",
	42: "VIRTUAL_ENVIRONMENT_DETECTED", 43: "REMOTE_DESKTOP_DETECTED", 44: "OUTDATED_VERSION", 45: "REHOST_IS_NOT_ALLOWED",
	46: "STORAGE_CORRUPTED", 47: "STORAGE_ID_MISMATCH", 48: "INVALID_UPDATE_OR_ALREADY_INSTALLED", 49: "INVALID_REHOST_DATA",
	50: "HARDWARE_ID_MISMATCH", 51: "REACTIVATION_IS_NOT_ALLOWED", 52: "RECIPIENT_HAS_THE_SAME_LICENSE",
	53: "CAN_NOT_DETACH_SOME_FEATURES", 54: "CANCEL_PREVIOUS_DETACH_REQUIRED", 55: "DETACHED_LICENSE_EXPIRED",
	56: "DETACHED_LICENSE_NOT_FOUND", 57: "DETACH_FORBIDDEN", 58: "TRIAL_LICENSE_EXPIRED", 59: "OPERATION_IS_NOT_ALLOWED",
	60: "RTC_ERROR",
}

func TestNames(t *testing.T) {
	for number, want := range names {
		c := Code(number)
		if want == "" {
			want = fmt.Sprintf("STATUS_%d", number)
		}
		if got := c.Name(); got != want {
			t.Errorf("Code(%d).Name() = %q, want %q", number, got, want)
		}
	}
	if len(texts) != len(names)-1 {
		t.Errorf("%d codes have texts, want %d", len(texts), len(names)-1)
	}
}

// Texts end up inside longer messages, so they are lower-case phrases, and two
// codes that read the same could not be told apart.
func TestTexts(t *testing.T) {
	seen := map[string]Code{}
	for c := range texts {
		text := c.Error()
		if text == "" || strings.HasSuffix(text, ".") || text != strings.TrimSpace(text) || text[0] < 'a' || text[0] > 'z' {
			t.Errorf("%s: %q is not a lower-case phrase", c.Name(), text)
		}
		if other, twice := seen[text]; twice {
			t.Errorf("%s and %s both read %q", c.Name(), other.Name(), text)
		}
		seen[text] = c
	}
}

func TestUnassigned(t *testing.T) {
	for _, c := range []Code{11, 61, 1<<32 - 1} {
		if got, want := c.Name(), fmt.Sprintf("STATUS_%d", uint32(c)); got != want {
			t.Errorf("name %q, want %q", got, want)
		}
		if got, want := c.Error(), fmt.Sprintf("status %d", uint32(c)); got != want {
			t.Errorf("text %q, want %q", got, want)
		}
	}
}

func TestSentinel(t *testing.T) {
	err := fmt.Errorf("detach: %w", FeatureResourceExhaust)
	if !errors.Is(err, FeatureResourceExhaust) || errors.Is(err, FeatureNotFound) {
		t.Errorf("%v is not told by its code", err)
	}
	if got := err.Error(); got != "detach: not enough seats in the pool" {
		t.Errorf("text %q", got)
	}
}
