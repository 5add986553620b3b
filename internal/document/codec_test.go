package document

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"math"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/fxamacker/cbor/v2"
)

// sample has a field of every shape that documents use.
type sample struct {
	Number uint64         `cbor:"1,keyasint"`
	Signed int64          `cbor:"2,keyasint"`
	Small  uint32         `cbor:"3,keyasint"`
	Flag   bool           `cbor:"4,keyasint"`
	Text   string         `cbor:"5,keyasint"`
	Bytes  []byte         `cbor:"6,keyasint"`
	Hash   Hash           `cbor:"7,keyasint"`
	List   []Hash         `cbor:"8,keyasint"`
	Raw    cborRawMessage `cbor:"9,keyasint"`
}

// parts are the sample's map entries as they must stand.
func parts() []string {
	hash := "5820" + strings.Repeat("07", 32)
	return []string{"0101", "0220", "0303", "04f5", "056161", "064101", "07" + hash, "0881" + hash, "09a10102"}
}

func join(parts []string) []byte {
	b, err := hex.DecodeString(fmt.Sprintf("%02x", 0xa0+len(parts)) + strings.Join(parts, ""))
	if err != nil {
		panic(err)
	}
	return b
}

func TestDecodeTakesOnlyOneForm(t *testing.T) {
	var v sample
	if err := Decode("sample", join(parts()), 1000, &v); err != nil {
		t.Fatal(err)
	}
	if v.Signed != -1 || v.Text != "a" || len(v.List) != 1 || v.Hash[31] != 7 {
		t.Fatalf("read as %+v", v)
	}
	swap := func(i int, part string) []byte {
		p := parts()
		p[i] = part
		return join(p)
	}
	hash := func(n int, prefix string) string { return prefix + strings.Repeat("07", n) }
	for _, c := range []struct {
		name string
		b    []byte
	}{
		{"nothing", nil},
		{"an array", []byte{0x80}},
		{"a longer form of a number", swap(0, "011801")},
		{"the longest form of a number", swap(0, "011b0000000000000001")},
		{"a negative number where none may be", swap(0, "0120")},
		{"a number as a float", swap(0, "01f93c00")},
		{"a number as a big number", swap(0, "01c24101")},
		{"a number as text", swap(0, "016131")},
		{"a number as null", swap(0, "01f6")},
		{"a number as undefined", swap(0, "01f7")},
		{"a number beyond 63 bits", swap(1, "021b8000000000000000")},
		{"a negative number beyond 63 bits", swap(1, "023b8000000000000000")},
		{"a number beyond 32 bits", swap(2, "031b0000000100000000")},
		{"a flag as a number", swap(3, "0401")},
		{"a flag as null", swap(3, "04f6")},
		{"a text as bytes", swap(4, "054161")},
		{"a text that is not UTF-8", swap(4, "0561ff")},
		{"a text in pieces", swap(4, "057f6161ff")},
		{"a text as null", swap(4, "05f6")},
		{"bytes as text", swap(5, "066101")},
		{"bytes as an array", swap(5, "068101")},
		{"bytes as null", swap(5, "06f6")},
		{"bytes in pieces", swap(5, "065f4101ff")},
		{"bytes with a longer length", swap(5, "06580101")},
		{"bytes with a length of 2^63", swap(5, "065b8000000000000000")},
		{"bytes with a tag", swap(5, "06d84041ff")},
		{"a short hash", swap(6, hash(31, "07581f"))},
		{"a long hash", swap(6, hash(33, "075821"))},
		{"an empty hash", swap(6, "0740")},
		{"a hash as an array", swap(6, hash(32, "079820"))},
		{"a hash as null", swap(6, "07f6")},
		{"a list as null", swap(7, "08f6")},
		{"a list with a null", swap(7, "0881f6")},
		{"a list of 2^32 elements", swap(7, "089b0000000100000000")},
		{"a list without end", swap(7, hash(32, "089f5820")+"ff")},
		{"a map that is a list", swap(7, "08a0")},
		{"a list nested deep", swap(8, "09"+strings.Repeat("81", 40)+"00")},
		{"a raw value that does not end", swap(8, "09a101")},
		{"a raw value in pieces", swap(8, "099f01ff")},
		{"a field missing", join(parts()[1:])},
		{"an unknown field", join(append(parts(), "0a00"))},
		{"a field named by text", swap(0, "613101")},
		{"a field twice", join(append(parts(), "09a10102"))},
		{"fields in another order", join(append(parts()[1:], parts()[0]))},
		{"something after it", append(join(parts()), 0)},
		{"a longer count of fields", slices.Concat([]byte{0xb8, 9}, join(parts())[1:])},
		{"a tag around it", append([]byte{0xd9, 0xd9, 0xf7}, join(parts())...)},
		{"half of it", join(parts())[:40]},
	} {
		t.Run(c.name, func(t *testing.T) {
			wantLink(t, Decode("sample", c.b, 1000, new(sample)), LinkEncoding)
		})
	}
	wantLink(t, Decode("sample", join(parts()), 50, new(sample)), LinkEncoding)
}

