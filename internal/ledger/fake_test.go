package ledger_test

import (
	"context"
	"crypto/ed25519"
	"encoding/binary"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/sojournlm/sojourn/internal/document"
	"github.com/sojournlm/sojourn/internal/ledger"
	"github.com/sojournlm/sojourn/storage"
)

// tally is a state for tests: a set of numbers, each once, each with an end at
// which it leaves by itself. Clones share nothing; that is slow and simple.
type tally struct {
	ends    map[uint32]int64 // number to its end, 0 for none
	applied int
	horizon int64
	last    ledger.Position
	deaf    bool   // Judge refuses everything
	refuses uint32 // Apply refuses this number
	sick    bool   // Check fails
}

func empty() *tally { return &tally{ends: map[uint32]int64{}} }

// add is an entry that adds a number, gone one that says what ended up to a time.
func add(number uint32, end int64) []byte {
	b := binary.BigEndian.AppendUint32([]byte{'+'}, number)
	return binary.BigEndian.AppendUint64(b, uint64(end))
}

func gone(until int64) []byte {
	return binary.BigEndian.AppendUint64([]byte{'-'}, uint64(until))
}

func (s *tally) Clone() *tally {
	c := *s
	c.ends = make(map[uint32]int64, len(s.ends))
	for n, end := range s.ends {
		c.ends[n] = end
	}
	return &c
}

func (s *tally) Apply(at ledger.Position, entry []byte) error {
	switch {
	case len(entry) >= 13 && entry[0] == '+': // what follows is ballast
		n, end := binary.BigEndian.Uint32(entry[1:]), int64(binary.BigEndian.Uint64(entry[5:]))
		if _, there := s.ends[n]; there || n != 0 && n == s.refuses {
			return fmt.Errorf("%d is there", n)
		}
		s.ends[n] = end
		s.horizon = max(s.horizon, end)
	case len(entry) == 9 && entry[0] == '-':
		until := int64(binary.BigEndian.Uint64(entry[1:]))
		if until > at.Time {
			return fmt.Errorf("%d is yet to come", until)
		}
		for n, end := range s.ends {
			if end != 0 && end <= until {
				delete(s.ends, n)
			}
		}
	default:
		return errors.New("not an entry")
	}
	s.applied++
	s.last = at
	return nil
}

func (s *tally) Judge(at ledger.Position, entry []byte) error {
	if s.deaf {
		return errors.New("no entry has any proof")
	}
	return nil
}

func (s *tally) Due(now int64) [][]byte {
	for _, end := range s.ends {
		if end != 0 && end <= now {
			return [][]byte{gone(now)}
		}
	}
	return nil
}

func (s *tally) Horizon() int64 { return s.horizon }

func (s *tally) Check() error {
	if s.sick {
		return errors.New("it is sick")
	}
	return nil
}

func (s *tally) Equal(o *tally) bool {
	if len(s.ends) != len(o.ends) || s.applied != o.applied || s.horizon != o.horizon {
		return false
	}
	for n, end := range s.ends {
		if other, there := o.ends[n]; !there || other != end {
			return false
		}
	}
	return true
}

// fault is what happens to a call of a key.
type fault int

const (
	none        fault = iota
	loseRequest       // the key never hears of it
	loseReply         // the key has done it, nobody hears of it
	lie               // the key answers with rubbish
	misSign           // the key's answer is not signed by it
)

var errKey = errors.New("no answer from the key")

// key is an anchor in memory.
type key struct {
	private ed25519.PrivateKey
	delay   time.Duration

	mu       sync.Mutex
	state    document.Checkpoint
	dead     bool               // answers nothing
	fault    func(op int) fault // of each call in turn, nil for none
	calls    int
	advances int
	blocked  chan struct{} // an Advance waits until it is closed; nil: it does not
	entered  chan struct{} // gets a token when an Advance begins; may be nil
}

func newKey() *key {
	_, private, err := ed25519.GenerateKey(nil)
	if err != nil {
		panic(err)
	}
	return &key{private: private}
}

func (k *key) Public() ed25519.PublicKey { return k.private.Public().(ed25519.PublicKey) }

func (k *key) call() (fault, error) {
	f := none
	if k.fault != nil {
		f = k.fault(k.calls)
	}
	k.calls++
	if k.dead || f == loseRequest {
		return f, errKey
	}
	return f, nil
}

