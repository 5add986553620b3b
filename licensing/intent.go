package licensing

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/sojournlm/sojourn/detach"
	"github.com/sojournlm/sojourn/internal/document"
	"github.com/sojournlm/sojourn/internal/ledger"
	"github.com/sojournlm/sojourn/internal/peer"
)

// Intent is an operation with another manager that is pending: it was begun, and
// is not known yet to have ended. A return is handed over, and a detach undone,
// as soon as the other manager answers; a detach that surely has not reached it is
// given up before that, ten seconds after it was asked for last.
type Intent struct {
	ID        uint64
	Op        string // "detach" or "cancel detach"
	Key       uint64 // whose pool it is about
	LicenseID uint64 // of a return: the license that was given back; else 0
	Manager   uint64 // lmsId of the manager it is with
	Begun     time.Time
	Until     time.Time // the seats are home by themselves then
	Problem   string    // why it did not end yet
}

// Intents lists the pending operations with other managers, by id.
func (m *Manager) Intents(ctx context.Context, page Page) (*List[Intent], error) {
	const op = "list intents"
	done, err := m.begin(op)
	if err != nil {
		return nil, err
	}
	defer done()
	state, _ := m.local.Read()
	var all []Intent
	for i := range state.Intents() {
		shown := Intent{
			ID: i.ID, Op: "detach", Key: i.Key, LicenseID: i.License, Manager: i.Peer,
			Begun: time.Unix(i.At, 0), Until: time.Unix(i.Until, 0), Problem: m.intents.problem(i.ID),
		}
		if i.Kind == detach.IntentReturn {
			shown.Op = "cancel detach"
		}
		all = append(all, shown)
	}
	return listOf(op, page, sliceSequence[Intent](all), func(i Intent) Intent { return i })
}

const (
	// settleAfter is how long a detach that a caller can go on with, under his request
	// key or because it has reached nobody, is left to him before it is undone.
	settleAfter = 10 * time.Second

	// maxUnsent is how many detaches that reached nobody are pending with a manager
	// that is silent.
	maxUnsent = 16

	// maxDetaches is how many detaches are pending with one manager, with the returns of
	// what it gave and nobody could use: what one that never ends them can keep is no more
	// than a part of what can be pending at all.
	maxDetaches = 200

	settleAgain  = time.Second     // after a failure, doubled with each one more
	settleAtMost = 8 * time.Second // and at most
)

// intents settles what is pending. Its goroutine lives as long as the manager.
type intents struct {
	wake   chan struct{} // something may be due
	cancel context.CancelFunc
	ended  chan struct{}
	group  sync.WaitGroup // settling, one for each manager

	mu    sync.Mutex
	busy  map[string]bool // by the public key of a manager with which something is being settled
	boot  time.Duration
	tries map[uint64]*try // by intent
}

// try is what was tried about one intent.
type try struct {
	last     time.Duration // by the steady clock
	failures int           // to settle it
	hurry    bool          // its caller has been told how it ends
	unsent   string        // the public key of the manager that it surely has not reached; else empty
	early    bool          // it is about to be recorded
	problem  string
}

func newIntents(boot time.Duration) *intents {
	return &intents{wake: make(chan struct{}, 1), ended: make(chan struct{}), tries: make(map[uint64]*try), busy: make(map[string]bool), boot: boot}
}

// start begins to settle.
func (in *intents) start(m *Manager) {
	ctx, cancel := context.WithCancel(context.Background())
	in.cancel = cancel
	go func() {
		defer close(in.ended)
		m.settleAll(ctx)
	}()
}

func (in *intents) close() {
	if in != nil && in.cancel != nil {
		in.cancel()
		<-in.ended
		in.group.Wait()
	}
}

// young reports whether what was sent before the start may still be on its way.
func (in *intents) young(now time.Duration) bool { return now-in.boot < recallLife }

// kick lets the settling look again.
func (in *intents) kick() {
	select {
	case in.wake <- struct{}{}:
	default: // it will
	}
}

// at gives what was tried about an intent. in.mu is held.
func (in *intents) at(id uint64) *try {
	if in.tries[id] == nil {
		in.tries[id] = &try{last: in.boot}
	}
	return in.tries[id]
}

