package licensing_test

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"

	"github.com/sojournlm/sojourn/device"
	"github.com/sojournlm/sojourn/internal/peer"
	"github.com/sojournlm/sojourn/licensing"
	"github.com/sojournlm/sojourn/licensing/issuer"
	"github.com/sojournlm/sojourn/storage/memory"
	"github.com/sojournlm/sojourn/storage/storagetest"
	"github.com/sojournlm/sojourn/transport/simulator"
)

var (
	historySeed  = flag.Uint64("histories.seed", 1, "seed of the first history")
	historyCount = flag.Int("histories.count", 0, "how many histories are made; 0: 4, or 208 with the tag long")
)

const (
	historyFeatures = 6
	historySeats    = 3
	historyClients  = 8
	historyPhases   = 5
	historyPhase    = 10 // operations of each client
)

// TestHistories makes histories of clients that ask an office and its laptops at
// once, over HTTP, while lines, programs, keys and disks fail; each is held against
// the model of a pool, and the promises are at every point where all is quiet.
func TestHistories(t *testing.T) {
	count := *historyCount
	switch {
	case count > 0:
	case long:
		count = 208
	default:
		count = 4
	}
	seeds := make(chan uint64, count)
	for i := range count {
		seeds <- *historySeed + uint64(i)
	}
	close(seeds)
	var group sync.WaitGroup
	var undecided atomic.Int64
	for range 6 { // they wait for each other more than they compute
		group.Go(func() {
			for seed := range seeds {
				t.Run(fmt.Sprint("seed=", seed), func(t *testing.T) { makeHistory(t, seed, &undecided) })
			}
		})
	}
	group.Wait()
	if n := undecided.Load(); n > max(1, int64(count)/26) { // so that long ones decide about 200
		t.Errorf("of %d histories %d were not decided", count, n)
	}
}

func makeHistory(t *testing.T, seed uint64, undecided *atomic.Int64) {
	h := newHistory(t, seed)
	defer h.close()
	defer func() {
		if t.Failed() {
			t.Logf("go test ./licensing -run TestHistories -histories.seed=%d -histories.count=1", seed)
		}
	}()
	for range historyPhases {
		h.phase()
		h.quiet()
		if t.Failed() {
			break
		}
	}
	if !t.Failed() {
		h.bringHome()
	}
	switch why := h.record.check(historySeats, h.began); {
	case why == notDecided:
		undecided.Add(1)
		t.Log("the search for an order was given up; the promises held at every quiet point")
	case why != "":
		t.Error(why)
	}
}

// A manager that gives one seat twice is caught: in a history that is as it should
// be, one who was told that no seat is free is told that he got one.
func TestHistoryCatchesDoubleGrant(t *testing.T) {
	h := newHistory(t, *historySeed)
	defer h.close()
	h.working.Store(true)
	var group sync.WaitGroup
	for i := range historyClients { // two seats each, of three
		c := &client{h, h.nodes[i%len(h.nodes)], rand.New(rand.NewPCG(uint64(i), 4))}
		group.Go(func() {
			r, call := c.request(c.node.number, false), h.moment()
			r.Seats, r.Duration, r.Features[0].FeatureNumber = 2, time.Hour, 1
			d, err := c.node.process.Load().manager.Detach(h.ctx, r, nil)
			c.detached(r, c.node.number, d, err, uncertain{}, call, false)
		})
	}
	group.Wait()
	h.read()
	if why := h.record.check(historySeats, h.began); why != "" {
		t.Fatal(why)
	}
	at := slices.IndexFunc(h.events, func(o porcupine.Operation) bool { return o.Input.(event).verb == isFull })
	if at < 0 {
		t.Fatal("everybody got a seat")
	}
	e := h.events[at].Input.(event)
	e.verb, e.license = leaves, 1<<40
	h.events[at].Input = e
	if h.record.check(historySeats, h.began) == "" {
		t.Error("one seat went to two computers, and the checker finds an order that explains it")
	}
}

