package licensing_test

import (
	"context"
	"errors"
	"slices"
	"testing"

	"github.com/sojournlm/sojourn/licensing"
	"github.com/sojournlm/sojourn/storage/memory"
	"github.com/sojournlm/sojourn/storage/storagetest"
	"github.com/sojournlm/sojourn/transport"
	"github.com/sojournlm/sojourn/transport/simulator"
)

// A key that is pulled out and put in again between two changes, or within one,
// is connected to again: nothing was lost on the way.
func TestReplug(t *testing.T) {
	s := newStage(t)
	s.ok(s.office.keys[0].Replug())
	s.office.detach(s.laptop, 1)
	s.ok(s.office.keys[0].Replug())
	s.ok(s.office.Install(s.ctx, s.office.pool(feature(1, 3), feature(2, 2)), nil))
	s.checkPromises()
	for n := 0; ; n++ {
		s := newStage(t)
		armed := s.office.keys[0].FailNth(n, simulator.Replug)
		s.office.detach(s.laptop, 1)
		if !armed.Fired() {
			break
		}
		s.office.reopen()
		s.checkPromises()
		s.end()
	}
}

// socket is a bus that names keys by where they are plugged in: all in one place.
type socket struct{ *simulator.Bus }

func (p socket) Keys(ctx context.Context) ([]transport.KeyInfo, error) {
	infos, err := p.Bus.Keys(ctx)
	for i := range infos {
		infos[i].ID = "socket 1"
	}
	return infos, err
}

func (p socket) Open(ctx context.Context, id transport.KeyID) (transport.Conn, error) {
	infos, err := p.Bus.Keys(ctx)
	if err != nil || len(infos) == 0 {
		return nil, &transport.Error{Op: "open", Key: id, Err: transport.ErrNoKey}
	}
	return p.Bus.Open(ctx, infos[0].ID)
}

// Another key in the same place is seen for what it is, and so is the first one
// when it comes back.
func TestOtherKeyInTheSamePlace(t *testing.T) {
	w := newWorld(t)
	m := w.bare("OFFICE", memory.New())
	m.opts.Buses = []transport.Bus{socket{m.bus}}
	one := m.addKey(worldKey)
	w.ok(m.boot())
	w.ok(m.Install(w.ctx, m.pool(feature(1, 3)), nil))
	here := func() (ids []uint64) {
		t.Helper()
		for _, k := range collect[licensing.Key](w)(m.Keys(w.ctx, licensing.Filter{})) {
			if !k.Inaccessible {
				ids = append(ids, k.ID)
			}
		}
		return ids
	}
	one.Unplug()
	two := m.addKey(worldKey + 1)
	if got := here(); !slices.Equal(got, []uint64{two.ID()}) {
		t.Errorf("after the second key was put in, these are there: %d", got)
	}
	w.ok(m.Install(w.ctx, m.poolOf(two, feature(1, 3)), nil))
	laptop := w.laptop("LAPTOP", m)
	_, err := m.Detach(w.ctx, m.request(laptop, 1), nil)
	w.refused(err, licensing.NoService)
	two.Unplug()
	w.ok(one.Plug())
	if got := here(); !slices.Equal(got, []uint64{one.ID()}) {
		t.Errorf("after the first key was put back, these are there: %d", got)
	}
	m.detach(laptop, 1)
	w.checkPromises()
}

// A pool license has reached its key, and the store refused the entry. Whatever
// makes the pool follow, it is the request's that brought the license: asked again,
// the answer is that it happened.
func TestPoolLicenseEnteredByAnother(t *testing.T) {
	entered, doubted := 0, 0
	for n := 0; ; n++ {
		s := newStage(t)
		file := s.office.pool(feature(1, 5))
		f := s.office.fail(n, storagetest.Refuse)
		err := s.office.Install(s.ctx, file, askedOnce)
		if !f.Fired() {
			break
		}
		if errors.Is(err, licensing.ErrUnknown) {
			doubted++
		}
		s.office.detach(s.laptop, 1)
		s.ok(s.office.Install(s.ctx, file, askedOnce))
		if s.office.free(1) == 4 {
			entered++
		}
		s.end()
	}
	if entered == 0 || doubted == 0 {
		t.Error("the store was never asked")
	}
}
