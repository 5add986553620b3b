package code

import (
	"testing"

	"pgregory.net/rapid"
)

var publicCodes = []struct {
	code uint32
	text string
}{
	{1368487351, "DEMONVK"},
	{0x51917645, "DEMORDO"},
	{0x51917603, "DEMOPRF"},
	{0x5191758c, "DEMOMST"},
	{1708389999, "GRDNT_1"},
	{1234567890, "C2A4-AC"},
	{0, "000000W"},
	{0xF423FFFF, "______7"},
	{0xF4240000, "!00000W"},
	{0xFA3E8000, "#00000+"},
	{0xFFFFFFFF, "#-SYMFR"},
}

func TestPublicCodeText(t *testing.T) {
	for _, v := range publicCodes {
		if got := PublicCodeText(v.code); got != v.text {
			t.Errorf("PublicCodeText(%#x) = %q, want %q", v.code, got, v.text)
		}
		if got, err := ParsePublicCodeText(v.text); err != nil || got != v.code {
			t.Errorf("ParsePublicCodeText(%q) = %#x, %v, want %#x", v.text, got, err, v.code)
		}
	}
}

func TestPublicCodeTextRefused(t *testing.T) {
	for _, c := range []struct{ why, text string }{
		{"empty", ""},
		{"too short", "GRDNT_"},
		{"too long", "GRDNT_1 "},
		{"wrong checksum", "GRDNT_2"},
		{"lower case", "grdnt_1"},
		{"computed text of a code with a fixed one", "DEMONV1"},
		{"foreign character", "GR.NT_1"},
		{"sign inside", "G!DNT_1"},
		{"beyond 32 bits", "#_____0"},
		{"not ASCII", "ГРДНТ"},
	} {
		if got, err := ParsePublicCodeText(c.text); err == nil {
			t.Errorf("%s: ParsePublicCodeText(%q) = %#x, want an error", c.why, c.text, got)
		}
	}
}

func TestPublicCodeTextRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		publicCode := rapid.Uint32().Draw(t, "code")
		text := PublicCodeText(publicCode)
		if got, err := ParsePublicCodeText(text); err != nil || got != publicCode {
			t.Fatalf("ParsePublicCodeText(%q) = %#x, %v, want %#x", text, got, err, publicCode)
		}
	})
}

func FuzzParsePublicCodeText(f *testing.F) {
	for _, v := range publicCodes {
		f.Add(v.text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		publicCode, err := ParsePublicCodeText(text)
		if err == nil && PublicCodeText(publicCode) != text {
			t.Fatalf("%q was read as %#x, which is %q", text, publicCode, PublicCodeText(publicCode))
		}
	})
}
