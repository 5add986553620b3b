package licensing

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/sojournlm/sojourn/detach"
	"github.com/sojournlm/sojourn/internal/document"
	"github.com/sojournlm/sojourn/internal/peer"
)

// The verbs that managers understand. Their numbers are part of the protocol.
const (
	verbInventory = uint32(1) // nothing → inventory
	verbDetach    = uint32(2) // detachAsk → detachAnswer
	verbReturn    = uint32(3) // returnAsk → document.Proof of the return's entry
)

// inventory is the keys that a manager shows to another one.
type inventory struct {
	Keys []remoteKey `cbor:"1,keyasint"`
}

const (
	maxInventory  = document.MaxPeerMessage - 64<<10 // how many bytes of keys a manager tells
	maxRemoteKeys = 256                              // and how many keys
)

// remoteKey is a key elsewhere.
type remoteKey struct {
	ID           uint64          `cbor:"1,keyasint"`
	Model        uint32          `cbor:"2,keyasint"`
	Vendor       uint32          `cbor:"3,keyasint"`
	Firmware     string          `cbor:"4,keyasint"`
	Manufactured int64           `cbor:"5,keyasint"` // Unix seconds, 0: not known
	Inaccessible bool            `cbor:"6,keyasint"`
	Features     []remoteFeature `cbor:"7,keyasint"` // ordered
}

// remoteFeature is a feature of a key elsewhere, as its manager tells it to the
// one that asks.
type remoteFeature struct {
	Feature        document.Feature `cbor:"1,keyasint"`
	Free           uint32           `cbor:"2,keyasint"`
	Detached       uint32           `cbor:"3,keyasint"`
	Overdrawn      uint32           `cbor:"4,keyasint"`
	DetachAllowed  bool             `cbor:"5,keyasint"`
	CancelRequired bool             `cbor:"6,keyasint"` // it is out to the one that asks
}

// inventory asks a manager for its keys.
func (p *peers) inventory(ctx context.Context, address string, g *peer.Greeting) (keys []remoteKey, size int, err error) {
	body, err := p.self.Ask(ctx, p.opts.Exchange, address, g, verbInventory, nil)
	if err != nil {
		return nil, 0, err
	}
	keys, err = parseInventory(body)
	return keys, len(body), err
}

// parseInventory reads what a stranger tells of his keys. It may be a lie, and
// must do no harm where it is shown.
func parseInventory(body []byte) ([]remoteKey, error) {
	var list inventory
	if err := document.Decode("inventory", body, document.MaxPeerMessage, &list); err != nil {
		return nil, err
	}
	if len(list.Keys) > maxRemoteKeys {
		return nil, fmt.Errorf("inventory: %d keys, at most %d are read", len(list.Keys), maxRemoteKeys)
	}
	for i, k := range list.Keys {
		bad := func(format string, args ...any) ([]remoteKey, error) {
			return nil, fmt.Errorf("inventory: key %d: "+format, append([]any{k.ID}, args...)...)
		}
		switch {
		case !document.ValidID(k.ID) || k.ID > 0xFFFFFFFF:
			return bad("this is no id of a key")
		case i > 0 && list.Keys[i-1].ID >= k.ID:
			return bad("it is not in its place, or stands twice")
		case k.Model > uint32(ModelCodeTime) || k.Manufactured < 0 || k.Manufactured > document.MaxTime || len(k.Features) > document.MaxFeatures:
			return bad("a number is out of range")
		}
		if err := document.CheckText(k.Firmware); err != nil {
			return bad("firmware %v", err)
		}
		for at, f := range k.Features {
			if err := f.Feature.Check("inventory"); err != nil {
				return bad("%v", err)
			}
			if at > 0 && k.Features[at-1].Feature.Ref().Compare(f.Feature.Ref()) >= 0 {
				return bad("%v is not in its place, or stands twice", f.Feature.Ref())
			}
		}
	}
	return list.Keys, nil
}

