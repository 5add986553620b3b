package lmhttp

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// problemOf reads the answer to a refused request.
func problemOf(t testing.TB, res *http.Response) problem {
	t.Helper()
	var out struct{ Error problem }
	if err := json.NewDecoder(res.Body).Decode(&out); err != nil {
		t.Fatalf("status %d: %v", res.StatusCode, err)
	}
	if out.Error.Code == 0 || out.Error.Message == "" || out.Error.Name == "" || res.Header.Get("Content-Type") != "application/json" {
		t.Errorf("status %d with %+v", res.StatusCode, out.Error)
	}
	return out.Error
}

// everywhere sends a request to every operation, and says that each is answered
// with that status and code and that nothing happened.
func everywhere(t *testing.T, m *machine, only func(route) bool, status int, code int, header ...string) {
	t.Helper()
	before := m.everything(t)
	for _, r := range routes {
		if only != nil && !only(r) {
			continue
		}
		body := ""
		if r.kind != reading {
			body = `{"lmsId":"1","licenseId":"1"}`
		}
		res := m.ask(r.method, BasePath+r.path, body, header...)
		p := problemOf(t, res)
		if res.StatusCode != status || int(p.Code) != code {
			t.Errorf("%s %s with %q: status %d, code %d (%s); want %d, %d", r.method, r.path, header, res.StatusCode, p.Code, p.Message, status, code)
		}
	}
	if diff := cmp.Diff(before, m.everything(t)); diff != "" {
		t.Errorf("something happened:\n%s", diff)
	}
}

// tokened are the operations that ask for a token.
func tokened(r route) bool { return r.kind != peering }

// everything is all that a machine lists.
func (m *machine) everything(t testing.TB) map[string]string {
	all := make(map[string]string)
	for _, path := range []string{"/detached/products/features", "/cancelled/licenses", "/fingerprints", "/dongles/products/features"} {
		res := m.ask("GET", BasePath+path, "", "Authorization", "Bearer "+m.w.opts.Token)
		body, err := io.ReadAll(res.Body)
		if err != nil || res.StatusCode != http.StatusOK {
			t.Fatalf("%s: status %d, %v", path, res.StatusCode, err)
		}
		all[path] = string(body)
	}
	return all
}

func changes(r route) bool { return r.kind != reading }

// A page whose name was bound to this computer's address sends its own name.
func TestReboundName(t *testing.T) {
	w := newWorld(t, nil)
	for _, host := range []string{
		"evil.example.com", "evil.example.com:3189", "127.0.0.1.evil.example.com", "localhost.evil.example.com", "localhost:3189@evil.example.com",
		"192.0.2.1:3189", "[2001:db8::1]:3189", "0.0.0.0:3189", "", "127.0.0.1:evil", "localhost:80:90", "[::1", "2130706433", "127.1",
	} {
		everywhere(t, w.office, nil, http.StatusForbidden, 38, "Host", host)
	}
}

func TestKnownNames(t *testing.T) {
	w := newWorld(t, func(w *world) {
		w.opts.Hosts = []string{"License.Example.COM:3189", "192.0.2.7", "2001:db8::7", "[2001:DB8:0::8]:3189"}
	})
	for host, want := range map[string]int{
		"127.0.0.1:3189": 200, "127.0.0.1": 200, "localhost": 200, "LOCALHOST.:1": 200, "[::1]:3189": 200, "127.8.9.1": 200,
		"[::ffff:127.0.0.1]": 200, "license.example.com": 200, "LICENSE.example.com.:99": 200, "192.0.2.7:1": 200,
		"[2001:db8::7]:3189": 200, "[2001:db8:0:0::7]": 200, "[2001:db8::8]": 200, "[2001:db8::9]": 403,
		"sub.license.example.com": 403, "example.com": 403, "192.0.2.8": 403,
	} {
		if res := w.office.ask("GET", BasePath+"/environment", "", "Host", host); res.StatusCode != want {
			t.Errorf("%q: status %d, want %d", host, res.StatusCode, want)
		}
	}
}

// The address that a connection came in on is a name of this server.
func TestOwnAddress(t *testing.T) {
	w := newWorld(t, nil)
	for host, want := range map[string]int{"192.0.2.1": 200, "192.0.2.1:3189": 200, "[::ffff:192.0.2.1]:3189": 200, "192.0.2.2": 403} {
		r, err := http.NewRequestWithContext(
			context.WithValue(t.Context(), http.LocalAddrContextKey, &net.TCPAddr{IP: net.IPv4(192, 0, 2, 1), Port: 3189}),
			"GET", "http://"+host+BasePath+"/environment", nil)
		w.ok(err)
		rec := newRecorder()
		w.office.ServeHTTP(rec, r)
		if rec.code != want {
			t.Errorf("%q: status %d, want %d", host, rec.code, want)
		}
	}
}

