package firmware

import (
	"bytes"
	"crypto/ed25519"
	"strings"
	"testing"

	"github.com/fxamacker/cbor/v2"

	"github.com/sojournlm/sojourn/internal/document"
	"github.com/sojournlm/sojourn/internal/wire"
)

// written is a pool license as the page of package device has it, in the page's own
// terms, with everything in the hands of the test.
type written struct {
	head     map[int]any
	features []cbor.RawMessage
	signer   ed25519.PrivateKey
	encode   func(any) []byte // of the head
	whole    func([]byte) []byte
}

func core(v any) []byte {
	mode, err := cbor.CoreDetEncOptions().EncMode()
	if err != nil {
		panic(err)
	}
	b, err := mode.Marshal(v)
	if err != nil {
		panic(err)
	}
	return b
}

func pageFeature(number uint32) map[int]any {
	return map[int]any{
		1: 29, 2: 0, 3: "product", 4: number, 5: "feature", 6: 3, 7: 1, 8: 0, 9: 0, 10: 0, 11: 0,
		12: true, 13: false, 14: false,
	}
}

// setFeatures replaces the features, with a count and a root that are theirs.
func (w *written) setFeatures(features ...any) {
	w.features = []cbor.RawMessage{}
	var leaves [][]byte
	for _, f := range features {
		b, ok := f.(cbor.RawMessage)
		if !ok {
			b = core(f)
		}
		w.features, leaves = append(w.features, b), append(leaves, b)
	}
	w.head[10] = len(leaves)
	if len(leaves) > 0 {
		w.head[11] = document.NewTree(leaves).Root()
	}
}

func (w *written) bytes() []byte {
	head := w.encode(w.head)
	signature := ed25519.Sign(w.signer, append([]byte("sojourn/pool/1\x00"), head...))
	return w.whole(core(map[int]any{1: map[int]any{1: head, 2: signature}, 2: w.features}))
}

// nested is an item of arrays within each other.
func nested(depth int) cbor.RawMessage {
	return append(bytes.Repeat([]byte{0x81}, depth-1), 0x80)
}

