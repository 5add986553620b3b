package lmhttp

import (
	"math"
	"strconv"
)

// parseInteger reads a whole number in plain digits, the way JSON writes one:
// no plus sign, no leading zero, no fraction, no exponent, and zero has no sign.
// Its sign comes apart, so that all 64 bits are for the number.
func parseInteger(text string) (negative bool, value uint64, ok bool) {
	digits := text
	if negative = text != "" && text[0] == '-'; negative {
		digits = text[1:]
	}
	if digits == "" || digits[0] == '0' && (negative || len(digits) > 1) {
		return false, 0, false
	}
	for _, c := range []byte(digits) {
		if c < '0' || c > '9' {
			return false, 0, false
		}
	}
	value, err := strconv.ParseUint(digits, 10, 64)
	return negative, value, err == nil
}

// idKind is the range of an id.
type idKind struct {
	max    uint64
	signed bool // below zero it is the same 32 bits, printed as a signed number
}

var (
	// wholeID is an id of a license or of a computer.
	wholeID = idKind{max: math.MaxUint64}
	// keyID is the id of a key, which has 32 bits, or of a license that stands
	// for a key.
	keyID = idKind{math.MaxUint64, true}
	// number32 is the number of a product or of a feature.
	number32 = idKind{math.MaxUint32, true}
)

// parse reads an id in digits. It gives the reason where it is none.
func (k idKind) parse(text string) (id uint64, reason string) {
	negative, value, ok := parseInteger(text)
	switch {
	case ok && negative && k.signed && value <= 1<<31:
		return uint64(uint32(-int64(value))), ""
	case ok && !negative && value <= k.max:
		return value, ""
	}
	reason = clip(strconv.Quote(text)) + ", want a whole number from 0 to " + strconv.FormatUint(k.max, 10) + " in digits"
	if k.signed {
		reason += ", or a 32-bit one in its signed form"
	}
	return 0, reason
}
