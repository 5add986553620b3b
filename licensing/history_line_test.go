package licensing_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sojournlm/sojourn/licensing"
	"github.com/sojournlm/sojourn/licensing/lmhttp"
)

// node is a computer whose manager speaks HTTP.
type node struct {
	*machine
	number  int
	network *network
	front   *front
	process atomic.Pointer[process] // nil while it is down
}

// process is one life of a node's program.
type process struct {
	manager *licensing.Manager
	dead    atomic.Bool // crashed: what it answers nobody hears
	end     context.CancelFunc
	server  *http.Server
	served  chan struct{}
	lines   *http.Transport
}

// start runs the program on what is there.
func (n *node) start() {
	n.w.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	p := &process{end: cancel, served: make(chan struct{}), lines: &http.Transport{MaxIdleConnsPerHost: 8}}
	n.opening = func() {
		var others []string
		for _, o := range n.network.nodes {
			if o != n {
				others = append(others, o.front.url())
			}
		}
		n.opts.Peers = &licensing.Peers{Addresses: others, Exchange: lmhttp.Exchange(&http.Client{Transport: &line{n, p, ctx}})}
	}
	n.w.ok(n.boot())
	p.manager = n.Manager
	p.server = lmhttp.Server("", lmhttp.New(n.Manager, nil))
	door := n.front.open()
	go func() {
		defer close(p.served)
		p.server.Serve(door)
	}()
	n.process.Store(p)
}

// stop ends the program, in good order or by a crash.
func (n *node) stop(crash bool) {
	n.w.Helper()
	p := n.process.Swap(nil)
	if p == nil {
		return
	}
	p.dead.Store(crash)
	n.front.shut()
	if !crash {
		n.Close(n.w.ctx)
	}
	p.end()
	p.server.Close()
	<-p.served
	n.crash()
	p.lines.CloseIdleConnections()
}

// revive starts the program anew, all plugged in.
func (n *node) revive() {
	n.w.Helper()
	n.w.ok(n.safe.Plug())
	for _, k := range n.keys {
		n.w.ok(k.Plug())
	}
	n.start()
}

// front is a node's address. It outlives the program, so that nobody else takes
// it meanwhile; who connects while it is down is turned away.
type front struct {
	net.Listener
	mu   sync.Mutex
	door *door
}

func newFront(w *world) *front {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	w.ok(err)
	f := &front{Listener: l}
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			f.mu.Lock()
			d := f.door
			f.mu.Unlock()
			if d == nil || !d.take(conn) {
				conn.Close()
			}
		}
	}()
	return f
}

func (f *front) url() string { return "http://" + f.Addr().String() }

func (f *front) open() *door {
	d := &door{conns: make(chan net.Conn), closed: make(chan struct{}), addr: f.Addr()}
	f.mu.Lock()
	f.door = d
	f.mu.Unlock()
	return d
}

func (f *front) shut() {
	f.mu.Lock()
	f.door = nil
	f.mu.Unlock()
}

// door is the front as one program listens on it.
type door struct {
	conns  chan net.Conn
	once   sync.Once
	closed chan struct{}
	addr   net.Addr
}

func (d *door) take(c net.Conn) bool {
	select {
	case d.conns <- c:
		return true
	case <-d.closed:
		return false
	}
}

func (d *door) Accept() (net.Conn, error) {
	select {
	case c := <-d.conns:
		return c, nil
	case <-d.closed:
		return nil, net.ErrClosed
	}
}

func (d *door) Close() error {
	d.once.Do(func() { close(d.closed) })
	return nil
}

func (d *door) Addr() net.Addr { return d.addr }

// network is the lines between nodes.
type network struct {
	nodes []*node

	mu    sync.Mutex
	rand  *rand.Rand
	calm  bool            // nothing fails
	parts map[[2]int]bool // from whom to whom nothing gets
	late  []func()        // messages that are still on their way
	group sync.WaitGroup  // of deliveries
	real  *http.Transport // carries late ones
}

// mishap is what happens to a message.
type mishap uint8

const (
	fine mishap = iota
	refusedThere
	swallowed  // nobody answers for a while
	cutRequest // the connection breaks in the middle of the request
	cutBefore  // and before the answer
	cutAnswer  // and in the middle of the answer
	slow
	twice       // it arrives twice, and the first answer comes back
	twiceSecond // and the second one does
	belated     // the line breaks, and it arrives much later
	mishaps
)

