package licensing_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sojournlm/sojourn/licensing"
	"github.com/sojournlm/sojourn/licensing/issuer"
	"github.com/sojournlm/sojourn/storage/memory"
)

// lines are the network between the machines of a world, by host name.
type lines struct {
	w  *world
	mu sync.Mutex
	// cut says what happens to a message, by its number among those that matter.
	cut func(from, to *machine, message []byte) fate
	// then is called when a message was answered, before the answer comes.
	then func(from, to *machine, message []byte)
	// heeds makes an answer that comes after its context ended be lost.
	heeds atomic.Bool
}

// fate is what happens to a message and its answer.
type fate int

const (
	arrives  fate = iota
	lost          // the message is lost
	answered      // the answer is lost
	torn          // the answer comes cut short
	doubled       // the message arrives twice, and the second answer comes
)

var errLine = errors.New("the line is dead")

// connect gives every machine a line to every other and restarts it.
func (w *world) connect(machines ...*machine) *lines {
	w.Helper()
	n := &lines{w: w}
	for _, m := range machines {
		var others []string
		for _, o := range machines {
			if o != m {
				others = append(others, o.name)
			}
		}
		m.opts.Peers = &licensing.Peers{Addresses: others, Exchange: n.exchange(m)}
		m.restart()
	}
	return n
}

func (n *lines) set(cut func(from, to *machine, message []byte) fate) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.cut = cut
}

func (n *lines) exchange(from *machine) func(context.Context, string, []byte) ([]byte, error) {
	return func(ctx context.Context, address string, message []byte) ([]byte, error) {
		at := slices.IndexFunc(n.w.machines, func(m *machine) bool { return m.name == address })
		if at < 0 {
			return nil, errLine
		}
		to := n.w.machines[at]
		n.mu.Lock()
		cut, then := n.cut, n.then
		n.mu.Unlock()
		fate := arrives
		if cut != nil {
			fate = cut(from, to, message)
		}
		manager := to.live.Load()
		if fate == lost || manager == nil {
			return nil, errLine
		}
		answer, err := manager.AnswerPeer(ctx, message)
		if fate == doubled {
			answer, err = manager.AnswerPeer(ctx, message)
		}
		if then != nil {
			then(from, to, message)
		}
		if n.heeds.Load() && ctx.Err() != nil {
			return nil, ctx.Err()
		}
		switch {
		case fate == answered:
			return nil, errLine
		case fate == torn && len(answer) > 0:
			answer = answer[:len(answer)/2]
		}
		return answer, err
	}
}

// online asks for one seat of a feature of the office's key, to be used here.
func (m *machine) online(office *machine, number uint32) licensing.DetachRequest {
	request := office.request(m, number)
	request.Offline = false
	return request
}

// await turns the clocks, a second at a time, until f holds.
func (w *world) await(what string, f func() bool) {
	w.Helper()
	for range 120 {
		synctest.Wait()
		if f() {
			return
		}
		w.turn(time.Second)
		time.Sleep(time.Second)
	}
	w.Fatalf("it never came to this: %s", what)
}

func (m *machine) intents() []licensing.Intent {
	m.w.Helper()
	return collect[licensing.Intent](m.w)(m.Intents(m.w.ctx, licensing.Page{}))
}

func (m *machine) sees(key uint64) bool {
	m.w.Helper()
	list := collect[licensing.Key](m.w)(m.Keys(m.w.ctx, licensing.Filter{}))
	return slices.ContainsFunc(list, func(k licensing.Key) bool { return k.ID == key && k.Remote && !k.Inaccessible })
}

// hidden is a detachable feature that other managers do not see.
func hidden(number, seats uint32) issuer.Feature {
	f := feature(number, seats)
	f.Remote = issuer.Local
	return f
}

// two makes an office and a laptop that know each other's lines.
func two(w *world) (office, laptop *machine, n *lines) {
	office = w.office(feature(1, 3), hidden(2, 1))
	laptop = w.laptop("LAPTOP", office)
	n = w.connect(office, laptop)
	w.await("the laptop sees the office's key", func() bool { return laptop.sees(worldKey) })
	return office, laptop, n
}

func inBubble(t *testing.T, f func(w *world)) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		f(w)
		w.end()
	})
}

