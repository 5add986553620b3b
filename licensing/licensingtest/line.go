package licensingtest

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/sojournlm/sojourn/licensing"
)

// Line is a computer's line to another one's manager. It is safe for concurrent
// use.
type Line struct {
	to *Computer

	mu  sync.Mutex
	cut bool
}

// Cut cuts the line: what is sent over it is lost.
func (l *Line) Cut() { l.set(true) }

// Mend mends the line.
func (l *Line) Mend() { l.set(false) }

func (l *Line) set(cut bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.cut = cut
}

func (l *Line) isCut() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.cut
}

// Connect gives a computer a line to another one, and returns when its manager
// has found the one there: then it can detach online. The other one must know it,
// as [World.Laptop] lets offices do.
func (c *Computer) Connect(to *Computer) *Line {
	l, name := &Line{to: to}, to.Name
	c.network.mu.Lock()
	c.network.lines[name] = l
	close(c.network.more)
	c.network.more = make(chan struct{})
	c.network.mu.Unlock()
	for range 1000 {
		keys, err := c.Keys(context.Background(), licensing.Filter{})
		must(err)
		list, err := c.Fingerprints(context.Background(), to.Name, licensing.Page{})
		must(err)
		for other := range list.All() {
			if other.LMSID == to.LMSID && other.Silent.IsZero() && len(keys.Silent) == 0 {
				return l
			}
		}
		time.Sleep(10 * time.Millisecond)
	}
	panic(fmt.Sprintf("licensingtest: %s does not find %s", c.Name, to.Name))
}

// network is the lines of one computer.
type network struct {
	mu    sync.Mutex
	lines map[string]*Line // by the name of the computer at the other end
	more  chan struct{}    // closed when there is one more
}

func newNetwork() *network {
	return &network{lines: make(map[string]*Line), more: make(chan struct{})}
}

// peers are the settings for a manager on the network.
func (n *network) peers() *licensing.Peers {
	return &licensing.Peers{Exchange: n.exchange, Browse: n.browse}
}

var errCut = errors.New("licensingtest: the line is cut")

func (n *network) exchange(ctx context.Context, address string, message []byte) ([]byte, error) {
	n.mu.Lock()
	l := n.lines[address]
	n.mu.Unlock()
	if l == nil || l.isCut() {
		return nil, errCut
	}
	answer, err := l.to.live.Load().AnswerPeer(ctx, message)
	if l.isCut() {
		return nil, errCut
	}
	return answer, err
}

func (n *network) browse(ctx context.Context, found func(string)) error {
	for {
		n.mu.Lock()
		more := n.more
		var names []string
		for name := range n.lines {
			names = append(names, name)
		}
		n.mu.Unlock()
		for _, name := range names {
			found(name)
		}
		select {
		case <-more:
		case <-ctx.Done():
			return nil
		}
	}
}
