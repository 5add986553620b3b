package detach

import (
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/sojournlm/sojourn/internal/code"
	"github.com/sojournlm/sojourn/internal/document"
)

func whole(product uint32) Selector { return Selector{ProductNumber: product, Whole: true} }

func one(product, feature uint32) Selector {
	return Selector{ProductNumber: product, FeatureNumber: feature}
}

func TestDetachChecksTheRequestBeforeAnythingElse(t *testing.T) {
	w := worldOf(t, feature(1, 1))
	unknown := []Selector{one(99, 1)}
	for _, c := range []struct {
		name    string
		request DetachRequest
		field   string
	}{
		{"no duration", DetachRequest{Features: unknown, Seats: 1}, "durationInSec"},
		{"negative duration", DetachRequest{Features: unknown, Seats: 1, Duration: -1}, "durationInSec"},
		{"duration of 2^31", DetachRequest{Features: unknown, Seats: 1, Duration: 1 << 31}, "durationInSec"},
		{"largest number", DetachRequest{Features: unknown, Seats: 1, Duration: math.MaxInt64}, "durationInSec"},
		{"no seats", DetachRequest{Features: unknown, Duration: 1}, "concurrentResourceToConsume"},
		{"65536 seats", DetachRequest{Features: unknown, Seats: 65536, Duration: 1}, "concurrentResourceToConsume"},
		{"no features", DetachRequest{Seats: 1, Duration: 1}, "productFeatures"},
		{"too many features", DetachRequest{Features: make([]Selector, maxSelectors+1), Seats: 1, Duration: 1}, "productFeatures"},
	} {
		t.Run(c.name, func(t *testing.T) {
			c.request.Recipient = pc(1)
			_, err := w.detach(c.request, Policy{})
			if r := wantCode(t, err, code.InvalidParameter); !strings.Contains(r.Message, c.field) {
				t.Errorf("%q does not name the field %s", r.Message, c.field)
			}
		})
	}
}

func TestDetachTakesTheBounds(t *testing.T) {
	w := worldOf(t, feature(1, 1<<24))
	r := request(1, 1<<31-1, 1)
	r.Seats = 65535
	w.mustDetach(r)
	w.mustDetach(request(2, 1, 1))
}

// TestTheFirstReasonIsNamed takes the reasons away one after the other, in the
// order of the rules.
func TestTheFirstReasonIsNamed(t *testing.T) {
	bad := feature(1, 3)
	bad.ValidUpTo = start + 100
	bad.Detachable = false
	policy := Policy{Forbidden: []Selector{one(16, 1)}, Reserve: 1, MaxDuration: 50 * time.Second}
	w := worldOf(t, feature(1, 3))
	first := w.mustDetach(request(1, 1000, 1)) // out to computer 1, and 2 seats are left
	ask := request(1, 500, 1)
	ask.Seats = 3

	counter := uint64(1)
	is := func(want code.Code, words string) {
		t.Helper()
		counter++
		w.update(w.license(counter, bad))
		_, err := w.detach(ask, policy)
		r := wantCode(t, err, want)
		if len(r.Details) != 1 || r.Details[0].Code != want || !strings.Contains(r.Message, words) {
			t.Errorf("refused with %+v, want one detail about %q", r, words)
		}
	}
	unknown := ask
	unknown.Features = []Selector{one(16, 9)}
	_, err := w.detach(unknown, policy)
	wantCode(t, err, code.FeatureNotFound)

	w.now += 100
	is(code.FeatureExpired, "valid up to")
	bad.ValidUpTo = 0
	is(code.CanNotDetachSomeFeatures, "vendor does not allow")
	bad.Detachable, bad.MaxRuns = true, 5
	is(code.CanNotDetachSomeFeatures, "limited by runs")
	bad.MaxRuns, bad.Seats = 0, 0
	is(code.CanNotDetachSomeFeatures, "has no seats")
	bad.Seats, bad.ValidFrom = 3, start+2000
	is(code.CanNotDetachSomeFeatures, "is valid from")
	bad.ValidFrom = 0
	is(code.CancelPreviousDetachRequired, "out to this computer")
	if err := w.install(w.giveBack(1, first.License, 0)); err != nil {
		t.Fatal(err)
	}
	w.mustDetach(request(2, 1000, 1))
	is(code.FeatureResourceExhaust, "2 of its 3 seats are free, 3 are asked for")
	ask.Seats = 2
	is(code.DetachForbidden, "administrator forbids")
	policy.Forbidden = nil
	is(code.DetachForbidden, "1 of its seats must stay")
	ask.Seats = 1
	is(code.DetachForbidden, "at most 50 s")
	ask.Duration = 50
	if _, err := w.detach(ask, policy); err != nil {
		t.Errorf("with nothing in the way: %v", err)
	}
}