// A seat comes and goes in one call each, and the lists show it.
func TestOnline(t *testing.T) {
	inBubble(t, func(w *world) {
		office, laptop, _ := two(w)
		d, err := laptop.Detach(w.ctx, laptop.online(office, 1), nil)
		w.ok(err)
		if d.License != nil || d.LicenseID == 0 {
			t.Errorf("detached online: %+v", d)
		}
		if _, err := laptop.check(1); err != nil {
			t.Error(err)
		}
		if office.free(1) != 2 || len(laptop.intents()) != 0 {
			t.Errorf("%d free, %d intents", office.free(1), len(laptop.intents()))
		}
		w.checkPromises()
		c, err := laptop.CancelDetach(w.ctx, licensing.CancelRequest{License: d.LicenseID}, nil)
		w.ok(err)
		if c.Return != nil || c.LicenseID != d.LicenseID {
			t.Errorf("cancelled online: %+v", c)
		}
		if office.free(1) != 3 && office.free(1) != 2 || len(laptop.intents()) != 0 || len(laptop.look().Cancelled) != 0 {
			t.Errorf("%d free, %d intents", office.free(1), len(laptop.intents()))
		}
		w.turn(2 * time.Minute)
		if office.free(1) != 3 {
			t.Errorf("%d free after the last grant", office.free(1))
		}
		w.checkPromises()

		// What is for local use only is hidden, and cannot be asked for.
		_, err = laptop.Detach(w.ctx, laptop.online(office, 2), nil)
		w.refused(err, licensing.FeatureNotFound)
		// The office itself may.
		d, err = office.Detach(w.ctx, office.online(office, 2), nil)
		w.ok(err)
		if _, err := office.check(2); err != nil {
			t.Error(err)
		}
		_, err = office.CancelDetach(w.ctx, licensing.CancelRequest{License: d.LicenseID}, nil)
		w.ok(err)
		w.checkPromises()
	})
}

// A pending return that is carried as a file is over when the office answers again:
// its key has signed for it.
func TestOnlineReturnCarried(t *testing.T) {
	inBubble(t, func(w *world) {
		office, laptop, n := two(w)
		d, err := laptop.Detach(w.ctx, laptop.online(office, 1), nil)
		w.ok(err)
		n.set(func(_, _ *machine, _ []byte) fate { return lost })
		_, err = laptop.CancelDetach(w.ctx, licensing.CancelRequest{License: d.LicenseID}, nil)
		w.refused(err, licensing.ServerNotFound)
		back, err := laptop.DownloadCancelled(w.ctx, d.LicenseID)
		w.ok(err)
		w.ok(office.Install(w.ctx, back, nil))
		if office.free(1) != 3 || len(laptop.intents()) != 1 {
			t.Errorf("carried: %d free, %d intents", office.free(1), len(laptop.intents()))
		}
		office.reopen() // it knows from its ledger
		n.set(nil)
		w.await("nothing is pending", func() bool { return len(laptop.intents()) == 0 })
		if got := laptop.look().Cancelled; len(got) != 0 {
			t.Errorf("the return is there, and still listed: %v", got)
		}
		w.refused(office.Install(w.ctx, back, nil), licensing.InvalidUpdateOrAlreadyInstalled)
		w.checkPromises()
	})
}

// step is a place on the way of an online operation where the line can fail: the
// number of the message after the operation began, and what happens to it.
type step struct {
	number int
	fate   fate
}

// The line fails at each message, in each way; for a while or for good; with the
// laptop or the office or nobody dying there. In the end the seat is at the
// office, or installed on the laptop, and what was answered is true.
func TestOnlineFaults(t *testing.T) {
	round, every := 0, part(5) // which divides none of the numbers below, so that each meets each
	for number := range 4 {    // greeting, request; and what may follow
		for _, fate := range []fate{lost, answered, torn, doubled} {
			for _, victim := range []string{"", "OFFICE", "LAPTOP"} {
				for _, key := range []string{"", "once", "again"} { // asked again or not
					for _, cancel := range []bool{false, true} {
						if round++; round%every != 0 {
							continue
						}
						t.Run(fmt.Sprintf("cancel=%v/%d-%d-%s-%s", cancel, number, fate, victim, key), func(t *testing.T) {
							t.Parallel()
							inBubble(t, func(w *world) { onlineFault(w, step{number, fate}, victim, key, cancel) })
						})
					}
				}
			}
		}
	}
}

