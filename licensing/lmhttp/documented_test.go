package lmhttp

import (
	"encoding/json"
	"io"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// The answers that the API's documentation shows, with its files named as the
// tests name theirs.
const (
	documentedDetached = `{ "detachedLicenses": [ { "deathTime": 1653667658, "detachedFromLicenseId": "4006242369", "detachedFromLicenseIdShort": 4006242369, "detachedResource": 1, "durationInSec": 60, "hostName": "B2291-PC", "licenseId": 956653681540574192, "licenseIdShort": 1833675760, "products": [ { "dongleId": 0, "features": [ { "consumptionMode": 0, "currentRunCounterValue": 0, "detachedResource": 0, "dongleId": 0, "featureNumber": 4, "flags": { "cancelDetachRequired": false, "expired": false, "isDetachAllowed": false, "isDetachable": false, "rdpForbidden": true, "vmForbidden": true }, "floatingResource": 1, "maxConcurrentResource": 1, "maxRunCounter": 0, "name": "test net", "productModification": 0, "productName": "test_detach_29", "productNumber": 29, "remoteMode": 3, "reservedResource": 0, "restOfLifeTimeDays": 0, "sessionsCount": 0, "validFromDate": 0, "validUpToDate": 0, "vendor": { "publicCode": 1368487351, "publicCodeText": "DEMONVK" } } ], "modification": 0, "name": "test_detach_29", "productNumber": 29, "vendor": { "publicCode": 1368487351, "publicCodeText": "DEMONVK" } } ], "productsCount": 1, "vendor": { "publicCode": 1368487351, "publicCodeText": "DEMONVK" } } ] }`

	documentedCancelled = `{ "cancelledLicenses": [ { "detachedFromLicenseId": "3058492062", "detachedFromLicenseIdShort": 3058492062, "licenseId": "13176143868035619256", "licenseIdShort": 2880723384 } ] }`

	documentedFingerprints = `{ "fingerprints": [ { "auto" : true, "fingerprint": "w9l/ZEgKAAAA", "hostName": "B2291-PC", "issueTime": 1650641434, "lmsId": "102826192", "remote": false }, { "auto" : false, "fingerprint": "rPIVmRwKAAAA", "hostName": "GRDBENCH-01", "issueTime": 1650641433, "lmsId": "2957062961", "remote": true } ] }`
)

// compact is the tokens of JSON, one in a line, in their order.
func compact(t *testing.T, text string) string {
	t.Helper()
	var out strings.Builder
	d := json.NewDecoder(strings.NewReader(text))
	d.UseNumber()
	for {
		token, err := d.Token()
		if err == io.EOF {
			return out.String()
		}
		if err != nil {
			t.Fatalf("%v in %s", err, text)
		}
		b, err := json.Marshal(token)
		if d, ok := token.(json.Delim); ok {
			b, err = []byte(d.String()), nil
		}
		if err != nil {
			t.Fatal(err)
		}
		out.Write(b)
		out.WriteByte('\n')
	}
}

// TestDocumentedDetached: the pool of the documentation's detached license,
// detached as there, is listed as there: token by token, in the same order, the
// times too. Only its id is a name for what differs.
func TestDocumentedDetached(t *testing.T) {
	w := newWorld(t, nil)
	w.detached(w.office)
	res := w.office.ask("GET", BasePath+"/detached/products/features", "")
	got, err := io.ReadAll(res.Body)
	w.ok(err)
	if diff := cmp.Diff(compact(t, documentedDetached), compact(t, w.mask(string(got)))); diff != "" {
		t.Errorf("(-documented +got):\n%s", diff)
	}
}

// TestDocumentedShapes: the other lists have the documentation's fields, in its
// order, numbers where it has numbers and strings where it has strings.
func TestDocumentedShapes(t *testing.T) {
	w := newWorld(t, nil)
	w.cancelled()
	for _, c := range []struct {
		m          *machine
		path, want string
	}{
		{w.laptop, "/cancelled/licenses", documentedCancelled},
		{w.office, "/fingerprints", documentedFingerprints},
	} {
		res := c.m.ask("GET", BasePath+c.path, "")
		got, err := io.ReadAll(res.Body)
		w.ok(err)
		if diff := cmp.Diff(shape(compact(t, c.want)), shape(compact(t, string(got)))); diff != "" {
			t.Errorf("%s (-documented +got):\n%s", c.path, diff)
		}
	}
}

// shape keeps the names of the fields and the types of the values.
func shape(tokens string) (out []string) {
	name := false
	for _, line := range strings.Split(tokens, "\n") {
		switch {
		case line == "", line == "{", line == "[", line == "}", line == "]":
			name = line == "{" || line == "}"
			out = append(out, line)
			continue
		case name:
			out = append(out, line)
		case line == "true", line == "false":
			out = append(out, "a flag")
		case line[0] == '"' && strings.Trim(line, `"0123456789`) == "":
			out = append(out, "digits")
		case line[0] == '"':
			out = append(out, "text")
		default:
			out = append(out, "a number")
		}
		name = !name
	}
	return out
}
