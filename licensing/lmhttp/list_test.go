package lmhttp

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sojournlm/sojourn/licensing"
)

// entriesOf gives the rows of a list and its total.
func entriesOf(t testing.TB, res *http.Response) (rows []any, total int) {
	t.Helper()
	var body map[string][]any
	if err := json.NewDecoder(res.Body).Decode(&body); err != nil || res.StatusCode != http.StatusOK || len(body) != 1 {
		t.Fatalf("status %d, %v, %d lists", res.StatusCode, err, len(body))
	}
	total, err := strconv.Atoi(res.Header.Get("X-Total-Count"))
	if err != nil {
		t.Fatal(err)
	}
	for _, rows = range body {
		if rows == nil {
			t.Fatal("null is no list")
		}
	}
	return rows, total
}

// busy is an office with several entries in every list.
func busy(t testing.TB) *world {
	w := newWorld(t, nil)
	w.installed()
	for i, key := range []uint64{keyA, keyB, keyB} {
		w.clock.turn(time.Second)
		out, err := w.office.Detach(w.ctx, licensing.DetachRequest{
			Offline: true, Recipient: w.office.lmsID, Key: key, Duration: time.Hour,
			Features: []licensing.Selector{[]licensing.Selector{
				{ProductNumber: 29, FeatureNumber: 5}, {ProductNumber: 16, FeatureNumber: 2}, {ProductNumber: 4, FeatureNumber: 1},
			}[i]},
		}, nil)
		w.ok(err)
		if i < 2 {
			w.ok(w.office.Install(w.ctx, out.License, nil))
			if _, err := w.office.CancelDetach(w.ctx, licensing.CancelRequest{Offline: true, License: out.LicenseID}, nil); err != nil {
				w.Fatal(err)
			}
		} else {
			w.ok(w.office.Install(w.ctx, out.License, nil))
		}
	}
	return w
}

var lists = []string{
	"/detached/products/features", "/cancelled/licenses", "/fingerprints", "/fingerpints", "/dongles", "/features", "/dongles/products/features",
}

// TestPages: the pages of a list, one behind the other, are the list, and each
// tells the total. Past the end there is nothing.
func TestPages(t *testing.T) {
	w := busy(t)
	for _, path := range lists {
		all, total := entriesOf(t, w.office.ask("GET", BasePath+path, ""))
		if len(all) != total || total < 2 {
			t.Errorf("%s: %d entries, total %d", path, len(all), total)
		}
		for limit := 1; limit <= total+1; limit++ {
			var joined []any
			for page := 1; page <= total+1; page++ {
				rows, n := entriesOf(t, w.office.ask("GET", fmt.Sprintf("%s%s?page=%d&limit=%d", BasePath, path, page, limit), ""))
				if n != total || len(rows) > limit {
					t.Errorf("%s page %d of %d: %d entries, total %d", path, page, limit, len(rows), n)
				}
				joined = append(joined, rows...)
			}
			if diff := cmp.Diff(all, joined); diff != "" {
				t.Errorf("%s by %d:\n%s", path, limit, diff)
			}
		}
		for _, query := range []string{"?page=2", "?page=2147483647&limit=2147483647"} {
			if rows, n := entriesOf(t, w.office.ask("GET", BasePath+path+query, "")); len(rows) != 0 || n != total {
				t.Errorf("%s%s: %d entries, total %d", path, query, len(rows), n)
			}
		}
		if rows, _ := entriesOf(t, w.office.ask("GET", BasePath+path+"?page=&limit=&search=&dongle=&product=&feature=", "")); len(rows) != total {
			t.Errorf("%s: empty parameters count", path)
		}
	}
}

