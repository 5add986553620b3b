package ledger_test

import (
	"context"
	"errors"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sojournlm/sojourn/internal/ledger"
	"github.com/sojournlm/sojourn/storage"
	"github.com/sojournlm/sojourn/storage/memory"
	"github.com/sojournlm/sojourn/storage/storagetest"
)

// mayHold fails the test unless the ledger may hold these numbers, of 1 to 3, and no
// others.
func mayHold(t *testing.T, when string, l *ledger.Ledger[*tally], want ...uint32) {
	t.Helper()
	for n := range uint32(3) {
		n++
		got := l.MayHold(func(s *tally, _ ledger.Moment) bool {
			_, there := s.ends[n]
			return there
		})
		if got != slices.Contains(want, n) {
			t.Errorf("%s: it may hold %d: %v", when, n, got)
		}
	}
}

// TestMayHoldKey has the key stay away from a batch that is stored.
func TestMayHoldKey(t *testing.T) {
	ctx := context.Background()
	s, k := memory.New(), newKey()
	l := open(t, config(s, k, newHands()))
	mayHold(t, "nothing stored", l)
	must(t, l, 1)
	mayHold(t, "signed", l, 1)
	k.set(func() { k.dead = true })
	if _, err := l.Do(ctx, adding(2)); !errors.Is(err, storage.ErrUnknown) {
		t.Fatal(err)
	}
	mayHold(t, "not signed", l, 1, 2)
	if l.Settle(ctx) == nil {
		t.Fatal("settled without the key")
	}
	mayHold(t, "still not signed", l, 1, 2)
	k.set(func() { k.dead = false })
	if err := l.Settle(ctx); err != nil {
		t.Fatal(err)
	}
	mayHold(t, "settled", l, 1, 2)
	if _, err := l.Do(ctx, adding(2)); !errors.Is(err, errThere) {
		t.Errorf("refused: %v", err)
	}
	mayHold(t, "refused by the rules", l, 1, 2)
}

// TestDoubtEnds has time end what is not signed, as it would if it were.
func TestDoubtEnds(t *testing.T) {
	ctx := context.Background()
	k, wall := newKey(), newHands()
	l := open(t, config(memory.New(), k, wall))
	must(t, l, 1)
	k.set(func() { k.dead = true })
	_, err := l.Do(ctx, func(*tally, ledger.Moment) ([][]byte, error) {
		return [][]byte{add(2, noon.Add(time.Hour).Unix()), add(3, noon.Add(2*time.Hour).Unix())}, nil
	})
	if !errors.Is(err, storage.ErrUnknown) {
		t.Fatal(err)
	}
	wall.pass(time.Hour - time.Second)
	mayHold(t, "before the ends", l, 1, 2, 3)
	wall.pass(time.Second)
	mayHold(t, "after one", l, 1, 3)
	mayHold(t, "asked again", l, 1, 3)
	wall.pass(time.Hour)
	mayHold(t, "after both", l, 1)
	k.set(func() { k.dead = false })
	if err := l.Settle(ctx); err != nil {
		t.Fatal(err)
	}
	state, _ := l.Read()
	holds(t, state, 1)
	if n := l.Position().Seq; n != 2 {
		t.Errorf("%d batches are signed", n)
	}
}

// TestMayHoldStore has a commit of the store fail: for good where nobody knows
// how, not at all where nothing happened.
func TestMayHoldStore(t *testing.T) {
	for kind, n := range map[storagetest.Kind]int{
		storagetest.Refuse: 2, // after Open has read the head
		storagetest.Lose:   0,
		storagetest.Keep:   0,
	} {
		l := open(t, config(storagetest.FailNth(memory.New(), n, kind), newKey(), newHands()))
		_, err := l.Do(context.Background(), adding(1))
		if err == nil {
			t.Fatalf("%v: no fault", kind)
		}
		if errors.Is(err, storage.ErrUnknown) { // of anything
			mayHold(t, kind.String(), l, 1, 2, 3)
		} else {
			mayHold(t, kind.String(), l)
		}
	}
}