// Pages of other origins may not change anything, whatever the browser tells.
func TestForeignPage(t *testing.T) {
	w := newWorld(t, nil)
	for _, header := range [][]string{
		{"Sec-Fetch-Site", "cross-site"},
		{"Sec-Fetch-Site", "same-site"},
		{"Sec-Fetch-Site", "cross-site", "Origin", "http://127.0.0.1:3189"},
		{"Origin", "https://evil.example.com"},
		{"Origin", "null"},
		{"Origin", "http://127.0.0.1:3190"},
	} {
		everywhere(t, w.office, changes, http.StatusForbidden, 38, header...)
	}
	for _, header := range [][]string{{"Sec-Fetch-Site", "same-origin"}, {"Sec-Fetch-Site", "none"}, {"Origin", "http://127.0.0.1:3189"}} {
		if res := w.office.ask("PUT", BasePath+"/fingerprints", w.unmask(editBody), header...); res.StatusCode != http.StatusOK {
			t.Errorf("%q: status %d", header, res.StatusCode)
		}
	}
}

// A form of an old browser, which names no origin, cannot declare JSON.
func TestFormPost(t *testing.T) {
	w := newWorld(t, nil)
	for _, media := range []string{
		"", "text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", "application/json; charset=utf-16",
		"application/jsonp", "text/json", "application/json, text/plain", "application/json; charset",
	} {
		everywhere(t, w.office, changes, http.StatusUnsupportedMediaType, 23, "Content-Type", media)
	}
	twice, err := http.NewRequest("PUT", "http://localhost"+BasePath+"/fingerprints", strings.NewReader(w.unmask(editBody)))
	w.ok(err)
	twice.Header["Content-Type"] = []string{"application/json", "text/plain"}
	rec := newRecorder()
	if w.office.ServeHTTP(rec, twice); rec.code != http.StatusUnsupportedMediaType {
		t.Errorf("declared twice: status %d", rec.code)
	}
	for _, media := range []string{"application/json", "Application/JSON", "application/json;charset=UTF-8", `application/json; charset="utf-8"`} {
		if res := w.office.ask("PUT", BasePath+"/fingerprints", w.unmask(editBody), "Content-Type", media); res.StatusCode != http.StatusOK {
			t.Errorf("%q: status %d", media, res.StatusCode)
		}
	}
}

func TestToken(t *testing.T) {
	w := newWorld(t, func(w *world) { w.opts.Token = "s3cret" })
	for _, header := range []string{"", "Bearer", "Bearer ", "Bearer s3cre", "Bearer s3cret!", "Bearer S3CRET", "Basic s3cret", "s3cret", "Bearer s3cret "} {
		everywhere(t, w.office, tokened, http.StatusUnauthorized, 38, "Authorization", header)
		if res := w.office.ask("POST", BasePath+peerPath, `{"message":"AAAA"}`, "Authorization", header); res.StatusCode != http.StatusForbidden {
			t.Errorf("a message of another manager, which proves itself: status %d", res.StatusCode)
		}
		if res := w.office.ask("GET", "/nowhere", "", "Authorization", header); res.StatusCode != http.StatusUnauthorized || res.Header.Get("WWW-Authenticate") != "Bearer" {
			t.Errorf("an unknown path: status %d", res.StatusCode)
		}
	}
	for _, header := range []string{"Bearer s3cret", "bearer s3cret", "BEARER  s3cret"} {
		if res := w.office.ask("GET", BasePath+"/environment", "", "Authorization", header); res.StatusCode != http.StatusOK {
			t.Errorf("%q: status %d", header, res.StatusCode)
		}
	}
}

// No answer lets a page of another origin read it, a script run it, or a cache
// keep it.
func TestAnswersStayHere(t *testing.T) {
	w := newWorld(t, nil)
	for _, r := range routes {
		res := w.office.ask(r.method, BasePath+r.path, "", "Origin", "http://127.0.0.1:3189", "Sec-Fetch-Site", "same-origin")
		h := res.Header
		if h.Get("Access-Control-Allow-Origin") != "" || h.Get("X-Content-Type-Options") != "nosniff" || h.Get("Cache-Control") != "no-store" {
			t.Errorf("%s %s: %v", r.method, r.path, h)
		}
	}
}

