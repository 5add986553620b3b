package licensing_test

import (
	"context"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sojournlm/sojourn/licensing"
)

// Who passes greetings on to the office, and keeps what moves seats, answers at addresses of
// his as if they were the office's. Each of them fails once, and then the office is asked at
// its own, also where it had no place among them at first.
func TestAddressesThatFail(t *testing.T) {
	for _, relays := range []int{1, 4} {
		for _, hang := range []bool{true, false} {
			inBubble(t, func(w *world) {
				office := w.office(feature(1, 3))
				laptop := w.laptop("LAPTOP", office)
				n := w.connect(office)
				w.ok(laptop.know(office))
				through := n.exchange(laptop)
				laptop.opts.Peers = &licensing.Peers{
					Browse: func(ctx context.Context, found func(string)) error {
						for _, a := range []string{"A", "B", "C", "D"}[:relays] {
							found(a)
						}
						for ctx.Err() == nil {
							select {
							case <-time.After(10 * time.Second):
								found("OFFICE")
							case <-ctx.Done():
							}
						}
						return nil
					},
					Exchange: func(ctx context.Context, address string, message []byte) ([]byte, error) {
						switch {
						case address == "OFFICE":
						case !moves(message):
							address = "OFFICE"
						case hang:
							<-ctx.Done()
							return nil, ctx.Err()
						default:
							return nil, errLine
						}
						return through(ctx, address, message)
					},
				}
				laptop.restart()
				w.await("the key is seen", func() bool { return laptop.sees(worldKey) })
				failed := 0
				for range relays + 3 {
					d, err := laptop.Detach(w.ctx, laptop.online(office, 1), nil)
					if err != nil {
						failed++
						w.refused(err, licensing.ErrUnknown)
					} else {
						_, err = laptop.CancelDetach(w.ctx, licensing.CancelRequest{License: d.LicenseID}, nil)
						w.ok(err)
					}
					time.Sleep(30 * time.Second)
					w.turn(30 * time.Second)
				}
				w.await("nothing is pending", func() bool { return len(laptop.intents()) == 0 })
				if failed > relays || office.free(1) != 3 {
					t.Errorf("%d relays, hang %v: %d of %d detaches failed, and %d of 3 seats are free",
						relays, hang, failed, relays+3, office.free(1))
				}
			})
		}
	}
}

// A manager that does not tell its keys is asked by lists no more often than one that does,
// and asked anew for a seat: it may admit this computer now.
func TestNotAdmittedIsNotAskedByLists(t *testing.T) {
	inBubble(t, func(w *world) {
		office, laptop := w.office(feature(1, 3)), w.laptop("LAPTOP")
		n := w.connect(office, laptop)
		w.await("the office is known", func() bool { _, ok := laptop.knows("OFFICE"); return ok })
		var asked atomic.Int64
		n.set(func(from, _ *machine, _ []byte) fate {
			if from == laptop {
				asked.Add(1)
			}
			return arrives
		})
		for range 20 {
			collect[licensing.Key](w)(laptop.Keys(w.ctx, licensing.Filter{}))
		}
		if n := asked.Load(); n > 0 {
			t.Errorf("20 lists at once asked %d times", n)
		}
		w.ok(office.know(laptop))
		_, err := laptop.Detach(w.ctx, laptop.online(office, 1), nil)
		w.ok(err)
	})
}

// A manager is announced, once a minute as discovery.Browse does, before it can be reached.
// It is asked every ten seconds for as long, and not much longer than it is announced.
func TestAnnouncedIsAsked(t *testing.T) {
	inBubble(t, func(w *world) {
		office := w.office(feature(1, 3))
		laptop := w.laptop("LAPTOP", office)
		through := w.connect(office, laptop).exchange(laptop)
		w.ok(laptop.Close(w.ctx))
		var up, mute atomic.Bool
		var last atomic.Int64 // when it was asked
		laptop.opts.Peers.Addresses = nil
		laptop.opts.Peers.Browse = func(ctx context.Context, found func(string)) error {
			for {
				if !mute.Load() {
					found("OFFICE")
				}
				select {
				case <-time.After(time.Minute):
				case <-ctx.Done():
					return nil
				}
			}
		}
		laptop.opts.Peers.Exchange = func(ctx context.Context, address string, message []byte) ([]byte, error) {
			last.Store(time.Now().UnixNano())
			if !up.Load() {
				return nil, errLine
			}
			return through(ctx, address, message)
		}
		laptop.reopen()
		pass := func(d time.Duration) (most time.Duration) {
			for range d / time.Second {
				w.turn(time.Second)
				time.Sleep(time.Second)
				most = max(most, time.Duration(time.Now().UnixNano()-last.Load()))
			}
			return most
		}
		if most := pass(10 * time.Minute); most > 10*time.Second {
			t.Errorf("an announced manager is not asked for %v", most)
		}
		mute.Store(true)
		pass(7 * time.Minute)
		if most := pass(10 * time.Minute); most < 9*time.Minute {
			t.Errorf("what is announced no more is asked every %v", most)
		}
		mute.Store(false)
		pass(2 * time.Minute)
		up.Store(true)
		if pass(10 * time.Second); !laptop.sees(worldKey) {
			t.Error("announced again, and reached, it is not seen")
		}
	})
}
