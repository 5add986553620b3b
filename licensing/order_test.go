package licensing_test

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sojournlm/sojourn/internal/document"
	"github.com/sojournlm/sojourn/internal/peer"
	"github.com/sojournlm/sojourn/licensing"
)

// behaviour is what a stranger does with a message.
type behaviour func(ctx context.Context, th *thief, message []byte) ([]byte, error)

// hangs tells that the stranger has the office's key, and hangs at every request that
// moves a seat.
func hangs(ctx context.Context, th *thief, message []byte) ([]byte, error) {
	if moves(message) {
		<-ctx.Done()
		return nil, ctx.Err()
	}
	return th.answer(message)
}

// refuses tells the same, and refuses every such request.
func refuses(_ context.Context, th *thief, message []byte) ([]byte, error) {
	if moves(message) {
		inside := th.inside
		defer func() { th.inside = inside }()
		th.inside = func(*document.PeerRequest) document.PeerAnswer {
			return document.PeerAnswer{Code: uint32(licensing.FeatureResourceExhaust), Message: "no seats"}
		}
	}
	return th.answer(message)
}

// among restarts a machine among strangers on its network, with ids from first on, of
// which all tell that they have the office's key. The office is named in the settings,
// or found too.
func among(w *world, t *testing.T, m *machine, n *lines, count int, first uint64, named bool, does behaviour) {
	w.Helper()
	many := make(map[string]*thief)
	for i := range count {
		th := newThief(t, first+uint64(i), fmt.Sprint("STRANGER ", i))
		th.inside = func(*document.PeerRequest) document.PeerAnswer {
			return document.PeerAnswer{Body: fakeInventory(worldKey)}
		}
		many[th.identity.Computer.HostName] = th
	}
	through := n.exchange(m)
	p := &licensing.Peers{
		Browse: func(ctx context.Context, found func(string)) error {
			for a := range many {
				found(a)
			}
			if !named {
				found("OFFICE")
			}
			<-ctx.Done()
			return nil
		},
		Exchange: func(ctx context.Context, address string, message []byte) ([]byte, error) {
			if th := many[address]; th != nil {
				return does(ctx, th, message)
			}
			return through(ctx, address, message)
		},
	}
	if named {
		p.Addresses = []string{"OFFICE"}
	}
	m.opts.Peers = p
	m.restart()
	time.Sleep(10 * time.Second)
	w.turn(10 * time.Second)
	w.await("the office and the strangers are known", func() bool {
		_, office := m.knows("OFFICE")
		_, last := m.knows(fmt.Sprint("STRANGER ", count-1))
		return office && last
	})
}

const (
	before = 1 << 33     // a stranger with this id is sorted before the office
	after  = 1<<53 - 1e6 // and with this one after it
	none   = time.Second // what takes less does not wait for anybody that hangs
)

// Asked again under the same request key a detach goes on with who has it; under another
// one it comes from the office, once.
func TestAnotherRequestKeyAsksAnother(t *testing.T) {
	inBubble(t, func(w *world) {
		office, laptop, n := two(w)
		among(w, t, laptop, n, 1, before, false, hangs)
		var ids [2]uint64
		for i := range ids {
			_, err := laptop.Detach(w.ctx, laptop.online(office, 1), askedOnce)
			w.refused(err, licensing.ErrUnknown)
			ids[i] = w.pendingAs(err)
		}
		if ids[0] != ids[1] {
			t.Errorf("asked again it is operation %d, not %d", ids[1], ids[0])
		}
		_, err := laptop.Detach(w.ctx, laptop.online(office, 1), &licensing.ChangeOptions{RequestKey: "another"})
		w.ok(err)
		if office.free(1) != 2 || !laptop.isPending(ids[0]) {
			t.Errorf("%d of 3 seats are free, pending are %+v", office.free(1), laptop.intents())
		}
	})
}

