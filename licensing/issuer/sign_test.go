package issuer

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"errors"
	"io"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sojournlm/sojourn/internal/document"
)

var (
	vendor    = ed25519.NewKeyFromSeed(bytes.Repeat([]byte{1}, 32))
	keyPublic = ed25519.NewKeyFromSeed(bytes.Repeat([]byte{2}, 32)).Public().(ed25519.PublicKey)
	day       = time.Date(2026, time.March, 1, 12, 0, 0, 999, time.UTC)
)

func testPool() Pool {
	return Pool{
		Key: 0x519175B8, KeyPublic: keyPublic, Vendor: 1368487351, Counter: 3, Issued: day, MaxDuration: time.Hour,
		Binding: Binding{Rules: []Rule{{"MACHINE", 2, false}, {"CPU", 1, true}}, MaxChanges: 1},
		Products: []Product{
			{Number: 16, Modification: 1, Name: "Drafting+", Features: []Feature{{Number: 2}}},
			{Number: 16, Name: "Drafting", Features: []Feature{
				{Number: 4, Name: "print", Seats: 5, Remote: Local, Consumption: PerProcess, MaxRuns: 7, RDPForbidden: true, VMForbidden: true},
				{Number: 2, Name: "edit", Seats: 10, Detachable: true, ValidFrom: day, ValidUpTo: day.AddDate(1, 0, 0)},
			}},
		},
	}
}

func parse(t *testing.T, file []byte) *document.Pool {
	t.Helper()
	e, err := document.Unwrap(file)
	if err != nil {
		t.Fatal(err)
	}
	p, err := e.Pool()
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Verify(vendor.Public().(ed25519.PublicKey)); err != nil {
		t.Fatal(err)
	}
	return p
}

func TestSign(t *testing.T) {
	file, err := Sign(vendor, testPool())
	if err != nil {
		t.Fatal(err)
	}
	p := parse(t, file)
	want := document.PoolHead{
		Version: 1, Key: 0x519175B8, KeyPublic: keyPublic, Vendor: 1368487351,
		VendorKey: document.VendorKeyID(vendor.Public().(ed25519.PublicKey)),
		Counter:   3, Issued: day.Unix(), MaxDuration: 3600, Count: 3, FeatureRoot: p.Head.FeatureRoot,
		Binding: document.Binding{MaxChanges: 1, Rules: []document.BindingRule{
			{Component: "CPU", Weight: 1, Replaceable: true}, {Component: "MACHINE", Weight: 2},
		}},
	}
	if diff := cmp.Diff(want, p.Head); diff != "" {
		t.Errorf("head (-want +got)\n%s", diff)
	}
	features := []document.Feature{
		{ProductNumber: 16, ProductName: "Drafting", FeatureNumber: 2, Name: "edit", Seats: 10, Detachable: true,
			RemoteMode: 3, ValidFrom: day.Unix(), ValidUpTo: day.AddDate(1, 0, 0).Unix()},
		{ProductNumber: 16, ProductName: "Drafting", FeatureNumber: 4, Name: "print", Seats: 5, RemoteMode: 1,
			ConsumptionMode: 2, MaxRuns: 7, RDPForbidden: true, VMForbidden: true},
		{ProductNumber: 16, Modification: 1, ProductName: "Drafting+", FeatureNumber: 2, RemoteMode: 3},
	}
	if diff := cmp.Diff(features, p.Features); diff != "" {
		t.Errorf("features (-want +got)\n%s", diff)
	}
}

// The order in which a vendor names things is not part of the license.
func TestSignOrders(t *testing.T) {
	first, err := Sign(vendor, testPool())
	if err != nil {
		t.Fatal(err)
	}
	other := testPool()
	slices.Reverse(other.Products)
	slices.Reverse(other.Products[0].Features)
	slices.Reverse(other.Binding.Rules)
	second, err := Sign(vendor, other)
	if err != nil || !bytes.Equal(first, second) {
		t.Errorf("another order gives another license: %v", err)
	}
}

func TestSignBindsToTheMachineByDefault(t *testing.T) {
	p := testPool()
	p.Binding = Binding{}
	file, err := Sign(vendor, p)
	if err != nil {
		t.Fatal(err)
	}
	want := document.Binding{Rules: []document.BindingRule{{Component: "MACHINE", Weight: 1}}}
	if diff := cmp.Diff(want, parse(t, file).Head.Binding); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
}

