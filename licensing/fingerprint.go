package licensing

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"runtime"
	"runtime/debug"
	"time"

	"github.com/sojournlm/sojourn/detach"
	"github.com/sojournlm/sojourn/fingerprint"
	"github.com/sojournlm/sojourn/internal/document"
	"github.com/sojournlm/sojourn/internal/ledger"
	"github.com/sojournlm/sojourn/storage"
)

// self is what the manager says of its own computer. It is made at Open and
// never changes.
type self struct {
	identity   *detach.Identity // nil only when the store refuses and has none
	components []document.Component
}

func (s *self) id() uint64 {
	if s.identity == nil {
		return 0
	}
	return s.identity.ID
}

// describe makes the identity at the first start, and at every one looks at the
// computer: its fingerprint is made anew when something in it changed.
func (m *Manager) describe(ctx context.Context) error {
	found, err := m.opts.Hardware.Components(ctx)
	if err != nil {
		return hardwareFault(err)
	}
	if m.local.Refusal() == nil {
		if err := m.identify(ctx); err != nil {
			return err
		}
	}
	state, now := m.local.Read()
	if m.self.identity = state.Identity(); m.self.identity == nil {
		return nil
	}
	id := m.self.identity
	m.self.components = fingerprint.Hash(id.ID, found)
	computer := document.Recipient{
		ID: id.ID, HostName: m.opts.HostName, Sign: id.Public(), Seal: id.Seal.Public(), Components: m.self.components,
	}
	if m.local.Refusal() != nil {
		return nil
	}
	f, err := document.SignFingerprint(id.Sign, computer, now.Unix)
	if err != nil {
		return err
	}
	_, err = m.local.Do(ctx, func(s *detach.Local, _ ledger.Moment) ([][]byte, error) { return s.Observe(f) })
	if err != nil && state.Book().Local() != nil && !errors.Is(err, storage.ErrUnknown) && ctx.Err() == nil {
		// What is stored can be read all the same, and each change will say why it is refused.
		m.opts.Logger.Warn("the manager goes on with the fingerprint of before, and may change nothing", "error", err)
		return nil
	}
	return err
}

// hardwareFault is the error of a computer that does not say what it consists of.
func hardwareFault(err error) error {
	return &advised{fmt.Errorf("this computer's hardware: %w", err), "Let the program read what the error names, or set Options.Hardware."}
}

// identify makes the identity of a new manager.
func (m *Manager) identify(ctx context.Context) error {
	if state, _ := m.local.Read(); state.Identity() != nil {
		return nil
	}
	id, err := detach.NewIdentity(rand.Reader)
	if err != nil {
		return err
	}
	_, err = m.local.Do(ctx, func(s *detach.Local, _ ledger.Moment) ([][]byte, error) { return s.Start(id) })
	return err
}

// Computer is a computer that seats can be detached to.
type Computer struct {
	LMSID       uint64
	HostName    string
	Fingerprint Buffer
	IssueTime   time.Time
	Auto        bool // found by itself; only the others can be edited or removed
	Remote      bool // not this computer

	// What is seen of its manager on the network, zero where nothing is.
	Silent   time.Time     // since when it does not answer; zero: it does
	Ahead    time.Duration // how far its clock is ahead of this computer's, about
	Problem  string        // why it is silent, or does not show its keys
	Conflict bool          // another manager claims the same lmsId with other keys; see SECURITY.md for who is believed
}

// Environment is this computer and the program.
type Environment struct {
	Computer
	OS      string // such as linux/amd64
	Version string // of this library
}

// Environment tells about this computer: its lmsId and the fingerprint that
// another manager needs to detach seats to it.
func (m *Manager) Environment(ctx context.Context) (*Environment, error) {
	const op = "environment"
	done, err := m.begin(op)
	if err != nil {
		return nil, err
	}
	defer done()
	state, _ := m.local.Read()
	self := state.Book().Local()
	if self == nil {
		return nil, fail(op, m.local.Refusal())
	}
	return &Environment{Computer: showComputer(self), OS: runtime.GOOS + "/" + runtime.GOARCH, Version: version()}, nil
}

func showComputer(c *fingerprint.Computer) Computer {
	return Computer{
		LMSID: c.ID, HostName: c.HostName, IssueTime: time.Unix(c.Issued, 0), Auto: c.Auto, Remote: c.Remote,
		Fingerprint: c.Buffer(),
	}
}

// version is this module's version as the program was built with it.
func version() string {
	const module = "github.com/sojournlm/sojourn"
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "unknown"
	}
	for _, d := range info.Deps {
		if d.Path == module {
			return d.Version
		}
	}
	return info.Main.Version
}