// history is a world whose computers speak HTTP, and what happens in it.
type history struct {
	*world
	record
	*network
	rand    *rand.Rand
	clock   *watch // everybody's
	began   time.Time
	office  *node
	ids     []uint64 // lmsIds
	ops     atomic.Int64
	working atomic.Bool   // a phase goes on
	ticks   chan struct{} // one for each operation that is done

	mu      sync.Mutex
	lents   map[uint64]*lent
	recent  []*lent
	files   []file
	repeats []repeat

	// Of the phase.
	pulled bool
	broken map[*node]bool // their disks may have failed
	armed  []*simulator.Armed
}

// lent is a license that somebody knows of.
type lent struct {
	id        uint64
	feature   uint32
	recipient int
	short     bool
	forgotten atomic.Bool // the record of it, perhaps
}

// file is one that is carried.
type file struct {
	lent  *lent
	back  bool // a return
	bytes licensing.Buffer
}

// repeat is a request that can be asked again.
type repeat struct {
	node    *node
	key     string
	request licensing.DetachRequest
	lent    *lent
}

func newHistory(t *testing.T, seed uint64) *history {
	h := &history{
		world: newWorld(t), rand: rand.New(rand.NewPCG(seed, 1)), lents: map[uint64]*lent{}, broken: map[*node]bool{},
		network: &network{rand: rand.New(rand.NewPCG(seed, 2)), calm: true, real: &http.Transport{}},
		ticks:   make(chan struct{}, historyClients*historyPhase),
	}
	for i, name := range []string{"OFFICE", "ANNA", "BERND", "CLARA"} {
		n := &node{machine: h.bare(name, memory.New()), number: i, network: h.network, front: newFront(h.world)}
		if h.clock == nil {
			h.clock = n.watch
		}
		n.watch, n.opts.Clock, n.opts.GrantLength = h.clock, h.clock, time.Second
		h.nodes = append(h.nodes, n)
	}
	h.began = h.clock.Now()
	h.office = h.nodes[0]
	h.office.addKey(worldKey)
	for _, n := range h.nodes {
		n.start()
		h.ids = append(h.ids, n.id)
	}
	var features []issuer.Feature
	for f := range historyFeatures {
		features = append(features, feature(uint32(f+1), historySeats))
	}
	h.ok(h.office.Install(h.ctx, h.office.pool(features...), nil))
	for _, n := range h.nodes {
		for _, o := range h.nodes {
			if o != n {
				h.ok(n.know(o.machine))
			}
		}
	}
	h.turn(time.Second)
	for _, n := range h.nodes[1:] {
		h.eventually("the office's key is seen", func() bool { return n.sees(worldKey) })
	}
	return h
}

func (h *history) close() {
	for _, n := range h.nodes {
		n.stop(true)
		n.front.Close()
	}
	h.real.CloseIdleConnections()
	h.end()
}

// eventually waits, with a deadline, for what comes over real lines.
func (h *history) eventually(what string, f func() bool) {
	h.Helper()
	for end := time.Now().Add(2 * time.Minute); !f(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			h.Fatalf("it never came to this: %s", what)
		}
		h.turn(2 * time.Second)
	}
}

// up is the program of a node that runs, or soon does.
func (h *history) up(n *node) *process {
	for h.working.Load() {
		if p := n.process.Load(); p != nil {
			return p
		}
		time.Sleep(100 * time.Microsecond)
	}
	return nil // the test was given up
}

// turn lets time pass everywhere.
func (h *history) turn(d time.Duration) {
	call := h.moment()
	h.clock.turn(d)
	now, end := h.clock.Now().Unix(), h.moment()
	for f := range uint32(historyFeatures) {
		h.add(event{verb: timeIs, feature: f + 1, time: now}, call, end)
	}
}

// excused fails the test unless an answer is one of those that a fault explains: a
// batch that was left unsigned may lie seconds ahead of the clock of the next run, and
// a key's answer may come damaged each time it is asked again.
func (h *history) excused(what string, err error, codes ...licensing.Code) {
	h.Helper()
	if err == nil || !slices.Contains(append(codes, licensing.StorageCorrupted, licensing.RTCError), codeOf(err)) && !injected(err) {
		h.Errorf("%s: %v: %v", what, codeOf(err).Name(), err)
	}
}

