package licensing

import (
	"bytes"
	"testing"

	"github.com/sojournlm/sojourn/internal/document"
)

func someInventory() inventory {
	f := document.Feature{ProductNumber: 29, ProductName: "product", FeatureNumber: 4, Name: "feature", Seats: 3, RemoteMode: 3, Detachable: true}
	return inventory{Keys: []remoteKey{{
		ID: 77, Model: 2, Vendor: 1368487351, Firmware: "1.0", Manufactured: 1,
		Features: []remoteFeature{{Feature: f, Free: 2, Detached: 1, DetachAllowed: true}},
	}}}
}

// What a stranger tells of his keys is read strictly, or not at all; whatever is
// read can be shown.
func FuzzInventory(f *testing.F) {
	f.Add(document.Encode(someInventory()))
	f.Add(document.Encode(inventory{}))
	f.Fuzz(func(t *testing.T, body []byte) {
		keys, err := parseInventory(body)
		if err != nil {
			return
		}
		if again := document.Encode(inventory{keys}); !bytes.Equal(again, body) {
			t.Fatalf("read from\n%x\ngives\n%x", body, again)
		}
		at := sight{&station{}, seen{computer: &document.Fingerprint{}}}
		for i := range keys {
			r := remote{&keys[i], at}
			if k := r.key(); !k.Remote || k.ID != keys[i].ID {
				t.Fatalf("shown as %+v", k)
			}
			for n := range keys[i].Features {
				r.feature(&keys[i].Features[n], 1_800_000_000)
			}
		}
	})
}

func FuzzDetails(f *testing.F) {
	f.Add(encodeDetails([]Detail{{ProductNumber: 29, FeatureNumber: 4, Code: FeatureResourceExhaust, Message: "no"}}))
	f.Fuzz(func(t *testing.T, b []byte) {
		if details := parseDetails(b); len(details) > 0 && !bytes.Equal(encodeDetails(details), b) {
			t.Fatalf("read as %+v", details)
		}
	})
}

// An inventory that is not in order, or whose numbers and names cannot be, is
// refused by what is wrong with it.
func TestInventoryIsJudged(t *testing.T) {
	for name, spoil := range map[string]func(*inventory){
		"no key id":        func(v *inventory) { v.Keys[0].ID = 0 },
		"a license's id":   func(v *inventory) { v.Keys[0].ID = 1 << 40 },
		"a key twice":      func(v *inventory) { v.Keys = append(v.Keys, v.Keys[0]) },
		"an unknown model": func(v *inventory) { v.Keys[0].Model = 6 },
		"before 1970":      func(v *inventory) { v.Keys[0].Manufactured = -1 },
		"a bell":           func(v *inventory) { v.Keys[0].Firmware = "\a" },
		"a feature twice":  func(v *inventory) { v.Keys[0].Features = append(v.Keys[0].Features, v.Keys[0].Features[0]) },
		"a feature's bell": func(v *inventory) { v.Keys[0].Features[0].Feature.Name = "\a" },
		"too many seats":   func(v *inventory) { v.Keys[0].Features[0].Feature.Seats = 1<<24 + 1 },
	} {
		v := someInventory()
		spoil(&v)
		if keys, err := parseInventory(document.Encode(v)); err == nil {
			t.Errorf("%s: read as %+v", name, keys)
		}
	}
}