// Strangers that claim a key and hang delay neither the answer to a return while the
// office is silent, nor the returns to it once it answers.
func TestStrangersDelayNoReturn(t *testing.T) {
	for _, count := range []int{1, 20} {
		for _, named := range []bool{true, false} {
			inBubble(t, func(w *world) {
				office := w.office(feature(1, 3), feature(2, 3), feature(3, 3))
				laptop := w.laptop("LAPTOP", office)
				n := w.connect(office, laptop)
				w.await("the key is seen", func() bool { return laptop.sees(worldKey) })
				var lent []uint64
				for number := range uint32(3) {
					d, err := laptop.Detach(w.ctx, laptop.online(office, number+1), nil)
					w.ok(err)
					lent = append(lent, d.LicenseID)
				}
				among(w, t, laptop, n, count, before, named, hangs)
				silence(w, laptop, n)
				limit := 5 * time.Second
				if !named { // who answers has its time, and all the others none of their own
					limit = 20 * time.Second
				}
				for _, id := range lent {
					begin := time.Now()
					_, err := laptop.CancelDetach(w.ctx, licensing.CancelRequest{License: id}, nil)
					w.refused(err, licensing.ServerNotFound, licensing.ErrUnknown)
					if took := time.Since(begin); took > limit {
						t.Errorf("%d strangers, named %v: the answer took %v", count, named, took)
					}
				}
				time.Sleep(20 * time.Second) // settling has begun again
				n.set(nil)
				begin := time.Now()
				for len(laptop.intents()) > 0 && time.Since(begin) < time.Hour {
					time.Sleep(time.Second)
					w.turn(time.Second)
				}
				if took := time.Since(begin); took > 30*time.Second {
					t.Errorf("%d strangers, named %v: the office answers, and the returns took %v", count, named, took)
				}
			})
		}
	}
}

// Where the one that a return is meant for fails, all others have a moment together.
func TestOthersHaveAMoment(t *testing.T) {
	inBubble(t, func(w *world) {
		office, laptop, n := two(w)
		d, err := laptop.Detach(w.ctx, laptop.online(office, 1), nil)
		w.ok(err)
		among(w, t, laptop, n, 20, after, false, hangs)
		n.set(func(from, _ *machine, message []byte) fate {
			if from == laptop && moves(message) {
				return lost
			}
			return arrives
		})
		begin := time.Now()
		_, err = laptop.CancelDetach(w.ctx, licensing.CancelRequest{License: d.LicenseID}, nil)
		w.refused(err, licensing.ServerNotFound, licensing.ErrUnknown)
		if took := time.Since(begin); took > 3*time.Second {
			t.Errorf("the answer took %v", took)
		}
	})
}

// A stranger that hangs does not keep an office, from which one message was lost, from
// being asked: each has its turn.
func TestEachHasItsTurn(t *testing.T) {
	inBubble(t, func(w *world) {
		office, laptop, n := two(w)
		among(w, t, laptop, n, 1, before, false, hangs)
		var asked atomic.Int64
		n.set(func(from, to *machine, message []byte) fate {
			if from == laptop && moves(message) && asked.Add(1) == 1 {
				return lost
			}
			return arrives
		})
		for range 3 { // the stranger, the office in vain, the stranger
			_, err := laptop.Detach(w.ctx, laptop.online(office, 1), nil)
			w.refused(err, licensing.ServerNotFound, licensing.ErrUnknown)
			time.Sleep(20 * time.Second)
			w.turn(20 * time.Second)
		}
		_, err := laptop.Detach(w.ctx, laptop.online(office, 1), nil)
		w.ok(err)
	})
}

// A caller that leaves at once blames nobody, and one that has waited in vain does.
func TestWhoLeavesBlamesNobody(t *testing.T) {
	inBubble(t, func(w *world) {
		office, laptop, n := two(w)
		among(w, t, laptop, n, 1, before, false, hangs)
		impatient, cancel := context.WithTimeout(w.ctx, 5*time.Second)
		defer cancel()
		_, err := laptop.Detach(impatient, laptop.online(office, 1), nil)
		w.refused(err, licensing.ErrUnknown)
		n.heeds.Store(true)
		leaving, leave := context.WithCancel(w.ctx)
		n.set(func(from, _ *machine, message []byte) fate {
			if from == laptop && moves(message) {
				leave()
			}
			return arrives
		})
		_, err = laptop.Detach(leaving, laptop.online(office, 1), nil)
		w.refused(err, licensing.ErrUnknown)
		n.set(nil)
		w.await("the office has its seat back", func() bool { return office.free(1) == 3 && len(laptop.intents()) <= 1 })
		begin := time.Now()
		_, err = laptop.Detach(w.ctx, laptop.online(office, 1), nil)
		w.ok(err)
		if took := time.Since(begin); took > none {
			t.Errorf("the office is asked after %v", took)
		}
	})
}

