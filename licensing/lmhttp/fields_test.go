package lmhttp

import (
	"encoding/json"
	"fmt"
	"math"
	"math/big"
	"net/http"
	"strconv"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// TestIDs: ids are numbers or digits, keep all 64 bits and never pass through a
// float; those of 32 bits may be signed.
func TestIDs(t *testing.T) {
	const bad = math.MaxUint64 - 12345
	for _, c := range []struct {
		json                 string
		whole, key, number32 uint64
	}{
		{`0`, 0, 0, 0},
		{`"0"`, 0, 0, 0},
		{`1368487351`, 1368487351, 1368487351, 1368487351},
		{`"1368487351"`, 1368487351, 1368487351, 1368487351},
		{`"\u0031"`, 1, 1, 1},
		{`-1368487351`, bad, 2926479945, 2926479945},
		{`"-1368487351"`, bad, 2926479945, 2926479945},
		{`-1`, bad, math.MaxUint32, math.MaxUint32},
		{`-2147483648`, bad, 1 << 31, 1 << 31},
		{`-2147483649`, bad, bad, bad},
		{`4294967295`, math.MaxUint32, math.MaxUint32, math.MaxUint32},
		{`4294967296`, 1 << 32, 1 << 32, bad},
		{`9007199254740993`, 1<<53 + 1, 1<<53 + 1, bad},
		{`956653681540574192`, 956653681540574192, 956653681540574192, bad},
		{`18446744073709551615`, math.MaxUint64, math.MaxUint64, bad},
		{`"18446744073709551615"`, math.MaxUint64, math.MaxUint64, bad},
		{`18446744073709551616`, bad, bad, bad},
		{`"18446744073709551616"`, bad, bad, bad},
		{`1e3`, bad, bad, bad},
		{`1E0`, bad, bad, bad},
		{`1.0`, bad, bad, bad},
		{`-0`, bad, bad, bad},
		{`"-0"`, bad, bad, bad},
		{`"1e3"`, bad, bad, bad},
		{`"+1"`, bad, bad, bad},
		{`" 1"`, bad, bad, bad},
		{`"01"`, bad, bad, bad},
		{`"0x10"`, bad, bad, bad},
		{`"1_000"`, bad, bad, bad},
		{`"١"`, bad, bad, bad},
		{`""`, bad, bad, bad},
		{`"-"`, bad, bad, bad},
		{`null`, bad, bad, bad},
		{`true`, bad, bad, bad},
		{`[1]`, bad, bad, bad},
		{`{}`, bad, bad, bad},
		{`"` + strings.Repeat("9", 10000) + `"`, bad, bad, bad},
	} {
		for _, k := range []struct {
			name string
			kind idKind
			want uint64
		}{{"whole", wholeID, c.whole}, {"key", keyID, c.key}, {"32 bits", number32, c.number32}} {
			f := newFields(map[string]json.RawMessage{"id": json.RawMessage(c.json)})
			got := f.id("id", k.kind)
			switch {
			case k.want == bad && f.fault() == nil:
				t.Errorf("%s as %s: read as %d", c.json, k.name, got)
			case k.want == bad && (!strings.HasPrefix(f.fault().Error(), "id: ") || len(f.fault().Error()) > 300):
				t.Errorf("%.30s as %s: %v", c.json, k.name, f.fault())
			case k.want != bad && (f.fault() != nil || got != k.want):
				t.Errorf("%s as %s: %d, %v; want %d", c.json, k.name, got, f.fault(), k.want)
			}
		}
	}
}

// TestInteger: what is read is the number that was written, and what is not read
// is none that JSON would write so.
func TestInteger(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		text := rapid.OneOf(
			rapid.Custom(func(t *rapid.T) string { return strconv.FormatUint(rapid.Uint64().Draw(t, "u"), 10) }),
			rapid.Custom(func(t *rapid.T) string { return strconv.FormatInt(rapid.Int64().Draw(t, "i"), 10) }),
			rapid.StringMatching(`-?[0-9]{0,22}`),
			rapid.StringMatching(`[-+0-9.eE_ ]{0,6}`),
		).Draw(t, "text")
		want, whole := new(big.Int).SetString(text, 10)
		canonical := whole && want.String() == text && new(big.Int).Abs(want).IsUint64()
		negative, value, ok := parseInteger(text)
		if ok != canonical {
			t.Fatalf("%q: read %v, want %v", text, ok, canonical)
		}
		got := new(big.Int).SetUint64(value)
		if negative {
			got.Neg(got)
		}
		if ok && got.Cmp(want) != 0 {
			t.Fatalf("%q: read as %v", text, got)
		}
	})
}

