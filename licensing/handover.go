package licensing

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/sojournlm/sojourn/detach"
	"github.com/sojournlm/sojourn/internal/document"
	"github.com/sojournlm/sojourn/internal/ledger"
	"github.com/sojournlm/sojourn/internal/peer"
)

// cancelOnline gives a license back and hands its return to the origin.
func (m *Manager) cancelOnline(ctx context.Context, op string, name uint64, request document.RequestKey) (*Cancelled, error) {
	state, now := m.local.Read()
	license, origin, given, err := state.Given(request, now.Unix)
	if err != nil {
		return nil, fail(op, err)
	}
	if given {
		if i := state.ReturnOf(license, origin); i != nil {
			return m.giveOnline(ctx, op, i)
		}
		return m.given(op, license, origin)
	}
	found, err := state.Find(name, request, now.Unix)
	if err != nil {
		return nil, fail(op, doubting(err, request, m))
	}
	var terms document.Terms
	if found.Installed != nil {
		terms = found.Installed.License.Terms
	} else {
		terms = found.Return.Terms()
	}
	if i := state.ReturnOf(terms.License, terms.Key); i != nil { // another request has begun it
		if _, err := m.cancel(ctx, found, request, nil); err != nil {
			return nil, fail(op, doubting(err, request, m))
		}
		return m.giveOnline(ctx, op, i)
	}
	to, err := m.lenderOf(ctx, state, terms)
	if err != nil {
		return nil, fail(op, doubting(err, request, m))
	}
	intent := detach.Intent{
		ID: newIntentID(), Kind: detach.IntentReturn, Peer: to.id, PeerKey: to.public, Key: terms.Key, Own: newOwn(),
		License: terms.License, Until: terms.Death, Request: request,
	}
	also := func(s *detach.Local, now int64) ([][]byte, error) {
		if s.ReturnOf(terms.License, terms.Key) != nil { // somebody else was faster
			return nil, nil
		}
		return s.Intend(intent, now)
	}
	if _, err = m.cancel(ctx, found, request, also); err != nil {
		return nil, fail(op, doubting(err, request, m))
	}
	state, _ = m.local.Read()
	i := state.ReturnOf(terms.License, terms.Key)
	if i == nil { // done by somebody else meanwhile
		return m.given(op, terms.License, terms.Key)
	}
	return m.giveOnline(ctx, op, i)
}

// lenderOf is the manager that a return is meant for: the one that gave the license,
// whatever it tells of its keys by now. Only where it came as a file, or that one cannot
// be spoken to any more, is it whoever is known to have the key.
func (m *Manager) lenderOf(ctx context.Context, state *detach.Local, t document.Terms) (*origin, error) {
	if from := state.Lender(t.License, t.Key); from != nil {
		if at := m.originBy(from.ID, from.Public); at.own() || m.peers != nil {
			return at, nil
		}
	}
	origins, err := m.originsOf(ctx, t.Key)
	if err != nil {
		return nil, err
	}
	return origins[0], nil
}

// given is the answer about a license whose return is no longer pending.
func (m *Manager) given(op string, license, origin uint64) (*Cancelled, error) {
	switch state, _ := m.local.Read(); {
	case state.Abandoned(license, origin):
		return nil, refuse(op, DetachedLicenseNotFound, "license %d was given back, and the record of it was deleted before its return was handed over", license)
	case state.Unreturned(license, origin):
		return nil, refuse(op, DetachedLicenseExpired, "license %d was given back, and died before its return was handed over", license)
	}
	return &Cancelled{LicenseID: license}, nil
}

// giveOnline hands a pending return over for somebody who waits for it.
func (m *Manager) giveOnline(ctx context.Context, op string, i *detach.Intent) (*Cancelled, error) {
	err := m.handOver(ctx, i)
	if _, told := errors.AsType[*Error](err); err != nil && !told { // the license is given back all the same
		err = pending(i, codeOfFailure(err), "the return could not be handed over to the end", err)
	}
	if err != nil {
		return nil, fail(op, err)
	}
	return m.given(op, i.License, i.Key)
}

