package licensing_test

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sojournlm/sojourn/internal/document"
	"github.com/sojournlm/sojourn/internal/peer"
	"github.com/sojournlm/sojourn/licensing"
)

// A stranger has overheard the answer to an earlier detach (plain HTTP; sealed, so of no use to him).
// He claims the key and answers with it to a request for another feature.
func TestAnswerToAnotherRequest(t *testing.T) {
	inBubble(t, func(w *world) {
		office := w.office(feature(1, 3), feature(2, 3))
		laptop := w.laptop("LAPTOP", office)
		n := w.connect(office, laptop)
		w.await("seen", func() bool { return laptop.sees(worldKey) })
		var mu sync.Mutex
		var inventory, overheard []byte
		liar := newThief(t, 1<<33, "A LIAR")
		liar.inside = func(r *document.PeerRequest) document.PeerAnswer {
			mu.Lock()
			defer mu.Unlock()
			if r.Verb == 1 {
				return document.PeerAnswer{Body: inventory}
			}
			return document.PeerAnswer{Body: overheard}
		}
		through := n.exchange(laptop)
		p := laptop.opts.Peers
		p.Addresses = []string{"OFFICE"}
		lies := false
		p.Exchange = func(ctx context.Context, address string, message []byte) ([]byte, error) {
			if address == "A LIAR" {
				return liar.answer(message)
			}
			answer, err := through(ctx, address, message)
			if request, fault := document.ParsePeerRequest(message); fault == nil && err == nil && !lies {
				if parsed, fault := document.ParsePeerAnswer(answer, request); fault == nil && parsed.Code == 0 {
					mu.Lock()
					switch request.Verb {
					case 1:
						inventory = parsed.Body
					case 2:
						overheard = parsed.Body
					}
					mu.Unlock()
				}
			}
			return answer, err
		}
		laptop.restart()
		w.await("seen", func() bool { return laptop.sees(worldKey) })
		first, err := laptop.Detach(w.ctx, laptop.online(office, 1), nil)
		w.ok(err)
		lies = true
		p.Addresses = []string{"A LIAR", "OFFICE"}
		laptop.restart()
		w.await("both", func() bool { _, ok := laptop.knows("A LIAR"); return ok && laptop.sees(worldKey) })
		time.Sleep(time.Minute)
		w.turn(time.Minute)
		_, err = laptop.Detach(w.ctx, laptop.online(office, 2), nil)
		w.refused(err, licensing.IncorrectResponseData, licensing.ErrUnknown)
		if len(laptop.intents()) != 1 {
			t.Errorf("%d operations are pending, with license %d installed", len(laptop.intents()), first.LicenseID)
		}
	})
}

// The office's operator removes LAPTOP's fingerprint while a seat is out. "Removing a computer
// leaves its seats out and its return valid": the online return must still be taken.
func TestReturnAfterRemoval(t *testing.T) {
	inBubble(t, func(w *world) {
		office, laptop, _ := two(w)
		d, err := laptop.Detach(w.ctx, laptop.online(office, 1), nil)
		w.ok(err)
		w.ok(office.RemoveFingerprint(w.ctx, laptop.id, nil))
		_, err = laptop.CancelDetach(w.ctx, licensing.CancelRequest{License: d.LicenseID}, nil)
		if err != nil {
			t.Errorf("CancelDetach: %v; pending %d", err, len(laptop.intents()))
		}
		for range 600 {
			time.Sleep(time.Second)
			w.turn(time.Second)
		}
		if len(laptop.intents()) != 0 || office.free(1) != 3 {
			t.Errorf("ten minutes later: %d pending, %d of 3 free", len(laptop.intents()), office.free(1))
		}
	})
}

// The same while a detach is pending: the seat is neither here nor there until its death time.
func TestRecallAfterRemoval(t *testing.T) {
	inBubble(t, func(w *world) {
		office, laptop, n := two(w)
		n.set(func(from, to *machine, m []byte) fate {
			if moves(m) {
				return answered
			}
			return arrives
		})
		_, err := laptop.Detach(w.ctx, laptop.online(office, 1), nil)
		w.refused(err, licensing.ErrUnknown)
		w.ok(office.RemoveFingerprint(w.ctx, laptop.id, nil))
		n.set(nil)
		for range 600 {
			time.Sleep(time.Second)
			w.turn(time.Second)
		}
		if len(laptop.intents()) != 0 || office.free(1) != 3 {
			t.Errorf("ten minutes later: %d pending, %d of 3 free", len(laptop.intents()), office.free(1))
		}
	})
}