// TestObject: a body is read exactly when the standard library takes it for an
// object and no name stands in it twice.
func TestObject(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		text := rapid.StringMatching(`[{]( ?"(a|b|c|\\u0061)" ?: ?(1|"x"|[{][}]|\[\]|null)(,| )?){0,3}[}]?( |[}]|x)?`).Draw(t, "text")
		members, err := parseObject([]byte(text))
		var want map[string]json.RawMessage
		bad := json.Unmarshal([]byte(text), &want) != nil
		names := strings.Count(strings.ReplaceAll(text, `\u0061`, "a"), `":`) + strings.Count(strings.ReplaceAll(text, `\u0061`, "a"), `" :`)
		if twice := !bad && names != len(want); (err == nil) == (bad || twice) {
			t.Fatalf("%s: %v", text, err)
		}
		if err == nil && len(members) != len(want) {
			t.Fatalf("%s: %d members, want %d", text, len(members), len(want))
		}
	})
}

// TestFieldsAreNamed: each field that is missing, of a wrong type or out of its
// range is refused by its name.
func TestFieldsAreNamed(t *testing.T) {
	w := newWorld(t, nil)
	base := map[string]string{
		"/detach":             `"offline":true,"lmsId":"2957062961","dongleId":4006242369,"durationInSec":60,"productFeatures":[{"productNumber":29,"featureNumber":4}]`,
		"/canceldetach":       `"offline":true,"dongleId":1`,
		"/install":            `"license":"eA=="`,
		"/detached/download":  `"licenseId":1`,
		"/cancelled/download": `"licenseId":1`,
		"/fingerprints":       `"fingerprint":"eA=="`,
	}
	entries := strings.Repeat(`{"productNumber":1},`, maxSelectors)
	for _, c := range []struct{ path, field, value string }{
		{"/detach", "offline", `1`}, {"/detach", "offline", `"true"`}, {"/detach", "offline", `null`},
		{"/detach", "lmsId", ""}, {"/detach", "lmsId", `-1`}, {"/detach", "lmsId", `1.5`}, {"/detach", "lmsId", `{}`}, {"/detach", "lmsId", `null`},
		{"/detach", "dongleId", ""}, {"/detach", "dongleId", `"ff"`},
		{"/detach", "durationInSec", ""}, {"/detach", "durationInSec", `0`}, {"/detach", "durationInSec", `-1`}, {"/detach", "durationInSec", `2147483648`},
		{"/detach", "durationInSec", `"60"`}, {"/detach", "durationInSec", `6e1`}, {"/detach", "durationInSec", `60.0`}, {"/detach", "durationInSec", `99999999999999999999`},
		{"/detach", "concurrentResourceToConsume", `0`}, {"/detach", "concurrentResourceToConsume", `65536`}, {"/detach", "concurrentResourceToConsume", `null`},
		{"/detach", "productFeatures", ""}, {"/detach", "productFeatures", `[]`}, {"/detach", "productFeatures", `{}`}, {"/detach", "productFeatures", `"x"`},
		{"/detach", "productFeatures", `[` + entries + `{"productNumber":1}]`},
		{"/detach", "productFeatures[0]", `[7]`}, {"/detach", "productFeatures[1]", `[{"productNumber":1},null]`},
		{"/detach", "productFeatures[0].productNumber", `[{}]`}, {"/detach", "productFeatures[1].productNumber", `[{"productNumber":1},{"productNumber":4294967296}]`},
		{"/detach", "productFeatures[0].featureNumber", `[{"productNumber":1,"featureNumber":null}]`},
		{"/canceldetach", "offline", `"no"`}, {"/canceldetach", "dongleId", ""}, {"/canceldetach", "dongleId", `true`},
		{"/install", "license", ""}, {"/install", "license", `7`}, {"/install", "license", `"*"`}, {"/install", "license", `"eA"`}, {"/install", "license", `null`},
		{"/detached/download", "licenseId", ""}, {"/cancelled/download", "licenseId", `"x"`},
		{"/fingerprints", "fingerprint", ""}, {"/fingerprints", "fingerprint", `[]`}, {"/fingerprints", "fingerprint", `"!"`},
		{"/fingerprints", "hostName", `5`}, {"/fingerprints", "issueTime", `"1650641433"`}, {"/fingerprints", "issueTime", `-1`}, {"/fingerprints", "issueTime", `253402300800`},
		{"/fingerprints", "lmsId", `-1`},
	} {
		name, _, _ := strings.Cut(c.field, "[")
		fields := make(map[string]json.RawMessage)
		w.ok(json.Unmarshal([]byte("{"+base[c.path]+"}"), &fields))
		delete(fields, name)
		if c.value != "" {
			fields[name] = json.RawMessage(c.value)
		}
		body, err := json.Marshal(fields)
		w.ok(err)
		res := w.office.ask("POST", BasePath+c.path, string(body))
		if p := problemOf(t, res); res.StatusCode != http.StatusBadRequest || p.Code != 23 || !strings.HasPrefix(p.Message, c.field+": ") {
			t.Errorf("%s with %s %.40s: status %d, code %d: %s", c.path, c.field, c.value, res.StatusCode, p.Code, p.Message)
		}
	}
	if _, err := parseObject(fmt.Appendf(nil, `{%q:1,%[1]q:2}`, strings.Repeat("n", 1000))); err == nil || len(err.Error()) > 200 {
		t.Errorf("a long name: %v", err)
	}
}
