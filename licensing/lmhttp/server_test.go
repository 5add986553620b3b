package lmhttp

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sojournlm/sojourn/licensing/issuer"
)

// wire is a listener whose connections are pipes, so that their deadlines run by
// the test's clock.
type wire struct {
	conns chan net.Conn
	done  chan struct{}
}

func (l *wire) Accept() (net.Conn, error) {
	select {
	case c := <-l.conns:
		return c, nil
	case <-l.done:
		return nil, net.ErrClosed
	}
}

func (l *wire) Close() error   { close(l.done); return nil }
func (l *wire) Addr() net.Addr { return &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 3189} }

// dial connects a client.
func (l *wire) dial() net.Conn {
	client, server := net.Pipe()
	l.conns <- server
	return client
}

// withServer runs test against a Server over the office of a world, on a clock
// that jumps.
func withServer(t *testing.T, test func(w *world, l *wire)) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, nil)
		server := Server("", w.office)
		server.ErrorLog = nil
		l := &wire{make(chan net.Conn), make(chan struct{})}
		ended := make(chan error, 1)
		go func() { ended <- server.Serve(l) }()
		test(w, l)
		w.ok(server.Close())
		if err := <-ended; !errors.Is(err, http.ErrServerClosed) {
			t.Error(err)
		}
		time.Sleep(time.Second) // on the test's clock: a connection that was cut lingers
	})
}

// untilClosed tells after how long the server hangs up, while the client sends
// one byte more in every second.
func untilClosed(c net.Conn) time.Duration {
	start := time.Now()
	gone := make(chan struct{})
	go func() {
		defer close(gone)
		io.Copy(io.Discard, c)
	}()
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		select {
		case <-gone:
			c.Close()
			return time.Since(start)
		case <-tick.C:
			c.SetWriteDeadline(time.Now().Add(time.Second / 2))
			io.WriteString(c, " ")
		}
	}
}

// TestSlowClients: a header has 5 s, a request 30 s, an idle connection 2 min,
// however steadily something comes.
func TestSlowClients(t *testing.T) {
	for sent, most := range map[string]time.Duration{
		"GET " + BasePath + "/environment HTTP/1.1\r\nHost: localhost\r\nX:":                                                                    6 * time.Second,
		"POST " + BasePath + "/install HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 1000000\r\n\r\n{":       32 * time.Second,
		"POST " + BasePath + "/install HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\nfff;": 32 * time.Second,
	} {
		withServer(t, func(w *world, l *wire) {
			c := l.dial()
			io.WriteString(c, sent)
			if took := untilClosed(c); took > most {
				t.Errorf("%.40s…: held the server for %v", sent, took)
			}
		})
	}
}

// TestHeaderFlood: headers end at 16 KiB and a little.
func TestHeaderFlood(t *testing.T) {
	withServer(t, func(w *world, l *wire) {
		c := l.dial()
		defer c.Close()
		go func() {
			io.WriteString(c, "GET / HTTP/1.1\r\nHost: localhost\r\n")
			for i := range 10000 {
				if _, err := fmt.Fprintf(c, "X-%d: %s\r\n", i, strings.Repeat("x", 100)); err != nil {
					return
				}
			}
		}()
		res, err := http.ReadResponse(bufio.NewReader(c), nil)
		w.ok(err)
		if res.StatusCode != http.StatusRequestHeaderFieldsTooLarge {
			t.Errorf("status %d", res.StatusCode)
		}
	})
}

// large makes the office's list of features several hundred KiB long.
func large(w *world) {
	var features []issuer.Feature
	for i := range 500 {
		features = append(features, issuer.Feature{Number: uint32(i), Name: strings.Repeat("n", 60), Seats: 1, Detachable: true})
	}
	w.ok(w.office.Install(w.ctx, w.pool(keyA, 2, issuer.Product{Number: 1, Name: "large", Features: features}), nil))
}

// TestSlowReader: a client that reads on gets all of a long list, though it
// takes far longer than an answer may. One that stops reading is left.
func TestSlowReader(t *testing.T) {
	const request = "GET " + BasePath + "/features HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
	withServer(t, func(w *world, l *wire) {
		large(w)
		c := l.dial()
		defer c.Close()
		go io.WriteString(c, request)
		start := time.Now()
		res, err := http.ReadResponse(bufio.NewReader(&sipper{Conn: c}), nil)
		w.ok(err)
		if rows, total := entriesOf(t, res); len(rows) != total || total < 500 {
			t.Errorf("%d of %d rows", len(rows), total)
		}
		if took := time.Since(start); took < 2*writeTimeout {
			t.Errorf("it took %v only, which shows nothing", took)
		}
	})
	withServer(t, func(w *world, l *wire) {
		large(w)
		c := l.dial()
		defer c.Close()
		io.WriteString(c, request)
		io.ReadFull(c, make([]byte, 100))
		time.Sleep(2 * writeTimeout) // on the test's clock
		synctest.Wait()
		if n, err := io.Copy(io.Discard, c); err != nil || n > 100<<10 {
			t.Errorf("%d bytes more, %v", n, err)
		}
	})
}

// sipper rests 10 s after every 8 KiB.
type sipper struct {
	net.Conn
	read int
}

func (s *sipper) Read(b []byte) (int, error) {
	if s.read >= 8<<10 {
		s.read = 0
		time.Sleep(10 * time.Second) // on the test's clock
	}
	n, err := s.Conn.Read(b)
	s.read += n
	return n, err
}

// TestSlowAnswer: an answer that takes long to find is still told.
func TestSlowAnswer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server := Server("", http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			time.Sleep(2 * writeTimeout) // on the test's clock
			(&answer{ResponseWriter: w}).write(http.StatusServiceUnavailable, nothing{})
		}))
		l := &wire{make(chan net.Conn), make(chan struct{})}
		ended := make(chan error, 1)
		go func() { ended <- server.Serve(l) }()
		c := l.dial()
		go io.WriteString(c, "GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
		res, err := http.ReadResponse(bufio.NewReader(c), nil)
		if err != nil || res.StatusCode != http.StatusServiceUnavailable {
			t.Errorf("%v, %v", res, err)
		}
		c.Close()
		server.Close()
		<-ended
		time.Sleep(time.Second) // on the test's clock: a connection that was cut lingers
	})
}