// A manager that claims OFFICE's lmsId by other keys is not believed to have a key.
func TestConflictIsNoOrigin(t *testing.T) {
	inBubble(t, func(w *world) {
		office, laptop, n := two(w)
		w.ok(laptop.know(office))
		thief := newThief(t, office.id, "THIEF")
		thief.inside = func(r *document.PeerRequest) document.PeerAnswer {
			return document.PeerAnswer{Body: fakeInventory(77)}
		}
		through := n.exchange(laptop)
		laptop.opts.Peers.Addresses = append(laptop.opts.Peers.Addresses, "THIEF")
		laptop.opts.Peers.Exchange = func(ctx context.Context, address string, m []byte) ([]byte, error) {
			if address == "THIEF" {
				return thief.answer(m)
			}
			return through(ctx, address, m)
		}
		laptop.restart()
		w.await("found", func() bool { c, _ := laptop.knows("THIEF"); return c.Conflict })
		if laptop.sees(77) {
			t.Error("the keys of a manager in conflict are shown")
		}
	})
}

// A stranger that claims a key which was pulled out here does not make it his.
func TestStrangerHidesNoKey(t *testing.T) {
	inBubble(t, func(w *world) {
		office := w.office(feature(1, 3))
		stranger := newThief(t, 1<<33, "STRANGER")
		stranger.inside = func(*document.PeerRequest) document.PeerAnswer {
			return document.PeerAnswer{Body: fakeInventory(worldKey)}
		}
		office.opts.Peers = &licensing.Peers{
			Browse: func(ctx context.Context, found func(string)) error { found("STRANGER"); <-ctx.Done(); return nil },
			Exchange: func(ctx context.Context, address string, message []byte) ([]byte, error) {
				return stranger.answer(message)
			},
		}
		office.restart()
		w.await("found", func() bool { _, ok := office.knows("STRANGER"); return ok })
		office.keys[0].Unplug()
		w.turn(5 * time.Second)
		collect[licensing.Key](w)(office.Keys(w.ctx, licensing.Filter{}))
		list := collect[licensing.Feature](w)(office.Features(w.ctx, licensing.Filter{Key: new(uint64(worldKey))}))
		if len(list) == 0 {
			t.Error("the features of the pool, which lies here, are no longer listed")
		}
		office.keys[0].Plug()
	})
}

// Offline for a known computer through another manager: the first request is held up on the
// way; asked again under the same request key it is refused for want of seats; then the first arrives.
func TestRefusedWhileACopyIsOnItsWay(t *testing.T) {
	inBubble(t, func(w *world) {
		office := w.office(feature(1, 1))
		desk, laptop := w.laptop("DESK", office), w.laptop("LAPTOP", office)
		n := w.connect(office, desk)
		w.ok(desk.know(laptop))
		w.await("the desk sees the key", func() bool { return desk.sees(worldKey) })
		through := n.exchange(desk)
		var held func()
		first := true
		desk.opts.Peers.Exchange = func(ctx context.Context, address string, message []byte) ([]byte, error) {
			if r, err := document.ParsePeerRequest(message); err == nil && r.Verb == 2 && first {
				first = false
				held = func() { through(context.WithoutCancel(ctx), address, message) }
				return nil, errors.New("the line is dead")
			}
			return through(ctx, address, message)
		}
		desk.restart()
		w.await("the desk sees the key", func() bool { return desk.sees(worldKey) })
		other := w.laptop("OTHER", office)
		d := office.detach(other, 1)
		w.ok(other.Install(w.ctx, d.License, nil))
		request, once := office.request(laptop, 1), &licensing.ChangeOptions{RequestKey: "once"}
		_, err := desk.Detach(w.ctx, request, once)
		w.refused(err, licensing.ErrUnknown)
		_, err = desk.Detach(w.ctx, request, once)
		t.Log(err)
		certain := !errors.Is(err, licensing.ErrUnknown) && errors.Is(err, licensing.FeatureResourceExhaust)
		w.ok(office.Install(w.ctx, other.giveBack(d.LicenseID), nil))
		free := office.free(1)
		held()
		if certain && office.free(1) != free {
			t.Errorf("refused for certain, and %d of %d seats are free afterwards", office.free(1), free)
		}
	})
}

