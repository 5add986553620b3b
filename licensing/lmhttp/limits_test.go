package lmhttp

import (
	"bufio"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
	"unicode/utf8"
)

// TestSlowKey: a key that needs longer than an answer may is not waited for, and
// the client is told so.
func TestSlowKey(t *testing.T) {
	for _, delay := range []time.Duration{25 * time.Second, 60 * time.Second} {
		withServer(t, func(w *world, l *wire) {
			w.keys[keyA].SetDelay(0, delay)
			c := l.dial()
			defer c.Close()
			body := w.unmask(detachBody)
			go fmt.Fprintf(c, "POST %s/detach HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s", BasePath, len(body), body)
			res, err := http.ReadResponse(bufio.NewReader(c), nil)
			w.ok(err)
			if p := problemOf(t, res); res.StatusCode != http.StatusServiceUnavailable || p.Code != 13 {
				t.Errorf("a key that needs %v: status %d, %+v", delay, res.StatusCode, p)
			}
			w.keys[keyA].SetDelay(0, 0)
		})
	}
}

// TestLateAnswer: an answer has its own time, however long the server's for the
// whole request is over.
func TestLateAnswer(t *testing.T) {
	withServer(t, func(w *world, l *wire) {
		w.keys[keyA].SetDelay(0, 15*time.Second)
		c := l.dial()
		defer c.Close()
		body := w.unmask(detachBody)
		go func() {
			fmt.Fprintf(c, "POST %s/detach HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n", BasePath, len(body))
			time.Sleep(20 * time.Second) // on the test's clock: with the key's time more than writeTimeout
			io.WriteString(c, body)
		}()
		res, err := http.ReadResponse(bufio.NewReader(c), nil)
		w.ok(err)
		if res.StatusCode != http.StatusOK {
			t.Errorf("status %d, %+v", res.StatusCode, problemOf(t, res))
		}
	})
}

// held is a response writer whose client does not read until it is let go.
type held struct {
	*recorder
	gate <-chan struct{}
}

func (h held) Write(b []byte) (int, error) { <-h.gate; return h.recorder.Write(b) }

// TestCrowds: however many clients hold a large body half sent, or a list half
// read, no more than so many cost memory; the next hears so, and all else goes on.
func TestCrowds(t *testing.T) {
	const large = smallBody + 1000
	for name, crowd := range map[string]struct {
		most    int
		request func(gate <-chan struct{}) *http.Request
		ask     func(m *machine) *http.Response
	}{
		"bodies": {maxLargeBodies, func(gate <-chan struct{}) *http.Request {
			rest := readerFunc(func([]byte) (int, error) { <-gate; return 0, io.ErrUnexpectedEOF })
			r, _ := http.NewRequest("POST", "http://localhost"+BasePath+"/install", io.MultiReader(strings.NewReader(strings.Repeat(" ", large)), rest))
			r.Header.Set("Content-Type", "application/json")
			return r
		}, func(m *machine) *http.Response {
			return m.ask("POST", BasePath+"/install", strings.Repeat(" ", large)+`{"license":"eA=="}`)
		}},
		"lists": {maxLists, func(<-chan struct{}) *http.Request {
			r, _ := http.NewRequest("GET", "http://localhost"+BasePath+"/features", nil)
			return r
		}, func(m *machine) *http.Response { return m.ask("GET", BasePath+"/fingerprints", "") }},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, nil)
				gate := make(chan struct{})
				var group sync.WaitGroup
				for range crowd.most + 50 {
					group.Go(func() { w.office.ServeHTTP(held{newRecorder(), gate}, crowd.request(gate)) })
				}
				synctest.Wait()
				start := time.Now()
				res := crowd.ask(w.office)
				p := problemOf(t, res)
				if res.StatusCode != http.StatusServiceUnavailable || p.Code != 12 || res.Header.Get("Retry-After") == "" || time.Since(start) > 2*admitWithin {
					t.Errorf("one too many, after %v: status %d, %+v", time.Since(start), res.StatusCode, p)
				}
				if res := w.office.ask("GET", BasePath+"/environment", ""); res.StatusCode != http.StatusOK {
					t.Errorf("another request: status %d", res.StatusCode)
				}
				if res := w.office.ask("POST", BasePath+"/detach", w.unmask(detachBody)); res.StatusCode != http.StatusOK {
					t.Errorf("a small body: status %d", res.StatusCode)
				}
				close(gate)
				group.Wait()
				if res := crowd.ask(w.office); res.StatusCode == http.StatusServiceUnavailable {
					t.Errorf("after the crowd: status %d", res.StatusCode)
				}
			})
		})
	}
}

type readerFunc func([]byte) (int, error)

func (f readerFunc) Read(b []byte) (int, error) { return f(b) }

// TestLongSearch: nobody searches for more than a name.
func TestLongSearch(t *testing.T) {
	w := newWorld(t, nil)
	for _, path := range []string{"/detached/products/features", "/fingerprints", "/fingerpints", "/dongles", "/features", "/dongles/products/features"} {
		for n, want := range map[int]int{maxSearch: 200, maxSearch + 1: 400} {
			if res := w.office.ask("GET", BasePath+path+"?search="+strings.Repeat("x", n), ""); res.StatusCode != want {
				t.Errorf("%s for %d bytes: status %d, want %d", path, n, res.StatusCode, want)
			}
		}
	}
}

// TestClip: what is cut off is cut off between letters.
func TestClip(t *testing.T) {
	for n := range 4 {
		if got := clip(strings.Repeat("x", n) + strings.Repeat("€", 50)); !utf8.ValidString(got) || len(got) > 104 {
			t.Errorf("%q", got)
		}
	}
}
