package licensing_test

import (
	"context"
	"crypto/ed25519"
	"errors"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sojournlm/sojourn/internal/document"
	"github.com/sojournlm/sojourn/licensing"
)

// A license that is made online and cannot be used here, for good: the error says why,
// and the seat is at home again, whatever the reason.
func TestUnusableGoesHome(t *testing.T) {
	_, stranger, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	const short = 30 * time.Minute
	for name, tt := range map[string]struct {
		spoil  func(laptop *machine) // before the detach
		then   func(laptop *machine) // when it was asked for and the answer is lost
		code   licensing.Code        // where nothing is lost
		words  string
		advice string
		sent   bool
	}{
		"vendor not trusted": {
			spoil: func(m *machine) { m.opts.Vendors = nil; m.restart() },
			code:  licensing.InvalidDigest, words: "is not trusted here", advice: "vendor's public key",
		},
		"vendor known by another key": {
			spoil: func(m *machine) {
				m.opts.Vendors = map[uint32]ed25519.PublicKey{worldVendor: stranger.Public().(ed25519.PublicKey)}
				m.restart()
			},
			code: licensing.InvalidDigest, words: "vendor signature", advice: "vendor's public key", sent: true,
		},
		"other hardware": {
			spoil: func(m *machine) { m.opts.Hardware = machineOf("another board"); m.restart() },
			code:  licensing.HardwareIDMismatch, words: "MACHINE", advice: "fingerprint at the key's manager", sent: true,
		},
		"clock ahead": {
			spoil: func(m *machine) { m.watch.shift(time.Hour) },
			code:  licensing.RTCError, words: "2026-03-02T10:0",
		},
		"clock was ahead": {
			spoil: func(m *machine) {
				m.watch.shift(55 * time.Minute)
				known, _ := m.knows("OFFICE")
				m.w.ok(m.RemoveFingerprint(m.w.ctx, known.LMSID, nil))
				m.watch.shift(-55 * time.Minute)
			},
			code: licensing.RTCError, words: "would be over here",
		},
		"clock behind": {
			spoil: func(m *machine) { m.watch.shift(-time.Hour) },
			code:  licensing.RTCError, words: "2026-03-02T08:0",
		},
		"vendor no longer trusted": {
			then: func(m *machine) { m.opts.Vendors = nil; m.reopen() },
		},
		"board changed": {
			then: func(m *machine) { m.opts.Hardware = machineOf("another board"); m.reopen() },
		},
		"clock jumps ahead": {
			then: func(m *machine) { m.watch.shift(35 * time.Minute) },
		},
	} {
		for _, key := range []string{"", "once"} {
			t.Run(name+"/"+key, func(t *testing.T) {
				inBubble(t, func(w *world) {
					office, laptop, n := two(w)
					w.ok(laptop.know(office))
					var moved atomic.Bool
					n.set(func(from, to *machine, message []byte) fate {
						if from != laptop || !moves(message) {
							return arrives
						}
						moved.Store(true)
						if tt.then != nil {
							return answered
						}
						return arrives
					})
					if tt.spoil != nil {
						tt.spoil(laptop)
						w.await("seen", func() bool { return laptop.sees(worldKey) })
					}
					r, once := laptop.online(office, 1), &licensing.ChangeOptions{RequestKey: key}
					r.Duration = short
					_, err := laptop.Detach(w.ctx, r, once)
					if tt.then == nil {
						w.refused(err, tt.code)
						if err == nil || !strings.Contains(err.Error(), tt.words) {
							t.Errorf("the error does not say %q: %v", tt.words, err)
						}
						if e, ok := errors.AsType[*licensing.Error](err); ok && !strings.Contains(e.Advice, tt.advice) {
							t.Errorf("the advice does not say %q: %s", tt.advice, e.Advice)
						}
						if moved.Load() != tt.sent {
							t.Errorf("asked for: %v", moved.Load())
						}
					} else {
						w.refused(err, licensing.ErrUnknown)
						tt.then(laptop)
						n.set(nil)
					}
					w.await("nothing is pending", func() bool { return len(laptop.intents()) == 0 })
					if free := office.free(1); free != 3 {
						t.Errorf("%d of 3 seats are free", free)
					}
					if _, err := laptop.check(1); err == nil {
						t.Error("it works here")
					}
					w.checkPromises()
				})
			})
		}
	}
}

// Which vendor a silent manager's key is of is not known. What was begun with it and
// comes to nothing when it answers again goes home too.
func TestUnusableOfSilent(t *testing.T) {
	inBubble(t, func(w *world) {
		office, laptop, n := two(w)
		n.set(dead)
		laptop.opts.Vendors = nil
		laptop.reopen()
		once := &licensing.ChangeOptions{RequestKey: "once"}
		_, err := laptop.Detach(w.ctx, laptop.online(office, 1), once)
		w.pendingAs(err)
		n.set(nil)
		_, err = laptop.Detach(w.ctx, laptop.online(office, 1), once)
		w.refused(err, licensing.InvalidDigest)
		w.await("nothing is pending", func() bool { return len(laptop.intents()) == 0 })
		if free := office.free(1); free != 3 {
			t.Errorf("%d of 3 seats are free", free)
		}
		w.checkPromises()
	})
}

