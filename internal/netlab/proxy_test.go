package netlab

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// stand is a server that counts, a proxy before it and a client that repeats
// nothing.
func stand(t *testing.T) (proxy *Proxy, acted *atomic.Int64, client *http.Client) {
	t.Helper()
	acted = new(atomic.Int64)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		acted.Add(1)
		body, _ := io.ReadAll(r.Body)
		w.Header().Set("X-Seen", r.Header.Get("X-Say")+" "+r.Host)
		w.WriteHeader(http.StatusAccepted)
		fmt.Fprintf(w, "%s %s [%s]", r.Method, r.RequestURI, body)
	}))
	t.Cleanup(server.Close)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	proxy = NewProxy(t, listener, func(ctx context.Context) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "tcp", server.Listener.Addr().String())
	})
	transport := &http.Transport{DisableKeepAlives: true}
	t.Cleanup(transport.CloseIdleConnections)
	return proxy, acted, &http.Client{Transport: transport, Timeout: 20 * time.Second}
}

func post(client *http.Client, url, body string) (int, string, error) {
	r, err := http.NewRequest(http.MethodPost, url, strings.NewReader(body))
	if err != nil {
		return 0, "", err
	}
	r.Host = "named.example"
	r.Header.Set("X-Say", "yes")
	answer, err := client.Do(r)
	if err != nil {
		return 0, "", err
	}
	defer answer.Body.Close()
	data, err := io.ReadAll(answer.Body)
	return answer.StatusCode, answer.Header.Get("X-Seen") + " " + string(data), err
}

const whole = "yes named.example POST /a%20b?c=d [body]"

func TestProxyPhases(t *testing.T) {
	for _, c := range []struct {
		phase   Phase
		acted   int64
		heard   bool // an answer began
		certain bool // and was whole
	}{
		{Pass, 1, true, true},
		{CutBefore, 0, false, false},
		{CutAfter, 1, false, false},
		{CutHalfway, 1, true, false},
	} {
		t.Run(c.phase.String(), func(t *testing.T) {
			proxy, acted, client := stand(t)
			proxy.FailNth(1, Fault{Phase: c.phase})
			status, body, err := post(client, proxy.URL()+"/a%20b?c=d", "body")
			if acted.Load() != c.acted {
				t.Errorf("the server acted %d times, want %d", acted.Load(), c.acted)
			}
			if heard := status == http.StatusAccepted; heard != c.heard {
				t.Errorf("status %d, %v", status, err)
			}
			if c.certain != (err == nil) || c.certain && body != whole {
				t.Errorf("answer %q, %v", body, err)
			}
			if c.phase == CutHalfway && (!errors.Is(err, io.ErrUnexpectedEOF) || body == whole || !strings.HasPrefix(whole, body)) {
				t.Errorf("half an answer: %q, %v", body, err)
			}
			// The next one passes.
			if status, body, err := post(client, proxy.URL()+"/a%20b?c=d", "body"); err != nil || status != http.StatusAccepted || body != whole {
				t.Errorf("the next: %d %q, %v", status, body, err)
			}
			requests, fired := proxy.Counts()
			want := 1
			if c.phase == Pass {
				want = 0
			}
			if requests != 2 || fired != want {
				t.Errorf("counted %d requests, %d faults", requests, fired)
			}
		})
	}
}

func TestProxyPage(t *testing.T) {
	const page = "<html>"
	for phase, want := range map[Phase]int64{Pass: 1, CutBefore: 0, CutAfter: 1, CutHalfway: 1} {
		proxy, acted, client := stand(t)
		proxy.FailNth(1, Fault{Phase: phase, Page: page})
		status, body, err := post(client, proxy.URL(), "body")
		if status != http.StatusOK || strings.TrimSpace(body) != page || err != nil || acted.Load() != want {
			t.Errorf("%v: %d %q, %v; the server acted %d times, want %d", phase, status, body, err, acted.Load(), want)
		}
	}
}

// TestProxyLoop is the loop that users write: fail the nth request until no
// fault fires any more.
func TestProxyLoop(t *testing.T) {
	proxy, _, client := stand(t)
	failures := 0
	for n := 1; ; n++ {
		proxy.FailNth(n, Fault{Phase: CutBefore})
		for range 3 {
			if _, _, err := post(client, proxy.URL(), ""); err != nil {
				failures++
			}
		}
		if _, fired := proxy.Counts(); fired == 0 {
			break
		}
	}
	if failures != 3 {
		t.Errorf("%d failures, want each of 3 requests once", failures)
	}
}

