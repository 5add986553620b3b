package licensing

import (
	"context"
	"errors"
	"fmt"

	"github.com/sojournlm/sojourn/internal/document"
	"github.com/sojournlm/sojourn/storage"
)

// announcement is a pool license on its way into a key, and the request that brings it.
// It is stored before the key gets the license, until key and ledger have shown what
// became of it: whatever dies in between, the request is known, and the key is one that
// was seen here.
type announcement struct {
	license *document.Pool
	request document.RequestKey
}

const announcementVersion = 1

// announcementRecord is a stored announcement.
type announcementRecord struct {
	Version uint32              `cbor:"1,keyasint"`
	License []byte              `cbor:"2,keyasint"` // document.Pool
	Request document.RequestKey `cbor:"3,keyasint"`
}

// announcementKey is where in the store the announcement of a key lies.
func announcementKey(key uint64) string { return poolName(key) + "/announced" }

func (a *announcement) encode() []byte {
	return document.Encode(announcementRecord{Version: announcementVersion, License: a.license.Bytes(), Request: a.request})
}

// parseAnnouncement reads what is stored for a key.
func parseAnnouncement(key uint64, b []byte) (*announcement, error) {
	const name = "stored announcement"
	var r announcementRecord
	if err := document.Decode(name, b, document.MaxPool+256, &r); err != nil {
		return nil, err
	}
	if r.Version != announcementVersion {
		return nil, &document.Error{Document: name, Link: document.LinkVersion, Reason: "it is of another version"}
	}
	license, err := document.ParsePool(r.License)
	if err != nil {
		return nil, err
	}
	if license.Head.Key != key {
		return nil, errors.New("it is for another key")
	}
	return &announcement{license, r.Request}, nil
}

// recall reads the slot's announcement from the store, once. One that cannot be read may
// be of any request, until the key shows its pool.
func (s *slot) recall(ctx context.Context, m *Manager) error {
	s.mu.Lock()
	recalled := s.recalled
	s.mu.Unlock()
	if recalled {
		return nil
	}
	var raw []byte
	err := m.store.View(ctx, func(r storage.Reader) (err error) {
		raw, err = r.Get(announcementKey(s.info.ID))
		return err
	})
	var a *announcement
	var garbled error
	switch {
	case errors.Is(err, storage.ErrNotFound):
	case err != nil:
		return err
	default:
		if a, err = parseAnnouncement(s.info.ID, raw); err != nil {
			garbled = unreadable(err)
			m.opts.Logger.Warn("what is stored of a pool license on its way cannot be read", "key", s.info.ID, "error", err)
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.recalled {
		s.announced, s.recalled, s.garbled = a, true, garbled
	}
	return nil
}

// unreadable says why what is stored cannot be read: it is damaged, or newer than this program.
func unreadable(err error) error {
	doc, ok := errors.AsType[*document.Error](err)
	if ok && doc.Link == document.LinkVersion {
		return fmt.Errorf("%w: %w", ErrRules, err)
	}
	return fmt.Errorf("%w: %w", ErrDamaged, err)
}

// announce stores what is about to go into the slot's key.
func (s *slot) announce(ctx context.Context, m *Manager, a *announcement) error {
	err := m.store.Update(ctx, func(w storage.Writer) error {
		return w.Put(announcementKey(s.info.ID), a.encode())
	})
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.announced, s.garbled = a, nil
	return nil
}

// settled forgets the announcement: what became of it has been shown. Where that fails
// its request key stays what it is to this request alone, and the next start reads anew
// what cannot be read.
func (s *slot) settled(ctx context.Context, m *Manager) {
	s.mu.Lock()
	none := s.announced == nil && s.garbled == nil
	s.mu.Unlock()
	if none {
		return
	}
	err := m.store.Update(ctx, func(w storage.Writer) error { return w.Delete(announcementKey(s.info.ID)) })
	s.mu.Lock()
	defer s.mu.Unlock()
	s.garbled = nil
	if err != nil {
		m.opts.Logger.Info("a pool license stays announced", "key", s.info.ID, "error", err)
		return
	}
	s.announced = nil
}

func (s *slot) announcement() *announcement {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.announced
}

// beyond reports whether the license is newer than the pool's, which then does not know
// what became of it.
func (a *announcement) beyond(p interface{ Counter() uint64 }) bool {
	return a != nil && p.Counter() < a.license.Head.Counter
}