func TestTheLongestDurationIsNamed(t *testing.T) {
	for _, c := range []struct {
		name             string
		admin            time.Duration
		vendor, validity int64
		want             int64
	}{
		{name: "administrator", admin: 10 * time.Second, vendor: 20, validity: 30, want: 10},
		{name: "administrator in whole seconds", admin: 10*time.Second + 999*time.Millisecond, want: 10},
		{name: "vendor", admin: 20 * time.Second, vendor: 10, validity: 30, want: 10},
		{name: "validity", admin: 20 * time.Second, vendor: 20, validity: 10, want: 10},
		{name: "vendor alone", vendor: 10, want: 10},
		{name: "validity alone", validity: 10, want: 10},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld(t)
			f := feature(1, 9)
			if c.validity > 0 {
				f.ValidUpTo = start + c.validity
			}
			w.update(w.signed(document.PoolHead{Counter: 1, MaxDuration: c.vendor}, f))
			policy := Policy{MaxDuration: c.admin}
			_, err := w.detach(request(1, c.want+1, 1), policy)
			r := wantCode(t, err, code.DetachForbidden)
			if !strings.Contains(r.Details[0].Message, "at most 10 s, 11 s are asked for") {
				t.Errorf("%q does not name the longest that passes", r.Details[0].Message)
			}
			if _, err := w.detach(request(1, c.want, 1), policy); err != nil {
				t.Errorf("the longest that passes does not: %v", err)
			}
		})
	}
	t.Run("of several features", func(t *testing.T) {
		a, b := feature(1, 1), feature(2, 1)
		a.ValidUpTo, b.ValidUpTo = start+70, start+60
		w := worldOf(t, a, b)
		_, err := w.detach(request(1, 100, 1, 2), Policy{})
		if r := wantCode(t, err, code.DetachForbidden); !strings.Contains(r.Message, "all of them may be away for 60 s") {
			t.Errorf("%q does not name the longest that passes", r.Message)
		}
	})
}

func TestDetachIsAllOrNothing(t *testing.T) {
	bound := feature(3, 9)
	bound.Detachable = false
	w := worldOf(t, feature(1, 1), feature(2, 1), bound, feature(4, 9))
	w.mustDetach(request(1, 1000, 1, 2))

	_, err := w.detach(request(2, 1000, 1, 2, 4), Policy{})
	r := wantCode(t, err, code.FeatureResourceExhaust) // the features agree
	want := []Detail{
		{ProductNumber: 16, FeatureNumber: 1, Code: code.FeatureResourceExhaust, Message: "0 of its 1 seats are free, 1 are asked for"},
		{ProductNumber: 16, FeatureNumber: 2, Code: code.FeatureResourceExhaust, Message: "0 of its 1 seats are free, 1 are asked for"},
	}
	if diff := cmp.Diff(want, r.Details); diff != "" {
		t.Error(diff)
	}
	_, err = w.detach(request(2, 1000, 9, 4, 3, 1), Policy{})
	r = wantCode(t, err, code.CanNotDetachSomeFeatures) // they do not
	var codes []code.Code
	for _, d := range r.Details {
		codes = append(codes, d.Code)
	}
	if diff := cmp.Diff([]code.Code{code.FeatureResourceExhaust, code.CanNotDetachSomeFeatures, code.FeatureNotFound}, codes); diff != "" {
		t.Error(diff)
	}
	if got := w.free(4); got != 9 {
		t.Errorf("%d seats of the feature that was not in the way are free, want all 9", got)
	}
}