// Who has proven to have a key is asked first, and what it refuses is refused, whatever
// a stranger makes of it.
func TestProvenIsFinal(t *testing.T) {
	inBubble(t, func(w *world) {
		office, laptop, n := two(w)
		among(w, t, laptop, n, 3, before, false, hangs)
		for range 3 {
			laptop.Detach(w.ctx, laptop.online(office, 1), nil)
		}
		_, err := laptop.Detach(w.ctx, laptop.online(office, 1), nil)
		w.ok(err)
		time.Sleep(11 * time.Minute) // nobody is blamed any more
		w.turn(11 * time.Minute)
		begin := time.Now()
		_, err = laptop.Detach(w.ctx, laptop.online(office, 1), nil)
		w.refused(err, licensing.CancelPreviousDetachRequired)
		if took := time.Since(begin); took > none || errors.Is(err, licensing.ErrUnknown) {
			t.Errorf("after %v: %v", took, err)
		}
	})
}

// A stranger with the lmsId of an office that is named in the settings is reported,
// and takes nothing from it, whether or not he came first, answers or is gone.
func TestNamedIsNotDenied(t *testing.T) {
	for _, first := range []bool{false, true} {
		inBubble(t, func(w *world) {
			office := w.office(feature(1, 3))
			laptop := w.laptop("LAPTOP", office)
			w.ok(office.know(laptop))
			n := &lines{w: w}
			office.opts.Peers = &licensing.Peers{Exchange: n.exchange(office)}
			office.restart()
			thief := newThief(t, office.id, "THIEF")
			thief.inside = func(*document.PeerRequest) document.PeerAnswer {
				return document.PeerAnswer{Body: fakeInventory(77)}
			}
			through := n.exchange(laptop)
			var here atomic.Bool
			laptop.opts.Peers = &licensing.Peers{
				Addresses: []string{"OFFICE"},
				Browse: func(ctx context.Context, found func(string)) error {
					found("THIEF")
					<-ctx.Done()
					return nil
				},
				Exchange: func(ctx context.Context, address string, message []byte) ([]byte, error) {
					switch {
					case address != "THIEF":
						return through(ctx, address, message)
					case !here.Load():
						return nil, errLine
					}
					return thief.answer(message)
				},
			}
			here.Store(first)
			if first {
				n.set(dead)
			}
			laptop.restart()
			w.await("one is known", func() bool { return len(laptop.known()) == 2 })
			time.Sleep(time.Minute) // it is stored
			w.turn(time.Minute)
			here.Store(true)
			n.set(nil)
			laptop.restart()
			for _, step := range []string{"both answer", "he is gone", "after a restart"} {
				switch step {
				case "he is gone":
					here.Store(false)
					time.Sleep(time.Minute)
					w.turn(time.Minute)
				case "after a restart":
					laptop.restart()
				}
				w.await("the office's key is seen: "+step, func() bool { return laptop.sees(worldKey) })
				if step == "both answer" {
					w.await("both are known", func() bool { return len(laptop.known()) == 3 })
				}
				if laptop.sees(77) {
					t.Errorf("%s: the thief is believed", step)
				}
				// Of two the store remembers whom it knew first.
				if c, ok := laptop.knows("THIEF"); (ok || first || step != "after a restart") && !c.Conflict {
					t.Errorf("%s, he came first %v: he is reported as %+v", step, first, c)
				}
				if c, _ := laptop.knows("OFFICE"); !c.Conflict && (first || step != "after a restart") {
					t.Errorf("%s, he came first %v: the office is no conflict", step, first)
				}
				d, err := laptop.Detach(w.ctx, laptop.online(office, 1), nil)
				w.ok(err)
				_, err = laptop.CancelDetach(w.ctx, licensing.CancelRequest{License: d.LicenseID}, nil)
				w.ok(err)
			}
		})
	}
}

