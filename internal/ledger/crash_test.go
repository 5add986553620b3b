package ledger_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"

	"github.com/sojournlm/sojourn/internal/ledger"
	"github.com/sojournlm/sojourn/storage"
	"github.com/sojournlm/sojourn/storage/memory"
	"github.com/sojournlm/sojourn/storage/storagetest"
)

// work is commands of two numbers each, 2i and 2i+1, and what became of them.
type work struct {
	key     *key
	mu      sync.Mutex
	certain map[uint32]bool // by i: acknowledged, or refused for certain
}

// do gives each command of a stretch to the ledger, some of them at once.
func (w *work) do(l *ledger.Ledger[*tally], from, to uint32) {
	var wait sync.WaitGroup
	for i := from; i < to; i++ {
		one := func() {
			r, err := l.Do(context.Background(), adding(2*i, 2*i+1))
			if err == nil {
				p := r.Proof(1)
				_, err = p.Verify("test", w.key.Public())
			}
			w.mu.Lock()
			defer w.mu.Unlock()
			if !errors.Is(err, storage.ErrUnknown) {
				w.certain[i] = err == nil
			}
		}
		if i%4 == 0 {
			wait.Wait()
			one()
		} else {
			wait.Go(one)
		}
	}
	wait.Wait()
}

// check holds a state against what is certain.
func (w *work) check(s *tally, to uint32) error {
	for i := range to {
		_, left := s.ends[2*i]
		_, right := s.ends[2*i+1]
		if left != right {
			return fmt.Errorf("half of command %d is there", i)
		}
		if want, certain := w.certain[i]; certain && left != want {
			return fmt.Errorf("command %d is there: %v, its answer said %v", i, left, want)
		}
	}
	return nil
}

// survive runs work on a ledger over a store that fails, crashes it, opens it
// over the store below and checks what became of the work.
func survive(t *testing.T, inner *memory.Store, outer storage.Store, k *key, whole func()) {
	t.Helper()
	ctx := context.Background()
	w := &work{key: k, certain: map[uint32]bool{}}
	const commands = 12
	wall := newHands()
	l, err := ledger.Open(ctx, config(outer, k, wall))
	if err == nil {
		w.do(l, 0, commands)
		shown, _ := l.Read()
		if err := w.check(shown, commands); err != nil && l.Refusal() == nil {
			t.Errorf("before the crash: %v", err)
		}
		// The crash: nothing reaches the store any more.
		outer.Close()
		l.Close(ctx)
	}
	whole()
	again := open(t, config(inner, k, wall))
	if err := again.Refusal(); err != nil {
		t.Fatalf("after the crash: %v", err)
	}
	state, _ := again.Read()
	if err := w.check(state, commands); err != nil {
		t.Errorf("after the crash: %v", err)
	}
	must(t, again, 100, 101)
	if _, err := again.Verify(ctx); err != nil {
		t.Errorf("after the crash: %v", err)
	}
	again.Close(ctx)
}

func TestStoreFaults(t *testing.T) {
	for _, kind := range storagetest.Kinds() {
		t.Run(kind.String(), func(t *testing.T) {
			for n := 0; ; n++ {
				inner := memory.New()
				faulty := storagetest.FailNth(inner, n, kind)
				survive(t, inner, faulty, newKey(), func() {})
				if t.Failed() {
					t.Fatalf("at call %d", n)
				}
				if !faulty.Fired() {
					t.Logf("%d calls", n)
					return
				}
			}
		})
	}
}

func TestKeyFaults(t *testing.T) {
	for name, f := range map[string]fault{"lost request": loseRequest, "lost reply": loseReply, "lie": lie, "false signature": misSign} {
		for _, dies := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, dies %v", name, dies), func(t *testing.T) {
				for n := 0; ; n++ {
					fired := false
					k := newKey()
					k.fault = func(call int) fault {
						switch {
						case call == n:
							fired = true
							return f
						case dies && call > n:
							return loseRequest
						}
						return none
					}
					inner := memory.New()
					survive(t, inner, storagetest.FailNth(inner, -1, storagetest.Refuse), k, func() { k.set(func() { k.fault = nil }) })
					if t.Failed() {
						t.Fatalf("at call %d", n)
					}
					if !fired {
						t.Logf("%d calls", n)
						return
					}
				}
			})
		}
	}
}

// TestKeyStumbles has the key fail once: nobody notices.
func TestKeyStumbles(t *testing.T) {
	for _, f := range []fault{loseRequest, loseReply, lie, misSign} {
		k := newKey()
		l := open(t, config(memory.New(), k, newHands()))
		k.set(func() {
			calls := k.calls
			k.fault = func(call int) fault {
				if call == calls {
					return f
				}
				return none
			}
		})
		r := must(t, l, 1)
		if _, err := r.Proof(0).Verify("test", k.Public()); err != nil {
			t.Errorf("fault %d: %v", f, err)
		}
	}
}

// TestStoreUnknown has a commit of the store end in the dark.
func TestStoreUnknown(t *testing.T) {
	ctx := context.Background()
	for _, kind := range []storagetest.Kind{storagetest.Lose, storagetest.Keep} {
		l := open(t, config(storagetest.FailNth(memory.New(), 0, kind), newKey(), newHands()))
		if _, err := l.Do(ctx, adding(1)); !errors.Is(err, storage.ErrUnknown) {
			t.Errorf("%v: %v", kind, err)
		}
		if !errors.Is(l.Refusal(), storage.ErrUnknown) || l.Position().Seq != 0 {
			t.Errorf("%v: refusal %v at %d", kind, l.Refusal(), l.Position().Seq)
		}
	}
}