// reserve takes a place for an intent that is about to be recorded, unless most have
// not reached that manager already. begun or release ends that.
func (in *intents) reserve(id uint64, public []byte, most int) bool {
	in.mu.Lock()
	defer in.mu.Unlock()
	n := 0
	for _, t := range in.tries {
		if t.unsent == string(public) {
			n++
		}
	}
	if n >= most {
		return false
	}
	in.tries[id] = &try{unsent: string(public), early: true}
	return true
}

// release gives up the place of an intent that was not recorded, or came to nothing.
func (in *intents) release(id uint64) {
	in.mu.Lock()
	defer in.mu.Unlock()
	delete(in.tries, id)
}

// begun notes that an intent was recorded in this run, and sent to nobody yet.
func (in *intents) begun(i *detach.Intent, now time.Duration) {
	in.mu.Lock()
	defer in.mu.Unlock()
	in.tries[i.ID] = &try{last: now, unsent: string(i.PeerKey)}
}

// reached notes that an intent may have come to its manager.
func (in *intents) reached(id uint64) {
	in.mu.Lock()
	defer in.mu.Unlock()
	in.at(id).unsent = ""
}

// unsent reports whether an intent surely has reached nobody: then its end is
// nobody else's business.
func (in *intents) unsent(id uint64) bool {
	in.mu.Lock()
	defer in.mu.Unlock()
	t := in.tries[id]
	return t != nil && t.unsent != ""
}

// tried notes that somebody has just tried to end an intent.
func (in *intents) tried(id uint64, now time.Duration) {
	in.mu.Lock()
	in.at(id).last = now
	in.mu.Unlock()
	in.kick()
}

// hurry lets an intent be settled at once: nobody will ask for it again.
func (in *intents) hurry(id uint64) {
	in.mu.Lock()
	in.at(id).hurry = true
	in.mu.Unlock()
	in.kick()
}

func (in *intents) failed(id uint64, err error) {
	in.mu.Lock()
	defer in.mu.Unlock()
	t := in.at(id)
	t.failures++
	t.problem = plain(err)
}

func (in *intents) problem(id uint64) string {
	in.mu.Lock()
	defer in.mu.Unlock()
	if t := in.tries[id]; t != nil {
		return t.problem
	}
	return ""
}

// keep forgets all intents but those that are pending or about to be.
func (in *intents) keep(read func() *detach.Local) {
	in.mu.Lock()
	defer in.mu.Unlock()
	state := read() // with the lock: nothing is noted of an intent that it does not know
	for id, t := range in.tries {
		if state.Intent(id) == nil && !t.early {
			delete(in.tries, id)
		}
	}
}

// wait is how long an intent is to be left alone.
func (in *intents) wait(i *detach.Intent, now time.Duration) time.Duration {
	in.mu.Lock()
	defer in.mu.Unlock()
	t := in.at(i.ID)
	if t.failures > 0 {
		return t.last + min(settleAgain<<min(t.failures-1, 10), settleAtMost) - now
	}
	if i.Kind == detach.IntentDetach && (i.Request.Key != (document.Hash{}) || t.unsent != "") && !t.hurry {
		return t.last + settleAfter - now
	}
	return 0
}

// settleAll settles what is pending until ctx ends.
func (m *Manager) settleAll(ctx context.Context) {
	for {
		next := m.settleDue(ctx)
		var timer <-chan time.Time
		var stop func() bool = func() bool { return true }
		if next > 0 {
			t := time.NewTimer(next)
			timer, stop = t.C, t.Stop
		}
		select {
		case <-timer:
		case <-m.intents.wake:
		case <-ctx.Done():
			stop()
			return
		}
		stop()
	}
}

// settleDue begins to settle everything that is due and whose manager answers, and
// gives the time until something else is, 0 for never. A manager that hangs holds up
// what is pending with itself alone.
func (m *Manager) settleDue(ctx context.Context) (next time.Duration) {
	m.intents.keep(func() *detach.Local {
		state, _ := m.local.Read()
		return state
	})
	state, _ := m.local.Read()
	due := make(map[string][]*detach.Intent) // by the manager's public key
	for i := range state.Intents() {
		if ctx.Err() != nil || m.refusal() != nil || !m.canSettle(i) {
			continue
		}
		wait := m.intents.wait(i, m.opts.Clock.Elapsed())
		if wait <= 0 {
			due[string(i.PeerKey)] = append(due[string(i.PeerKey)], i)
		} else if next == 0 || wait < next {
			next = wait
		}
	}
	for with, list := range due {
		if m.intents.begin(with) {
			m.intents.group.Go(func() {
				m.intents.end(with, m.settleList(ctx, list))
			})
		}
	}
	return next
}