// Where computers that were found are admitted, one with the lmsId of another denies it
// while he answers, and no longer; nobody who names an lmsId alone gets either of them.
func TestAdmittedIsNotDeniedForEver(t *testing.T) {
	inBubble(t, func(w *world) {
		office, laptop := w.office(feature(1, 3)), w.laptop("LAPTOP")
		n := w.connect(office, laptop)
		thief := newThief(t, laptop.id, "THIEF")
		through := n.exchange(office)
		var gone atomic.Bool
		office.opts.Peers = &licensing.Peers{
			AdmitFound: true,
			Browse: func(ctx context.Context, found func(string)) error {
				found("THIEF")
				found("LAPTOP")
				<-ctx.Done()
				return nil
			},
			Exchange: func(ctx context.Context, address string, message []byte) ([]byte, error) {
				switch {
				case address != "THIEF":
					return through(ctx, address, message)
				case gone.Load():
					return nil, errLine
				}
				return thief.answer(message)
			},
		}
		office.restart()
		w.await("both are known", func() bool { return len(office.known()) == 3 })
		if time.Sleep(10 * time.Second); laptop.sees(worldKey) {
			t.Error("one of two that answer is believed")
		}
		gone.Store(true)
		time.Sleep(time.Minute)
		w.turn(time.Minute)
		_, err := office.Detach(w.ctx, office.request(laptop, 1), nil)
		w.refused(err, licensing.OperationIsNotAllowed)
		w.await("the key is seen", func() bool { return laptop.sees(worldKey) })
		d, err := laptop.Detach(w.ctx, laptop.online(office, 1), nil)
		w.ok(err)
		_, err = laptop.CancelDetach(w.ctx, licensing.CancelRequest{License: d.LicenseID}, nil)
		w.ok(err)
	})
}

// What is fetched for another computer comes from the office, though a stranger
// refuses it. One that hangs may have made it, as far as anybody knows: who asks under
// another request key gets it from the office then.
func TestFetchGoesOn(t *testing.T) {
	for name, does := range map[string]behaviour{"refuses": refuses, "hangs": hangs} {
		inBubble(t, func(w *world) {
			office, laptop, n := two(w)
			desk := w.laptop("DESK", office)
			w.ok(laptop.know(desk))
			among(w, t, laptop, n, 1, before, false, does)
			key := askedOnce
			ask := func() (*licensing.Detached, error) { return laptop.Detach(w.ctx, office.request(desk, 1), key) }
			d, err := ask()
			if name == "hangs" {
				for range 2 {
					w.refused(err, licensing.ServerNotFound, licensing.ErrUnknown)
					_, err = ask()
				}
				w.refused(laptop.RemoveFingerprint(w.ctx, 4711, key), licensing.InvalidParameter)
				key = &licensing.ChangeOptions{RequestKey: "another"}
				d, err = ask()
			}
			w.ok(err)
			again, err := ask()
			w.ok(err)
			if again.LicenseID != d.LicenseID || office.free(1) != 2 {
				t.Errorf("%s: license %d, then %d; %d of 3 free", name, d.LicenseID, again.LicenseID, office.free(1))
			}
			w.refused(laptop.RemoveFingerprint(w.ctx, 4711, key), licensing.InvalidParameter)
			w.ok(desk.Install(w.ctx, d.License, nil))
		})
	}
}

// Where all that tell of a key refuse, the request key is free again.
func TestFetchRefusedByAll(t *testing.T) {
	inBubble(t, func(w *world) {
		office, laptop, n := two(w)
		desk := w.laptop("DESK", office)
		w.ok(laptop.know(desk))
		among(w, t, laptop, n, 3, before, false, refuses)
		r := office.request(desk, 1)
		r.Seats = 9
		_, err := laptop.Detach(w.ctx, r, askedOnce)
		w.refused(err, licensing.FeatureResourceExhaust)
		if errors.Is(err, licensing.ErrUnknown) {
			t.Errorf("it is not certain: %v", err)
		}
		w.refused(laptop.RemoveFingerprint(w.ctx, 4711, askedOnce), licensing.NoResultsFound)
	})
}