// Nothing inside a raw value is judged where the value is cut out, so whoever
// reads it must be as strict.
func TestLeavesAreStrictToo(t *testing.T) {
	w := newWorld(t)
	leaf := slices.Replace(Encode(w.pool.Features[0]), 0, 1, 0xb8, 14) // a longer count of fields
	var f PoolFile
	if err := Decode("pool", w.pool.Bytes(), MaxPool, &f); err != nil {
		t.Fatal(err)
	}
	f.Leaves[0] = leaf
	_, err := ParsePool(Encode(f))
	wantLink(t, err, LinkEncoding)

	entry := slices.Concat(w.entries[1][:4], []byte{0xb8, 14}, w.entries[1][5:])
	kind, body, err := ParseEntry(entry)
	if err != nil || kind != EntryDetached {
		t.Fatal(kind, err)
	}
	_, err = ParseTerms(body)
	wantLink(t, err, LinkEncoding)
}

// A newer document is refused by its version, whatever else it brings along.
func TestNewerVersionsAreRefusedByName(t *testing.T) {
	w := newWorld(t)
	newer := func(b []byte) []byte {
		var fields map[int]any
		if err := cbor.Unmarshal(b, &fields); err != nil {
			t.Fatal(err)
		}
		at := 1
		if fields[1] == magic {
			at = 2
		}
		fields[at] = 2
		fields[99] = [][]any{{"more", 1.5, map[string]any{"deep": []any{[]any{[]any{nil}}}}}}
		return Encode(fields)
	}
	head := func(b []byte) error {
		_, err := SignedHead{Head: b}.Parse()
		return err
	}
	refused := func(err error) error { return err }
	for name, err := range map[string]error{
		"pool license": head(newer(w.pool.Signed.Head)),
		"license":      refused(second(ParseLicense(newer(w.license.Bytes())))),
		"return":       refused(second(ParseReturn(newer(w.ret.Bytes())))),
		"fingerprint":  refused(second(ParseFingerprint(newer(w.fingerprint.Bytes())))),
		"batch header": refused(second(ParseHeader(newer(w.header)))),
		"file":         refused(second(Unwrap(newer(w.sealed(t))))),
		"terms":        refused(second(ParseTerms(newer(w.entries[1][4:])))),
	} {
		wantLink(t, err, LinkVersion)
		if !strings.Contains(err.Error(), "version 2, this program knows version 1") {
			t.Errorf("%s: %v", name, err)
		}
	}
	// The version is also asked where every field is a known one.
	h := Header{Version: 2, Seq: 1, Count: 1}
	wantLink(t, second(ParseHeader(Encode(h))), LinkVersion)
}

func second[T any](_ T, err error) error { return err }

