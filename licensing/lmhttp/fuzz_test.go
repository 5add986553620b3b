package lmhttp

import (
	"encoding/json"
	"io"
	"net/http"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

// FuzzRequest: whatever stands in the body, the query and the headers of a
// request, the answer is JSON, says what was wrong, and never that something
// broke. The only thing that cannot be done now is to reach a manager that is not
// there.
func FuzzRequest(f *testing.F) {
	w := newWorld(f, nil)
	w.cancelled()
	files, err := filepath.Glob("testdata/*.http")
	w.ok(err)
	for _, file := range files {
		req, body, _, _ := readExchange(f, file)
		for i, r := range routes {
			if r.method == req.Method && BasePath+r.path == req.URL.Path {
				f.Add(uint(i), w.unmask(req.URL.RawQuery), w.unmask(string(body)), req.Header.Get("Idempotency-Key"))
			}
		}
	}
	f.Fuzz(func(t *testing.T, which uint, query, body, key string) {
		r := routes[which%uint(len(routes))]
		if r.serve == nil || strings.HasSuffix(r.path, ".yaml") {
			return
		}
		req, err := http.NewRequest(r.method, "http://localhost"+BasePath+r.path, strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		req.URL.RawQuery = query
		req.Header.Set("Content-Type", "application/json")
		if key != "" {
			req.Header.Set("Idempotency-Key", key)
		}
		for _, m := range []*machine{w.office, w.laptop} {
			req.Body = io.NopCloser(strings.NewReader(body))
			rec := newRecorder()
			m.ServeHTTP(rec, req)
			if rec.code >= 500 && !strings.HasPrefix(rec.body.String(), `{"error":{"code":14,`) {
				t.Fatalf("%s %s?%q %q: status %d: %s", r.method, r.path, query, body, rec.code, rec.body.String())
			}
			var answer map[string]json.RawMessage
			if err := json.Unmarshal([]byte(rec.body.String()), &answer); err != nil || rec.header.Get("Content-Type") != jsonType {
				t.Fatalf("%s %s?%q %q: %v: %s", r.method, r.path, query, body, err, rec.body.String())
			}
			if _, failed := answer["error"]; failed != (rec.code >= 400) {
				t.Fatalf("status %d: %s", rec.code, rec.body.String())
			}
			if total := rec.header.Get("X-Total-Count"); total != "" {
				if _, err := strconv.Atoi(total); err != nil {
					t.Fatalf("X-Total-Count: %s", total)
				}
			}
		}
	})
}

// FuzzBody: an object is read exactly where the standard library reads one, and
// its values are those that the standard library finds, unless a name stands in
// it twice or it is larger than any request.
func FuzzBody(f *testing.F) {
	for _, s := range []string{`{}`, `{"a":1}`, `{"a":1,"a":2}`, `{"a":[1,{"b":null}]} `, `[]`, `{`, "\ufeff{}", `{"\u0061":1,"a":1}`, `{"a":"\ud800"}`} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		members, err := parseObject(body)
		var want map[string]json.RawMessage
		if reads := json.Unmarshal(body, &want) == nil && want != nil; err == nil && !reads {
			t.Fatalf("%q was read", body)
		} else if err != nil {
			if why := err.Error(); reads && !strings.Contains(why, "twice") && !strings.Contains(why, "UTF-8") && !strings.Contains(why, "fields") {
				t.Fatalf("%q: %v", body, err)
			}
			return
		}
		if len(members) != len(want) {
			t.Fatalf("%q: %d members, want %d", body, len(members), len(want))
		}
		for name, value := range want {
			if string(members[name]) != string(value) {
				t.Fatalf("%q: %s is %s, want %s", body, name, members[name], value)
			}
		}
	})
}
