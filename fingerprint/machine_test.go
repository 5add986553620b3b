package fingerprint

import (
	"context"
	"errors"
	"testing"

	"github.com/sojournlm/sojourn/internal/code"
)

func TestNormalID(t *testing.T) {
	const want = "0123456789abcdef0123456789abcdef"
	for in, want := range map[string]string{
		want:                                   want,
		want + "\n":                            want,
		"01234567-89AB-CDEF-0123-456789ABCDEF": want,
		"{01234567-89ab-cdef-0123-456789abcdef}\n": want,
		"":                                     "",
		"uninitialized\n":                      "",
		want[1:]:                               "",
		want + "0":                             "",
		"g" + want[1:]:                         "",
		"00000000000000000000000000000000":     "",
		"FFFFFFFF-FFFF-FFFF-FFFF-FFFFFFFFFFFF": "",
	} {
		got, ok := normalID(in)
		if ok != (want != "") || ok && got != want {
			t.Errorf("normalID(%q) = %q, %v, want %q", in, got, ok, want)
		}
	}
}

func FuzzNormalID(f *testing.F) {
	f.Add("{01234567-89ab-cdef-0123-456789abcdef}\n")
	f.Add("uninitialized")
	f.Fuzz(func(t *testing.T, s string) {
		id, ok := normalID(s)
		if again, stays := normalID(id); ok && (again != id || !stays) {
			t.Errorf("normalID(%q) = %q, which becomes %q, %v", s, id, again, stays)
		}
	})
}

// Whatever this computer is, it has one id at most and always the same.
func TestMachine(t *testing.T) {
	first, err := Machine().Components(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	again, err := Machine().Components(t.Context())
	if err != nil || len(first) != len(again) || len(first) > 1 || len(first) == 1 && (first[0] != again[0] || first[0].Name != MachineComponent) {
		t.Errorf("found %d, then %d components (%v)", len(first), len(again), err)
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := Machine().Components(ended); !errors.Is(err, context.Canceled) {
		t.Errorf("with an ended context: %v", err)
	}
}

func TestErrorNamesItsCode(t *testing.T) {
	var err error = &Error{Code: code.GetHardwareIDError, Message: "no"}
	if !errors.Is(err, code.GetHardwareIDError) {
		t.Error("the code is lost")
	}
}