// What claims to be huge costs no more than the bytes it really has: a hostile
// document takes at most some tens of bytes of memory for each of its own.
func TestHostileSizesCostNoMemory(t *testing.T) {
	deep := bytes.Repeat([]byte{0x81}, MaxLicense-1)
	hashes := append([]byte{0x99, 0x0f, 0xff}, bytes.Repeat([]byte{0x40}, 0xfff)...)
	feature := slices.Concat([]byte{0xa3, 1, 0xa0, 2, 0, 3}, hashes)
	many := []byte{0xa4, 1, 1, 2, 0xa2, 1, 0x40, 2, 0x40, 3, 0x99, 0, 120}
	for range 120 {
		many = append(many, feature...)
	}
	many = append(many, 4, 0xa0)
	for name, b := range map[string][]byte{
		"deep":           deep,
		"empty leaves":   slices.Concat([]byte{0xa4, 1, 1, 2, 0xa2, 1, 0x40, 2, 0x40, 3, 0x99, 0x0f, 0xff}, bytes.Repeat([]byte{0xa0}, 0xfff), []byte{4, 0xa0}),
		"empty hashes":   many,
		"declared bytes": {0xa1, 1, 0x5b, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff},
		"declared list":  {0xa1, 3, 0x9b, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff},
		"declared map":   {0xbb, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff},
		"too large":      make([]byte, MaxEnvelope+1),
	} {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		if _, err := ParseLicense(b); err == nil {
			t.Errorf("%s: accepted", name)
		}
		if _, err := Unwrap(b); err == nil {
			t.Errorf("%s: accepted", name)
		}
		runtime.ReadMemStats(&after)
		if took, most := after.TotalAlloc-before.TotalAlloc, uint64(200*len(b)+64<<10); took > most {
			t.Errorf("%s: %d bytes took %d bytes of memory", name, len(b), took)
		}
	}
}

