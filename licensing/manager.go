package licensing

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"sync"
	"sync/atomic"

	"github.com/sojournlm/sojourn/detach"
	"github.com/sojournlm/sojourn/device"
	"github.com/sojournlm/sojourn/fingerprint"
	"github.com/sojournlm/sojourn/internal/document"
	"github.com/sojournlm/sojourn/internal/ledger"
	"github.com/sojournlm/sojourn/storage"
	"github.com/sojournlm/sojourn/transport"
)

// Anchor remembers, outside the store, how far the manager's own ledger has
// come, so that an older store is noticed. [OpenAnchor] gives one in a file.
type Anchor = ledger.Anchor

// AnchorFile is an [Anchor] in a file that is bound to this machine, or in memory.
type AnchorFile = device.Key

// OpenAnchor opens or makes the anchor file at path. It must not lie in the
// store's directory: who puts the store back must not put the anchor back with
// it. Close it after the manager. An empty path gives an anchor in memory, for a
// store in memory.
//
// It fails with NoService while the file is open elsewhere, with HardwareIDMismatch
// where it was made on another machine, with StorageCorrupted where it is no anchor or
// not whole, and with InvalidParameter where there can be no file at the path.
func OpenAnchor(ctx context.Context, path string) (*AnchorFile, error) {
	const op = "open anchor"
	if path == "" {
		key, err := device.OpenMemory(ctx)
		if err != nil {
			return nil, fail(op, err)
		}
		return key, nil
	}
	found, err := fingerprint.Machine().Components(ctx)
	if err != nil {
		return nil, fail(op, hardwareFault(err))
	}
	var binding [32]byte // a machine without an id binds nothing
	for _, c := range fingerprint.Hash(0, found) {
		binding = c.Hash
	}
	key, err := device.OpenFile(ctx, path, binding)
	if err != nil {
		return nil, notAnchor(path, err)
	}
	return key, nil
}

// notAnchor is the error of an anchor file that cannot be opened.
func notAnchor(path string, err error) error {
	reason := err
	if failed, ok := errors.AsType[*device.Error](err); ok {
		reason = failed.Err // it calls the file a key
	}
	e := &Error{Op: "open anchor", Message: fmt.Sprintf("the anchor in %s: %v", path, reason), Err: err}
	_, noFile := errors.AsType[*fs.PathError](err)
	switch {
	case errors.Is(err, device.ErrLocked):
		e.Code, e.Advice = NoService, "End the program that has it open, or close the anchor there: it serves one manager at a time."
	case errors.Is(err, device.ErrBoundElsewhere):
		e.Code, e.Advice = HardwareIDMismatch, "Go on where the anchor was made, or begin with a new store and a new anchor here: a manager does not move to another computer."
	case errors.Is(err, device.ErrDamaged):
		e.Code, e.Advice = StorageCorrupted, "Name the file that OpenAnchor made for this store. If that is the one, it is lost: begin with a new store and a new anchor."
	case noFile:
		e.Code, e.Advice = InvalidParameter, "Name a file in a directory that is there and that this program may write to."
	default:
		return fail(e.Op, err)
	}
	return e
}

// Manager serves the pools of this computer's keys and the licenses installed
// here. It is safe for concurrent use. Open it once per store.
type Manager struct {
	store  storage.Store
	opts   Options
	local  *ledger.Ledger[*detach.Local]
	clock  *ledger.Clock // its own ledger's; those of the pools are siblings
	self   self
	sealer document.Sealer
	grants grants
	claims claims
	rack   rack

	peers    *peers // nil: it keeps to itself
	intents  *intents
	recalls  recalls // requests of others
	fetching recent  // own requests, sent and not answered

	distrust atomic.Pointer[error] // a key contradicts the manager's own ledger

	gate gate

	ended chan struct{} // closed when Close is done

	opened bool // Open has come to its end
}

// ledgerRules is the version of the rules this program makes batches by.
const ledgerRules = 1