// TestKeyAway is the life of a batch that is stored while the key is away.
func TestKeyAway(t *testing.T) {
	ctx := context.Background()
	s, k := memory.New(), newKey()
	l := open(t, config(s, k, newHands()))
	must(t, l, 1)

	k.set(func() { k.dead = true })
	_, err := l.Do(ctx, adding(2))
	if !errors.Is(err, storage.ErrUnknown) || !errors.Is(err, errKey) {
		t.Errorf("in flight: %v, want an unknown outcome and the key's error", err)
	}
	_, err = l.Do(ctx, adding(3))
	if errors.Is(err, storage.ErrUnknown) || !errors.Is(err, errKey) {
		t.Errorf("later: %v, want the key's error alone", err)
	}
	if err := l.Settle(ctx); !errors.Is(err, errKey) {
		t.Errorf("settle: %v, want the key's error", err)
	}
	state, _ := l.Read()
	holds(t, state, 1)
	if _, err := l.Proof(ctx, 2, 0); !errors.Is(err, ledger.ErrNoProof) {
		t.Errorf("proof of what is not signed: %v", err)
	}
	if l.Position().Seq != 1 || l.Refusal() != nil {
		t.Errorf("at %v, refusal %v", l.Position(), l.Refusal())
	}
	if _, err := l.Verify(ctx); err != nil {
		t.Errorf("verify: %v", err)
	}

	k.set(func() { k.dead = false })
	if err := l.Settle(ctx); err != nil {
		t.Fatal(err)
	}
	state, _ = l.Read()
	holds(t, state, 1, 2)
	must(t, l, 3)
}

// TestOpenKeyAway opens a ledger whose newest batch is not signed.
func TestOpenKeyAway(t *testing.T) {
	ctx := context.Background()
	s, k := memory.New(), newKey()
	unsigned(t, s, k, newHands())

	k.set(func() { k.dead = true })
	if _, err := ledger.Open(ctx, config(s, k, newHands())); !errors.Is(err, errKey) {
		t.Errorf("open: %v, want the key's error", err)
	}
	// The key is there, but does not sign.
	k.set(func() {
		k.dead = false
		k.fault = func(call int) fault {
			if call%2 == 1 {
				return loseRequest
			}
			return none
		}
		k.calls = 0
	})
	l := open(t, config(s, k, newHands()))
	state, _ := l.Read()
	holds(t, state, 1)
	if err := l.Settle(ctx); !errors.Is(err, errKey) {
		t.Errorf("settle: %v, want the key's error", err)
	}
	k.set(func() { k.fault = nil })
	must(t, l, 3)
	state, _ = l.Read()
	holds(t, state, 1, 2, 3)
}

// unsigned leaves a store with batch 1, number 1, signed and batch 2, number 2,
// not.
func unsigned(t *testing.T, s storage.Store, k *key, wall ledger.Wall) {
	t.Helper()
	l := open(t, config(s, k, wall))
	must(t, l, 1)
	k.set(func() { k.dead = true })
	if _, err := l.Do(context.Background(), adding(2)); !errors.Is(err, storage.ErrUnknown) {
		t.Fatal(err)
	}
	l.Close(context.Background())
	k.set(func() { k.dead = false })
}

// TestJudge opens a ledger whose newest batch is not signed and not welcome.
func TestJudge(t *testing.T) {
	ctx := context.Background()
	t.Run("without proof", func(t *testing.T) {
		s, k := memory.New(), newKey()
		unsigned(t, s, k, newHands())
		cfg := config(s, k, newHands())
		cfg.Empty.deaf = true
		l := open(t, cfg)
		want(t, l.Refusal(), ledger.ErrDamaged, 2, 0)
		state, _ := l.Read()
		holds(t, state, 1)
		if k.state.Seq != 1 {
			t.Error("the key has signed it")
		}
	})
	t.Run("newer rules", func(t *testing.T) {
		s, k := memory.New(), newKey()
		cfg := config(s, k, newHands())
		cfg.Rules = 3
		l := open(t, cfg)
		k.set(func() { k.dead = true })
		l.Do(ctx, adding(1))
		l.Close(ctx)
		k.set(func() { k.dead = false })
		want(t, open(t, config(s, k, newHands())).Refusal(), ledger.ErrRules, 1, -1)
	})
	t.Run("from the future", func(t *testing.T) {
		s, k, wall := memory.New(), newKey(), newHands()
		unsigned(t, s, k, wall)
		// The same two batches, but the second one is an hour later.
		s, k = memory.New(), newKey()
		l := open(t, config(s, k, wall))
		must(t, l, 1)
		k.set(func() { k.dead = true })
		wall.pass(2 * 3600e9)
		l.Do(ctx, adding(2))
		l.Close(ctx)
		k.set(func() { k.dead = false })

		wall.step(-3600e9)
		l = open(t, config(s, k, wall))
		if err := l.Settle(ctx); !errors.Is(err, ledger.ErrClock) {
			t.Errorf("settle: %v, want that the clock is not believed", err)
		}
		_, err := l.Do(ctx, adding(3))
		want(t, err, ledger.ErrClock, 2, -1)
		if l.Refusal() != nil || k.state.Seq != 1 {
			t.Errorf("refusal %v, key at %d", l.Refusal(), k.state.Seq)
		}
		wall.pass(3600e9)
		must(t, l, 3)
		state, _ := l.Read()
		holds(t, state, 1, 2, 3)
	})
}

// want fails the test unless err is that reason at that place.
func want(t *testing.T, err, reason error, seq uint64, index int) {
	t.Helper()
	var e *ledger.Error
	if !errors.Is(err, reason) || !errors.As(err, &e) {
		t.Fatalf("got %v, want %v", err, reason)
	}
	if e.Seq != seq || e.Index != index {
		t.Errorf("%v: about batch %d, entry %d, want %d, %d", err, e.Seq, e.Index, seq, index)
	}
}
