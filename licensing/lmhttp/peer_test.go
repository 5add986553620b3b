package lmhttp

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

func TestPeerAddresses(t *testing.T) {
	for address, want := range map[string]string{
		"http://10.0.0.5:3189":     "http://10.0.0.5:3189/v1.0/lm/peer/messages",
		"https://[fe80::1]:1/":     "https://[fe80::1]:1/v1.0/lm/peer/messages",
		"http://proxy.example/lm1": "http://proxy.example/lm1/v1.0/lm/peer/messages",
	} {
		if got, err := peerURL(address); got != want || err != nil {
			t.Errorf("%s: %s, %v", address, got, err)
		}
	}
	for _, address := range []string{
		"", "10.0.0.5:3189", "10.0.0.5", "ftp://10.0.0.5", "http://", "http:///x", "http://user:secret@10.0.0.5", "http://h/?q", "http://h/#f", "http://[::1", "/x",
		"http://h:99999", "http://h:0", "http://:3189", "http://h:3189/v1.0/lm", "https://h/lm1/v1.0/lm/",
	} {
		if err := CheckAddress(address); err == nil || !strings.Contains(err.Error(), "want one such as") {
			t.Errorf("%q: %v", address, err)
		}
	}
}

// Whatever a stranger's server does, the answer is an error within the time that
// the caller gives, and no more than a message is read.
func TestPeerServers(t *testing.T) {
	good := base64.StdEncoding.EncodeToString([]byte("answer"))
	hold := make(chan struct{})
	defer close(hold)
	for _, c := range []struct {
		name string
		do   func(w http.ResponseWriter, r *http.Request)
		want string // of the error; "": the answer
	}{
		{"good", func(w http.ResponseWriter, r *http.Request) { fmt.Fprintf(w, `{"message":%q}`, good) }, ""},
		{"refuses", func(w http.ResponseWriter, r *http.Request) {
			w.WriteHeader(403)
			io.WriteString(w, `{"error":{"code":59,"message":"this manager keeps to itself"}}`)
		}, "403: \"this manager keeps to itself\""},
		{"another program", func(w http.ResponseWriter, r *http.Request) { http.NotFound(w, r) }, "status 404"},
		{"redirects", func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "http://127.0.0.1:1/", http.StatusTemporaryRedirect)
		}, "status 307"},
		{"garbage", func(w http.ResponseWriter, r *http.Request) { w.Write(bytes.Repeat([]byte{'x'}, 100)) }, "no message"},
		{"a page", func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, "<html>hello</html>") }, "no message"},
		{"no text", func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, "\xff\xfe") }, "no message"},
		{"nothing", func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, "{}") }, "no message"},
		{"no base64", func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, `{"message":"%%%"}`) }, "not base64"},
		{"twice", func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, `{"message":"AAAA","message":"AAAA"}`) }, "no message"},
		{"floods", func(w http.ResponseWriter, r *http.Request) {
			for range 64 {
				if _, err := w.Write(bytes.Repeat([]byte{' '}, 1<<20)); err != nil {
					return
				}
			}
		}, "larger than 1 MiB"},
		{"cut off", func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Length", "1000")
			io.WriteString(w, `{"message":`)
			w.(http.Flusher).Flush()
			panic(http.ErrAbortHandler)
		}, "ends too early"},
		{"hangs", func(w http.ResponseWriter, r *http.Request) {
			select {
			case <-hold:
			case <-r.Context().Done():
			}
		}, "deadline exceeded"},
	} {
		t.Run(c.name, func(t *testing.T) {
			server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if r.Header.Get("Content-Type") != "application/json" || r.URL.Path != BasePath+peerPath {
					t.Errorf("asked for %s as %q", r.URL, r.Header.Get("Content-Type"))
				}
				io.Copy(io.Discard, r.Body)
				c.do(w, r)
			}))
			server.Start()
			defer server.Close()
			patience := time.Minute
			if c.name == "hangs" {
				patience = 100 * time.Millisecond
			}
			ctx, cancel := context.WithTimeout(t.Context(), patience)
			defer cancel()
			answer, err := Exchange(nil)(ctx, server.URL, []byte("message"))
			switch {
			case c.want == "" && (err != nil || string(answer) != "answer"):
				t.Errorf("%q, %v", answer, err)
			case c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)):
				t.Errorf("%q, %v; want an error with %q", answer, err, c.want)
			}
			if _, mine := errors.AsType[*refusal](err); mine {
				t.Errorf("%v is told as a fault of a request to this server", err)
			}
		})
	}
	if _, err := Exchange(nil)(t.Context(), "http://127.0.0.1:1", nil); err == nil || errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("nobody is there: %v", err)
	}
}

func FuzzPeerAnswer(f *testing.F) {
	f.Add(200, []byte(`{"message":"AAAA"}`))
	f.Add(403, []byte(`{"error":{"code":59,"message":"no"}}`))
	f.Fuzz(func(t *testing.T, status int, body []byte) {
		answer, err := readPeerAnswer(status, body)
		if err != nil && answer != nil || err == nil && status != http.StatusOK {
			t.Fatalf("%x, %v", answer, err)
		}
	})
}