// injected reports whether an error of one of the codes that nothing else explains is
// the test's own: of the disk, or of the line to a key.
func injected(err error) bool {
	var e *licensing.Error
	if !errors.As(err, &e) {
		return false
	}
	var own error
	switch e.Code {
	case licensing.InternalError:
		own = storagetest.ErrInjected
	case licensing.IncorrectResponseData:
		own = device.ErrAnswer
	default:
		return false
	}
	return strings.Contains(e.Message, own.Error()) || strings.HasSuffix(e.Message, e.Code.Error()) // what failed elsewhere is told there
}

func (h *history) lend(l *lent) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if old := h.lents[l.id]; old == nil {
		h.lents[l.id] = l
		h.recent = append(h.recent, l)
	}
}

// known is a license as a list shows it.
func (h *history) known(d licensing.DetachedLicense) *lent {
	l := &lent{
		id: d.ID, feature: d.Features[0].Number, recipient: slices.Index(h.ids, d.Recipient), short: d.Duration < time.Hour,
	}
	h.lend(l)
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.lents[d.ID]
}

// license draws one that was made for a node, one of the newest.
func (h *history) license(r *rand.Rand, recipient int) *lent {
	h.mu.Lock()
	defer h.mu.Unlock()
	var some []*lent
	for _, l := range slices.Backward(h.recent) {
		if l.recipient == recipient && len(some) < 8 {
			some = append(some, l)
		}
	}
	if len(some) == 0 {
		return nil
	}
	return some[r.IntN(len(some))]
}

func (h *history) post(f file) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.files = append(h.files, f)
}

// mail draws a carried file, one of the newest as a rule.
func (h *history) mail(r *rand.Rand) (file, bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	some := h.files
	if len(some) > 12 && r.IntN(5) > 0 {
		some = some[len(some)-12:]
	}
	if len(some) == 0 {
		return file{}, false
	}
	return some[r.IntN(len(some))], true
}

func (h *history) remember(r repeat) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.repeats = append(h.repeats, r)
}

func (h *history) repeat(r *rand.Rand, n *node) (repeat, bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	var some []repeat
	for _, x := range h.repeats {
		if x.node == n {
			some = append(some, x)
		}
	}
	if len(some) == 0 {
		return repeat{}, false
	}
	return some[r.IntN(len(some))], true
}

// phase lets the clients work while things go wrong.
func (h *history) phase() {
	h.settle(false)
	var group sync.WaitGroup
	h.working.Store(true)
	defer group.Wait() // also where the test is given up
	defer h.working.Store(false)
	for i := range historyClients {
		c := &client{h, h.nodes[i%len(h.nodes)], rand.New(rand.NewPCG(h.rand.Uint64(), 3))}
		group.Go(func() {
			for range historyPhase {
				c.operate()
				h.ticks <- struct{}{}
			}
		})
	}
	for done := range historyClients * historyPhase {
		<-h.ticks
		if done%5 == 4 {
			h.act()
		}
	}
}

// act is what an enemy does, or chance.
func (h *history) act() {
	n := h.nodes[h.rand.IntN(len(h.nodes))]
	restart := func(crash bool) {
		h.restart(n, crash)
	}
	if n == h.office && h.pulled {
		h.pulled = false
		h.ok(h.office.keys[0].Plug())
	}
	switch h.rand.IntN(16) {
	case 0, 1, 2:
		h.partition(h.rand)
	case 3, 4:
		h.heal()
	case 5, 6:
		restart(true)
	case 7:
		restart(false)
	case 8, 9:
		if h.broken[n] {
			restart(true)
			break
		}
		kinds := storagetest.Kinds()
		h.broken[n] = true
		n.fail(h.rand.IntN(6), kinds[h.rand.IntN(len(kinds))])
	case 10:
		key := h.office.keys[0]
		if h.pulled = !h.pulled; h.pulled {
			key.Unplug()
		} else {
			h.ok(key.Plug())
		}
	case 11, 12:
		faults := []simulator.Fault{
			simulator.LoseRequest, simulator.SwallowRequest, simulator.LoseReply, simulator.GarbleRequest,
			simulator.GarbleReply, simulator.CutReply, simulator.StaleReply,
		}
		key := n.safe
		if n == h.office && h.rand.IntN(2) == 0 {
			key, faults = h.office.keys[0], append(faults, simulator.Replug)
		}
		for i := range 1 + h.rand.IntN(5) {
			h.armed = append(h.armed, key.FailNth(i, faults[h.rand.IntN(len(faults))]))
		}
	case 13:
		h.turn(time.Duration(1+h.rand.IntN(8)) * time.Second)
	default:
		h.deliver(h.rand, false)
	}
}