func TestALongRefusalIsReadable(t *testing.T) {
	var many []document.Feature
	for n := range uint32(document.MaxFeatures) {
		f := feature(n, 1)
		f.Detachable = n == 0
		many = append(many, f)
	}
	w := worldOf(t, many...)
	ask := request(1, 10)
	for n := range uint32(document.MaxFeatures - 1) {
		ask.Features = append(ask.Features, one(16, n+1))
	}
	_, err := w.detach(ask, Policy{})
	r := wantCode(t, err, code.CanNotDetachSomeFeatures)
	if len(r.Details) != document.MaxFeatures-1 || len(r.Message) > 500 || !strings.Contains(r.Message, "and 507 more") {
		t.Errorf("%d details in %d bytes: %s", len(r.Details), len(r.Message), r.Message)
	}
}

func TestSelectors(t *testing.T) {
	locked, counted, empty := feature(3, 9), feature(4, 9), feature(5, 0)
	locked.Detachable = false
	counted.MaxRuns = 10
	other := feature(1, 9)
	other.ProductNumber = 17
	bare := locked
	bare.ProductNumber = 18
	twice, again := feature(1, 9), feature(1, 9)
	twice.ProductNumber, again.ProductNumber, again.Modification = 19, 19, 2
	w := worldOf(t, feature(1, 9), feature(2, 9), locked, counted, empty, other, bare, twice, again)

	for _, c := range []struct {
		name      string
		selectors []Selector
		want      []document.FeatureRef
		refused   code.Code
	}{
		{"one feature", []Selector{one(16, 2)}, []document.FeatureRef{ref(2)}, 0},
		{"ordered", []Selector{one(16, 2), one(16, 1)}, []document.FeatureRef{ref(1), ref(2)}, 0},
		{"the same twice", []Selector{one(16, 2), one(16, 2)}, []document.FeatureRef{ref(2)}, 0},
		{"every detachable feature of a product", []Selector{whole(16)}, []document.FeatureRef{ref(1), ref(2)}, 0},
		{"a whole product's number does not count", []Selector{{16, 77, true}, {16, 78, true}}, []document.FeatureRef{ref(1), ref(2)}, 0},
		{"a product and its feature", []Selector{one(16, 1), whole(16)}, []document.FeatureRef{ref(1), ref(2)}, 0},
		{"two products", []Selector{whole(17), one(16, 1)}, []document.FeatureRef{ref(1), {ProductNumber: 17, FeatureNumber: 1}}, 0},
		{"an unknown product", []Selector{whole(99)}, nil, code.FeatureNotFound},
		{"a feature of an unknown product", []Selector{one(99, 1)}, nil, code.FeatureNotFound},
		{"an unknown feature", []Selector{one(16, 99)}, nil, code.FeatureNotFound},
		{"the largest numbers", []Selector{one(math.MaxUint32, math.MaxUint32)}, nil, code.FeatureNotFound},
		{"a product that cannot be detached", []Selector{whole(18)}, nil, code.CanNotDetachSomeFeatures},
		{"a feature that cannot be detached", []Selector{one(16, 3)}, nil, code.CanNotDetachSomeFeatures},
		{"two modifications", []Selector{one(19, 1)}, nil, code.InvalidParameter},
		{"two modifications, whole", []Selector{whole(19), one(99, 1)}, nil, code.InvalidParameter},
	} {
		t.Run(c.name, func(t *testing.T) {
			d, err := w.pool.Detach(DetachRequest{Features: c.selectors, Seats: 1, Duration: 10, Recipient: pc(1)}, Policy{}, w.now, w.newID)
			if c.refused != 0 {
				wantCode(t, err, c.refused)
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(c.want, d.Terms.Features); diff != "" {
				t.Error(diff)
			}
		})
	}
	_, err := w.pool.Detach(DetachRequest{Features: []Selector{one(19, 1), whole(19)}, Seats: 1, Duration: 10, Recipient: pc(1)}, Policy{}, w.now, w.newID)
	r := wantCode(t, err, code.InvalidParameter)
	var mods []uint32
	for _, d := range r.Details {
		mods = append(mods, d.Modification)
	}
	if !slices.Equal(mods, []uint32{0, 2}) || !strings.Contains(r.Message, "modification 2 of product 19") {
		t.Errorf("%+v does not list the modifications 0 and 2 once", r)
	}
}

func TestDetachFromAKeyWithoutAPoolLicense(t *testing.T) {
	_, err := newWorld(t).detach(request(1, 10, 1), Policy{})
	wantCode(t, err, code.FeatureNotFound)
}

func TestOneRecipientHasAFeatureOnce(t *testing.T) {
	w := worldOf(t, feature(1, 9), feature(2, 9))
	first := w.mustDetach(request(1, 1000, 1, 2))
	_, err := w.detach(request(1, 1000, 2), Policy{})
	r := wantCode(t, err, code.CancelPreviousDetachRequired)
	if r.Details[0].License != first.License {
		t.Errorf("the detail names license %d, want %d", r.Details[0].License, first.License)
	}
	w.mustDetach(request(2, 1000, 2)) // another computer may have it
	if got := w.pool.Out(pc(1).ID, ref(2)); got == nil || got.License != first.License {
		t.Errorf("Out gives %v, want license %d", got, first.License)
	}
	if w.pool.Out(pc(3).ID, ref(2)) != nil || w.pool.Out(pc(1).ID, ref(3)) != nil {
		t.Error("Out gives a license for who has none")
	}
	w.now += 1000 // expiry by the clock at once
	w.mustDetach(request(1, 1000, 2))
}

func TestTermsSayWhatWasAsked(t *testing.T) {
	w := worldOf(t, feature(1, 9), feature(2, 9))
	ask := request(1, 3600, 2, 1)
	ask.Seats = 3
	ask.Request = document.RequestKey{Key: document.Hash{1}, Request: document.Hash{2}}
	got := w.mustDetach(ask)
	want := document.Terms{
		License: got.License, Revision: 1, Key: keyID, Vendor: vendorCode, Counter: 1,
		Features: []document.FeatureRef{ref(1), ref(2)}, Seats: 3, Issued: w.now, Duration: 3600, Death: w.now + 3600,
		Recipient: pc(1), Request: ask.Request,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	record := w.pool.License(got.License)
	if record == nil || string(record.Terms().Encode()) != string(w.proofs[got.License].Entry) {
		t.Error("the record's terms do not give the license's entry again")
	}
	if w.pool.LicenseShort(uint32(got.License)) != record || w.pool.License(got.License+1<<40) != nil {
		t.Error("a license is not found by its short id and its whole id only")
	}
	l, err := document.NewLicense(record.Pool(), w.proofs[got.License])
	if err != nil {
		t.Fatal(err)
	}
	if err := l.Verify(publicOf(w.vendor)); err != nil {
		t.Error(err)
	}
	var features []document.Feature
	for i := range record.Len() {
		features = append(features, *record.Feature(i))
	}
	if diff := cmp.Diff(l.Features, features); diff != "" {
		t.Error(diff)
	}
}

func TestRequestKeys(t *testing.T) {
	w := worldOf(t, feature(1, 9))
	keyed := func(n int, key, req byte) DetachRequest {
		r := request(n, 1000, 1)
		r.Request = document.RequestKey{Key: document.Hash{key}, Request: document.Hash{req}}
		return r
	}
	first := w.mustDetach(keyed(1, 1, 1))

	d, err := w.detach(keyed(1, 1, 1), Policy{Forbidden: []Selector{whole(16)}})
	if err != nil || d.Entry != nil || d.Terms.License != first.License || d.Existing != w.pool.License(first.License) {
		t.Fatalf("asked again: %+v, %v, want license %d and no entry", d, err, first.License)
	}
	if got := w.free(1); got != 8 {
		t.Fatalf("asking twice took %d seats", 9-got)
	}
	_, err = w.detach(keyed(1, 1, 2), Policy{})
	wantCode(t, err, code.InvalidParameter)
	second := w.mustDetach(keyed(2, 2, 1))

	w.now += 10
	if err := w.install(w.giveBack(1, first.License, w.now+20)); err != nil {
		t.Fatal(err)
	}
	for range 3 { // while a grant lives, after it, and until the death
		_, err = w.detach(keyed(1, 1, 1), Policy{})
		wantCode(t, err, code.InvalidUpdateOrAlreadyInstalled)
		_, err = w.detach(keyed(1, 1, 2), Policy{})
		wantCode(t, err, code.InvalidParameter)
		w.now += 20
	}
	w.now = start + 999
	_, err = w.detach(keyed(1, 1, 1), Policy{})
	wantCode(t, err, code.InvalidUpdateOrAlreadyInstalled)
	w.now = start + 1000
	again := w.mustDetach(keyed(1, 1, 1))
	if again.License == first.License || again.License == second.License {
		t.Error("a request after the license's death gives the old one")
	}
	if err := w.pool.Check(); err != nil {
		t.Error(err)
	}
}

func TestARepeatWithinTheSkewSaysThatTheLicenseDied(t *testing.T) {
	w := newWorld(t)
	w.pool = NewPool(w.trust(100))
	w.update(w.license(1, feature(1, 9)))
	r := request(1, 1000, 1)
	r.Request.Key = document.Hash{7}
	w.mustDetach(r)
	w.now += 1000
	_, err := w.detach(r, Policy{})
	wantCode(t, err, code.DetachedLicenseExpired)
	w.now += 100
	w.mustDetach(r)
}

func TestTheFirstGoodIDIsTaken(t *testing.T) {
	w := worldOf(t, feature(1, 9))
	taken := w.mustDetach(request(1, 1000, 1)).License
	good := uint64(7<<32 | 12345)
	for _, c := range []struct {
		name       string
		candidates []uint64
	}{
		{"zero", []uint64{0}},
		{"32 bits", []uint64{1<<32 - 2}},
		{"more than 53 bits", []uint64{1 << 53, math.MaxUint64}},
		{"a short id that is none", []uint64{1 << 32, 5<<32 | 0xFFFFFFFF}},
		{"a living license's", []uint64{taken}},
		{"a living license's short id", []uint64{taken ^ 1<<50}},
	} {
		t.Run(c.name, func(t *testing.T) {
			left := append(slices.Clone(c.candidates), good)
			d, err := w.pool.Detach(request(2, 10, 1), Policy{}, w.now, func() uint64 {
				id := left[0]
				left = left[1:]
				return id
			})
			if err != nil || d.Terms.License != good {
				t.Errorf("took %d, %v, want %d", d.Terms.License, err, good)
			}
		})
	}
	_, err := w.pool.Detach(request(2, 10, 1), Policy{}, w.now, func() uint64 { return taken })
	wantCode(t, err, code.InternalError)
}

func TestPolicyAllows(t *testing.T) {
	policy := Policy{Forbidden: []Selector{one(16, 2), whole(17)}}
	locked, counted, empty, other := feature(1, 1), feature(1, 1), feature(1, 0), feature(1, 1)
	locked.Detachable, counted.MaxRuns, other.ProductNumber = false, 1, 17
	for _, c := range []struct {
		f    document.Feature
		want bool
	}{{feature(1, 1), true}, {feature(2, 1), false}, {locked, false}, {counted, false}, {empty, false}, {other, false}} {
		if got := policy.Allows(c.f); got != c.want {
			t.Errorf("Allows(%+v) = %v", c.f, got)
		}
	}
	w := worldOf(t, feature(1, 5))
	reserve := Policy{Reserve: math.MaxUint32}
	_, err := w.detach(request(1, 10, 1), reserve)
	wantCode(t, err, code.DetachForbidden)
}

func TestPropertyDetachNeverPanicsAndWhatItGivesFolds(t *testing.T) {
	locked := feature(3, 9)
	locked.Detachable = false
	dated := feature(4, 3)
	dated.ValidUpTo = start + 500
	w := worldOf(t, feature(1, 2), feature(2, 70000), locked, dated)
	rapid.Check(t, func(t *rapid.T) {
		w.t = t
		r := DetachRequest{
			Features: rapid.SliceOfN(rapid.Custom(func(t *rapid.T) Selector {
				return Selector{rapid.SampledFrom([]uint32{16, 17, 0, math.MaxUint32}).Draw(t, "product"), rapid.Uint32Range(0, 5).Draw(t, "feature"), rapid.Bool().Draw(t, "whole")}
			}), 0, 5).Draw(t, "features"),
			Seats:     rapid.Uint32().Draw(t, "seats"),
			Duration:  rapid.Int64().Draw(t, "duration"),
			Recipient: pc(rapid.IntRange(0, 3).Draw(t, "computer")),
		}
		if rapid.Bool().Draw(t, "sane") {
			r.Seats, r.Duration = r.Seats%4, r.Duration&1023
		}
		pool := w.pool
		d, err := w.detach(r, Policy{}) // commits, and so judges and applies
		w.pool = pool
		if err != nil && d.Entry != nil {
			t.Fatalf("an entry with the refusal %v", err)
		}
	})
}
