package licensing_test

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sojournlm/sojourn/internal/document"
	"github.com/sojournlm/sojourn/licensing"
)

// A manager that takes its time is asked every 5 s all the same: what is waited is
// counted from question to question.
func TestSlowIsAskedOften(t *testing.T) {
	inBubble(t, func(w *world) {
		_, laptop, n := two(w)
		var mu sync.Mutex
		var asked []time.Time
		through := n.exchange(laptop)
		laptop.w.ok(laptop.Close(w.ctx))
		laptop.opts.Peers.Exchange = func(ctx context.Context, address string, message []byte) ([]byte, error) {
			if r, err := document.ParsePeerRequest(message); err == nil && r.Greeting() {
				mu.Lock()
				asked = append(asked, time.Now())
				mu.Unlock()
			}
			time.Sleep(950 * time.Millisecond)
			return through(ctx, address, message)
		}
		laptop.reopen()
		time.Sleep(5 * time.Minute)
		mu.Lock()
		defer mu.Unlock()
		for i := range asked[1:] {
			if gap := asked[i+1].Sub(asked[i]); gap > 5*time.Second || gap < time.Second {
				t.Fatalf("asked after %v", gap)
			}
		}
		if len(asked) < 60 {
			t.Errorf("asked %d times", len(asked))
		}
	})
}

// An address in the settings that leads back here once is not given up: it may lead to
// another manager later.
func TestOwnAddressIsAskedOn(t *testing.T) {
	inBubble(t, func(w *world) {
		office := w.office(feature(1, 3))
		laptop := w.laptop("LAPTOP", office)
		n := w.connect(office, laptop)
		through := n.exchange(laptop)
		var moved atomic.Bool
		w.ok(laptop.Close(w.ctx))
		laptop.opts.Peers.Addresses = []string{"A NAME"}
		laptop.opts.Peers.Exchange = func(ctx context.Context, _ string, message []byte) ([]byte, error) {
			if moved.Load() {
				return through(ctx, "OFFICE", message)
			}
			return through(ctx, "LAPTOP", message)
		}
		laptop.reopen()
		time.Sleep(time.Minute)
		list, err := laptop.Keys(w.ctx, licensing.Filter{})
		w.ok(err)
		for _, c := range laptop.known() {
			if c.Remote && c.LMSID == laptop.id {
				t.Errorf("it knows itself as another: %+v", c)
			}
		}
		if len(list.Silent) != 0 {
			t.Errorf("silent are %+v", list.Silent)
		}
		moved.Store(true)
		w.await("the office is seen", func() bool { return laptop.sees(worldKey) })
	})
}

// Close with a context that has ended does not wait for a manager that hangs: what is
// asked of it is given up, and its end is waited for.
func TestCloseEndsExchanges(t *testing.T) {
	for _, cancel := range []bool{false, true} {
		inBubble(t, func(w *world) {
			office, laptop, n := two(w)
			var lent *licensing.Detached
			var err error
			if cancel {
				lent, err = laptop.Detach(w.ctx, laptop.online(office, 1), nil)
				w.ok(err)
			}
			w.ok(laptop.Close(w.ctx))
			through, hanging := n.exchange(laptop), make(chan struct{}, 1)
			var under atomic.Int32
			hangs := true
			laptop.opts.Peers.Exchange = func(ctx context.Context, address string, message []byte) ([]byte, error) {
				under.Add(1)
				defer under.Add(-1)
				if hangs && moves(message) {
					hanging <- struct{}{}
					<-ctx.Done()
					return nil, ctx.Err()
				}
				return through(ctx, address, message)
			}
			laptop.reopen()
			w.await("the key is seen", func() bool { return laptop.sees(worldKey) })
			told := make(chan error)
			manager := laptop.Manager
			go func() {
				var err error
				if cancel {
					_, err = manager.CancelDetach(w.ctx, licensing.CancelRequest{License: lent.LicenseID}, nil)
				} else {
					_, err = manager.Detach(w.ctx, laptop.online(office, 1), nil)
				}
				told <- err
			}()
			<-hanging
			gone, stop := context.WithCancel(w.ctx)
			stop()
			begin := time.Now()
			manager.Close(gone)
			if took := time.Since(begin); took > 0 || under.Load() != 0 {
				t.Errorf("Close took %v, and %d exchanges go on", took, under.Load())
			}
			err = <-told
			var e *licensing.Error
			if errors.As(err, &e); !errors.Is(err, licensing.ErrUnknown) || e.Intent == 0 {
				t.Errorf("told: %v", err)
			}
			hangs = false
			laptop.reopen()
			w.await("nothing is pending", func() bool { return len(laptop.intents()) == 0 })
			w.turn(20 * time.Minute)
			if office.free(1) != 3 {
				t.Errorf("%d free", office.free(1))
			}
			w.checkPromises()
		})
	}
}