func TestProxyDelay(t *testing.T) {
	proxy, acted, client := stand(t)
	proxy.FailNth(1, Fault{Delay: 300 * time.Millisecond})
	begin := time.Now()
	if _, body, err := post(client, proxy.URL()+"/a%20b?c=d", "body"); err != nil || body != whole {
		t.Fatalf("%q, %v", body, err)
	}
	if took := time.Since(begin); took < 300*time.Millisecond {
		t.Errorf("a request delayed by 300 ms took %v", took)
	}
	// Who gave up does not call the request back.
	proxy.FailNth(1, Fault{Delay: 300 * time.Millisecond})
	client.Timeout = 50 * time.Millisecond
	if _, _, err := post(client, proxy.URL(), ""); err == nil {
		t.Fatal("no timeout")
	}
	for deadline := time.Now().Add(10 * time.Second); acted.Load() != 2; time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("the late request never arrived")
		}
	}
}

// TestProxyCopy: the server gets a request once more, whatever became of the first.
func TestProxyCopy(t *testing.T) {
	for phase, want := range map[Phase]int64{Pass: 2, CutBefore: 1, CutAfter: 2, CutHalfway: 2} {
		proxy, acted, client := stand(t)
		proxy.FailNth(1, Fault{Phase: phase, Copy: 100 * time.Millisecond})
		_, body, err := post(client, proxy.URL()+"/a%20b?c=d", "body")
		if phase == Pass && (err != nil || body != whole) {
			t.Errorf("%v: %q, %v", phase, body, err)
		}
		for deadline := time.Now().Add(10 * time.Second); acted.Load() != want; time.Sleep(10 * time.Millisecond) {
			if time.Now().After(deadline) {
				t.Fatalf("%v: the server acted %d times, want %d", phase, acted.Load(), want)
			}
		}
		if _, fired := proxy.Counts(); fired != 1 {
			t.Errorf("%v: %d faults, want 1", phase, fired)
		}
	}
}

// TestProxyMoments: the judge sees the request before the server does, and Served is
// called before the asker hears of the answer.
func TestProxyMoments(t *testing.T) {
	proxy, acted, client := stand(t)
	var heard atomic.Bool
	proxy.Judge(func(_ int, r *http.Request) Fault {
		body, err := io.ReadAll(r.Body)
		if err != nil || string(body) != "body" || acted.Load() != 0 {
			t.Errorf("the judge reads %q, %v, when the server has acted %d times", body, err, acted.Load())
		}
		return Fault{Served: func() {
			if acted.Load() != 1 || heard.Load() {
				t.Errorf("served when the server has acted %d times, heard %v", acted.Load(), heard.Load())
			}
		}}
	})
	_, body, err := post(client, proxy.URL()+"/a%20b?c=d", "body")
	heard.Store(true)
	if err != nil || body != whole {
		t.Errorf("%q, %v", body, err)
	}
	if requests, fired := proxy.Counts(); requests != 1 || fired != 1 {
		t.Errorf("%d requests, %d faults", requests, fired)
	}
}

func TestProxyJudgesManyAtOnce(t *testing.T) {
	proxy, acted, client := stand(t)
	proxy.Judge(func(n int, r *http.Request) Fault {
		if r.URL.Path == "/bad" {
			return Fault{Phase: CutAfter}
		}
		return Fault{}
	})
	var all sync.WaitGroup
	for i := range 40 {
		all.Go(func() {
			path := []string{"/good", "/bad"}[i%2]
			_, _, err := post(client, proxy.URL()+path, "x")
			if (err == nil) != (path == "/good") {
				t.Errorf("%s: %v", path, err)
			}
		})
	}
	all.Wait()
	if requests, fired := proxy.Counts(); requests != 40 || fired != 20 || acted.Load() != 40 {
		t.Errorf("%d requests, %d faults, %d acts", requests, fired, acted.Load())
	}
}

func TestProxyOfASilentServer(t *testing.T) {
	proxy, _, client := stand(t)
	proxy.dial = func(context.Context) (net.Conn, error) { return nil, errors.New("nobody there") }
	if status, _, err := post(client, proxy.URL(), ""); err == nil {
		t.Errorf("an answer from nobody: %d", status)
	}
}

// TestProxyInALab is how the two halves meet: the proxy stands on a host.
func TestProxyInALab(t *testing.T) {
	lab := New(t, 3)
	address := echo(t, lab.Hosts[2])
	listener, err := lab.Hosts[1].Listen(t.Context(), 0)
	if err != nil {
		t.Fatal(err)
	}
	proxy := NewProxy(t, listener, func(ctx context.Context) (net.Conn, error) {
		return lab.Hosts[1].DialContext(ctx, "tcp", address)
	})
	proxy.FailNth(1, Fault{Phase: CutBefore})
	client := &http.Client{Transport: &http.Transport{DialContext: lab.Hosts[0].DialContext, DisableKeepAlives: true}, Timeout: 5 * time.Second}
	if answer, err := client.Get(proxy.URL()); err == nil {
		t.Errorf("answered %s", answer.Status)
	}
	if requests, fired := proxy.Counts(); requests != 1 || fired != 1 {
		t.Errorf("%d requests, %d faults", requests, fired)
	}
}
