package ledger_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sojournlm/sojourn/internal/ledger"
	"github.com/sojournlm/sojourn/storage"
	"github.com/sojournlm/sojourn/storage/memory"
)

// bench is a ledger in a synctest bubble whose key can be held up.
type bench struct {
	t       *testing.T
	store   *memory.Store
	key     *key
	ledger  *ledger.Ledger[*tally]
	blocked chan struct{}
	wait    sync.WaitGroup
}

// bubble runs f with a ledger; all its goroutines have to end.
func bubble(t *testing.T, f func(b *bench)) {
	synctest.Test(t, func(t *testing.T) {
		b := &bench{t: t, store: memory.New(), key: newKey()}
		b.ledger = open(t, config(b.store, b.key, ledger.Process()))
		f(b)
		b.wait.Wait()
	})
}

// hold makes the key hold up a first batch, number 1000, and returns when it is
// in flight.
func (b *bench) hold() {
	b.blocked = make(chan struct{})
	b.key.set(func() { b.key.blocked = b.blocked })
	b.later(context.Background(), adding(1000), func(_ *ledger.Receipt[*tally], err error) {
		if err != nil {
			b.t.Error(err)
		}
	})
	synctest.Wait()
}

// release lets the key go on.
func (b *bench) release() {
	b.key.set(func() { b.key.blocked = nil })
	close(b.blocked)
}

// later gives a command and goes on.
func (b *bench) later(ctx context.Context, decide func(*tally, ledger.Moment) ([][]byte, error), then func(*ledger.Receipt[*tally], error)) {
	b.wait.Go(func() { then(b.ledger.Do(ctx, decide)) })
}

func TestGroupCommit(t *testing.T) {
	bubble(t, func(b *bench) {
		b.hold()
		seen := map[int]bool{}
		var mu sync.Mutex
		for i := range uint32(64) {
			b.later(context.Background(), adding(i), func(r *ledger.Receipt[*tally], err error) {
				mu.Lock()
				defer mu.Unlock()
				if err != nil || r.Seq != 2 || seen[r.Index] {
					t.Errorf("command %d: %+v, %v", i, r, err)
					return
				}
				seen[r.Index] = true
				p := r.Proof(0)
				if h, err := p.Verify("test", b.key.Public()); err != nil || h.Count != 64 {
					t.Errorf("command %d: its batch has %d entries, %v", i, h.Count, err)
				}
			})
		}
		synctest.Wait()
		b.release()
		b.wait.Wait()
		if s := b.ledger.Stats(); s.Batches != 2 || s.Entries != 65 || s.Commands != 65 {
			t.Errorf("stats %+v", s)
		}
		if b.key.advances != 2 {
			t.Errorf("the key has signed %d times, want 2", b.key.advances)
		}
	})
}

// TestOrder has commands come one after the other while a batch is in flight:
// they are decided in that order, each on what those before it left.
func TestOrder(t *testing.T) {
	bubble(t, func(b *bench) {
		b.hold()
		for i := range uint32(10) {
			b.later(context.Background(), func(s *tally, now ledger.Moment) ([][]byte, error) {
				if len(s.ends) != int(i)+1 {
					return nil, fmt.Errorf("it sees %d numbers", len(s.ends))
				}
				return [][]byte{add(i, 0)}, nil
			}, func(r *ledger.Receipt[*tally], err error) {
				if err != nil || r.Index != int(i) {
					t.Errorf("command %d: %+v, %v", i, r, err)
				}
			})
			synctest.Wait()
		}
		b.release()
	})
}