// A key that was pulled out here is not at a stranger, whatever he tells.
func TestStrangerTakesNoPulledKey(t *testing.T) {
	inBubble(t, func(w *world) {
		office, laptop := w.office(feature(1, 3)), w.laptop("LAPTOP")
		n := w.connect(office, laptop)
		w.ok(office.know(laptop))
		through := n.exchange(office)
		stranger := newThief(t, before, "STRANGER")
		stranger.inside = func(*document.PeerRequest) document.PeerAnswer {
			return document.PeerAnswer{Body: fakeInventory(worldKey)}
		}
		office.opts.Peers.Browse = func(ctx context.Context, found func(string)) error {
			found("STRANGER")
			<-ctx.Done()
			return nil
		}
		office.opts.Peers.Exchange = func(ctx context.Context, address string, message []byte) ([]byte, error) {
			if address == "STRANGER" {
				return hangs(ctx, stranger, message)
			}
			return through(ctx, address, message)
		}
		office.restart()
		w.await("the stranger is known", func() bool { _, ok := office.knows("STRANGER"); return ok })
		office.keys[0].Unplug()
		w.turn(5 * time.Second)
		for _, r := range []licensing.DetachRequest{office.request(laptop, 1), office.online(office, 1)} {
			begin := time.Now()
			_, err := office.Detach(w.ctx, r, nil)
			w.refused(err, licensing.NoService)
			if took := time.Since(begin); took > 2*time.Second || errors.Is(err, licensing.ErrUnknown) || len(office.intents()) > 0 {
				t.Errorf("after %v: %v", took, err)
			}
		}
		w.ok(office.keys[0].Plug())
	})
}

// All that are silent are waited for together, and lists wait for none of them once it
// was asked in this run, also when an earlier run has found it.
func TestSilentAreWaitedForTogether(t *testing.T) {
	for _, restart := range []bool{false, true} {
		inBubble(t, func(w *world) {
			office, laptop, n := two(w)
			var quiet atomic.Bool
			among(w, t, laptop, n, 20, before, false, hangs)
			through := laptop.opts.Peers.Exchange
			laptop.opts.Peers.Exchange = func(ctx context.Context, address string, message []byte) ([]byte, error) {
				if quiet.Load() {
					<-ctx.Done()
					return nil, ctx.Err()
				}
				return through(ctx, address, message)
			}
			laptop.restart()
			w.await("all answer", func() bool { return len(laptop.look().Computers) == 22 && laptop.sees(worldKey) })
			time.Sleep(10 * time.Second)
			quiet.Store(true)
			if restart {
				laptop.restart()
			}
			time.Sleep(time.Minute)
			w.turn(time.Minute)
			begin := time.Now()
			for range 10 {
				collect[licensing.Key](w)(laptop.Keys(w.ctx, licensing.Filter{}))
			}
			if took := time.Since(begin); took > 0 {
				t.Errorf("restart %v: ten lists take %v", restart, took)
			}
			begin = time.Now()
			_, err := laptop.Detach(w.ctx, laptop.online(office, 1), nil)
			w.refused(err, licensing.ServerNotFound)
			if took := time.Since(begin); took > 3*time.Second {
				t.Errorf("restart %v: the answer takes %v", restart, took)
			}
		})
	}
}

// An address at which no manager answers is left alone when it was not announced for five
// minutes, and shown to nobody, until it is announced again.
func TestNobodyThere(t *testing.T) {
	inBubble(t, func(w *world) {
		_, laptop, n := two(w)
		third := w.laptop("THIRD")
		third.opts.Peers = &licensing.Peers{Exchange: n.exchange(third)}
		third.restart()
		through := n.exchange(laptop)
		var asked atomic.Int64
		var there atomic.Bool
		announce := make(chan bool)
		laptop.opts.Peers.Browse = func(ctx context.Context, found func(string)) error {
			for {
				found("THIRD")
				select {
				case <-announce:
				case <-ctx.Done():
					return nil
				}
			}
		}
		laptop.opts.Peers.Exchange = func(ctx context.Context, address string, message []byte) ([]byte, error) {
			if address == "THIRD" {
				if asked.Add(1); !there.Load() {
					return nil, errLine
				}
			}
			return through(ctx, address, message)
		}
		laptop.restart()
		time.Sleep(35 * time.Minute)
		if n := asked.Load(); n < 35 || n > 50 {
			t.Errorf("asked %d times in 35 minutes", n)
		}
		if silent := laptop.look(); len(silent.Computers) != 2 {
			t.Errorf("known are %+v", silent.Computers)
		}
		list, err := laptop.Keys(w.ctx, licensing.Filter{})
		w.ok(err)
		if len(list.Silent) > 0 {
			t.Errorf("silent are %+v", list.Silent)
		}
		there.Store(true)
		announce <- true
		time.Sleep(5 * time.Second)
		if _, ok := laptop.knows("THIRD"); !ok {
			t.Error("announced again, it is not asked")
		}
	})
}