func onlineFault(w *world, s step, victim, key string, cancel bool) {
	w.Helper()
	office, laptop, n := two(w)
	var lent *licensing.Detached
	if cancel {
		var err error
		lent, err = laptop.Detach(w.ctx, laptop.online(office, 1), nil)
		w.ok(err)
	}
	at, cut := 0, false
	var mu sync.Mutex
	n.set(func(from, to *machine, message []byte) fate {
		mu.Lock()
		defer mu.Unlock()
		if from != laptop {
			return arrives
		}
		at++
		cut = cut || at > s.number
		if cut {
			return s.fate
		}
		return arrives
	})
	options := &licensing.ChangeOptions{RequestKey: key}
	operate := func() error {
		if cancel {
			_, err := laptop.CancelDetach(w.ctx, licensing.CancelRequest{License: lent.LicenseID}, options)
			return err
		}
		_, err := laptop.Detach(w.ctx, laptop.online(office, 1), options)
		return err
	}
	err := operate()
	if err != nil {
		checkError(w.TB, err)
		if !errors.Is(err, licensing.ServerNotFound) && !errors.Is(err, licensing.IncorrectResponseData) {
			w.Errorf("the line failed, and the error is %v", err)
		}
	}
	w.checkPromises()
	switch victim {
	case "OFFICE":
		office.reopen()
	case "LAPTOP":
		laptop.reopen()
	}
	w.checkPromises()
	n.set(nil)
	installed := func() bool { _, err := laptop.check(1); return err == nil }
	if err != nil && key == "again" {
		if err = operate(); err != nil {
			w.Errorf("asked again under its key: %v", err)
		}
	}
	w.await("nothing is pending", func() bool { return len(laptop.intents()) == 0 })
	w.turn(3 * time.Minute) // no grant from before lives
	free, here := office.free(1), installed()
	switch {
	case cancel && (free != 3 || here):
		w.Errorf("given back, %v: %d free, installed %v", err, free, here)
	case !cancel && err == nil && (free != 2 || !here):
		w.Errorf("obtained: %d free, installed %v", free, here)
	case !cancel && err != nil && (free != 3 || here):
		w.Errorf("not obtained, %v: %d free, installed %v", err, free, here)
	}
	w.checkPromises()
}

// The same for what is fetched for a third computer: where it is not known whether it was
// made, it is by asking again, or out until it dies.
func TestFetchFaults(t *testing.T) {
	for number := range 2 {
		for _, fate := range []fate{lost, answered, torn, doubled} {
			for _, victim := range []string{"", "OFFICE", "DESK"} {
				for _, key := range []string{"", "once", "again"} {
					t.Run(fmt.Sprintf("%d-%d-%s-%s", number, fate, victim, key), func(t *testing.T) {
						inBubble(t, func(w *world) { fetchFault(w, step{number, fate}, victim, key) })
					})
				}
			}
		}
	}
}

func fetchFault(w *world, s step, victim, key string) {
	w.Helper()
	office, desk, laptop, n := across(w)
	at := 0
	var mu sync.Mutex
	n.set(func(from, _ *machine, _ []byte) fate {
		mu.Lock()
		defer mu.Unlock()
		if from == desk {
			at++
		}
		if from == desk && at > s.number {
			return s.fate
		}
		return arrives
	})
	operate := func() (*licensing.Detached, error) {
		return desk.Detach(w.ctx, office.request(laptop, 1), &licensing.ChangeOptions{RequestKey: key})
	}
	d, err := operate()
	switch {
	case err == nil:
	case s.fate == doubled: // it was answered that the second of the two is none
		w.refused(err, licensing.GetResponseFailed)
	default:
		w.refused(err, licensing.ServerNotFound)
	}
	switch victim {
	case "OFFICE":
		office.reopen()
	case "DESK":
		desk.reopen()
	}
	n.set(nil)
	w.await("the desk sees the key", func() bool { return desk.sees(worldKey) })
	if err != nil && key == "again" {
		if d, err = operate(); err != nil {
			w.Errorf("asked again under its key: %v", err)
		}
	}
	if free := office.free(1); free != 2 && (err == nil || free != 3) || free != 3 && err != nil && !errors.Is(err, licensing.ErrUnknown) {
		w.Errorf("%d of 3 seats are free: %v", free, err)
	}
	if err == nil {
		w.ok(laptop.Install(w.ctx, d.License, nil))
	}
	w.checkPromises()
}

// The n-th call to a store or a key fails, on either side, for n = 0, 1, 2 … until
// none does; then the program there is killed or goes on. In the end the seat is in
// one place, and what was answered is true.
func TestOnlineStoreFaults(t *testing.T) {
	for _, cancel := range []bool{false, true} {
		for _, side := range []string{"OFFICE", "LAPTOP"} {
			for i, tr := range traps() {
				if tr.keys && side == "LAPTOP" {
					continue
				}
				t.Run(fmt.Sprintf("cancel=%v/%s/%s", cancel, side, tr.name), func(t *testing.T) {
					t.Parallel()
					every := part(4)
					for n := i % every; ; n += every {
						fired := false
						for _, key := range []string{"", "again"} {
							inBubble(t, func(w *world) { fired = onlineTrap(w, tr, n, side, key, cancel) || fired })
						}
						if !fired || t.Failed() {
							return
						}
					}
				})
			}
		}
	}
}