// copycat finds OFFICE and a liar on the network; the liar shows the office's
// inventory as its own and answers everything else by answer.
func copycat(w *world, t *testing.T, laptop *machine, n *lines, answer func(verb uint32) document.PeerAnswer) {
	var mu sync.Mutex
	var inventory []byte
	liar := newThief(t, 1<<33, "A LIAR")
	liar.inside = func(r *document.PeerRequest) document.PeerAnswer {
		mu.Lock()
		defer mu.Unlock()
		if r.Verb == 1 {
			return document.PeerAnswer{Body: inventory}
		}
		return answer(r.Verb)
	}
	through := n.exchange(laptop)
	p := laptop.opts.Peers
	p.Addresses = nil
	p.Browse = func(ctx context.Context, found func(string)) error {
		found("OFFICE")
		found("A LIAR")
		<-ctx.Done()
		return nil
	}
	p.Exchange = func(ctx context.Context, address string, message []byte) ([]byte, error) {
		if address == "A LIAR" {
			return liar.answer(message)
		}
		answer, err := through(ctx, address, message)
		if request, fault := document.ParsePeerRequest(message); fault == nil && request.Verb == 1 && err == nil {
			if parsed, fault := document.ParsePeerAnswer(answer, request); fault == nil && parsed.Code == 0 {
				mu.Lock()
				inventory = parsed.Body
				mu.Unlock()
			}
		}
		return answer, err
	}
	laptop.restart()
	time.Sleep(time.Minute)
	w.turn(time.Minute)
	w.await("both tell", func() bool { return laptop.sees(worldKey) })
}

// A stranger on the network (found by multicast only, known to nobody) says that it
// has the office's key, and to a return "came home before". The office answers all the time.
func TestStrangerSwallowsNoReturn(t *testing.T) {
	inBubble(t, func(w *world) {
		office, laptop, n := two(w)
		lent, err := laptop.Detach(w.ctx, laptop.online(office, 1), nil)
		w.ok(err)
		copycat(w, t, laptop, n, func(uint32) document.PeerAnswer {
			return document.PeerAnswer{Code: uint32(licensing.InvalidUpdateOrAlreadyInstalled), Message: "came home before"}
		})
		_, err = laptop.CancelDetach(w.ctx, licensing.CancelRequest{License: lent.LicenseID}, nil)
		w.ok(err) // the office is found to have the key too, and its key signs
		w.turn(20 * time.Minute)
		if len(laptop.intents()) != 0 || office.free(1) != 3 {
			t.Errorf("%d operations are pending, and %d of 3 seats are free at the office", len(laptop.intents()), office.free(1))
		}
	})
}

// The same stranger refuses: a seat is to be had all the same, for the office answers.
func TestStrangerDeniesNobody(t *testing.T) {
	inBubble(t, func(w *world) {
		office, laptop, n := two(w)
		copycat(w, t, laptop, n, func(uint32) document.PeerAnswer {
			return document.PeerAnswer{Code: uint32(licensing.FeatureResourceExhaust), Message: "no seats"}
		})
		_, err := laptop.Detach(w.ctx, laptop.online(office, 1), nil)
		if err != nil {
			t.Errorf("the office has %d seats and answers; Detach: %v", office.free(1), err)
		}
	})
}

// A peer that greets and tells, but hangs at every request that moves a seat, does not
// keep the returns for others from being handed over.
func TestHangingPeerHoldsUpItself(t *testing.T) {
	inBubble(t, func(w *world) {
		office, laptop, n := two(w)
		lent, err := laptop.Detach(w.ctx, laptop.online(office, 1), nil)
		w.ok(err)
		hangs := newThief(t, 1<<33, "HANGS")
		hangs.inside = func(r *document.PeerRequest) document.PeerAnswer {
			return document.PeerAnswer{Body: fakeInventory(77)}
		}
		through := n.exchange(laptop)
		p := laptop.opts.Peers
		p.Addresses = append(p.Addresses, "HANGS")
		p.Exchange = func(ctx context.Context, address string, message []byte) ([]byte, error) {
			if address == "HANGS" {
				if r, err := document.ParsePeerRequest(message); err == nil && r.Verb > 1 {
					<-ctx.Done()
					return nil, ctx.Err()
				}
				return hangs.answer(message)
			}
			return through(ctx, address, message)
		}
		laptop.restart()
		w.await("both tell", func() bool { return laptop.sees(worldKey) && laptop.sees(77) })
		r := laptop.online(office, 1)
		r.Key = 77
		var group sync.WaitGroup
		for range 20 {
			group.Go(func() { laptop.Detach(w.ctx, r, nil) })
		}
		group.Wait()
		n.set(func(from, to *machine, m []byte) fate {
			if moves(m) {
				return lost
			}
			return arrives
		})
		_, err = laptop.CancelDetach(w.ctx, licensing.CancelRequest{License: lent.LicenseID}, nil)
		w.refused(err, licensing.ErrUnknown)
		n.set(nil)
		begin := time.Now()
		for time.Since(begin) < 20*time.Minute {
			time.Sleep(time.Second)
			w.turn(time.Second)
			open := 0
			for _, i := range laptop.intents() {
				if i.Op == "cancel detach" {
					open++
				}
			}
			if open == 0 {
				break
			}
		}
		if took := time.Since(begin); took > 15*time.Second {
			t.Errorf("the office answers all the time; its return was handed over after %v", took)
		}
	})
}