func TestFields(t *testing.T) {
	long := strings.Repeat("x", MaxText+1)
	head := func(edit func(*PoolHead)) func(*world) error {
		return func(w *world) error {
			h := testHead(public(w.key))
			edit(&h)
			_, err := SignPool(w.vendor, h, testFeatures())
			return err
		}
	}
	features := func(edit func([]Feature) []Feature) func(*world) error {
		return func(w *world) error {
			_, err := SignPool(w.vendor, testHead(public(w.key)), edit(testFeatures()))
			return err
		}
	}
	feature := func(edit func(*Feature)) func(*world) error {
		return features(func(f []Feature) []Feature { edit(&f[4]); return f })
	}
	terms := func(edit func(*Terms)) func(*world) error {
		return func(w *world) error {
			edit(&w.terms)
			_, body, err := ParseEntry(w.terms.Encode())
			if err != nil {
				return err
			}
			_, err = ParseTerms(body)
			return err
		}
	}
	computer := func(edit func(*Recipient)) func(*world) error {
		return func(w *world) error {
			c := w.computer()
			edit(&c)
			_, err := SignFingerprint(w.manager, c, testIssued)
			return err
		}
	}
	header := func(h Header) func(*world) error {
		return func(*world) error {
			_, err := ParseHeader(h.Encode())
			return err
		}
	}
	for name, try := range map[string]func(*world) error{
		"pool: key 0":             head(func(h *PoolHead) { h.Key = 0 }),
		"pool: key 2^32-1":        head(func(h *PoolHead) { h.Key = 1<<32 - 1 }),
		"pool: long key id":       head(func(h *PoolHead) { h.Key = 1 << 32 }),
		"pool: short key":         head(func(h *PoolHead) { h.KeyPublic = h.KeyPublic[1:] }),
		"pool: counter 0":         head(func(h *PoolHead) { h.Counter = 0 }),
		"pool: issued before":     head(func(h *PoolHead) { h.Issued = -1 }),
		"pool: issued after":      head(func(h *PoolHead) { h.Issued = math.MaxInt64 }),
		"pool: negative duration": head(func(h *PoolHead) { h.MaxDuration = -1 }),
		"pool: rule twice":        head(func(h *PoolHead) { h.Binding.Rules[1] = h.Binding.Rules[0] }),
		"pool: rules unordered":   head(func(h *PoolHead) { slices.Reverse(h.Binding.Rules) }),
		"pool: heavy rule":        head(func(h *PoolHead) { h.Binding.Rules[0].Weight = MaxWeight + 1 }),
		"pool: nameless rule":     head(func(h *PoolHead) { h.Binding.Rules[0].Component = "" }),
		"pool: long rule":         head(func(h *PoolHead) { h.Binding.Rules[0].Component = long }),
		"pool: too many rules":    head(func(h *PoolHead) { h.Binding.Rules = make([]BindingRule, MaxComponents+1) }),

		"features: none":       features(func(f []Feature) []Feature { return nil }),
		"features: too many":   features(func(f []Feature) []Feature { return numbered(MaxFeatures + 1) }),
		"features: too large":  features(func(f []Feature) []Feature { return named(numbered(MaxFeatures), long[1:]) }),
		"features: twice":      features(func(f []Feature) []Feature { return append(f, f[len(f)-1]) }),
		"features: unordered":  features(func(f []Feature) []Feature { slices.Reverse(f); return f }),
		"feature: seats":       feature(func(f *Feature) { f.Seats = MaxSeats + 1 }),
		"feature: number":      feature(func(f *Feature) { f.FeatureNumber = 1<<32 - 1 }),
		"feature: product":     feature(func(f *Feature) { f.ProductNumber = 1<<32 - 1 }),
		"feature: remote mode": feature(func(f *Feature) { f.RemoteMode = 4 }),
		"feature: consumption": feature(func(f *Feature) { f.ConsumptionMode = 3 }),
		"feature: from":        feature(func(f *Feature) { f.ValidFrom = -1 }),
		"feature: up to":       feature(func(f *Feature) { f.ValidUpTo = MaxTime + 1 }),
		"feature: never":       feature(func(f *Feature) { f.ValidFrom, f.ValidUpTo = 20, 10 }),
		"feature: long name":   feature(func(f *Feature) { f.Name = long }),
		"feature: escape":      feature(func(f *Feature) { f.Name = "\x1b[2J" }),
		"feature: not UTF-8":   feature(func(f *Feature) { f.ProductName = "\xff" }),

		"terms: short id":         terms(func(t *Terms) { t.License = 1<<32 - 2 }),
		"terms: long id":          terms(func(t *Terms) { t.License = 1 << 53 }),
		"terms: id ends in 0":     terms(func(t *Terms) { t.License = 1 << 40 }),
		"terms: id ends in ones":  terms(func(t *Terms) { t.License = 1<<40 - 1 }),
		"terms: parent":           terms(func(t *Terms) { t.Parent = 5 }),
		"terms: key":              terms(func(t *Terms) { t.Key = 1 << 33 }),
		"terms: counter":          terms(func(t *Terms) { t.Counter = 0 }),
		"terms: no features":      terms(func(t *Terms) { t.Features = nil }),
		"terms: feature twice":    terms(func(t *Terms) { t.Features[1] = t.Features[0] }),
		"terms: unordered":        terms(func(t *Terms) { slices.Reverse(t.Features) }),
		"terms: too many":         terms(func(t *Terms) { t.Features = make([]FeatureRef, MaxFeatures+1) }),
		"terms: no seats":         terms(func(t *Terms) { t.Seats = 0 }),
		"terms: too many seats":   terms(func(t *Terms) { t.Seats = 65536 }),
		"terms: no duration":      terms(func(t *Terms) { t.Duration, t.Death = 0, t.Issued }),
		"terms: long duration":    terms(func(t *Terms) { t.Duration = 1 << 31; t.Death = t.Issued + t.Duration }),
		"terms: does not add up":  terms(func(t *Terms) { t.Death++ }),
		"terms: negative":         terms(func(t *Terms) { t.Issued, t.Death = -3600, 0 }),
		"terms: sum overflows":    terms(func(t *Terms) { t.Issued = math.MaxInt64; t.Death = math.MinInt64 + t.Duration - 1 }),
		"terms: recipient":        terms(func(t *Terms) { t.Recipient.ID = 0 }),
		"terms: short seal key":   terms(func(t *Terms) { t.Recipient.Seal = t.Recipient.Seal[1:] }),
		"terms: too large":        terms(func(t *Terms) { t.Recipient.HostName = strings.Repeat("x", MaxEntry) }),
		"computer: id":            computer(func(c *Recipient) { c.ID = math.MaxUint64 }),
		"computer: no seal key":   computer(func(c *Recipient) { c.Seal = nil }),
		"computer: host name":     computer(func(c *Recipient) { c.HostName = long }),
		"computer: two lines":     computer(func(c *Recipient) { c.HostName = "a\nb" }),
		"computer: twice":         computer(func(c *Recipient) { c.Components[0] = c.Components[1] }),
		"computer: unordered":     computer(func(c *Recipient) { slices.Reverse(c.Components) }),
		"computer: nameless":      computer(func(c *Recipient) { c.Components[0].Name = "" }),
		"computer: long name":     computer(func(c *Recipient) { c.Components[0].Name = long }),
		"computer: not UTF-8":     computer(func(c *Recipient) { c.Components[0].Name = "\xff" }),
		"computer: too many":      computer(func(c *Recipient) { c.Components = make([]Component, MaxComponents+1) }),
		"header: batch 0":         header(Header{Count: 1}),
		"header: no entries":      header(Header{Seq: 1}),
		"header: too many":        header(Header{Seq: 1, Count: maxLeaves + 1}),
		"header: negative time":   header(Header{Seq: 1, Count: 1, Time: -1}),
		"header: endless horizon": header(Header{Seq: 1, Count: 1, Horizon: math.MaxInt64}),
	} {
		t.Run(name, func(t *testing.T) {
			wantLink(t, try(newWorld(t)), LinkContent, LinkEncoding)
		})
	}
}