// Who makes a license that nobody vouches for, and takes it back by a receipt of the same
// making, has proven nothing: the office is asked before him from then on.
func TestForgedReceiptProvesNothing(t *testing.T) {
	inBubble(t, func(w *world) {
		office, laptop, _ := two(w)
		laptop.opts.Peers.Addresses = nil
		newMinter(t, before, worldKey).on(laptop, "OFFICE")
		w.await("both are known", func() bool {
			_, a := laptop.knows("OFFICE")
			_, b := laptop.knows("MINTER")
			return a && b && laptop.sees(worldKey)
		})
		_, err := laptop.Detach(w.ctx, laptop.online(office, 1), nil)
		w.refused(err, licensing.InvalidDigest)
		w.await("it went back", func() bool { return len(laptop.intents()) == 0 })
		for range 3 {
			d, err := laptop.Detach(w.ctx, laptop.online(office, 1), nil)
			w.ok(err)
			_, err = laptop.CancelDetach(w.ctx, licensing.CancelRequest{License: d.LicenseID}, nil)
			w.ok(err)
			time.Sleep(11 * time.Minute) // nobody is blamed any more
			w.turn(11 * time.Minute)
		}
	})
}

// A receipt that was passed on proves nothing either: what who has it refuses is not final.
func TestReceiptPassedOn(t *testing.T) {
	inBubble(t, func(w *world) {
		office, laptop, n := two(w)
		f := newMinter(t, before, worldKey)
		self := peer.Self{Sign: f.sign, Fingerprint: func() *document.Fingerprint { return f.identity }, Now: worldBegin.Unix}
		f.inside = func(r *document.PeerRequest) document.PeerAnswer {
			switch r.Verb {
			case 1:
				return document.PeerAnswer{Body: fakeInventory(worldKey)}
			case 2:
				return document.PeerAnswer{Code: uint32(licensing.FeatureResourceExhaust), Message: "no seats"}
			}
			g, err := self.Greet(w.ctx, n.exchange(office), "OFFICE")
			if err != nil {
				return document.PeerAnswer{}
			}
			body, err := self.Ask(w.ctx, n.exchange(office), "OFFICE", g, r.Verb, r.Body)
			if err != nil {
				t.Error(err)
			}
			return document.PeerAnswer{Body: body}
		}
		lent, err := laptop.Detach(w.ctx, laptop.online(office, 1), nil)
		w.ok(err)
		laptop.opts.Peers.Addresses = nil
		f.on(laptop, "OFFICE")
		w.await("both are known", func() bool {
			_, a := laptop.knows("OFFICE")
			_, b := laptop.knows("MINTER")
			return a && b && laptop.sees(worldKey)
		})
		n.set(func(from, _ *machine, _ []byte) fate {
			if from == laptop {
				return lost
			}
			return arrives
		})
		_, err = laptop.CancelDetach(w.ctx, licensing.CancelRequest{License: lent.LicenseID}, nil)
		w.ok(err)
		if len(laptop.intents()) != 0 {
			t.Error("the return is still pending")
		}
		n.set(nil)
		w.await("the office answers", func() bool { c, _ := laptop.knows("OFFICE"); return c.Silent.IsZero() })
		_, err = laptop.Detach(w.ctx, laptop.online(office, 1), nil)
		w.ok(err)
	})
}

// A license that came too late to be installed proves who has the key all the same.
func TestRecalledProves(t *testing.T) {
	inBubble(t, func(w *world) {
		office, laptop, n := two(w)
		among(w, t, laptop, n, 1, after, false, hangs)
		n.set(func(from, _ *machine, message []byte) fate {
			if from == laptop && moves(message) {
				n.set(nil)
				return answered
			}
			return arrives
		})
		_, err := laptop.Detach(w.ctx, laptop.online(office, 1), nil)
		w.refused(err, licensing.ErrUnknown)
		w.await("nothing is pending", func() bool { return len(laptop.intents()) == 0 })
		begin := time.Now()
		_, err = laptop.Detach(w.ctx, laptop.online(office, 1), nil)
		w.ok(err)
		if took := time.Since(begin); took > none {
			t.Errorf("the office is asked after %v", took)
		}
	})
}