// restart ends a node's program and starts it again.
func (h *history) restart(n *node, crash bool) {
	h.Helper()
	for _, a := range h.armed {
		a.Disarm()
	}
	h.armed = nil
	delete(h.broken, n)
	call := h.moment()
	n.stop(crash)
	n.revive()
	end := h.moment()
	for f := range uint32(historyFeatures) {
		h.add(event{verb: mayHaveRun, feature: f + 1, computer: n.number}, call, end)
	}
	if h.rand.IntN(3) > 0 {
		h.turn(2 * time.Second)
	}
}

// quiet lets everything come to its end and holds the promises: nothing is under
// way then but messages that were delayed for very long.
func (h *history) quiet() {
	h.heal()
	h.settle(true)
	for _, a := range h.armed {
		a.Disarm()
	}
	h.armed, h.pulled = nil, false
	h.ok(h.office.keys[0].Plug())
	for _, n := range h.nodes {
		if h.broken[n] {
			h.restart(n, true)
		}
	}
	h.group.Wait()
	h.turn(time.Second)
	h.settled("nothing is pending")
	h.over(func(e *event) bool {
		h.mu.Lock()
		l := h.lents[e.license]
		h.mu.Unlock()
		now := h.clock.Now()
		if e.verb == comesHome && l != nil && (l.short || l.forgotten.Load()) { // then it comes home when it dies
			e.maybe = true
			if e.late == 0 { // or by a copy of its return that is still on its way
				e.late = now.Add(peer.NonceLife).Unix()
			}
		}
		return e.late > now.Unix()
	})
	h.read()
	h.grants()
	h.turn(2 * time.Second)
}

// settled waits until no operation is pending, with all lines and keys there.
func (h *history) settled(what string) {
	h.Helper()
	h.turn(11 * time.Second)
	for end := time.Now().Add(2 * time.Minute); ; time.Sleep(time.Millisecond) {
		var pending []string
		for _, n := range h.nodes {
			n.Keys(h.ctx, licensing.Filter{})
			for _, i := range n.intents() {
				pending = append(pending, fmt.Sprintf("%s: %+v", n.name, i))
			}
		}
		if len(pending) == 0 {
			return
		}
		if time.Now().After(end) {
			h.Fatalf("all is well, but these never end: %v", pending)
		}
		h.turn(2 * time.Second)
	}
}

// read notes what the pool shows.
func (h *history) read() (out []licensing.DetachedLicense) {
	h.Helper()
	call := h.moment()
	v := h.office.look()
	end := h.moment()
	var there [historyFeatures + 1][historyComputers]uint64
	for _, d := range v.Detached {
		l := h.known(d)
		if there[l.feature][l.recipient] != 0 {
			h.Errorf("licenses %d and %d of feature %d are out to computer %d", there[l.feature][l.recipient], d.ID, l.feature, l.recipient)
		}
		there[l.feature][l.recipient] = d.ID
	}
	for _, f := range v.Features {
		if f.Key != worldKey {
			continue
		}
		if f.Free+f.Detached != f.Max || f.Overdrawn != 0 {
			h.Errorf("feature %d: %d free, %d detached, %d in all", f.Number, f.Free, f.Detached, f.Max)
		}
		h.add(event{verb: freeIs, feature: f.Number, seats: int(f.Free)}, call, end)
		for computer, license := range there[f.Number] {
			h.add(event{verb: outIs, feature: f.Number, computer: computer, license: license}, call, end)
		}
	}
	return v.Detached
}

