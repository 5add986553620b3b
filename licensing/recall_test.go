package licensing_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"

	"github.com/sojournlm/sojourn/internal/document"
	"github.com/sojournlm/sojourn/internal/peer"
	"github.com/sojournlm/sojourn/licensing"
)

// A request is held up on its way, and recalled while its sender is not admitted for a
// moment. Admitted again, the late copy makes no license that nobody would have.
func TestLateCopyOfRecalled(t *testing.T) {
	inBubble(t, func(w *world) {
		office, laptop, n := two(w)
		through := n.exchange(laptop)
		var late func()
		w.ok(laptop.Close(w.ctx))
		laptop.opts.Peers.Exchange = func(ctx context.Context, address string, message []byte) ([]byte, error) {
			if moves(message) && late == nil {
				late = func() { through(context.WithoutCancel(ctx), address, message) }
				return nil, errLine
			}
			return through(ctx, address, message)
		}
		laptop.reopen()
		w.await("seen", func() bool { return laptop.sees(worldKey) })
		w.ok(office.RemoveFingerprint(w.ctx, laptop.id, nil))
		_, err := laptop.Detach(w.ctx, laptop.online(office, 1), nil)
		w.refused(err, licensing.ErrUnknown)
		w.await("nothing is pending", func() bool { return len(laptop.intents()) == 0 })
		w.ok(office.know(laptop))
		late()
		if free := office.free(1); free != 3 {
			t.Errorf("%d of 3 seats are free", free)
		}
		_, err = laptop.Detach(w.ctx, laptop.online(office, 1), nil)
		w.ok(err)
		w.checkPromises()
	})
}

// Who is not admitted learns by recalling nothing of which keys are here.
func TestRecallTellsStrangersNothing(t *testing.T) {
	inBubble(t, func(w *world) {
		office, laptop, _ := two(w)
		shown := office.lend(laptop, 1)
		th := newThief(t, 1<<33, "STRANGER")
		self := peer.Self{
			Sign: th.sign, Fingerprint: func() *document.Fingerprint { return th.identity },
			Now: func() int64 { return office.watch.Now().Unix() },
		}
		line := func(ctx context.Context, _ string, m []byte) ([]byte, error) { return office.AnswerPeer(ctx, m) }
		var first string
		for name, key := range map[string]uint64{
			"plugged in": worldKey, "never seen": worldKey + 99, "a license's short id": uint64(document.ShortID(shown.LicenseID)),
		} {
			g, err := self.Greet(w.ctx, line, "OFFICE")
			w.ok(err)
			_, err = self.Ask(w.ctx, line, "OFFICE", g, 2, recallOf(key, th))
			refused, _ := errors.AsType[*peer.Refused](err)
			if refused == nil || refused.Code != licensing.DetachedLicenseNotFound {
				t.Errorf("key %s: %v", name, err)
				continue
			}
			if told := fmt.Sprint(refused.Code, refused.Message, refused.Details); first == "" {
				first = told
			} else if told != first {
				t.Errorf("key %s: told is %q, of another key it was %q", name, told, first)
			}
		}
	})
}

// recallOf is what a stranger sends to recall a request.
func recallOf(key uint64, th *thief) []byte {
	return document.Encode(detachAsk{
		Key: key, Recipient: 1 << 33, RecipientKey: publicOf(th.sign), Duration: 60, Seats: 1,
		Features: []licensing.Selector{{ProductNumber: worldProduct, FeatureNumber: 1}}, Own: document.Hash{1}, Recall: true,
	})
}

// The answer to a detach is lost, and the line fails again at each message by which it is
// undone: in the end the seat is at the office.
func TestRecallFaults(t *testing.T) {
	for number := range 4 { // greeting, recall; greeting, return
		for _, fate := range []fate{lost, answered, torn, doubled} {
			for _, victim := range []string{"", "OFFICE", "LAPTOP"} {
				t.Run(fmt.Sprintf("%d-%d-%s", number, fate, victim), func(t *testing.T) {
					inBubble(t, func(w *world) { recallFault(w, step{number, fate}, victim) })
				})
			}
		}
	}
}

func recallFault(w *world, s step, victim string) {
	w.Helper()
	office, laptop, n := two(w)
	asked, at := false, 0
	var mu sync.Mutex
	n.set(func(from, _ *machine, message []byte) fate {
		mu.Lock()
		defer mu.Unlock()
		switch {
		case from != laptop:
		case !asked && moves(message):
			asked = true
			return answered
		case asked:
			if at++; at > s.number {
				return s.fate
			}
		}
		return arrives
	})
	_, err := laptop.Detach(w.ctx, laptop.online(office, 1), nil)
	w.refused(err, licensing.ServerNotFound, licensing.ErrUnknown)
	w.await("it is being undone", func() bool {
		mu.Lock()
		defer mu.Unlock()
		return at > s.number || len(laptop.intents()) == 0
	})
	w.checkPromises()
	switch victim {
	case "OFFICE":
		office.reopen()
	case "LAPTOP":
		laptop.reopen()
	}
	n.set(nil)
	w.await("nothing is pending", func() bool { return len(laptop.intents()) == 0 })
	if _, err := laptop.check(1); err == nil || office.free(1) != 3 {
		w.Errorf("%d of 3 seats are free, and here: %v", office.free(1), err)
	}
	w.checkPromises()
}