func numbered(n int) []Feature {
	out := make([]Feature, n)
	for i := range out {
		out[i].FeatureNumber = uint32(i)
	}
	return out
}

func named(f []Feature, name string) []Feature {
	for i := range f {
		f[i].Name = name
	}
	return f
}

// The largest documents that pass every check fit their limits on size.
func TestLargestDocumentsFit(t *testing.T) {
	w := newWorld(t)
	features := numbered(MaxFeatures)
	for i := range features {
		features[i].Seats, features[i].Name = MaxSeats, strings.Repeat("n", 60)
		features[i].FeatureNumber += 1 << 31
		features[i].ProductNumber = 1 << 31
		features[i].Modification = 1 << 31
	}
	pool := ok(SignPool(w.vendor, testHead(public(w.key)), features))(t)
	c := w.computer()
	c.HostName, c.Components = strings.Repeat("h", MaxText), nil
	for i := range MaxComponents {
		c.Components = append(c.Components, Component{Name: fmt.Sprintf("%0*d", maxComponentName, i)})
	}
	if f := ok(SignFingerprint(w.manager, c, testIssued))(t); len(f.Bytes()) > MaxFingerprint/2 {
		t.Errorf("the largest fingerprint has %d bytes", len(f.Bytes()))
	}
	w.terms.Recipient, w.terms.Features = c, nil
	for _, f := range pool.Features {
		w.terms.Features = append(w.terms.Features, f.Ref())
	}
	w.entries[1] = w.terms.Encode()
	w.batch(t, w.key)
	w.license = ok(NewLicense(pool, w.proof))(t)
	if err := w.license.Verify(public(w.vendor)); err != nil {
		t.Error(err)
	}
	if _, err := w.accept(w.sealed(t)); err != nil {
		t.Error(err)
	}
	r := ok(SignReturn(w.manager, w.proof, ReasonCancelled, testIssued, testDeath))(t)
	if err := r.Verify(public(w.key)); err != nil {
		t.Error(err)
	}
	t.Logf("pool %d, license %d, return %d bytes", len(pool.Bytes()), len(w.license.Bytes()), len(r.Bytes()))
}