func (n *network) mishap(from, to int) (m mishap, wait time.Duration) {
	n.mu.Lock()
	defer n.mu.Unlock()
	wait = time.Duration(1+n.rand.IntN(15)) * time.Millisecond
	switch {
	case n.calm:
		return fine, 0
	case n.parts[[2]int{from, to}]:
		return refusedThere + mishap(n.rand.IntN(2)), wait
	case n.rand.IntN(100) < 75:
		return fine, 0
	}
	return 1 + mishap(n.rand.IntN(int(mishaps)-1)), wait
}

// partition cuts some lines, in one direction or both.
func (n *network) partition(r *rand.Rand) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.parts = map[[2]int]bool{}
	for from := range n.nodes {
		for to := range n.nodes {
			if from != to && r.IntN(3) == 0 {
				n.parts[[2]int{from, to}] = true
			}
		}
	}
}

func (n *network) heal() {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.parts = nil
}

// settle lets nothing fail any more, or again.
func (n *network) settle(calm bool) {
	n.mu.Lock()
	n.calm = calm
	n.mu.Unlock()
}

// deliver lets some late messages arrive.
func (n *network) deliver(r *rand.Rand, all bool) {
	n.mu.Lock()
	var now, later []func()
	for _, f := range n.late {
		if all || r.IntN(2) == 0 {
			now = append(now, f)
		} else {
			later = append(later, f)
		}
	}
	n.late = later
	n.mu.Unlock()
	for _, f := range now {
		n.group.Go(f)
	}
}

// line carries what one life of a node's program says.
type line struct {
	from *node
	life *process
	ctx  context.Context // ends with that life
}

var errHistoryLine = errors.New("the connection is broken")

// brokenBody is a body that breaks where it ends.
type brokenBody struct{ io.Reader }

func (f brokenBody) Read(b []byte) (int, error) {
	n, err := f.Reader.Read(b)
	if err == io.EOF {
		err = io.ErrUnexpectedEOF
	}
	return n, err
}

func (f brokenBody) Close() error { return nil }

func (l *line) RoundTrip(r *http.Request) (*http.Response, error) {
	ctx, cancel := context.WithCancel(r.Context())
	stop := context.AfterFunc(l.ctx, cancel)
	defer stop()
	body, err := io.ReadAll(r.Body)
	r.Body.Close()
	if err != nil {
		cancel()
		return nil, err
	}
	n := l.from.network
	to := 0
	for i, o := range n.nodes {
		if o.front.Addr().String() == r.URL.Host {
			to = i
		}
	}
	send := func(ctx context.Context, by http.RoundTripper, body io.Reader, size int) (*http.Response, []byte, error) {
		copied := r.Clone(ctx)
		copied.Body, copied.ContentLength, copied.GetBody = io.NopCloser(body), int64(size), nil
		res, err := by.RoundTrip(copied)
		if err != nil {
			return nil, nil, err
		}
		defer res.Body.Close()
		answer, err := io.ReadAll(res.Body)
		return res, answer, err
	}
	post := func() (*http.Response, []byte, error) {
		return send(ctx, l.life.lines, bytes.NewReader(body), len(body))
	}
	give := func(res *http.Response, answer []byte, err error) (*http.Response, error) {
		cancel()
		if err != nil {
			return nil, err
		}
		res.Body = io.NopCloser(bytes.NewReader(answer))
		return res, nil
	}
	pause := func(d time.Duration) {
		select {
		case <-time.After(d):
		case <-ctx.Done():
		}
	}
	m, wait := n.mishap(l.from.number, to)
	switch m {
	case refusedThere:
		return give(nil, nil, errHistoryLine)
	case swallowed:
		pause(4 * wait)
		return give(nil, nil, errHistoryLine)
	case cutRequest:
		half := brokenBody{bytes.NewReader(body[:len(body)/2])}
		_, _, err := send(ctx, l.life.lines, half, len(body))
		return give(nil, nil, errors.Join(errHistoryLine, err))
	case cutBefore:
		_, _, err := post()
		return give(nil, nil, errors.Join(errHistoryLine, err))
	case cutAnswer:
		res, answer, err := post()
		if err == nil {
			cancel()
			res.Body = brokenBody{bytes.NewReader(answer[:len(answer)/2])}
			return res, nil
		}
		return give(nil, nil, err)
	case slow:
		pause(wait)
	case twice:
		res, answer, err := post()
		post()
		return give(res, answer, err)
	case twiceSecond:
		post()
	case belated:
		n.mu.Lock()
		n.late = append(n.late, func() { // whatever became of the sender
			ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
			defer cancel()
			send(ctx, n.real, bytes.NewReader(body), len(body))
		})
		n.mu.Unlock()
		return give(nil, nil, errHistoryLine)
	}
	return give(post())
}