// Open opens the manager whose data lies in store, and makes a new one, with a
// new lmsId and new keys, in an empty store. The anchor is the one that was
// used with this store before. Close the manager first, then anchor and store.
//
// A store or anchor that was put back to an older state does not make Open
// fail: the manager can be read, and refuses every change and every grant. What the
// newest batch there holds is not shown where no signature of the anchor is stored for it
// yet, as in a copy of the store of a manager that runs.
func Open(ctx context.Context, store storage.Store, anchor Anchor, opts *Options) (*Manager, error) {
	m := &Manager{store: store, opts: opts.withDefaults(), ended: make(chan struct{})}
	m.rack.start(m.opts.Logger)
	if err := m.opts.check(); err != nil {
		return nil, fail("open", err)
	}
	if store == nil {
		return nil, fail("open", invalid("store", "it is nil"))
	}
	if file, ok := anchor.(*AnchorFile); anchor == nil || ok && file == nil {
		return nil, fail("open", invalid("anchor", "no anchor: OpenAnchor gives one, or says why not"))
	}
	if err := m.open(ctx, anchor); err != nil {
		err = fail("open", err)
		if unclosed := m.Close(context.WithoutCancel(ctx)); unclosed != nil {
			err = errors.Join(err, unclosed)
		}
		return nil, err
	}
	return m, nil
}

func (m *Manager) open(ctx context.Context, anchor Anchor) (err error) {
	if m.opts.HostName == "" {
		if m.opts.HostName, err = os.Hostname(); err != nil {
			return fmt.Errorf("host name: %w", err)
		}
	}
	m.clock = ledger.NewClock(m.opts.Clock, m.opts.ClockStep, m.opts.ClockGap)
	m.local, err = ledger.Open(ctx, ledger.Config[*detach.Local]{
		Name:   "manager",
		Store:  m.store,
		Anchor: anchor,
		Empty:  detach.NewLocal(m.vendor),
		Rules:  ledgerRules,
		Clock:  m.clock,
	})
	if errors.Is(err, transport.ErrClosed) {
		return &advised{fmt.Errorf("the anchor: %w", err), "Open the anchor again, and the manager with it."}
	}
	if err != nil {
		return err
	}
	m.resume()
	if err := m.describe(ctx); err != nil {
		return err
	}
	m.grants.start(m.local, m.grantSeconds(), m.opts.Clock.Elapsed())
	m.rack.scan(ctx, m)
	if err := m.rack.restore(ctx, m); err != nil {
		return err
	}
	m.intents = newIntents(m.opts.Clock.Elapsed())
	m.startPeers(ctx)
	m.intents.start(m)
	m.opened = true
	return nil
}

// resume lets the clock go on after a run that ended without Close: what it may have
// used unrecorded, until its next mark was due and then for one grant, must not be had
// again.
func (m *Manager) resume() {
	state, _ := m.local.Read()
	if _, closed := state.ClosedGrants(); closed {
		return
	}
	for range state.AllInstalled() { // nothing is granted where nothing is installed
		m.clock.Start(state.LastMark() + min(state.MarkWithin(), markEvery) + min(state.GrantLength(), markEvery))
		return
	}
}

// Close gives the licenses' last grants and the time to the store, lets go of
// the keys and ends. Operations that come later fail with ErrClosed. Closing
// twice is harmless. It waits for the operations under way; when ctx ends first
// it gives them up, and with them what they ask of other managers just then; only a
// commit that the store has begun is waited for to its end. The
// manager is closed also where Close fails: then what it would have recorded last may
// be missing, as after a crash.
func (m *Manager) Close(ctx context.Context) error {
	idle, first := m.gate.close()
	if !first {
		select {
		case <-m.ended:
			return nil
		case <-ctx.Done():
			return &Error{Op: "close", Code: RequestFailed, Err: ctx.Err(), Advice: "Close it again to wait for that.",
				Message: "the manager is closed, but the call that ends it is still at work"}
		}
	}
	defer close(m.ended)
	select {
	case <-idle:
	case <-ctx.Done(): // what is under way is given up below
	}
	m.peers.close(ctx)
	m.intents.close()
	m.rack.stop()
	var errs []error
	if m.opened && m.local.Refusal() == nil {
		errs = append(errs, m.recordClose(ctx))
	}
	errs = append(errs, m.rack.close(ctx, m))
	if m.local != nil {
		errs = append(errs, m.local.Close(ctx))
	}
	if err := errors.Join(errs...); err != nil {
		return closed(err)
	}
	return nil
}