func TestSignRefusesByField(t *testing.T) {
	long := strings.Repeat("x", 256)
	for _, c := range []struct {
		field string
		edit  func(*Pool)
	}{
		{"Key", func(p *Pool) { p.Key = 0 }},
		{"Key", func(p *Pool) { p.Key = 1<<32 - 1 }},
		{"KeyPublic", func(p *Pool) { p.KeyPublic = p.KeyPublic[:31] }},
		{"KeyPublic", func(p *Pool) { p.KeyPublic = nil }},
		{"Counter", func(p *Pool) { p.Counter = 0 }},
		{"Issued", func(p *Pool) { p.Issued = time.Time{} }},
		{"Issued", func(p *Pool) { p.Issued = time.Unix(-1, 0) }},
		{"Issued", func(p *Pool) { p.Issued = time.Date(10000, 1, 1, 0, 0, 0, 0, time.UTC) }},
		{"MaxDuration", func(p *Pool) { p.MaxDuration = -time.Second }},
		{"MaxDuration", func(p *Pool) { p.MaxDuration = time.Millisecond }},
		{"Binding.MaxChanges", func(p *Pool) { p.Binding = Binding{MaxChanges: 1} }},
		{"KeyPublic", func(p *Pool) { p.KeyPublic = make(ed25519.PublicKey, ed25519.PublicKeySize) }},
		{"Binding.Rules", func(p *Pool) { p.Binding.Rules[0].Component = "CPU" }},
		{"Binding.Rules", func(p *Pool) { p.Binding.Rules[0].Component = "" }},
		{"Binding.Rules", func(p *Pool) { p.Binding.Rules[0].Weight = 1 << 16 }},
		{"Binding.Rules", func(p *Pool) { p.Binding.Rules = make([]Rule, 33) }},
		{"Products", func(p *Pool) { p.Products = nil }},
		{"Products[0].Features", func(p *Pool) { p.Products = []Product{{Number: 1}} }},
		{"Products[1].Features", func(p *Pool) { p.Products[1].Features = nil }},
		{"Products", func(p *Pool) { p.Products[0].Features = many(513) }},
		{"Products[1]", func(p *Pool) { p.Products[1].Modification = 1 }},
		{"Products[1].Features[1]", func(p *Pool) { p.Products[1].Features[1].Number = 4 }},
		{"Products[1].Features[0]", func(p *Pool) { p.Products[1].Features[0].Number = 1<<32 - 1 }},
		{"Products[0].Features[0]", func(p *Pool) { p.Products[0].Number = 1<<32 - 1 }},
		{"Products[0].Name", func(p *Pool) { p.Products[0].Name = long }},
		{"Products[1].Features[0].Name", func(p *Pool) { p.Products[1].Features[0].Name = "two\nlines" }},
		{"Products[1].Features[0]", func(p *Pool) { p.Products[1].Features[0].Seats = 1<<24 + 1 }},
		{"Products[1].Features[0]", func(p *Pool) { p.Products[1].Features[0].Remote = 4 }},
		{"Products[1].Features[0]", func(p *Pool) { p.Products[1].Features[0].Consumption = 3 }},
		{"Products[1].Features[1]", func(p *Pool) { p.Products[1].Features[1].ValidUpTo = day.Add(-time.Hour) }},
		{"Products[1].Features[1].ValidFrom", func(p *Pool) { p.Products[1].Features[1].ValidFrom = time.Unix(0, 0) }},
		{"Products[1].Features[1].ValidUpTo", func(p *Pool) { p.Products[1].Features[1].ValidUpTo = time.Unix(-5, 0) }},
	} {
		p := testPool()
		c.edit(&p)
		file, err := Sign(vendor, p)
		refused, ok := errors.AsType[*Error](err)
		if file != nil || !ok || refused.Field != c.field || !strings.HasPrefix(err.Error(), "issuer: "+c.field+": ") {
			t.Errorf("%s: %v", c.field, err)
		}
	}
}

// No key is refused like a wrong one.
func TestSignWithoutKey(t *testing.T) {
	for _, vendor := range []crypto.Signer{nil, ed25519.PrivateKey(nil), make(ed25519.PrivateKey, 40)} {
		if file, err := Sign(vendor, testPool()); file != nil || err == nil || !strings.Contains(err.Error(), "the vendor's key") {
			t.Errorf("%v", err)
		}
	}
}

func many(n int) []Feature {
	out := make([]Feature, n)
	for i := range out {
		out[i].Number = uint32(i)
	}
	return out
}

func TestSignTooLarge(t *testing.T) {
	p := testPool()
	p.Products[0].Name = strings.Repeat("x", 255)
	p.Products[0].Features = many(500)
	if _, err := Sign(vendor, p); err == nil || !strings.Contains(err.Error(), "at most 65536 are allowed") {
		t.Error(err)
	}
}

// broken is a signer whose HSM is away.
type broken struct{ public crypto.PublicKey }

var errAway = errors.New("the HSM is away")

func (b broken) Public() crypto.PublicKey { return b.public }

func (b broken) Sign(io.Reader, []byte, crypto.SignerOpts) ([]byte, error) { return nil, errAway }

// liar signs with another key than it shows.
type liar struct{ ed25519.PrivateKey }

func (l liar) Public() crypto.PublicKey { return keyPublic }

func TestSignNeedsAnEd25519Signer(t *testing.T) {
	other, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Sign(other, testPool()); err == nil || !strings.Contains(err.Error(), "Ed25519") {
		t.Error(err)
	}
	if _, err := Sign(broken{vendor.Public()}, testPool()); !errors.Is(err, errAway) {
		t.Error(err)
	}
	if _, err := Sign(liar{vendor}, testPool()); err == nil || !strings.Contains(err.Error(), "not by its own key") {
		t.Error(err)
	}
}