// TestFilters: what a filter leaves is what fits it, in every list that has it.
func TestFilters(t *testing.T) {
	w := busy(t)
	for query, want := range map[string][3]int{ // detached, features, keys with such features
		"":                                 {4, 9, 3},
		"?search=DemoNvk":                  {4, 9, 3},
		"?search=1368487351":               {4, 9, 3}, // it is the vendor's number, too
		"?search=4006242369":               {2, 2, 1},
		"?search=größe":                    {1, 1, 1},
		"?search=grdbench":                 {1, 0, 0},
		"?search=nowhere":                  {0, 0, 0},
		"?dongle=4006242369":               {2, 2, 1},
		"?dongle=-288724927":               {2, 2, 1},
		"?product=4":                       {1, 2, 2},
		"?feature=1":                       {1, 4, 2},
		"?product=16&feature=2&dongle=7":   {0, 0, 0},
		"?dongle=1368487351&product=16":    {1, 3, 1},
		"?dongle=956653681540574192":       {0, 0, 0},
		"?product=4294967295&feature=1":    {0, 0, 0},
		"?dongle=1368487351&search=edit":   {1, 3, 1},
		"?search=play&unknown=7&product=4": {1, 2, 2},
		"?search=%":                        {-1, -1, -1},
	} {
		for i, path := range []string{"/detached/products/features", "/features", "/dongles/products/features"} {
			res := w.office.ask("GET", BasePath+path+query, "")
			if want[i] < 0 {
				if res.StatusCode != http.StatusBadRequest {
					t.Errorf("%s%s: status %d", path, query, res.StatusCode)
				}
				continue
			}
			if rows, total := entriesOf(t, res); len(rows) != want[i] || total != want[i] {
				t.Errorf("%s%s: %d entries, total %d, want %d", path, query, len(rows), total, want[i])
			}
		}
	}
}

// TestKeySearch: a key is found by itself and by what it holds.
func TestKeySearch(t *testing.T) {
	w := busy(t)
	for search, want := range map[string]int{
		"gr%C3%96%C3%9FE": 1, "editor": 1, "test_detach": 1, "4006242369": 1, "demonvk": 3, "nowhere": 0, "grdbench": 0,
	} {
		if rows, total := entriesOf(t, w.office.ask("GET", BasePath+"/dongles?search="+search, "")); len(rows) != want || total != want {
			t.Errorf("%s: %d keys, total %d, want %d", search, len(rows), total, want)
		}
	}
}

// TestTree: the tree has the same features as the flat list, each below its key
// and product.
func TestTree(t *testing.T) {
	w := busy(t)
	var flat struct{ Features []feature }
	w.ok(json.NewDecoder(w.office.ask("GET", BasePath+"/features", "").Body).Decode(&flat))
	var tree struct{ Dongles []branch }
	w.ok(json.NewDecoder(w.office.ask("GET", BasePath+"/dongles/products/features", "").Body).Decode(&tree))
	var leaves []feature
	for _, d := range tree.Dongles {
		if len(d.Products) != d.ProductsCount {
			t.Errorf("key %d: %d products, says %d", d.DongleID, len(d.Products), d.ProductsCount)
		}
		for _, p := range d.Products {
			for _, f := range p.Features {
				if f.DongleID != d.DongleID || p.DongleID != d.DongleID || f.ProductNumber != p.ProductNumber || f.ProductModification != p.Modification {
					t.Errorf("feature %d of product %d/%d of key %d is below product %d/%d of key %d",
						f.FeatureNumber, f.ProductNumber, f.ProductModification, f.DongleID, p.ProductNumber, p.Modification, d.DongleID)
				}
				leaves = append(leaves, f)
			}
		}
	}
	if diff := cmp.Diff(flat.Features, leaves); diff != "" {
		t.Errorf("(-flat +tree):\n%s", diff)
	}
}

// TestHead: a HEAD is answered like a GET, and nothing is walked through for it.
func TestHead(t *testing.T) {
	w := busy(t)
	for _, r := range routes {
		if r.method != "GET" {
			continue
		}
		get, head := w.office.ask("GET", BasePath+r.path, ""), w.office.ask("HEAD", BasePath+r.path, "")
		if diff := cmp.Diff(get.Header, head.Header); diff != "" || head.StatusCode != http.StatusOK {
			t.Errorf("%s: status %d\n%s", r.path, head.StatusCode, diff)
		}
		if body, _ := io.ReadAll(head.Body); slices.Contains(lists, r.path) && len(body) > 50 {
			t.Errorf("%s: %d bytes were made for nobody", r.path, len(body))
		}
	}
}