// The page of package device says what a key checks of a pool license, and what it leaves
// to others. The firmware does just that: each rule broken has the status that the page
// says, and what the page leaves to programs goes in and comes back to the byte.
func TestPageOfPools(t *testing.T) {
	type change = func(*written)
	set := func(field int, value any) change { return func(w *written) { w.head[field] = value } }
	drop := func(field int) change { return func(w *written) { delete(w.head, field) } }
	with := func(features ...any) change { return func(w *written) { w.setFeatures(features...) } }
	odd := func(field int, value any) change {
		return func(w *written) {
			f := pageFeature(1)
			f[field] = value
			w.setFeatures(f)
		}
	}
	binding := func(rules ...any) change { return set(8, map[int]any{1: rules, 2: 0}) }
	rule := func(name string, weight int) any { return map[int]any{1: name, 2: weight, 3: false} }
	features := func(n int) (all []any) {
		for i := range n {
			all = append(all, pageFeature(uint32(i)))
		}
		return all
	}
	whole := func(f func([]byte) []byte) change { return func(w *written) { w.whole = f } }
	raw := func(feature ...byte) change { // what no encoder writes
		return func(w *written) {
			w.setFeatures(cbor.RawMessage(feature))
			w.features = []cbor.RawMessage{core(make([]byte, len(feature)-1))}
			w.whole = func(b []byte) []byte { return append(b[:len(b)-len(feature)], feature...) }
		}
	}
	pairs := map[int]any{}
	for i := range 65 {
		pairs[i] = 0
	}

	for _, c := range []struct {
		name   string
		change change
		want   wire.Status
	}{
		{"as the page has it", func(*written) {}, wire.OK},

		// Form.
		{"bytes behind it", whole(func(b []byte) []byte { return append(b, 0) }), wire.Malformed},
		{"cut", whole(func(b []byte) []byte { return b[:len(b)-1] }), wire.Malformed},
		{"no map", whole(func([]byte) []byte { return []byte{0x80} }), wire.Malformed},
		{"a third field", whole(func(b []byte) []byte { return append(append([]byte{0xA3}, b[1:]...), 3, 0) }), wire.Malformed},
		{"a longer length than needed", whole(func(b []byte) []byte { return append([]byte{0xB8, 2}, b[1:]...) }), wire.Malformed},
		{"an indefinite length", whole(func(b []byte) []byte { return append(append([]byte{0xBF}, b[1:]...), 0xFF) }), wire.Malformed},
		{"a tag", whole(func(b []byte) []byte { return append([]byte{0xC1}, b...) }), wire.Malformed},
		{"a head of another version", set(1, 2), wire.Malformed},
		{"a head without version", drop(1), wire.Malformed},
		{"a head without longest detach", drop(9), wire.Malformed},
		{"a head with a twelfth field", set(12, 0), wire.Malformed},
		{"an id of text", set(2, "key"), wire.Malformed},
		{"a negative id", set(2, -1), wire.Malformed},
		{"a public key of 31 bytes", set(3, make([]byte, 31)), wire.Malformed},
		{"a vendor code of 33 bits", set(4, 1<<32), wire.Malformed},
		{"counter 0", set(6, 0), wire.Malformed},
		{"a negative counter", set(6, -1), wire.Malformed},
		{"no feature", with(), wire.Malformed},
		{"513 features", with(features(513)...), wire.Malformed},
		{"another count", set(10, 3), wire.Malformed},
		{"a root of 31 bytes", set(11, make([]byte, 31)), wire.Malformed},
		{"another root", set(11, make([]byte, 32)), wire.Malformed},
		{"features in another order than the root has them", func(w *written) {
			w.setFeatures(pageFeature(1), pageFeature(2))
			w.features[0], w.features[1] = w.features[1], w.features[0]
		}, wire.Malformed},
		{"a head whose fields do not rise", func(w *written) {
			w.encode = func(v any) []byte {
				b := core(v) // 1: 1, 2: the id in three bytes
				return append(append([]byte{b[0], 2}, b[4:7]...), append([]byte{1, 1}, b[7:]...)...)
			}
		}, wire.Malformed},
		{"a feature that is no item", raw(0x1C), wire.Malformed},
		{"a feature with a tag", raw(0xC1, 0), wire.Malformed},
		{"a feature of indefinite length", raw(0x9F, 0xFF), wire.Malformed},
		{"a feature nested too deep", with(nested(7)), wire.Malformed},
		{"a binding nested too deep", set(8, nested(8)), wire.Malformed},
		{"an array too long", set(8, make([]int, 4097)), wire.Malformed},
		{"a map too long", set(8, pairs), wire.Malformed},

		// Whose it is.
		{"another key's id", set(2, made.KeyID+1), wire.WrongKey},
		{"no key's id", set(2, 0), wire.WrongKey},
		{"another vendor's code", set(4, made.Vendor+1), wire.WrongKey},
		{"another public key", set(3, make([]byte, 32)), wire.WrongKey},
		{"another key's, and not signed", func(w *written) { w.head[2] = 1; w.signer = ed25519.NewKeyFromSeed(make([]byte, 32)) }, wire.WrongKey},

		// Who signed it.
		{"another vendor's signature", func(w *written) { w.signer = ed25519.NewKeyFromSeed(make([]byte, 32)) }, wire.NotSigned},
		{"no signature", whole(func(b []byte) []byte {
			return bytes.Replace(b, b[bytes.Index(b, []byte{2, 0x58, 64}):][:67], []byte{2, 0x40}, 1)
		}), wire.NotSigned},
		{"an old one, and not signed", func(w *written) {
			w.head[6] = 1
			w.signer = ed25519.NewKeyFromSeed(make([]byte, 32))
		}, wire.NotSigned},

		// How new it is.
		{"the counter of the one before", set(6, 5), wire.NotNewer},
		{"a lower counter", set(6, 4), wire.NotNewer},

		// What is for programs.
		{"another vendor key's number", set(5, 0), wire.OK},
		{"issued after the year 9999", set(7, uint64(1)<<63), wire.OK},
		{"a longest detach of text", set(9, "for ever"), wire.OK},
		{"rules in another order", binding(rule("MAC", 1), rule("CPU", 1)), wire.OK},
		{"a rule twice", binding(rule("CPU", 1), rule("CPU", 1)), wire.OK},
		{"a rule of weight 65536", binding(rule("CPU", 65536)), wire.OK},
		{"a rule without a name", binding(rule("", 1)), wire.OK},
		{"a binding of another kind", set(8, []int{1}), wire.OK},
		{"a binding as deep as may be", set(8, nested(7)), wire.OK},
		{"an array as long as may be", set(8, make([]int, 4096)), wire.OK},
		{"features in another order", with(pageFeature(2), pageFeature(1)), wire.OK},
		{"a feature twice", with(pageFeature(1), pageFeature(1)), wire.OK},
		{"remote mode 9", odd(7, 9), wire.OK},
		{"consumption mode 9", odd(8, 9), wire.OK},
		{"too many seats", odd(6, uint32(1)<<31), wire.OK},
		{"a feature that ends before it begins", func(w *written) { f := pageFeature(1); f[9], f[10] = 9, 8; w.setFeatures(f) }, wire.OK},
		{"a name with a control character", odd(5, "\x1b"), wire.OK},
		{"a long name", odd(3, strings.Repeat("x", 256)), wire.OK},
		{"a name that is no UTF-8", with(cbor.RawMessage{0x61, 0xFF}), wire.OK},
		{"a feature with a field more", odd(15, "tomorrow"), wire.OK},
		{"a feature of another kind", with(1.5), wire.OK},
		{"a feature in another encoding", with(cbor.RawMessage{0x18, 1}), wire.OK},
		{"a feature as deep as may be", with(nested(6)), wire.OK},
		{"512 features", with(features(512)...), wire.OK},
	} {
		k := start(t, NewMemory(Geometry{Pages: 64, PageSize: 4096, Endurance: 1000}), made)
		kept := pool(t, k, 5, 1)
		if status, _ := install(t, k, kept); status != wire.OK {
			t.Fatal(status)
		}
		w := &written{
			signer: testVendor, encode: core, whole: func(b []byte) []byte { return b },
			head: map[int]any{
				1: 1, 2: made.KeyID, 3: []byte(k.Public()), 4: made.Vendor, 5: document.VendorKeyID(made.VendorPublic),
				6: 6, 7: 1_700_000_000, 8: map[int]any{1: []any{rule("MACHINE", 1)}, 2: 0}, 9: 0,
			},
		}
		w.setFeatures(pageFeature(1), pageFeature(2))
		c.change(w)
		b := w.bytes()
		if c.want == wire.OK {
			kept = b
		}
		for range 2 { // and again, as after a lost answer
			if status, _ := install(t, k, b); status != c.want {
				t.Errorf("%s: status %d (%v), the page says %d (%v)", c.name, status, status, c.want, c.want)
			}
		}
		if !bytes.Equal(readBack(t, k), kept) {
			t.Errorf("%s: the key holds another one", c.name)
		}
	}
}