func fakeInventory(id uint64) []byte {
	type key struct {
		ID           uint64   `cbor:"1,keyasint"`
		Model        uint32   `cbor:"2,keyasint"`
		Vendor       uint32   `cbor:"3,keyasint"`
		Firmware     string   `cbor:"4,keyasint"`
		Manufactured int64    `cbor:"5,keyasint"`
		Inaccessible bool     `cbor:"6,keyasint"`
		Features     []string `cbor:"7,keyasint"`
	}
	return document.Encode(struct {
		Keys []key `cbor:"1,keyasint"`
	}{[]key{{ID: id, Model: 1, Vendor: worldVendor}}})
}

// An admitted computer cannot have the office give a seat to a stranger that the
// office has only found.
func TestNoSeatForAStranger(t *testing.T) {
	inBubble(t, func(w *world) {
		office := w.office(feature(1, 3))
		laptop := w.laptop("LAPTOP", office)
		stranger := w.laptop("STRANGER")
		w.connect(office, laptop, stranger)
		w.await("seen", func() bool { _, ok := laptop.knows("STRANGER"); return ok && laptop.sees(worldKey) })
		w.await("seen by the office", func() bool { _, ok := office.knows("STRANGER"); return ok })
		d, err := laptop.Detach(w.ctx, office.request(stranger, 1), nil)
		if err == nil {
			t.Errorf("AdmitFound is off, nobody added STRANGER by hand, and license %d is out to it", d.LicenseID)
		}
	})
}

// Somebody on the line, who has none of the office's keys, refuses a greeting by his own. What is
// pending with the office stays so, and what was asked for under a request key is not denied.
func TestRefusedGreeting(t *testing.T) {
	for _, key := range []string{"", "once"} {
		inBubble(t, func(w *world) {
			office, laptop, n := two(w)
			thief := newThief(t, 1<<40, "THIEF")
			through := n.exchange(laptop)
			var refuses atomic.Bool
			laptop.opts.Peers.Exchange = func(ctx context.Context, address string, message []byte) ([]byte, error) {
				r, err := document.ParsePeerRequest(message)
				w.ok(err)
				if refuses.Load() && r.Greeting() {
					signed, err := document.SignPeerAnswer(thief.sign, thief.identity, r, document.PeerAnswer{
						Time: thief.time, Code: uint32(licensing.DetachedLicenseNotFound), Message: "never heard of it",
					})
					w.ok(err)
					return signed.Bytes(), nil
				}
				answer, err := through(ctx, address, message)
				if r.Verb > 1 && refuses.CompareAndSwap(false, true) {
					return nil, errLine
				}
				return answer, err
			}
			laptop.restart()
			w.await("the key is seen", func() bool { return laptop.sees(worldKey) })
			options := &licensing.ChangeOptions{RequestKey: key}
			for range 2 {
				_, err := laptop.Detach(w.ctx, laptop.online(office, 1), options)
				w.refused(err, licensing.ErrUnknown, licensing.ServerNotFound)
				if key == "" {
					break
				}
			}
			for range 30 { // it is tried to undo it
				time.Sleep(time.Second)
				w.turn(time.Second)
			}
			if len(laptop.intents()) != 1 || office.free(1) != 2 {
				t.Errorf("key %q: %d operations are pending, and %d of 3 seats are free", key, len(laptop.intents()), office.free(1))
			}
			laptop.opts.Peers.Exchange = through
			laptop.restart()
			w.await("nothing is pending", func() bool { return len(laptop.intents()) == 0 })
			if office.free(1) != 3 {
				t.Errorf("key %q: %d of 3 seats are free", key, office.free(1))
			}
		})
	}
}