// recipient gives the computer a license is to be made for.
func (m *Manager) recipient(lmsID uint64) (document.Recipient, error) {
	state, _ := m.local.Read()
	if known, ok := state.Book().Computer(lmsID); ok {
		return known.Recipient(), nil
	}
	switch r, conflict, ok := m.foundRecipient(lmsID, nil, false); {
	case conflict:
		return document.Recipient{}, &detach.Refusal{
			Code: OperationIsNotAllowed, Message: fmt.Sprintf("two managers claim lmsId %d with different keys; add the right one's fingerprint", lmsID),
		}
	case ok:
		return r, nil
	}
	return document.Recipient{}, &detach.Refusal{
		Code: NoResultsFound, Message: fmt.Sprintf("lmsId %d is no known computer; add its fingerprint first", lmsID),
	}
}

// Fingerprints lists the known computers: this one, those added by hand, by lmsId,
// and those found by themselves that were not added, by lmsId. The search is for
// a part of the host name.
func (m *Manager) Fingerprints(ctx context.Context, search string, page Page) (*List[Computer], error) {
	const op = "list fingerprints"
	done, err := m.begin(op)
	if err != nil {
		return nil, err
	}
	defer done()
	return listOf(op, page, m.computers(search), func(c Computer) Computer { return c })
}

// FingerprintFields are what is given of a known computer. Fields that are nil
// are not given.
type FingerprintFields struct {
	LMSID       *uint64
	HostName    *string
	Fingerprint Buffer
	IssueTime   *time.Time
}

func (f FingerprintFields) fields() fingerprint.Fields {
	out := fingerprint.Fields{ID: f.LMSID, HostName: f.HostName, Fingerprint: f.Fingerprint}
	if f.IssueTime != nil {
		out.Issued = new(f.IssueTime.Unix())
	}
	return out
}

// AddFingerprint makes a computer known, so that seats can be detached to it.
// Only Fingerprint must be given; the other fields are read from it. Adding a
// known computer again replaces its entry when the fingerprint is not older and
// of the same keys. It fails with InvalidParameter, OperationIsNotAllowed or
// InvalidUpdateOrAlreadyInstalled (older than the known one).
func (m *Manager) AddFingerprint(ctx context.Context, f FingerprintFields, opts *ChangeOptions) error {
	return m.changeComputer(ctx, "add fingerprint", f.fields(), opts, (*detach.Local).AddComputer)
}

// EditFingerprint changes the given fields of the computer that LMSID names.
// The fingerprint can be replaced by one of the same id and keys only. It fails
// with InvalidParameter, NoResultsFound or OperationIsNotAllowed (this computer, or
// one found by itself: add it first).
func (m *Manager) EditFingerprint(ctx context.Context, f FingerprintFields, opts *ChangeOptions) error {
	return m.changeComputer(ctx, "edit fingerprint", f.fields(), opts, (*detach.Local).EditComputer)
}

// RemoveFingerprint forgets a known computer. Licenses that are out to it stay
// out, and its returns stay valid. One whose manager answers on the network is found
// by itself again. It fails with NoResultsFound or OperationIsNotAllowed (this
// computer, or one found by itself).
func (m *Manager) RemoveFingerprint(ctx context.Context, lmsID uint64, opts *ChangeOptions) error {
	err := m.changeComputer(ctx, "remove fingerprint", fingerprint.Fields{ID: &lmsID}, opts,
		func(s *detach.Local, f fingerprint.Fields, request document.RequestKey, now int64) ([][]byte, error) {
			return s.RemoveComputer(*f.ID, request, now)
		})
	if err == nil {
		m.peers.forget(lmsID)
	}
	return err
}

func (m *Manager) changeComputer(ctx context.Context, op string, f fingerprint.Fields, opts *ChangeOptions,
	decide func(*detach.Local, fingerprint.Fields, document.RequestKey, int64) ([][]byte, error)) (err error) {
	request, err := opts.request(op, struct {
		ID          *uint64 `cbor:"1,keyasint"`
		HostName    *string `cbor:"2,keyasint"`
		Issued      *int64  `cbor:"3,keyasint"`
		Fingerprint []byte  `cbor:"4,keyasint"`
	}{f.ID, f.HostName, f.Issued, f.Fingerprint})
	if err != nil {
		return m.unfit(op, err)
	}
	done, err := m.change(ctx, op, request)
	if err != nil {
		return err
	}
	defer func() { done(err) }()
	return fail(op, m.enter(ctx, request, func(s *detach.Local, now int64) ([][]byte, error) {
		entries, err := decide(s, f, request, now)
		if f.ID != nil && errors.Is(err, NoResultsFound) && m.peers.knows(*f.ID) {
			err = &detach.Refusal{Code: OperationIsNotAllowed, Message: fmt.Sprintf(
				"lmsId %d was found by itself; only what was added by hand can be edited or removed", *f.ID)}
		}
		return entries, err
	}))
}
