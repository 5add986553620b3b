package code

import (
	"fmt"
	"math"
	"math/bits"
	"strings"
)

// digits are those of a public code's text, lowest first.
const digits = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ+-&_"

// Codes from firstHigh do not fit six digits: the first one is then replaced by
// '!', and from firstHigher by '#'.
const (
	firstHigh   uint32 = 40 * 40 * 40 * 40 * 40 * 40
	firstHigher uint32 = firstHigh + 40*40*40*40*40
)

// fixedTexts are the codes whose text is a name.
var fixedTexts = map[uint32]string{
	0x519175b7: "DEMONVK",
	0x51917645: "DEMORDO",
	0x51917603: "DEMOPRF",
	0x5191758c: "DEMOMST",
}

// PublicCodeText is a vendor's public code as people read it: seven characters,
// of which the last is a checksum, such as GRDNT_1.
func PublicCodeText(publicCode uint32) string {
	if text, ok := fixedTexts[publicCode]; ok {
		return text
	}
	var text [7]byte
	for i, rest := 5, publicCode%firstHigh; i >= 0; i-- {
		text[i] = digits[rest%40]
		rest /= 40
	}
	text[6] = checksum(text[:6])
	// Of these codes the first digit is 0 or 1; the sign that replaces it stands
	// for that and for the 40⁶ which the six digits lost.
	switch {
	case publicCode >= firstHigher:
		text[0] = '#'
	case publicCode >= firstHigh:
		text[0] = '!'
	}
	return string(text[:])
}

// checksum is the seventh character. It is taken before the first one is replaced.
func checksum(six []byte) byte {
	sum := uint8(0xFF)
	for _, c := range six {
		sum = bits.RotateLeft8(sum, 2) + c
	}
	return digits[sum%40]
}

// ParsePublicCodeText reads the text of a vendor's public code. It takes exactly
// what [PublicCodeText] gives, upper case and with the right checksum.
func ParsePublicCodeText(text string) (uint32, error) {
	for publicCode, fixed := range fixedTexts {
		if text == fixed {
			return publicCode, nil
		}
	}
	if len(text) != 7 {
		return 0, fmt.Errorf("public code %q: %d characters, want 7", text, len(text))
	}
	var value uint64
	for i, c := range []byte(text[:6]) {
		digit := strings.IndexByte(digits, c)
		switch {
		case i == 0 && c == '!':
			digit = 40
		case i == 0 && c == '#':
			digit = 41
		case digit < 0:
			return 0, fmt.Errorf("public code %q: %q is not one of its digits", text, c)
		}
		value = value*40 + uint64(digit)
	}
	if value > math.MaxUint32 {
		return 0, fmt.Errorf("public code %q: does not fit 32 bits", text)
	}
	if PublicCodeText(uint32(value)) != text {
		return 0, fmt.Errorf("public code %q: its last character is not its checksum", text)
	}
	return uint32(value), nil
}