// tell is the inventory for the computer that asks: the keys here with the
// features that others may see.
func (m *Manager) tell(ctx context.Context, asker uint64) []byte {
	m.rack.look(ctx, m, listWithin) // who asks gives up soon after
	var list inventory
	size := 0
	for _, s := range m.rack.all() {
		pool := s.shown()
		if pool == nil {
			continue
		}
		state, _ := pool.Read()
		k := remoteKey{
			ID: s.info.ID, Model: uint32(s.info.Model), Vendor: state.Head().Vendor, Firmware: s.info.Firmware,
			Inaccessible: !s.accessible(),
		}
		if !s.info.Manufactured.IsZero() {
			k.Manufactured = max(0, s.info.Manufactured.Unix())
		}
		for _, f := range state.Features(detach.Filter{}) {
			if f.Feature.RemoteMode&detach.RemoteBit == 0 {
				continue
			}
			k.Features = append(k.Features, remoteFeature{
				Feature: f.Feature, Free: f.Free, Detached: f.Detached, Overdrawn: f.Overdrawn,
				DetachAllowed:  m.opts.Policy.Allows(f.Feature),
				CancelRequired: state.Out(asker, f.Feature.Ref()) != nil,
			})
		}
		if len(k.Features) == 0 {
			continue
		}
		if size += len(document.Encode(k)); size > maxInventory || len(list.Keys) == maxRemoteKeys {
			m.opts.Logger.Warn("too many keys and features to tell other managers of; some are left out", "key", k.ID)
			break
		}
		list.Keys = append(list.Keys, k)
	}
	return document.Encode(list)
}

// here gives the slots whose keys are shown as this manager's own, and with them the
// keys elsewhere: one that was pulled out here and is plugged in there is there.
func (m *Manager) here() ([]*slot, []remote) {
	away := m.remotes()
	slots := slices.DeleteFunc(slices.Clone(m.rack.all()), func(s *slot) bool {
		_, moved := slices.BinarySearchFunc(away, s.info.ID, func(r remote, id uint64) int { return cmp.Compare(r.ID, id) })
		return moved
	})
	return slots, away
}

// remotes gives the keys elsewhere that are not plugged in here, by id, each from
// the manager that is believed most. That a key which was here is elsewhere now is
// believed only of managers that somebody named.
func (m *Manager) remotes() []remote {
	seen := make(map[uint64]bool)
	var all []remote
	for _, c := range m.claimants() {
		for i := range c.keys {
			k := &c.keys[i]
			local := m.rack.find(k.ID)
			if !seen[k.ID] && (local == nil || !local.accessible() && c.moved(k)) {
				seen[k.ID] = true
				all = append(all, remote{k, c.sight})
			}
		}
	}
	slices.SortFunc(all, func(a, b remote) int { return cmp.Compare(a.ID, b.ID) })
	return all
}

// remote is a key elsewhere and the manager that has it.
type remote struct {
	*remoteKey
	at sight
}

func (r remote) key() Key {
	k := Key{
		ID: r.ID, Model: Model(r.Model), Vendor: r.Vendor, Firmware: r.Firmware,
		Inaccessible: r.Inaccessible || !r.at.silent.IsZero(), Remote: true, Manager: r.at.computer.Computer.ID,
	}
	if r.Manufactured != 0 {
		k.Manufactured = time.Unix(r.Manufactured, 0)
	}
	var features []document.Feature
	for _, f := range r.Features {
		features = append(features, f.Feature)
	}
	k.Products = products(features)
	return k
}

func (r remote) feature(f *remoteFeature, now int64) Feature {
	out := newFeature(r.ID, r.Vendor, &f.Feature, now)
	out.Free, out.Detached, out.Overdrawn = f.Free, f.Detached, f.Overdrawn
	out.Detachable, out.DetachAllowed, out.CancelRequired = f.Feature.Detachable, f.DetachAllowed, f.CancelRequired
	out.Inaccessible, out.Remote = r.Inaccessible || !r.at.silent.IsZero(), true
	return out
}
