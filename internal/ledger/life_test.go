package ledger_test

import (
	"context"
	"errors"
	"runtime"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sojournlm/sojourn/internal/ledger"
	"github.com/sojournlm/sojourn/storage"
	"github.com/sojournlm/sojourn/storage/memory"
	"github.com/sojournlm/sojourn/storage/storagetest"
)

func TestContexts(t *testing.T) {
	bubble(t, func(b *bench) {
		ended, cancel := context.WithCancel(context.Background())
		cancel()
		if _, err := b.ledger.Do(ended, adding(1)); !errors.Is(err, context.Canceled) || errors.Is(err, storage.ErrUnknown) {
			t.Errorf("before: %v", err)
		}
		b.hold()
		waiting, cancel := context.WithCancel(context.Background())
		b.later(waiting, adding(2), func(_ *ledger.Receipt[*tally], err error) {
			if !errors.Is(err, context.Canceled) || errors.Is(err, storage.ErrUnknown) {
				t.Errorf("waiting: %v", err)
			}
		})
		synctest.Wait()
		cancel()
		synctest.Wait()
		b.release()
		b.wait.Wait()

		b.blocked = make(chan struct{})
		b.key.set(func() { b.key.blocked = b.blocked })
		flying, cancel := context.WithCancel(context.Background())
		b.later(flying, adding(3), func(_ *ledger.Receipt[*tally], err error) {
			if !errors.Is(err, context.Canceled) || !errors.Is(err, storage.ErrUnknown) {
				t.Errorf("in flight: %v", err)
			}
		})
		synctest.Wait()
		b.later(context.Background(), adding(4), func(_ *ledger.Receipt[*tally], err error) {
			if err != nil {
				t.Errorf("its neighbour: %v", err)
			}
		})
		synctest.Wait()
		cancel()
		synctest.Wait()
		b.release()
		b.wait.Wait()
		state, _ := b.ledger.Read()
		holds(t, state, 1000, 3, 4)
	})
}

// TestLeftBehind has a caller leave while its command is found to be one for the
// next batch: it is not done any more.
func TestLeftBehind(t *testing.T) {
	bubble(t, func(b *bench) {
		b.hold()
		b.later(context.Background(), adding(1), func(_ *ledger.Receipt[*tally], err error) {
			if err != nil {
				t.Error(err)
			}
		})
		synctest.Wait()
		ctx, cancel := context.WithCancel(context.Background())
		b.later(ctx, func(*tally, ledger.Moment) (entries [][]byte, err error) {
			if ctx.Err() == nil {
				cancel()
				synctest.Wait() // the caller has left
			}
			for i := range uint32(ledger.MaxEntries) {
				entries = append(entries, add(5000+i, 0))
			}
			return entries, nil
		}, func(_ *ledger.Receipt[*tally], err error) {
			if !errors.Is(err, context.Canceled) {
				t.Error(err)
			}
		})
		synctest.Wait()
		b.release()
		b.wait.Wait()
		synctest.Wait()
		state, _ := b.ledger.Read()
		holds(t, state, 1000, 1)
	})
}

// TestGoexit has a decide end its goroutine, as t.FailNow does: nobody hangs.
func TestGoexit(t *testing.T) {
	bubble(t, func(b *bench) {
		b.hold()
		for _, decide := range []func(*tally, ledger.Moment) ([][]byte, error){
			adding(1),
			func(*tally, ledger.Moment) ([][]byte, error) { runtime.Goexit(); return nil, nil },
			adding(2),
		} {
			b.later(context.Background(), decide, func(_ *ledger.Receipt[*tally], err error) {
				if !errors.Is(err, ledger.ErrClosed) {
					t.Errorf("got %v, want %v", err, ledger.ErrClosed)
				}
			})
			synctest.Wait()
		}
		b.release()
	})
}

func TestClose(t *testing.T) {
	t.Run("answers who waits", func(t *testing.T) {
		bubble(t, func(b *bench) {
			ctx := context.Background()
			b.hold()
			b.later(ctx, adding(1), func(_ *ledger.Receipt[*tally], err error) {
				if err != nil {
					t.Error(err)
				}
			})
			synctest.Wait()
			for range 2 {
				b.wait.Go(func() {
					if err := b.ledger.Close(ctx); err != nil {
						t.Error(err)
					}
				})
			}
			synctest.Wait()
			if _, err := b.ledger.Do(ctx, adding(2)); !errors.Is(err, ledger.ErrClosed) || errors.Is(err, storage.ErrUnknown) {
				t.Errorf("after Close: %v", err)
			}
			b.release()
			b.wait.Wait()
			if _, err := get(b.store, ledger.SignatureKey("test/1", 2)); err != nil {
				t.Errorf("the last signature: %v", err)
			}
			state, _ := b.ledger.Read()
			holds(t, state, 1000, 1)
			watched := storagetest.FailNth(b.store, 0, storagetest.Lose)
			again := open(b.t, config(watched, b.key, ledger.Process()))
			if err := again.Close(ctx); err != nil || watched.Fired() {
				t.Errorf("opened and closed: %v, written %v", err, watched.Fired())
			}
		})
	})
	t.Run("bounded", func(t *testing.T) {
		bubble(t, func(b *bench) {
			b.key.set(func() { b.key.blocked = make(chan struct{}) })
			for range 2 { // one in flight, one waiting
				b.later(context.Background(), adding(1), func(_ *ledger.Receipt[*tally], err error) {
					if !errors.Is(err, context.Canceled) {
						t.Error(err)
					}
				})
				synctest.Wait()
			}
			ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
			defer cancel()
			if err := b.ledger.Close(ctx); err != nil {
				t.Error(err)
			}
			b.wait.Wait()
			b.key.set(func() { b.key.blocked = nil })
			again := open(b.t, config(b.store, b.key, ledger.Process()))
			state, _ := again.Read()
			holds(t, state, 1)
		})
	})
}

// TestConfig lacks something.
func TestConfig(t *testing.T) {
	for name, spoil := range map[string]func(*ledger.Config[*tally]){
		"name":   func(c *ledger.Config[*tally]) { c.Name = "" },
		"store":  func(c *ledger.Config[*tally]) { c.Store = nil },
		"anchor": func(c *ledger.Config[*tally]) { c.Anchor = nil },
		"clock":  func(c *ledger.Config[*tally]) { c.Clock = nil },
		"rules":  func(c *ledger.Config[*tally]) { c.Rules = 0 },
	} {
		c := config(memory.New(), newKey(), newHands())
		spoil(&c)
		if _, err := ledger.Open(context.Background(), c); err == nil {
			t.Errorf("opened without %s", name)
		}
	}
}