// TestMayHoldOpen opens a ledger whose newest batch was not signed before.
func TestMayHoldOpen(t *testing.T) {
	s, k, wall := memory.New(), newKey(), newHands()
	l := open(t, config(s, k, wall))
	must(t, l, 1)
	wall.pass(time.Minute)
	k.set(func() { k.dead = true })
	if _, err := l.Do(context.Background(), adding(2)); !errors.Is(err, storage.ErrUnknown) {
		t.Fatal(err)
	}
	l.Close(context.Background())
	k.set(func() { k.dead = false })
	for name, c := range map[string]struct {
		spoil func(*ledger.Config[*tally], *key)
		shown []uint32
		doubt bool     // the second number is
		want  []uint32 // all three, where what is stored may not be all
	}{
		"it is signed now":     {func(*ledger.Config[*tally], *key) {}, []uint32{1, 2}, false, []uint32{1, 2}},
		"the key does not":     {func(_ *ledger.Config[*tally], k *key) { k.fault = butFirst }, []uint32{1}, true, []uint32{1, 2}},
		"it has no proof":      {func(c *ledger.Config[*tally], _ *key) { c.Empty.deaf = true }, []uint32{1}, true, []uint32{1, 2, 3}},
		"the key signed more":  {func(_ *ledger.Config[*tally], k *key) { k.state.Seq = 3 }, []uint32{1}, true, []uint32{1, 2, 3}},
		"the key signed other": {func(_ *ledger.Config[*tally], k *key) { k.state.Seq = 2 }, []uint32{1}, true, []uint32{1, 2, 3}},
		"the key is another":   {func(c *ledger.Config[*tally], _ *key) { c.Anchor = newKey() }, []uint32{1}, true, []uint32{1, 2}},
		"it does not fold":     {func(c *ledger.Config[*tally], _ *key) { c.Empty.refuses = 2 }, []uint32{1}, false, []uint32{1, 2, 3}},
		"it is ahead of time": {
			func(c *ledger.Config[*tally], _ *key) { c.Clock = ledger.NewClock(newHands(), 0, 0) },
			[]uint32{1}, true, []uint32{1, 2},
		},
		"its rules are newer": {func(c *ledger.Config[*tally], _ *key) { c.Rules = 1 }, nil, false, []uint32{1, 2, 3}},
	} {
		t.Run(name, func(t *testing.T) {
			same := newKey()
			same.private, same.state = k.private, k.state
			cfg := config(s.Clone(), same, wall)
			c.spoil(&cfg, same)
			l := open(t, cfg)
			t.Log(l.Refusal())
			mayHold(t, "opened", l, c.want...)
			if hides := l.Hides() != nil; hides != (len(c.want) == 3) {
				t.Errorf("it hides something: %v", hides)
			}
			shown, _ := l.Read()
			holds(t, shown, c.shown...)
			doubtful, some := l.Doubtful()
			if some != c.doubt {
				t.Errorf("in doubt: %v", some)
			} else if some {
				holds(t, doubtful, 1, 2)
			}
		})
	}
	_, whole, k := three(t)
	mayHold(t, "all signed", open(t, config(whole, k, newHands())), 1, 2, 3)
	mayHold(t, "all signed, and then the key was lost", open(t, config(whole, newKey(), newHands())), 1, 2, 3)
}

// butFirst is a key that answers its first call only.
func butFirst(call int) fault {
	if call > 0 {
		return loseRequest
	}
	return none
}

// TestUnseenLate has callers leave at about the time of their answers: whatever
// they come to hear, what became of it is seen with the end of the round.
func TestUnseenLate(t *testing.T) {
	bubble(t, func(b *bench) {
		for range 200 {
			ctx, cancel := context.WithCancel(context.Background())
			b.ledger.Do(ctx, func(*tally, ledger.Moment) ([][]byte, error) {
				cancel()
				return nil, errThere
			})
			synctest.Wait()
			if b.ledger.Unseen() != nil {
				b.t.Fatal("unseen while nothing is under way")
			}
		}
	})
}