// closed is the error of a Close that did not end in good order.
func closed(err error) error {
	e := &Error{Op: "close", Code: InternalError, Err: err,
		Message: "the manager is closed, but its end may not be recorded: " + err.Error(),
		Advice:  "Nothing is lost that was answered. Open it again when it is needed: the next start takes this end for a crash.",
	}
	var own *Error
	if errors.As(fail(e.Op, err), &own) {
		e.Code = own.Code
	}
	return e
}

// begin is called first in every operation; the caller calls the function it
// gives when it is done.
func (m *Manager) begin(op string) (done func(), err error) {
	if !m.gate.enter() {
		return nil, &Error{Op: op, Code: NoService, Message: ErrClosed.Error(), Advice: "Open it again.", Err: ErrClosed}
	}
	return m.gate.leave, nil
}

// unfit is the error of an operation whose request cannot be meant.
func (m *Manager) unfit(op string, err error) error {
	leave, closed := m.begin(op)
	if closed != nil {
		return closed
	}
	leave()
	return fail(op, err)
}

// change is begin for operations that change or grant something, under a request key
// or none, which is then the caller's alone. The caller gives done the answer. Where it
// cannot begin, the very request may have been answered before.
func (m *Manager) change(ctx context.Context, op string, request document.RequestKey) (done func(answer error), err error) {
	return m.changeFor(ctx, op, request, false)
}

// changeFor is change, for another manager where it is served.
func (m *Manager) changeFor(ctx context.Context, op string, request document.RequestKey, served bool) (done func(answer error), err error) {
	leave, err := m.begin(op)
	if err != nil {
		if closed, ok := errors.AsType[*Error](err); ok && (ledgers{m}).mayHold(request) {
			closed.Err = errors.Join(ErrUnknown, closed.Err)
		}
		return nil, err
	}
	if err := m.refusal(); err != nil {
		leave()
		return nil, fail(op, doubting(refused(err), request, ledgers{m}))
	}
	release, err := m.claim(ctx, request, served)
	if err != nil {
		leave()
		return nil, fail(op, err)
	}
	return func(answer error) {
		release(errors.Is(answer, ErrUnknown) || ctx.Err() != nil)
		leave()
	}, nil
}

// refusal is nil, or why the manager changes and grants nothing.
func (m *Manager) refusal() error {
	if err := m.local.Refusal(); err != nil {
		return err
	}
	if err := m.distrust.Load(); err != nil {
		return *err
	}
	return nil
}

// gate counts the operations under way. The zero gate is open.
type gate struct {
	mu     sync.Mutex
	closed bool
	under  int           // operations under way
	idle   chan struct{} // closed when none is, after close
}

// enter reports whether an operation may begin; it leaves when it is done.
func (g *gate) enter() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if !g.closed {
		g.under++
	}
	return !g.closed
}

func (g *gate) leave() {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.under--; g.under == 0 && g.closed {
		close(g.idle)
	}
}

// close lets no more operations begin. idle is closed when all have left; first
// is false where the gate was closed before.
func (g *gate) close() (idle <-chan struct{}, first bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.closed {
		return g.idle, false
	}
	g.closed, g.idle = true, make(chan struct{})
	if g.under == 0 {
		close(g.idle)
	}
	return g.idle, true
}