// handOver gives a pending return to its origin and settles the intent when the
// origin's key has signed for it.
func (m *Manager) handOver(ctx context.Context, i *detach.Intent) error {
	release, err := m.claims.take(ctx, i.Own, nil)
	if err != nil {
		return err
	}
	defer release()
	defer func() { m.intents.tried(i.ID, m.opts.Clock.Elapsed()) }()
	state, _ := m.local.Read()
	if state.Intent(i.ID) != i {
		return nil // somebody else has done it, or it is home by itself
	}
	record := state.CancelledFrom(i.License, i.Key)
	if record == nil {
		return nil
	}
	proof, err := m.hand(ctx, i, record)
	if err != nil {
		return err
	}
	_, err = m.local.Do(ctx, func(s *detach.Local, _ ledger.Moment) ([][]byte, error) {
		return s.SettleReturned(i.ID, proof), nil
	})
	return err
}

// hand gives a return to whoever tells of the key that it came from, until one has
// the key's signature for it: nothing less says that the seats are home. Who comes
// first has the time it needs. Where that fails, or is more than a moment, all others
// are asked too, at once, and have a moment together; this manager has all it needs.
func (m *Manager) hand(ctx context.Context, i *detach.Intent, record *detach.CancelledRecord) (document.Proof, error) {
	type answer struct {
		first bool
		proof document.Proof
		err   error
	}
	takers := m.takers(i)
	answers := make(chan answer, len(takers))
	var group sync.WaitGroup
	defer group.Wait()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	give := func(ctx context.Context, at *origin, first bool) {
		group.Go(func() {
			proof, err := m.handTo(ctx, i, record, at)
			answers <- answer{first, proof, err}
		})
	}
	give(ctx, takers[0], true)
	moment := time.NewTimer(askWithin)
	defer moment.Stop()
	asked := 1
	var fault error
	for ended := 0; ended < asked; {
		select {
		case a := <-answers:
			if a.err == nil {
				return a.proof, nil
			}
			ended++
			if a.first {
				fault = a.err
			}
		case <-moment.C:
		}
		if asked == 1 {
			brief, cancel := context.WithTimeout(ctx, askWithin)
			defer cancel()
			for _, at := range takers[1:] {
				if at.own() {
					give(ctx, at, false)
				} else {
					give(brief, at, false)
				}
			}
			asked = len(takers)
		}
	}
	return document.Proof{}, fault
}

// takers are the managers that may take a return: the one it was meant for first, then
// this one where the key is here now, then all others that have the key, for it may
// have moved. Of these only those are asked that gave something usable last, or gave
// nothing longer ago than the one it was meant for.
func (m *Manager) takers(i *detach.Intent) []*origin {
	all := []*origin{m.originBy(i.Peer, i.PeerKey)}
	add := func(o *origin) {
		if !slices.ContainsFunc(all, func(known *origin) bool { return bytes.Equal(known.public, o.public) }) {
			all = append(all, o)
		}
	}
	if s := m.rack.find(i.Key); s != nil && s.accessible() {
		add(m.ownOrigin())
	}
	meant := m.peers.blamed(i.PeerKey)
	for _, c := range m.holders(i.Key) {
		if c.silent.IsZero() && (c.blamed == 0 || c.blamed < meant) {
			add(m.originBy(c.computer.Computer.ID, c.computer.Computer.Sign))
		}
	}
	return all
}

func (m *Manager) handTo(ctx context.Context, i *detach.Intent, record *detach.CancelledRecord, at *origin) (proof document.Proof, err error) {
	began := time.Now()
	body, err := at.ask(ctx, verbReturn, returnAsk{Own: i.Own, Return: record.Return.Bytes()}, nil)
	if r, ok := errors.AsType[*peer.Refused](err); ok && r.Code != GetResponseFailed {
		return proof, pending(i, r.Code, fmt.Sprintf("%s refuses the return: %s", at.name(), r.Message), err)
	}
	if err != nil {
		m.peers.blame(ctx, at.public, began)
		return proof, pending(i, ServerNotFound, fmt.Sprintf("%s does not answer", at.name()), err)
	}
	if err = document.Decode("receipt of a return", body, document.MaxPeerMessage, &proof); err == nil {
		err = detach.VerifyReturned(proof, record.Origin, record.Return)
	}
	if err != nil {
		m.peers.blame(ctx, at.public, began)
		return proof, pending(i, IncorrectResponseData, fmt.Sprintf("the answer of %s cannot be used: %v", at.name(), err), err)
	}
	if state, _ := m.local.Read(); !state.Declined(i.License, i.Key) { // else anybody's key may have signed for it
		m.peers.praise(at.public, 0)
	}
	return proof, nil
}
