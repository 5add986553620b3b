package document

import (
	"errors"
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Bounds that hold in every document.
const (
	// MaxText is the longest name or host name in bytes of UTF-8.
	MaxText = 255
	// MaxTime is the latest time a document may name, in Unix seconds: the end
	// of the year 9999. Sums of two times never overflow.
	MaxTime = 253402300799
	// MaxComponents is the most hardware components or binding rules.
	MaxComponents = 32
	// maxComponentName keeps the largest fingerprint below [MaxFingerprint].
	maxComponentName = 32
)

// CheckText says whether a text may stand in a document, such as a name that
// was given by hand: at most [MaxText] bytes of UTF-8 without control
// characters. The error is the reason alone, such as "has a control character".
func CheckText(s string) error {
	switch {
	case len(s) > MaxText:
		return fmt.Errorf("has %d bytes, at most %d are allowed", len(s), MaxText)
	case !utf8.ValidString(s):
		return errors.New("is not UTF-8")
	case strings.ContainsFunc(s, unicode.IsControl):
		return errors.New("has a control character")
	}
	return nil
}

// checkText accepts what can be shown to people as one line. Control
// characters would reach terminals and logs from files of strangers.
func checkText(name, what, s string) error {
	if err := CheckText(s); err != nil {
		return content(name, "%s %v", what, err)
	}
	return nil
}

func checkTime(name, what string, t int64) error {
	if t < 0 || t > MaxTime {
		return content(name, "%s %d is not between 1970 and 9999", what, t)
	}
	return nil
}

// checkComponents accepts names in strictly rising order of their bytes.
func checkComponents(name, what string, n int, at func(int) string) error {
	if n > MaxComponents {
		return content(name, "%d %ss, at most %d are allowed", n, what, MaxComponents)
	}
	for i := range n {
		if c := at(i); c == "" || len(c) > maxComponentName {
			return content(name, "%s %d has a name of %d bytes, want 1 to %d", what, i, len(c), maxComponentName)
		}
		if err := checkText(name, "a "+what, at(i)); err != nil {
			return err
		}
		if i > 0 && at(i-1) >= at(i) {
			return content(name, "%ss are not ordered by name, or one stands twice", what)
		}
	}
	return nil
}