// Who has the lmsId of a computer that was added by hand, and other keys, is admitted to nothing.
func TestSameIDIsNotAdmitted(t *testing.T) {
	for _, admitFound := range []bool{false, true} {
		inBubble(t, func(w *world) {
			office, laptop, n := two(w)
			office.opts.Peers.AdmitFound = admitFound
			office.restart()
			th := newThief(t, laptop.id, "LAPTOP")
			self := peer.Self{Sign: th.sign, Fingerprint: func() *document.Fingerprint { return th.identity }, Now: worldBegin.Unix}
			ask := detachAsk{
				Key: worldKey, Recipient: laptop.id, RecipientKey: th.identity.Computer.Sign, Duration: 3600, Seats: 1,
				Features: office.request(laptop, 1).Features, Own: document.Hash{1},
			}
			for verb, body := range map[uint32][]byte{1: nil, 2: document.Encode(ask)} {
				g, err := self.Greet(w.ctx, n.exchange(laptop), "OFFICE")
				w.ok(err)
				_, err = self.Ask(w.ctx, n.exchange(laptop), "OFFICE", g, verb, body)
				if !errors.Is(err, licensing.OperationIsNotAllowed) {
					t.Errorf("admit found %v, verb %d: %v", admitFound, verb, err)
				}
			}
			if office.free(1) != 3 {
				t.Errorf("%d of 3 seats are free", office.free(1))
			}
		})
	}
}

// Another honest manager answers at the address of the office with which something is
// pending: its answers are not taken for the office's.
func TestAnotherAtTheSameAddress(t *testing.T) {
	for _, cancel := range []bool{false, true} {
		inBubble(t, func(w *world) {
			office, laptop, n := two(w)
			annex := w.laptop("ANNEX")
			annex.opts.Peers = &licensing.Peers{Exchange: n.exchange(annex)}
			annex.restart()
			through := n.exchange(laptop)
			var replaced atomic.Bool
			laptop.opts.Peers.Exchange = func(ctx context.Context, address string, message []byte) ([]byte, error) {
				if replaced.Load() {
					address = "ANNEX"
				}
				return through(ctx, address, message)
			}
			laptop.restart()
			w.await("the key is seen", func() bool { return laptop.sees(worldKey) })
			var lent *licensing.Detached
			var err error
			if cancel {
				lent, err = laptop.Detach(w.ctx, laptop.online(office, 1), nil)
				w.ok(err)
			}
			n.set(func(from, to *machine, message []byte) fate {
				switch {
				case from != laptop || to != office || !moves(message):
					return arrives
				case cancel:
					replaced.Store(true)
					return lost
				}
				replaced.Store(true)
				return answered
			})
			if cancel {
				_, err = laptop.CancelDetach(w.ctx, licensing.CancelRequest{License: lent.LicenseID}, nil)
			} else {
				_, err = laptop.Detach(w.ctx, laptop.online(office, 1), nil)
			}
			w.refused(err, licensing.ErrUnknown)
			n.set(nil)
			for range 5 {
				time.Sleep(time.Minute)
				w.turn(time.Minute)
			}
			if len(laptop.intents()) != 1 {
				t.Errorf("cancel %v: what is pending with the office has ended with another; %d of 3 seats are free", cancel, office.free(1))
			}
			replaced.Store(false)
			w.await("nothing is pending", func() bool { return len(laptop.intents()) == 0 })
			if w.turn(2 * time.Minute); office.free(1) != 3 {
				t.Errorf("cancel %v: %d of 3 seats are free", cancel, office.free(1))
			}
		})
	}
}

// A receipt that the key has not signed ends no return, whatever else is right about it.
func TestForgedReceipt(t *testing.T) {
	inBubble(t, func(w *world) {
		office, laptop, n := two(w)
		lent, err := laptop.Detach(w.ctx, laptop.online(office, 1), nil)
		w.ok(err)
		laptop.opts.Peers.Addresses = nil // both are found: the minter is a taker too
		newMinter(t, before, worldKey).on(laptop, "OFFICE")
		w.await("both are known", func() bool { _, ok := laptop.knows("MINTER"); return ok && laptop.sees(worldKey) })
		silence(w, laptop, n)
		_, err = laptop.CancelDetach(w.ctx, licensing.CancelRequest{License: lent.LicenseID}, nil)
		w.refused(err, licensing.ErrUnknown)
		time.Sleep(time.Minute)
		w.turn(time.Minute)
		if len(laptop.intents()) != 1 || len(laptop.look().Cancelled) != 1 {
			t.Errorf("%d operations are pending: a forged receipt is taken for the office's", len(laptop.intents()))
		}
		n.set(nil)
		w.await("nothing is pending", func() bool { return len(laptop.intents()) == 0 })
		if office.free(1) != 3 {
			t.Errorf("%d of 3 seats are free", office.free(1))
		}
	})
}