// TestLeaning has refusals that are true only because of the batch they came in.
func TestLeaning(t *testing.T) {
	for _, dies := range []bool{false, true} {
		bubble(t, func(b *bench) {
			b.hold()
			adds := func(_ *ledger.Receipt[*tally], err error) {
				if errors.Is(err, storage.ErrUnknown) != dies {
					t.Errorf("the entry: %v", err)
				}
			}
			leans := func(r *ledger.Receipt[*tally], err error) {
				if dies && !errors.Is(err, storage.ErrUnknown) || !dies && !errors.Is(err, errThere) {
					t.Errorf("the refusal: %v", err)
				}
			}
			looks := func(r *ledger.Receipt[*tally], err error) {
				if dies && !errors.Is(err, storage.ErrUnknown) || !dies && (err != nil || r.Seq != 0 || len(r.State.ends) != 2) {
					t.Errorf("the look: %+v, %v", r, err)
				}
			}
			certain := func(r *ledger.Receipt[*tally], err error) {
				if !errors.Is(err, errThere) {
					t.Errorf("the refusal before: %v", err)
				}
			}
			for _, c := range []struct {
				number uint32
				then   func(*ledger.Receipt[*tally], error)
			}{{1000, certain}, {1, adds}, {1, leans}} {
				b.later(context.Background(), adding(c.number), c.then)
				synctest.Wait()
			}
			b.later(context.Background(), adding(), looks)
			synctest.Wait()
			b.key.set(func() {
				calls := b.key.calls
				b.key.fault = func(call int) fault {
					if dies && call > calls { // the batch in flight still goes through
						return loseRequest
					}
					return none
				}
			})
			b.release()
			b.wait.Wait()
			b.key.set(func() { b.key.fault = nil })
		})
	}
}

// TestOnlyRefusals commits nothing.
func TestOnlyRefusals(t *testing.T) {
	ctx := context.Background()
	s, k, wall := memory.New(), newKey(), newHands()
	l := open(t, config(s, k, wall))
	if _, err := l.Do(ctx, func(*tally, ledger.Moment) ([][]byte, error) {
		return [][]byte{add(1, noon.Unix()+60)}, nil
	}); err != nil {
		t.Fatal(err)
	}
	wall.pass(time.Hour)
	if _, err := l.Do(ctx, func(s *tally, _ ledger.Moment) ([][]byte, error) {
		if len(s.ends) != 0 {
			t.Error("what is due is not applied")
		}
		return nil, errThere
	}); err != errThere {
		t.Errorf("got %v, want the refusal as it is", err)
	}
	r, err := l.Do(ctx, adding())
	if err != nil || r.Seq != 0 || r.Len() != 0 {
		t.Errorf("nothing: %+v, %v", r, err)
	}
	if got := l.Position().Seq; got != 1 {
		t.Errorf("%d batches, want 1", got)
	}
	state, _ := l.Read()
	holds(t, state)
	// The next real batch takes the housekeeping along.
	if r := must(t, l, 2); r.Index != 1 || r.State.applied != 3 {
		t.Errorf("index %d, %d entries applied", r.Index, r.State.applied)
	}
	state, _ = l.Read()
	holds(t, state, 2)
	if _, err := l.Verify(ctx); err != nil {
		t.Error(err)
	}
}

// TestRead has time pass without any command.
func TestRead(t *testing.T) {
	s, k, wall := memory.New(), newKey(), newHands()
	l := open(t, config(s, k, wall))
	if _, err := l.Do(context.Background(), func(*tally, ledger.Moment) ([][]byte, error) {
		return [][]byte{add(1, noon.Unix()+60), add(2, noon.Unix()+120), add(3, noon.Unix()+9000)}, nil
	}); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		pass  time.Duration
		holds []uint32
	}{{59 * time.Second, []uint32{1, 2, 3}}, {time.Second, []uint32{2, 3}}, {time.Second, []uint32{2, 3}}, {time.Minute, []uint32{3}}} {
		wall.pass(c.pass)
		state, now := l.Read()
		holds(t, state, c.holds...)
		again, _ := l.Read()
		if again != state || now.Err != nil {
			t.Errorf("another state, %v", now.Err)
		}
	}
	wall.step(3 * time.Hour)
	state, now := l.Read()
	holds(t, state, 1, 2, 3)
	if !errors.Is(now.Err, ledger.ErrClock) {
		t.Errorf("a step of 3 h: %v", now.Err)
	}
}