// Every malformed body is refused by name, by every operation that takes one.
func TestMalformedBodies(t *testing.T) {
	w := newWorld(t, nil)
	for body, want := range map[string]string{
		" ":                       "the body: it is empty",
		"null":                    "want a JSON object",
		"[]":                      "want a JSON object",
		`"text"`:                  "want a JSON object",
		"1":                       "want a JSON object",
		"{":                       "malformed JSON",
		"{}{}":                    "malformed JSON",
		"{} x":                    "malformed JSON",
		`{"a":1,}`:                "malformed JSON",
		`{'a':1}`:                 "malformed JSON",
		`{"a":01}`:                "malformed JSON",
		`{"a":NaN}`:               "malformed JSON",
		"{\"a\":\"\xff\"}":        "not UTF-8",
		"\ufeff{}":                "malformed JSON",
		"{\"a\":\"\x00\"}":        "malformed JSON",
		`{"a":1,"a":1}`:           "a: given twice",
		`{"a":1,"\u0061":2}`:      "a: given twice",
		`{"lmsId":1,"lmsId":"1"}`: "lmsId: given twice",
		strings.Repeat(`{"a":`, 100000) + "1" + strings.Repeat("}", 100000): "malformed JSON",
		strings.Repeat("[", 1<<20): "malformed JSON",
		"{" + manyFields(65) + "}": "more than 64 fields",
	} {
		for _, r := range routes {
			if r.kind == reading {
				continue
			}
			res := w.office.ask(r.method, BasePath+r.path, body)
			p := problemOf(t, res)
			if r.method == "DELETE" && body == " " {
				continue // its fields are missing then, not its body
			}
			if res.StatusCode != http.StatusBadRequest || p.Code != 23 || !strings.Contains(p.Message, want) {
				t.Errorf("%s %s: %.40q: status %d, code %d: %s; want %q", r.method, r.path, body, res.StatusCode, p.Code, p.Message, want)
			}
		}
	}
}

func manyFields(n int) string {
	var fields []string
	for i := range n {
		fields = append(fields, fmt.Sprintf(`"f%d":%d`, i, i))
	}
	return strings.Join(fields, ",")
}

// What is not described is ignored, as deep as it may be.
func TestUnknownFields(t *testing.T) {
	w := newWorld(t, nil)
	deep := strings.Repeat("[", 5000) + strings.Repeat("]", 5000)
	for _, more := range []string{`"x":null`, `"OFFLINE":7`, `"x":{"a":1,"a":2}`, `"x":` + deep, manyFields(60)} {
		body := w.unmask(editBody[:len(editBody)-1] + "," + more + "}")
		if res := w.office.ask("PUT", BasePath+"/fingerprints", body); res.StatusCode != http.StatusOK {
			t.Errorf("%.30s: status %d: %v", more, res.StatusCode, problemOf(t, res))
		}
	}
}

func TestTooLarge(t *testing.T) {
	w := newWorld(t, nil)
	padded := func(n int) string { return `{"lmsId":"1"` + strings.Repeat(" ", n-13) + "}" }
	for _, r := range routes {
		if r.kind == reading {
			continue
		}
		for _, size := range []string{"", "-1"} { // declared, and not
			header := []string{"Content-Length", size}
			if size == "" {
				header = nil
			}
			if res := w.office.ask(r.method, BasePath+r.path, padded(maxBody), header...); res.StatusCode == http.StatusRequestEntityTooLarge {
				t.Errorf("%s %s: 1 MiB is too large", r.method, r.path)
			}
			res := w.office.ask(r.method, BasePath+r.path, padded(maxBody+1), header...)
			if p := problemOf(t, res); res.StatusCode != http.StatusRequestEntityTooLarge || p.Code != 23 {
				t.Errorf("%s %s: status %d, code %d", r.method, r.path, res.StatusCode, p.Code)
			}
		}
	}
}

func TestMalformedQueries(t *testing.T) {
	w := newWorld(t, nil)
	for query, want := range map[string]string{
		"search=a&search=b": "search: given 2 times",
		"%zz=1":             "the query",
		"a;b":               "the query",
		"page=1&page=1":     "page: given 2 times",
	} {
		for _, r := range routes {
			body := ""
			if r.kind != reading {
				body = "{}"
			}
			res := w.office.ask(r.method, BasePath+r.path+"?"+query, body)
			if p := problemOf(t, res); res.StatusCode != http.StatusBadRequest || !strings.HasPrefix(p.Message, want) {
				t.Errorf("%s %s?%s: status %d: %s", r.method, r.path, query, res.StatusCode, p.Message)
			}
		}
	}
	// A DELETE that says it twice may mean two things.
	res := w.office.ask("DELETE", BasePath+"/fingerprints?lmsId=1", `{"lmsId":"2"}`)
	if p := problemOf(t, res); res.StatusCode != http.StatusBadRequest || !strings.HasPrefix(p.Message, "lmsId: ") {
		t.Errorf("both: status %d: %s", res.StatusCode, p.Message)
	}
}