// grants asks every computer for every feature: no license works in two places,
// nor where it was given back, nor while it is home.
func (h *history) grants() {
	h.Helper()
	out := map[uint64]uint64{} // license to recipient
	for _, d := range h.office.look().Detached {
		out[d.ID] = d.Recipient
	}
	for _, n := range h.nodes {
		given := n.look().Cancelled
		for f := range uint32(historyFeatures) {
			call := h.moment()
			g, err := n.check(f + 1)
			if err != nil {
				continue
			}
			h.add(event{verb: mayRun, feature: f + 1, computer: n.number, license: g.LicenseID}, call, h.moment())
			if out[g.LicenseID] != h.ids[n.number] {
				h.Errorf("%s may run by license %d, which is not out to it", n.name, g.LicenseID)
			}
			if slices.ContainsFunc(given, func(c licensing.CancelledLicense) bool { return c.ID == g.LicenseID }) {
				h.Errorf("%s may run by license %d, which it gave back", n.name, g.LicenseID)
			}
		}
	}
}

// bringHome finds every seat that is out and brings it home: it is installed at
// its recipient, or in a file that can be installed there, or in a return. What
// was forgotten comes home by itself.
func (h *history) bringHome() {
	h.Helper()
	h.deliver(h.rand, true)
	h.group.Wait()
	for _, d := range h.read() {
		l := h.known(d)
		n := h.nodes[l.recipient]
		c := client{h, n, h.rand}
		b, err := h.office.DownloadDetached(h.ctx, d.ID)
		if l.short && codeOf(err) == licensing.DetachedLicenseNotFound { // it has died meanwhile
			continue
		}
		h.ok(err)
		call := h.moment()
		switch err := n.Install(h.ctx, b, nil); {
		case err == nil:
			c.note(getsIn, l, call, h.moment(), strictly)
		case codeOf(err) == licensing.InvalidUpdateOrAlreadyInstalled:
			c.note(isKnown, l, call, h.moment(), nil)
		case codeOf(err) == licensing.DetachedLicenseExpired && l.short: // the clock there is ahead, after a crash
			continue
		default:
			h.Errorf("license %d, which is out to %s, cannot be installed there: %v", d.ID, n.name, err)
			continue
		}
		call = h.moment()
		for end := time.Now().Add(2 * time.Minute); ; time.Sleep(time.Millisecond) { // on a busy machine a poll may be late
			_, err = n.CancelDetach(h.ctx, licensing.CancelRequest{License: d.ID}, nil)
			if codeOf(err) != licensing.ServerNotFound || errors.Is(err, licensing.ErrUnknown) || time.Now().After(end) {
				break
			}
		}
		switch {
		case err == nil:
			c.note(isGiven, l, call, h.moment(), nil)
			c.note(comesHome, l, call, h.moment(), nil)
		case errors.Is(err, licensing.ErrUnknown): // the key was pulled out and put back, and nobody had noticed
			h.settled("a return is handed over")
			c.note(isGiven, l, call, h.moment(), nil)
			c.note(comesHome, l, call, h.moment(), nil)
		case l.forgotten.Load() && codeOf(err) == licensing.DetachedLicenseNotFound:
		case l.short && codeOf(err) == licensing.DetachedLicenseExpired:
		default:
			h.Errorf("license %d does not come home from %s: %v ", d.ID, n.name, err)
		}
	}
	for _, d := range h.read() {
		if l := h.known(d); !l.forgotten.Load() && !l.short {
			h.Errorf("license %d is still out to %s", d.ID, d.HostName)
		}
	}
	h.turn(50 * time.Hour)
	for f := range uint32(historyFeatures) {
		if free := h.office.free(f + 1); free != historySeats {
			h.Errorf("feature %d: %d of %d seats came home", f+1, free, historySeats)
		}
	}
	for _, n := range h.nodes {
		_, err := n.Verify(context.Background())
		h.ok(err)
	}
}