func TestLimits(t *testing.T) {
	ballast := func(first uint32, n, size int) func(*tally, ledger.Moment) ([][]byte, error) {
		return func(*tally, ledger.Moment) (entries [][]byte, err error) {
			for i := range n {
				entries = append(entries, append(add(first+uint32(i), 0), make([]byte, size-13)...))
			}
			return entries, nil
		}
	}
	bubble(t, func(b *bench) {
		ctx := context.Background()
		for _, c := range []struct{ n, size int }{{ledger.MaxEntries + 1, 13}, {5, 110 << 10}} {
			if _, err := b.ledger.Do(ctx, ballast(5000, c.n, c.size)); !errors.Is(err, ledger.ErrTooLarge) {
				t.Errorf("%d entries of %d bytes: %v", c.n, c.size, err)
			}
		}
		if b.ledger.Position().Seq != 0 {
			t.Error("something was committed")
		}
		b.hold()
		for i, c := range []struct {
			n, size int
			seq     uint64
		}{
			{600, 13, 2}, {400, 13, 2}, // a thousand entries
			{1, 13, 3}, {4, 120 << 10, 3}, // 480 KiB
			{1, 40 << 10, 4}, {999, 13, 4},
		} {
			b.later(ctx, ballast(uint32(10_000*(i+1)), c.n, c.size), func(r *ledger.Receipt[*tally], err error) {
				if err != nil || r.Seq != c.seq {
					t.Errorf("command %d: %+v, %v, want batch %d", i, r, err, c.seq)
				}
			})
			synctest.Wait()
		}
		b.release()
		b.wait.Wait()
		if _, err := b.ledger.Verify(ctx); err != nil {
			t.Error(err)
		}
	})
}

// TestDoubt commits while the clock is not believed: nothing is due.
func TestDoubt(t *testing.T) {
	s, k, wall := memory.New(), newKey(), newHands()
	l := open(t, config(s, k, wall))
	if _, err := l.Do(context.Background(), func(*tally, ledger.Moment) ([][]byte, error) {
		return [][]byte{add(1, noon.Unix()+60)}, nil
	}); err != nil {
		t.Fatal(err)
	}
	wall.step(2 * time.Hour)
	wall.pass(time.Hour)
	r, err := l.Do(context.Background(), func(_ *tally, now ledger.Moment) ([][]byte, error) {
		if !errors.Is(now.Err, ledger.ErrClock) {
			t.Errorf("the moment is %+v", now)
		}
		return [][]byte{add(2, 0)}, nil
	})
	if err != nil {
		t.Fatal(err)
	}
	holds(t, r.State, 1, 2)
	if want := noon.Unix() + 3600; r.Time != want {
		t.Errorf("at %d, want %d", r.Time, want)
	}
}

func TestBadDecisions(t *testing.T) {
	bubble(t, func(b *bench) {
		ctx := context.Background()
		b.hold()
		b.later(ctx, adding(1), func(_ *ledger.Receipt[*tally], err error) {
			if err != nil {
				t.Errorf("before: %v", err)
			}
		})
		synctest.Wait()
		b.later(ctx, func(*tally, ledger.Moment) ([][]byte, error) {
			return [][]byte{add(2, 0), []byte("?")}, nil
		}, func(_ *ledger.Receipt[*tally], err error) {
			if err == nil || errors.Is(err, storage.ErrUnknown) {
				t.Errorf("not an entry: %v", err)
			}
		})
		synctest.Wait()
		b.wait.Go(func() {
			defer func() {
				if p := recover(); p != "oh" {
					t.Errorf("panic %v", p)
				}
			}()
			b.ledger.Do(ctx, func(*tally, ledger.Moment) ([][]byte, error) { panic("oh") })
		})
		synctest.Wait()
		b.later(ctx, adding(3), func(r *ledger.Receipt[*tally], err error) {
			if err != nil || r.Index != 1 {
				t.Errorf("after: %+v, %v", r, err)
			}
		})
		synctest.Wait()
		b.release()
		b.wait.Wait()
		state, _ := b.ledger.Read()
		holds(t, state, 1000, 1, 3)
	})
}