// canSettle reports whether trying may be of use now.
func (m *Manager) canSettle(i *detach.Intent) bool {
	if i.Kind == detach.IntentReturn {
		return slices.ContainsFunc(m.takers(i), (*origin).answers)
	}
	return m.intents.unsent(i.ID) || m.originBy(i.Peer, i.PeerKey).answers()
}

// settleList tries once to settle what is pending with one manager, as long as that
// answers. It reports whether anything was tried.
func (m *Manager) settleList(ctx context.Context, list []*detach.Intent) (tried bool) {
	for _, i := range list {
		err := m.settle(ctx, i)
		if errors.Is(err, errTaken) {
			continue
		}
		tried = true
		if err == nil {
			continue
		}
		if ctx.Err() != nil {
			return tried
		}
		m.intents.failed(i.ID, err)
		m.opts.Logger.Info("an operation with another manager is still pending", "intent", i.ID, "error", err)
		if _, answered := errors.AsType[*peer.Refused](err); !answered {
			return tried // the others are tried when it is due again
		}
	}
	return tried
}

// errTaken says that an intent's caller is at it, and kicks when he is done.
var errTaken = errors.New("somebody is at it")

// begin reports whether nothing is being settled with a manager just now, and end says
// so again.
func (in *intents) begin(with string) bool {
	in.mu.Lock()
	defer in.mu.Unlock()
	if in.busy[with] {
		return false
	}
	in.busy[with] = true
	return true
}

func (in *intents) end(with string, again bool) {
	in.mu.Lock()
	delete(in.busy, with)
	in.mu.Unlock()
	if again {
		in.kick()
	}
}

// settle ends an intent, if its manager lets it.
func (m *Manager) settle(ctx context.Context, i *detach.Intent) error {
	if i.Kind == detach.IntentReturn {
		return m.handOver(ctx, i)
	}
	return m.undo(ctx, i)
}

// undo ends a detach that is no longer waited for: no license is made any more,
// and one that was made goes back without ever having worked here.
func (m *Manager) undo(ctx context.Context, i *detach.Intent) error {
	release, free := m.claims.try(i.Own)
	if !free {
		return errTaken
	}
	defer release()
	state, now := m.local.Read()
	if state.Intent(i.ID) != i || m.intents.wait(i, m.opts.Clock.Elapsed()) > 0 {
		return errTaken // it has ended, or its caller came back
	}
	defer func() { m.intents.tried(i.ID, m.opts.Clock.Elapsed()) }()
	if m.intents.unsent(i.ID) {
		return m.drop(ctx, i)
	}
	var ask detachAsk
	if err := document.Decode("intent", i.Ask, document.MaxPeerMessage, &ask); err != nil {
		return err
	}
	ask.Recall = true
	body, err := m.originBy(i.Peer, i.PeerKey).ask(ctx, verbDetach, ask, nil)
	if r, ok := errors.AsType[*peer.Refused](err); ok {
		switch r.Code {
		case DetachedLicenseNotFound:
			return m.drop(ctx, i)
		case InvalidUpdateOrAlreadyInstalled, DetachedLicenseExpired: // it was out, and is no more
			return m.end(ctx, i, detach.OutcomeOver)
		}
	}
	if err != nil {
		return err
	}
	license, err := m.openAnswer(body, i, ask)
	if err != nil {
		return err
	}
	if m.vouch(license) == nil {
		m.peers.praise(i.PeerKey, i.Key)
	}
	back, err := document.SignReturn(state.Identity().Sign, license.Proof(), document.ReasonCancelled, now.Unix, 0)
	if err != nil {
		return err
	}
	own := newOwn()
	receipt, err := m.local.Do(ctx, func(s *detach.Local, _ ledger.Moment) ([][]byte, error) {
		return s.Decline(i.ID, license, back, own)
	})
	if err != nil {
		return err
	}
	if now := receipt.State.Intent(i.ID); now != nil {
		return m.handOver(ctx, now)
	}
	return nil
}