func onlineTrap(w *world, tr trap, n int, side, key string, cancel bool) (fired bool) {
	w.Helper()
	office, laptop, _ := two(w)
	victim := office
	if side == "LAPTOP" {
		victim = laptop
	}
	var lent *licensing.Detached
	if cancel {
		var err error
		lent, err = laptop.Detach(w.ctx, laptop.online(office, 1), nil)
		w.ok(err)
	}
	operate := func() error {
		options := &licensing.ChangeOptions{RequestKey: key}
		if cancel {
			_, err := laptop.CancelDetach(w.ctx, licensing.CancelRequest{License: lent.LicenseID}, options)
			return err
		}
		_, err := laptop.Detach(w.ctx, laptop.online(office, 1), options)
		return err
	}
	has := tr.arm(victim, n)
	err := operate()
	if !has() {
		w.ok(err)
		return false
	}
	if err != nil {
		checkError(w.TB, err)
		if cancel && !errors.Is(err, licensing.ErrUnknown) && len(laptop.look().Cancelled) > 0 {
			w.Errorf("%s, call %d at %s: the license is given back, and told was %v", tr.name, n, side, err)
		}
	}
	// A program that has lost its store is started again; all faults that still wait
	// happen with nobody there.
	s := &stage{world: w, at: victim}
	victim.crash()
	s.drain()
	victim.reopen()
	if err != nil && key != "" {
		w.await("the other is seen again", func() bool { return laptop.sees(worldKey) })
		if err = operate(); err != nil {
			w.Errorf("%s, call %d at %s: asked again under its key: %v", tr.name, n, side, err)
		}
	}
	w.await("nothing is pending", func() bool { return len(laptop.intents()) == 0 })
	w.turn(20 * time.Minute) // no grant from before lives, not even by a clock that jumped at an unclean end
	_, no := laptop.check(1)
	free, here := office.free(1), no == nil
	switch {
	case cancel && (err == nil && (free != 3 || here) || free+map[bool]int{true: 1}[here] != 3):
		w.Errorf("%s, call %d at %s: given back, %v: %d free, installed %v", tr.name, n, side, err, free, here)
	case !cancel && err == nil && (free != 2 || !here):
		w.Errorf("%s, call %d at %s: obtained: %d free, %v", tr.name, n, side, free, no)
	case !cancel && free+map[bool]int{true: 1}[here] != 3:
		w.Errorf("%s, call %d at %s: not obtained, %v: %d free, installed %v", tr.name, n, side, err, free, here)
	}
	w.checkPromises()
	return true
}

// Who leaves while the license that has come is being stored has it, or is told that this
// is not known, and as which operation it is pending.
func TestLeftWhileInstalling(t *testing.T) {
	for _, slow := range []time.Duration{time.Second, time.Minute} {
		inBubble(t, func(w *world) {
			office, disk := w.office(feature(1, 3)), &heldUp{Store: memory.New()}
			laptop := w.bare("LAPTOP", disk)
			w.ok(laptop.boot())
			w.ok(office.know(laptop))
			n := w.connect(office, laptop)
			w.await("the laptop sees the key", func() bool { return laptop.sees(worldKey) })
			ctx, leave := context.WithCancel(w.ctx)
			n.after(func(from, _ *machine, message []byte) {
				if from == laptop && moves(message) {
					n.after(nil)
					end := disk.hold()
					time.AfterFunc(slow, func() { end(nil) })
					time.AfterFunc(slow/2, leave)
				}
			})
			_, err := laptop.Detach(ctx, laptop.online(office, 1), nil)
			if slow > time.Second {
				w.refused(err, licensing.ErrUnknown)
				if e, _ := errors.AsType[*licensing.Error](err); e.Intent == 0 {
					t.Errorf("it names no operation: %v", err)
				}
				time.Sleep(slow)
			} else {
				w.ok(err)
			}
			if _, err := laptop.check(1); err != nil {
				t.Error(err)
			}
			if all := laptop.intents(); len(all) != 0 {
				t.Errorf("pending: %+v", all)
			}
			w.checkPromises()
		})
	}
}

// The license of a request key was given back: who asks again is told what to do for
// another one.
func TestAdviceForAnother(t *testing.T) {
	inBubble(t, func(w *world) {
		office, laptop, n := two(w)
		n.set(func(from, _ *machine, message []byte) fate {
			if from == laptop && moves(message) {
				return answered
			}
			return arrives
		})
		ask := func() error { _, err := laptop.Detach(w.ctx, laptop.online(office, 1), askedOnce); return err }
		w.refused(ask(), licensing.ErrUnknown)
		n.set(nil)
		w.await("it is undone", func() bool { return len(laptop.intents()) == 0 })
		err := ask()
		w.refused(err, licensing.InvalidUpdateOrAlreadyInstalled)
		if e, _ := errors.AsType[*licensing.Error](err); !strings.Contains(e.Advice, "new request key") {
			t.Errorf("advice: %s", e.Advice)
		}
	})
}
