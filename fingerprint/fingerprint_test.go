package fingerprint_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/sojournlm/sojourn/fingerprint"
	"github.com/sojournlm/sojourn/internal/code"
	"github.com/sojournlm/sojourn/internal/document"
)

type components = fingerprint.Static

func TestHash(t *testing.T) {
	base := fingerprint.Hash(1, components{{"MACHINE", "a"}})
	for _, tt := range []struct {
		name  string
		salt  uint64
		found components
		same  bool
	}{
		{"the same", 1, components{{"MACHINE", "a"}}, true},
		{"found twice", 1, components{{"MACHINE", "a"}, {"MACHINE", "a"}}, true},
		{"empty values and names are absent", 1, components{{"CPU", ""}, {"MACHINE", "a"}, {"", "x"}}, true},
		{"another salt", 2, components{{"MACHINE", "a"}}, false},
		{"another value", 1, components{{"MACHINE", "b"}}, false},
		{"another name", 1, components{{"MACHIN", "Ea"}}, false},
		{"one more value", 1, components{{"MACHINE", "a"}, {"MACHINE", "b"}}, false},
		{"one more component", 1, components{{"MACHINE", "a"}, {"CPU", "c"}}, false},
	} {
		if got := fingerprint.Hash(tt.salt, tt.found); cmp.Equal(got, base) != tt.same {
			t.Errorf("%s: hashed to the same: %v, want %v", tt.name, !tt.same, tt.same)
		}
	}
	if got := fingerprint.Hash(1, nil); len(got) != 0 {
		t.Errorf("no components hash to %v", got)
	}
	two := fingerprint.Hash(1, components{{"MACHINE", "a"}, {"CPU", "a"}})
	if two[0].Name != "CPU" || two[1].Name != "MACHINE" || two[0].Hash == two[1].Hash {
		t.Errorf("two components hash to %v", two)
	}
}

// A computer's components hash the same however a source orders them, and the
// result is what a fingerprint may carry.
func TestHashIgnoresOrder(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		one := rapid.Custom(func(t *rapid.T) fingerprint.Component {
			return fingerprint.Component{
				Name:  rapid.SampledFrom([]string{"MACHINE", "CPU", "MAC", "HDD"}).Draw(t, "name"),
				Value: rapid.StringN(1, 4, -1).Draw(t, "value"),
			}
		})
		found := rapid.SliceOfN(one, 0, 8).Draw(t, "found")
		got := fingerprint.Hash(7, found)
		if other := fingerprint.Hash(7, rapid.Permutation(found).Draw(t, "order")); !cmp.Equal(got, other) {
			t.Fatalf("in another order: %v, want %v", other, got)
		}
		if !slices.IsSortedFunc(got, func(a, b document.Component) int {
			if a.Name < b.Name {
				return -1
			}
			return 1
		}) {
			t.Fatalf("not ordered by unique names: %v", got)
		}
	})
}

func TestStatic(t *testing.T) {
	source := components{{"MACHINE", "a"}}
	got, err := source.Components(t.Context())
	if err != nil || !slices.Equal(got, source) {
		t.Fatalf("found %v, %v", got, err)
	}
	got[0].Value = "b"
	if source[0].Value != "a" {
		t.Error("what was found is the source's own slice")
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := source.Components(ended); !errors.Is(err, context.Canceled) {
		t.Errorf("with an ended context: %v", err)
	}
}

func ExampleMatch() {
	const manager = 2957062961
	licensed := fingerprint.Hash(manager, fingerprint.Static{{"CPU", "one"}, {"MAC", "00:11"}, {"MACHINE", "4cc2"}})
	present := fingerprint.Hash(manager, fingerprint.Static{{"CPU", "two"}, {"MACHINE", "4cc2"}})
	binding := document.Binding{MaxChanges: 2, Rules: []document.BindingRule{
		{Component: "MACHINE", Weight: 3},
		{Component: "CPU", Weight: 2, Replaceable: true},
		{Component: "MAC", Weight: 1, Replaceable: true},
	}}
	fmt.Println(fingerprint.Match(binding, licensed, present))
	// Output: this is not the computer the license was made for: CPU changed (weight 2), MAC is missing (weight 1); changes of weight 3, at most 2 pass
}

func TestMatch(t *testing.T) {
	rules := []document.BindingRule{
		{Component: "MACHINE", Weight: 0},
		{Component: "CPU", Weight: 2, Replaceable: true},
		{Component: "MAC", Weight: 1, Replaceable: true},
	}
	all := components{{"MACHINE", "m"}, {"CPU", "c"}, {"MAC", "n"}, {"HDD", "h"}}
	for _, tt := range []struct {
		name              string
		max               uint32
		licensed, present components
		changed           []string // nil: it matches
	}{
		{"the same computer", 0, all, all, nil},
		{"what no rule names may change", 0, all, components{{"MACHINE", "m"}, {"CPU", "c"}, {"MAC", "n"}, {"HDD", "other"}}, nil},
		{"what came later is not bound", 0, components{{"MACHINE", "m"}}, all, nil},
		{"a license without components is not bound", 0, nil, all, nil},
		{"changes up to the limit", 3, all, components{{"MACHINE", "m"}, {"CPU", "x"}, {"MAC", "x"}}, nil},
		{"changes beyond it", 2, all, components{{"MACHINE", "m"}, {"CPU", "x"}, {"MAC", "x"}}, []string{"CPU", "MAC"}},
		{"a missing one is a change", 1, all, components{{"MACHINE", "m"}, {"MAC", "n"}}, []string{"CPU"}},
		{"what may not be replaced", 9, all, components{{"MACHINE", "x"}, {"CPU", "c"}, {"MAC", "n"}}, []string{"MACHINE"}},
		{"a computer without any", 9, all, nil, []string{"MACHINE", "CPU", "MAC"}},
	} {
		err := fingerprint.Match(document.Binding{Rules: rules, MaxChanges: tt.max}, fingerprint.Hash(1, tt.licensed), fingerprint.Hash(1, tt.present))
		var changed []string
		var mismatch *fingerprint.Mismatch
		if errors.As(err, &mismatch) {
			for _, c := range mismatch.Differences {
				changed = append(changed, c.Component)
			}
		}
		if !slices.Equal(changed, tt.changed) || (err != nil) != errors.Is(err, code.HardwareIDMismatch) {
			t.Errorf("%s: changed %v, want %v (%v)", tt.name, changed, tt.changed, err)
		}
	}
	zero := []document.Component{{Name: "MACHINE"}} // a hash is nothing but bytes
	if fingerprint.Match(document.Binding{Rules: rules}, zero, nil) == nil {
		t.Error("a missing component matches a hash of zeros")
	}
	top := document.Binding{MaxChanges: 1<<32 - 1, Rules: []document.BindingRule{
		{Component: "CPU", Weight: 1<<32 - 1, Replaceable: true}, {Component: "MAC", Weight: 1, Replaceable: true},
	}}
	if fingerprint.Match(top, fingerprint.Hash(1, all), nil) == nil {
		t.Error("the sum of the weights overflows")
	}
}