// A pending detach that is asked for again when the clock has gone back is still
// pending, and the error names both clocks.
func TestBehindWhilePending(t *testing.T) {
	inBubble(t, func(w *world) {
		office, laptop, n := two(w)
		once := &licensing.ChangeOptions{RequestKey: "once"}
		n.set(func(from, to *machine, message []byte) fate {
			if moves(message) {
				return lost
			}
			return arrives
		})
		_, err := laptop.Detach(w.ctx, laptop.online(office, 1), once)
		w.refused(err, licensing.ErrUnknown)
		n.set(nil)
		laptop.watch.shift(-time.Hour)
		_, err = laptop.Detach(w.ctx, laptop.online(office, 1), once)
		w.refused(err, licensing.RTCError, licensing.ErrUnknown)
		var e *licensing.Error
		if !errors.As(err, &e) || e.Intent == 0 || !strings.Contains(e.Message, "T08:0") || !strings.Contains(e.Message, "T09:0") {
			t.Errorf("the error names not both clocks, or no intent: %v", err)
		}
		w.await("nothing is pending", func() bool { return len(laptop.intents()) == 0 })
		if free := office.free(1); free != 3 {
			t.Errorf("%d of 3 seats are free", free)
		}
	})
}

// A manager may say that its clock shows any time at all.
func TestAheadByAges(t *testing.T) {
	inBubble(t, func(w *world) {
		office, laptop, n := two(w)
		through := n.exchange(laptop)
		liar := newThief(t, 1<<33, "LIAR")
		liar.time = document.MaxTime
		liar.inside = func(*document.PeerRequest) document.PeerAnswer {
			return document.PeerAnswer{Body: fakeInventory(worldKey + 9)}
		}
		laptop.opts.Peers.Addresses = []string{"OFFICE", "LIAR"}
		laptop.opts.Peers.Exchange = func(ctx context.Context, address string, message []byte) ([]byte, error) {
			if address == "LIAR" {
				return liar.answer(message)
			}
			return through(ctx, address, message)
		}
		laptop.restart()
		w.await("seen", func() bool { return laptop.sees(worldKey + 9) })
		if c, _ := laptop.knows("LIAR"); c.Ahead < 100*365*24*time.Hour {
			t.Errorf("its clock is ahead by %v", c.Ahead)
		}
		r := laptop.online(office, 1)
		r.Key = worldKey + 9
		_, err := laptop.Detach(w.ctx, r, nil)
		w.refused(err, licensing.RTCError)
		if err == nil || !strings.Contains(err.Error(), "9999-12-31") {
			t.Errorf("the error does not name its clock: %v", err)
		}
	})
}

// Who makes useless licenses and takes none back keeps a part of what can be pending with
// all, and no longer than was asked for, whatever he writes into them.
func TestUnusableIsBounded(t *testing.T) {
	inBubble(t, func(w *world) {
		office, laptop, _ := two(w)
		lent, err := laptop.Detach(w.ctx, laptop.online(office, 1), nil)
		w.ok(err)
		f := newMinter(t, 1<<33, 77)
		f.takes = func(*document.PeerRequest) document.PeerAnswer {
			return document.PeerAnswer{Code: uint32(licensing.StorageIDMismatch), Message: "no such key here"}
		}
		first := f.next
		f.alter = func(t *document.Terms) {
			if t.License == first { // longer than was asked for, and else much later
				t.Duration, t.Death = 1<<31-1, t.Issued+1<<31-1
			} else {
				t.Issued, t.Death = 1<<35, 1<<35+t.Duration
			}
		}
		f.on(laptop)
		w.await("both tell", func() bool { return laptop.sees(worldKey) && laptop.sees(77) })
		r := laptop.online(office, 1)
		r.Key = 77
		_, err = laptop.Detach(w.ctx, r, nil)
		w.refused(err, licensing.IncorrectResponseData)
		for range 199 {
			_, err := laptop.Detach(w.ctx, r, nil)
			w.refused(err, licensing.InvalidDigest)
		}
		_, err = laptop.Detach(w.ctx, r, nil)
		w.refused(err, licensing.ServerNotFound)
		if errors.Is(err, licensing.ErrUnknown) || len(laptop.intents()) != 200 {
			t.Errorf("%d operations are pending: %v", len(laptop.intents()), err)
		}
		_, err = laptop.CancelDetach(w.ctx, licensing.CancelRequest{License: lent.LicenseID}, nil)
		w.ok(err)
		_, err = laptop.Detach(w.ctx, laptop.online(office, 1), nil)
		w.ok(err)
		w.turn(25 * time.Hour)
		if pending := laptop.intents(); len(pending) != 0 {
			t.Errorf("a day later %d operations are pending: %+v", len(pending), pending[0])
		}
	})
}