func (k *key) answer(f fault) (document.Checkpoint, error) {
	c := k.state
	if err := c.Sign(k.private); err != nil {
		return c, err
	}
	switch f {
	case loseReply:
		return document.Checkpoint{}, errKey
	case lie:
		c.Seq++
	case misSign:
		c.Signature[0] ^= 1
	}
	return c, nil
}

func (k *key) Checkpoint(ctx context.Context) (document.Checkpoint, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	f, err := k.call()
	if err != nil {
		return document.Checkpoint{}, err
	}
	if ctx.Err() != nil {
		return document.Checkpoint{}, ctx.Err()
	}
	return k.answer(f)
}

func (k *key) Advance(ctx context.Context, prev document.Hash, header []byte) (document.Checkpoint, error) {
	if err := k.wait(ctx); err != nil {
		return document.Checkpoint{}, err
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	f, err := k.call()
	if err != nil {
		return document.Checkpoint{}, err
	}
	k.advances++
	h, err := document.ParseHeader(header)
	if err != nil {
		return document.Checkpoint{}, err
	}
	head := document.Chain(prev, header)
	switch {
	case head == k.state.Head:
	case prev == k.state.Head && h.Seq == k.state.Seq+1:
		k.state = document.Checkpoint{Seq: h.Seq, Head: head, Horizon: max(k.state.Horizon, h.Horizon)}
	default:
		return document.Checkpoint{}, errors.New("key: fork")
	}
	return k.answer(f)
}

// wait is the time a signature takes.
func (k *key) wait(ctx context.Context) error {
	k.mu.Lock()
	blocked, entered, delay := k.blocked, k.entered, k.delay
	k.mu.Unlock()
	if entered != nil {
		entered <- struct{}{}
	}
	if blocked != nil {
		select {
		case <-blocked:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	if delay > 0 {
		select {
		case <-time.After(delay):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

// set changes the key under its lock.
func (k *key) set(f func()) {
	k.mu.Lock()
	defer k.mu.Unlock()
	f()
}

// hands is a Wall that is turned by hand.
type hands struct {
	mu      sync.Mutex
	wall    time.Time
	elapsed time.Duration
}

var noon = time.Date(2026, 6, 1, 12, 0, 0, 0, time.UTC)

func newHands() *hands { return &hands{wall: noon} }

func (h *hands) Now() time.Time {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.wall
}

func (h *hands) Elapsed() time.Duration {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.elapsed
}

// pass lets time go by, step turns the wall alone.
func (h *hands) pass(d time.Duration) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.wall, h.elapsed = h.wall.Add(d), h.elapsed+d
}

func (h *hands) step(d time.Duration) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.wall = h.wall.Add(d)
}

// config is a ledger's on that store and key.
func config(s storage.Store, k *key, wall ledger.Wall) ledger.Config[*tally] {
	return ledger.Config[*tally]{
		Name: "test/1", Store: s, Anchor: k, Empty: empty(), Rules: 2,
		Clock: ledger.NewClock(wall, 0, 0),
	}
}

// open opens a ledger that is closed when the test ends.
func open(t testing.TB, cfg ledger.Config[*tally]) *ledger.Ledger[*tally] {
	t.Helper()
	l, err := ledger.Open(context.Background(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close(context.Background()) })
	return l
}

// adding decides to add numbers that never end.
func adding(numbers ...uint32) func(*tally, ledger.Moment) ([][]byte, error) {
	return func(s *tally, now ledger.Moment) (entries [][]byte, err error) {
		for _, n := range numbers {
			if _, there := s.ends[n]; there {
				return nil, errThere
			}
			entries = append(entries, add(n, 0))
		}
		return entries, nil
	}
}

var errThere = errors.New("it is there already")

// must adds numbers, which has to succeed.
func must(t testing.TB, l *ledger.Ledger[*tally], numbers ...uint32) *ledger.Receipt[*tally] {
	t.Helper()
	r, err := l.Do(context.Background(), adding(numbers...))
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// holds fails the test unless the state is exactly these numbers.
func holds(t testing.TB, s *tally, numbers ...uint32) {
	t.Helper()
	if len(s.ends) != len(numbers) {
		t.Fatalf("the state has %d numbers, want %d", len(s.ends), len(numbers))
	}
	for _, n := range numbers {
		if _, there := s.ends[n]; !there {
			t.Fatalf("the state lacks %d", n)
		}
	}
}
