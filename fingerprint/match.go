package fingerprint

import (
	"fmt"
	"strings"

	"github.com/sojournlm/sojourn/internal/code"
	"github.com/sojournlm/sojourn/internal/document"
)

// Difference is one bound component that is not what it was when the license was
// made.
type Difference struct {
	Component string
	Weight    uint32
	Fixed     bool // may not be replaced: this change alone is too much
	Missing   bool // no longer found at all; else it is another one
}

func (d Difference) String() string {
	s := d.Component + " changed"
	if d.Missing {
		s = d.Component + " is missing"
	}
	if d.Fixed {
		return s + " and may not be replaced"
	}
	return fmt.Sprintf("%s (weight %d)", s, d.Weight)
}

// Mismatch says that this is not the computer a license was made for, and
// which components make the difference. It unwraps to HardwareIDMismatch.
type Mismatch struct {
	Differences []Difference // every bound component that changed, in the order of the rules
	Weight      uint64       // of all changes together
	Allowed     uint32       // the largest weight that passes
}

func (m *Mismatch) Error() string {
	parts := make([]string, len(m.Differences))
	for i, d := range m.Differences {
		parts[i] = d.String()
	}
	return fmt.Sprintf("this is not the computer the license was made for: %s; changes of weight %d, at most %d pass",
		strings.Join(parts, ", "), m.Weight, m.Allowed)
}

// Unwrap gives the status code.
func (m *Mismatch) Unwrap() error { return code.HardwareIDMismatch }

// Match compares the components a license was made for with those that are
// present, by the vendor's rules. It gives nil or a [*Mismatch].
//
// Only components that a rule names and the license carries are compared: what
// the computer did not have when the license was made cannot have changed. The
// weights of all changes add up, and the sum may not exceed binding.MaxChanges;
// a change of a component that is not replaceable is a mismatch by itself.
func Match(binding document.Binding, licensed, present []document.Component) error {
	then, now := byName(licensed), byName(present)
	m := &Mismatch{Allowed: binding.MaxChanges}
	fixed := false
	for _, rule := range binding.Rules {
		was, bound := then[rule.Component]
		if !bound {
			continue
		}
		is, found := now[rule.Component]
		if found && is == was {
			continue
		}
		m.Differences = append(m.Differences, Difference{rule.Component, rule.Weight, !rule.Replaceable, !found})
		m.Weight += uint64(rule.Weight)
		fixed = fixed || !rule.Replaceable
	}
	if fixed || m.Weight > uint64(m.Allowed) {
		return m
	}
	return nil
}

func byName(components []document.Component) map[string]document.Hash {
	m := make(map[string]document.Hash, len(components))
	for _, c := range components {
		m[c.Name] = c.Hash
	}
	return m
}