// TestLeftInTime has a caller leave before his command is taken: nothing happens.
func TestLeftInTime(t *testing.T) {
	bubble(t, func(b *bench) {
		b.hold()
		waiting, cancel := context.WithCancel(context.Background())
		b.later(waiting, adding(2), func(_ *ledger.Receipt[*tally], err error) {
			if err == nil || errors.Is(err, storage.ErrUnknown) {
				b.t.Error(err)
			}
		})
		synctest.Wait()
		cancel()
		b.release()
		b.wait.Wait()
		synctest.Wait()
		if b.ledger.MayHold(func(s *tally, _ ledger.Moment) bool { _, there := s.ends[2]; return there }) {
			b.t.Error("it may hold what was left in time")
		}
	})
}

// TestDecideLeft has a caller leave while it is decided for him: what is found out
// then is nobody's, so that the race detector has nothing to say.
func TestDecideLeft(t *testing.T) {
	bubble(t, func(b *bench) {
		found, receipt, err := ledger.Decide(context.Background(), b.ledger, func(s *tally, now ledger.Moment) (string, [][]byte, error) {
			entries, err := adding(1)(s, now)
			return "found", entries, err
		})
		if found != "found" || receipt == nil || receipt.Len() != 1 || err != nil {
			b.t.Errorf("%q, %v, %v", found, receipt, err)
		}
		ctx, cancel := context.WithCancel(context.Background())
		left := make(chan struct{})
		found, receipt, err = ledger.Decide(ctx, b.ledger, func(s *tally, now ledger.Moment) (string, [][]byte, error) {
			cancel()
			<-left // the caller goes on
			entries, err := adding(2)(s, now)
			return "too late", entries, err
		})
		close(left)
		if found != "" || receipt != nil || !errors.Is(err, storage.ErrUnknown) {
			b.t.Errorf("%q, %v, %v", found, receipt, err)
		}
		synctest.Wait()
		found, receipt, err = ledger.Decide(context.Background(), b.ledger, func(*tally, ledger.Moment) (string, [][]byte, error) {
			return "refused", nil, errThere
		})
		if found != "" || receipt != nil || !errors.Is(err, errThere) {
			b.t.Errorf("%q, %v, %v", found, receipt, err)
		}
	})
}

// TestUnseen has a caller leave while his command is decided on, and the key hang
// then: what he has left is to be seen as soon as it is stored.
func TestUnseen(t *testing.T) {
	bubble(t, func(b *bench) {
		if b.ledger.Unseen() != nil {
			b.t.Error("something is unseen at first")
		}
		b.blocked = make(chan struct{})
		b.key.set(func() { b.key.blocked = b.blocked })
		ctx, cancel := context.WithCancel(context.Background())
		var unseen <-chan struct{}
		decided := make(chan struct{})
		b.later(ctx, func(s *tally, now ledger.Moment) ([][]byte, error) {
			cancel()
			synctest.Wait() // the caller has left
			unseen = b.ledger.Unseen()
			select {
			case <-unseen:
				b.t.Error("seen before it is decided")
			default:
			}
			close(decided)
			return adding(1)(s, now)
		}, func(*ledger.Receipt[*tally], error) {
			if b.ledger.Unseen() == nil {
				b.t.Error("left, and not unseen")
			}
		})
		<-decided
		synctest.Wait()
		select {
		case <-unseen:
		default:
			b.t.Error("not seen when it is stored")
		}
		state, some := b.ledger.Doubtful()
		if !some || b.ledger.Unseen() != nil {
			b.t.Errorf("stored, and doubtful: %v", some)
		}
		holds(b.t, state, 1)
		b.release()
		b.wait.Wait()

		left, cancel := context.WithCancel(context.Background())
		b.ledger.Do(left, func(*tally, ledger.Moment) ([][]byte, error) {
			cancel()
			synctest.Wait()
			unseen = b.ledger.Unseen()
			return nil, errThere
		})
		<-unseen
	})
}
