package main

import (
	"encoding/json"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sojournlm/sojourn/licensing/issuer"
)

func readRecord(t *testing.T, file string) (r record) {
	t.Helper()
	text, err := os.ReadFile(file)
	if err == nil {
		err = json.Unmarshal(text, &r)
	}
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// TestPools: the sample file has the keys of the API's examples.
func TestPools(t *testing.T) {
	text, err := os.ReadFile("pools.json")
	if err != nil {
		t.Fatal(err)
	}
	plans, err := parsePlans(text)
	if err != nil {
		t.Fatal(err)
	}
	type ref struct{ key, product, feature uint32 }
	have := make(map[ref]issuer.Feature)
	for _, p := range plans {
		for _, product := range p.Products {
			for _, f := range product.Features {
				have[ref{p.ID, product.Number, f.Number}] = f
			}
		}
	}
	for _, want := range []ref{{4006242369, 29, 4}, {1368487351, 16, 2}, {1368487351, 4, 1}, {3043211265, 12, 2}, {3058492062, 30, 7}} {
		if f, ok := have[want]; !ok || !f.Detachable || f.Seats == 0 {
			t.Errorf("%v is %+v", want, f)
		}
	}
	want := issuer.Feature{
		Number: 4, Name: "test net", Seats: 3, Detachable: true, Remote: issuer.LocalAndRemote, RDPForbidden: true, VMForbidden: true,
	}
	if diff := cmp.Diff(want, have[ref{4006242369, 29, 4}]); diff != "" {
		t.Errorf("the feature of the API's example (-want +got):\n%s", diff)
	}
}

// whole is a description with every field.
const whole = `[{"dongleId":1,"dongleModel":5,"vendor":{"publicCode":1368487351},"products":[{"productNumber":2,"name":"p","modification":3,` +
	`"features":[{"featureNumber":4,"name":"f","maxConcurrentResource":5,"remoteMode":2,"consumptionMode":1,` +
	`"validFromDate":1000000000,"validUpToDate":2000000000,"maxRunCounter":6,` +
	`"flags":{"isDetachable":true,"rdpForbidden":true,"vmForbidden":true}}]}]}]`

func TestPlan(t *testing.T) {
	got, err := parsePlans([]byte(whole))
	if err != nil {
		t.Fatal(err)
	}
	want := []plan{{ID: 1, Model: 5, Products: []issuer.Product{{Number: 2, Name: "p", Modification: 3, Features: []issuer.Feature{{
		Number: 4, Name: "f", Seats: 5, Remote: issuer.Remote, Consumption: issuer.PerLogin,
		ValidFrom: time.Unix(1e9, 0).UTC(), ValidUpTo: time.Unix(2e9, 0).UTC(), MaxRuns: 6,
		Detachable: true, RDPForbidden: true, VMForbidden: true,
	}}}}}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestPlanErrors(t *testing.T) {
	for _, c := range []struct{ old, new, want string }{
		{whole, ``, `line 1: unexpected end of JSON input`},
		{whole, `{}`, `want an array`},
		{whole, "[\n\n{]", `line 3: invalid character ']'`},
		{whole, whole + whole, `line 1: invalid character '[' after top-level value`},
		{whole, "\"\xff\"", `not UTF-8`},
		{whole, `[5]`, `[0]: want an object`},
		{whole, `["dongleId"]`, `[0]: want an object`},
		{whole, `[null]`, `[0]: want an object`},
		{whole, whole[:len(whole)-1] + "," + whole[1:], `[1]: dongleId: 1 is that of [0] too`},
		{`"dongleId":1,`, ``, `[0].dongleId: missing`},
		{`"dongleId":1,`, `"dongleId":1,"dongleId":2,`, `[0].dongleId: given twice`},
		{`"dongleId":1`, `"dongleID":1`, `[0].dongleID: there is no such field`},
		{`"dongleId":1`, `"dongleId":0`, `[0].dongleId: 0, want a whole number from 1 to 4294967294`},
		{`"dongleId":1`, `"dongleId":4294967295`, `[0].dongleId: 4294967295, want`},
		{`"dongleId":1`, `"dongleId":18446744073709551617`, `[0].dongleId: 18446744073709551617, want`},
		{`"dongleId":1`, `"dongleId":1.0`, `[0].dongleId: 1.0, want`},
		{`"dongleId":1`, `"dongleId":"1"`, `[0].dongleId: "1", want`},
		{`"dongleModel":5`, `"dongleModel":6`, `[0].dongleModel: 6, want`},
		{`"dongleModel":5`, `"dongleModel":0`, `[0].dongleModel: 0, want`},
		{`1368487351`, `1708389999`, `[0].vendor.publicCode: 1708389999, want 1368487351`},
		{`{"publicCode":1368487351}`, `{}`, `[0].vendor.publicCode: missing`},
		{`"vendor":{"publicCode":1368487351},`, ``, `[0].vendor: missing`},
		{`"name":"p"`, `"name":7`, `[0].products[0].name: want a text`},
		{`"name":"p"`, `"name":"a\nb"`, `[0].products[0].name: `},
		{`"isDetachable":true`, `"isDetachable":"yes"`, `[0].products[0].features[0].flags.isDetachable: want true or false`},
		{`"isDetachable":true`, `"detachable":true`, `[0].products[0].features[0].flags.detachable: there is no such field`},
		{`"maxConcurrentResource":5`, `"maxConcurrentResource":16777217`, `[0].products[0].features[0].maxConcurrentResource: 16777217, want`},
		{`"maxConcurrentResource":5,`, ``, `[0].products[0].features[0].maxConcurrentResource: missing`},
		{`"remoteMode":2`, `"remoteMode":4`, `[0].products[0].features[0].remoteMode: 4, want`},
		{`"consumptionMode":1`, `"consumptionMode":3`, `[0].products[0].features[0].consumptionMode: 3, want`},
		{`"validUpToDate":2000000000`, `"validUpToDate":253402300800`, `[0].products[0].features[0].validUpToDate: 253402300800, want`},
		{`"validUpToDate":2000000000`, `"validUpToDate":1`, `[0].products[0].features[0]: `},
		{`"features":[{`, `"features":[],"x":[{`, `[0].products[0].x: there is no such field`},
	} {
		text := strings.Replace(whole, c.old, c.new, 1)
		_, err := parsePlans([]byte(text))
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s in place of %s: %v, want %q", c.new, c.old, err, c.want)
		}
	}
	if _, err := parsePlans([]byte(`[{"dongleId":1,"vendor":{"publicCode":1368487351},"products":[]}]`)); err == nil || !strings.Contains(err.Error(), "[0].products") {
		t.Errorf("no products: %v", err)
	}
	if plans, err := parsePlans([]byte(`[]`)); err != nil || len(plans) != 0 {
		t.Errorf("no keys: %v, %v", plans, err)
	}
}

// FuzzPlans: any file is refused with words, or can be signed.
func FuzzPlans(f *testing.F) {
	f.Add([]byte(whole))
	f.Add([]byte(`[{"dongleId":1,"vendor":{"publicCode":1368487351},"products":[{"productNumber":0,"name":"","features":[]}]}]`))
	f.Fuzz(func(t *testing.T, text []byte) {
		plans, err := parsePlans(text)
		if err != nil {
			if plans != nil {
				t.Error("plans with an error")
			}
			return
		}
		for _, p := range plans {
			if _, err := p.sign(demoPublic(), 1, time.Unix(1, 0)); err != nil {
				t.Errorf("%+v cannot be signed: %v", p, err)
			}
		}
	})
}
