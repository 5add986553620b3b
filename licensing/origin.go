package licensing

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/sojournlm/sojourn/detach"
	"github.com/sojournlm/sojourn/internal/document"
	"github.com/sojournlm/sojourn/internal/peer"
)

// origin is the manager that has a key: this one or another.
type origin struct {
	manager *Manager
	id      uint64 // its lmsId
	public  []byte
	at      []sight // where it may be reached; none: it is this one
}

// originsOf finds the manager that has a key: the first one given, or, where several
// tell of it and are believed alike, one of them; they are in the order in which they
// are to be asked. Silent ones are given only where none answers, and all of them were
// asked once more. The refusal is ServerNotFound, and says who was silent and who does
// not tell.
func (m *Manager) originsOf(ctx context.Context, key uint64) ([]*origin, error) {
	_, own := m.slot(ctx, key)
	if !errors.Is(own, DongleNotFound) && !errors.Is(own, NoService) {
		return []*origin{m.ownOrigin()}, own
	}
	var silent []*origin
	for asked := false; ; asked = true {
		var at []*origin
		silent = nil
		for _, c := range m.holders(key) {
			o := m.originBy(c.computer.Computer.ID, c.computer.Computer.Sign)
			if c.silent.IsZero() {
				at = append(at, o)
			} else {
				silent = append(silent, o)
			}
		}
		if len(at) > 0 {
			return at, nil
		}
		if asked {
			break
		}
		m.peers.refresh(ctx, true)
	}
	switch {
	case errors.Is(own, NoService): // it was here once, and is nowhere else now
		return nil, own
	case len(silent) > 0:
		return silent, nil
	}
	message := fmt.Sprintf("no manager that answers has key %d", key)
	for _, s := range m.peers.stations() {
		switch {
		case s.rests:
		case !s.silent.IsZero():
			message += fmt.Sprintf("; %s has not answered as a license manager since %s", s.name(), s.silent.UTC().Format(time.RFC3339))
		case s.computer == nil:
			message += fmt.Sprintf("; %s has not answered yet", s.name())
		case s.problem != nil:
			message += fmt.Sprintf("; %s does not tell its keys: %v", s.name(), plain(s.problem))
		}
	}
	return nil, &detach.Refusal{Code: ServerNotFound, Message: message}
}

func (m *Manager) ownOrigin() *origin {
	return &origin{manager: m, id: m.self.id(), public: m.self.identity.Public()}
}

// originBy is the manager with an lmsId and a public key, wherever it is; at is
// empty where it was not found yet.
func (m *Manager) originBy(id uint64, public []byte) *origin {
	if bytes.Equal(public, m.self.identity.Public()) {
		return m.ownOrigin()
	}
	return &origin{manager: m, id: id, public: public, at: m.peers.of(public)}
}

// own reports whether it is this manager itself.
func (o *origin) own() bool { return bytes.Equal(o.public, o.manager.self.identity.Public()) }

// answers reports whether asking may be of use now.
func (o *origin) answers() bool {
	return o.own() || len(o.at) > 0 && o.at[0].silent.IsZero()
}

// usable refuses a key whose licenses this program would not believe, by what the
// manager that has it tells.
func (o *origin) usable(key uint64) error {
	for _, s := range o.at {
		for _, k := range s.keys {
			if k.ID != key {
				continue
			}
			if _, err := o.manager.trusted(fmt.Sprintf("key %d", key), k.Vendor); err != nil {
				return &advised{err, otherVendor}
			}
		}
	}
	return nil
}

func (o *origin) name() string {
	switch {
	case o.own():
		return "this manager"
	case len(o.at) == 0 && o.id == 0:
		return "the manager that was asked first"
	case len(o.at) == 0:
		return fmt.Sprintf("the manager with lmsId %d", o.id)
	}
	return o.at[0].name()
}

// ask makes a request of the origin. A failure is a [*peer.Error]. check may
// refuse by what the greeting tells, before anything is asked; its context ends when the
// manager is closed.
func (o *origin) ask(ctx context.Context, verb uint32, body any, check func(ctx context.Context, ahead int64) error) ([]byte, error) {
	m, encoded := o.manager, document.Encode(body)
	if o.own() {
		state, _ := m.local.Read()
		answer, err := m.serve(ctx, state.Book().Local().Fingerprint(), verb, encoded)
		if r, ok := errors.AsType[*peer.Refused](err); ok {
			err = &peer.Error{Address: "here", Sent: r.Code == GetResponseFailed, Err: r}
		}
		return answer, err
	}
	if m.peers == nil {
		return nil, &peer.Error{Address: o.name(), Err: errors.New("this manager keeps to itself")}
	}
	ctx, leave, err := m.peers.enter(ctx, actWithin)
	if err != nil {
		return nil, &peer.Error{Address: o.name(), Err: err}
	}
	defer leave()
	if len(o.at) == 0 { // it may have come back
		m.peers.refresh(ctx, true)
		o = m.originBy(o.id, o.public)
	}
	var last error = &peer.Error{Address: o.name(), Err: errors.New("it was not found on the network yet")}
	silent, cancel := context.WithTimeout(ctx, askWithin) // for all that are silent together
	defer cancel()
	for _, s := range o.at {
		patience := silent
		if s.silent.IsZero() {
			patience, cancel = context.WithTimeout(ctx, askWithin)
			defer cancel()
		}
		began := time.Now()
		g, err := m.peers.self.Greet(patience, m.peers.opts.Exchange, s.address)
		if err == nil && !g.Is(o.public) {
			err = &peer.Error{Address: s.address, Err: fmt.Errorf("another manager answers there, lmsId %d", g.Fingerprint.Computer.ID)}
		}
		if err != nil {
			m.peers.went(ctx, s.station, began, err)
			last = err
			continue
		}
		if check != nil {
			if err := check(ctx, g.Ahead); err != nil {
				return nil, &peer.Error{Address: s.address, Err: err}
			}
			began = time.Now() // that was no time of theirs
		}
		defer m.peers.changed(s.station)
		answer, err := m.peers.self.Ask(ctx, m.peers.opts.Exchange, s.address, g, verb, encoded)
		m.peers.went(ctx, s.station, began, err)
		return answer, err
	}
	return nil, last
}
