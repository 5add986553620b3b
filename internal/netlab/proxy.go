package netlab

import (
	"bytes"
	"context"
	"io"
	"net"
	"net/http"
	"strconv"
	"sync"
	"testing"
	"time"
)

// Phase is the moment of a request at which a proxy cuts the connection.
type Phase int

const (
	Pass       Phase = iota // it does not
	CutBefore               // the server never hears of the request
	CutAfter                // the server has acted and answered; the asker hears nothing
	CutHalfway              // the asker gets the first half of the answer
)

func (p Phase) String() string {
	switch p {
	case Pass:
		return "pass"
	case CutBefore:
		return "cut before the request"
	case CutAfter:
		return "cut after the request"
	case CutHalfway:
		return "cut in the middle of the answer"
	}
	return "phase " + strconv.Itoa(int(p))
}

// Fault is what happens to one request. The zero Fault lets it pass.
type Fault struct {
	Phase Phase
	// Delay passes first. The request arrives late even if the asker has given
	// up by then, as a packet under way would.
	Delay time.Duration
	// Copy, if not zero, passes before the request reaches the server once more,
	// whatever became of the first. Nobody hears that answer.
	Copy time.Duration
	// Page, if not empty, is what the asker gets instead of an answer or a cut, as from a
	// web server on the way.
	Page string
	// Served is called when the server has answered, before the asker hears of it.
	Served func()
}

// is reports whether the fault is one.
func (f Fault) is() bool {
	return f.Phase != Pass || f.Delay > 0 || f.Copy > 0 || f.Page != "" || f.Served != nil
}

// Judge chooses the fault for the nth request, counted from 1. It is called for
// one request at a time and may read its body.
type Judge func(n int, r *http.Request) Fault

// Proxy forwards plain HTTP requests to one server, each whole and over a
// connection of its own: nothing is repeated, nothing is kept. It is safe for
// concurrent use.
type Proxy struct {
	listener net.Listener
	dial     func(context.Context) (net.Conn, error)
	server   *http.Server
	closing  context.Context
	copies   sync.WaitGroup

	mu       sync.Mutex
	judge    Judge
	requests int
	fired    int
}

// NewProxy serves on listener, and asks dial for each connection to the server,
// until the test ends.
func NewProxy(t testing.TB, listener net.Listener, dial func(context.Context) (net.Conn, error)) *Proxy {
	closing, stop := context.WithCancel(context.Background())
	p := &Proxy{listener: listener, dial: dial, closing: closing}
	var asking sync.WaitGroup
	p.server = &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asking.Add(1)
		defer asking.Done()
		p.forward(w, r)
	})}
	var serving sync.WaitGroup
	serving.Go(func() { p.server.Serve(listener) })
	t.Cleanup(func() {
		stop()
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		if p.server.Shutdown(ctx) != nil {
			p.server.Close()
		}
		serving.Wait()
		asking.Wait() // for those who took their connection with them
		p.copies.Wait()
	})
	return p
}

// URL is where the proxy listens.
func (p *Proxy) URL() string { return "http://" + p.listener.Addr().String() }

// Judge sets who chooses the faults from now on, counting from 1 again; nil
// lets everything pass.
func (p *Proxy) Judge(j Judge) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.judge, p.requests, p.fired = j, 0, 0
}

// FailNth lets only the nth request from now on meet a fault, counted from 1.
func (p *Proxy) FailNth(nth int, f Fault) {
	p.Judge(func(n int, _ *http.Request) Fault {
		if n != nth {
			return Fault{}
		}
		return f
	})
}

// Counts says how many requests came since the judge was set, and how many met
// a fault: a loop over n is over when none does.
func (p *Proxy) Counts() (requests, fired int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.requests, p.fired
}

func (p *Proxy) choose(r *http.Request) Fault {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.requests++
	if p.judge == nil {
		return Fault{}
	}
	f := p.judge(p.requests, r)
	if f.is() {
		p.fired++
	}
	return f
}

func (p *Proxy) forward(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		cut(w, nil)
		return
	}
	r.Body = io.NopCloser(bytes.NewReader(body))
	f := p.choose(r)
	if f.Copy > 0 {
		again := r.Clone(p.closing)
		p.copies.Go(func() {
			if p.pass(f.Copy) {
				p.ask(again, body)
			}
		})
	}
	if !p.pass(f.Delay) {
		cut(w, nil)
		return
	}
	if f.Phase == CutBefore {
		if f.Page != "" {
			io.WriteString(w, f.Page)
		} else {
			cut(w, nil)
		}
		return
	}
	answer, err := p.ask(r, body)
	if f.Served != nil && err == nil {
		f.Served()
	}
	switch {
	case f.Page != "":
		io.WriteString(w, f.Page)
	case err != nil, f.Phase == CutAfter:
		cut(w, nil)
	case f.Phase == CutHalfway:
		var whole bytes.Buffer
		answer.Write(&whole)
		n := whole.Len() - (int(answer.ContentLength)+1)/2
		if answer.ContentLength <= 0 {
			n = whole.Len() / 2
		}
		cut(w, whole.Bytes()[:n])
	default:
		for name, values := range answer.Header {
			w.Header()[name] = values
		}
		w.WriteHeader(answer.StatusCode)
		io.Copy(w, answer.Body)
	}
}

// pass lets time pass, unless the test ends before.
func (p *Proxy) pass(d time.Duration) bool {
	if d <= 0 {
		return true
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-p.closing.Done():
		return false
	}
}

// ask sends the request to the server and gives its answer, read whole.
func (p *Proxy) ask(r *http.Request, body []byte) (*http.Response, error) {
	asker := http.Transport{
		DisableKeepAlives:  true, // else a request that a dead connection took would be repeated
		DisableCompression: true,
		DialContext:        func(ctx context.Context, _, _ string) (net.Conn, error) { return p.dial(ctx) },
	}
	onward := r.Clone(p.closing)
	onward.RequestURI = ""
	onward.URL.Scheme, onward.URL.Host = "http", "server.invalid"
	onward.Body, onward.ContentLength, onward.TransferEncoding = io.NopCloser(bytes.NewReader(body)), int64(len(body)), nil
	answer, err := asker.RoundTrip(onward)
	if err != nil {
		return nil, err
	}
	defer answer.Body.Close()
	data, err := io.ReadAll(answer.Body)
	if err != nil {
		return nil, err
	}
	answer.Header.Del("Connection")
	answer.Close, answer.TransferEncoding = false, nil
	answer.Body = io.NopCloser(bytes.NewReader(data))
	if r.Method != http.MethodHead {
		answer.ContentLength = int64(len(data))
	}
	return answer, nil
}

// cut sends what is to be sent and resets the connection.
func cut(w http.ResponseWriter, last []byte) {
	conn, _, err := http.NewResponseController(w).Hijack()
	if err != nil {
		panic(http.ErrAbortHandler)
	}
	defer conn.Close()
	if len(last) > 0 {
		conn.Write(last) // then an ordinary end: a reset could overtake it
		return
	}
	if tcp, ok := conn.(*net.TCPConn); ok {
		tcp.SetLinger(0)
	}
}
