package licensing_test

import (
	"context"
	"errors"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sojournlm/sojourn/licensing"
	"github.com/sojournlm/sojourn/transport/simulator"
)

// Two thousand ask at once for a thousand seats, while the key loses answers,
// once for so long that nobody knows what happened: exactly a thousand get one,
// where whom the key did not answer asks again under the same request key.
func TestCrowd(t *testing.T) {
	const computers, seats = 2000, 1000
	w := newWorld(t)
	office := w.office(feature(1, seats))
	ids := office.strangers(computers)
	if t.Failed() {
		return
	}
	for i, fault := range []simulator.Fault{
		simulator.LoseReply, simulator.GarbleRequest, simulator.StaleReply, simulator.LoseRequest, simulator.CutReply, simulator.GarbleReply,
	} {
		office.keys[0].FailNth(3*i, fault)
	}
	for range 20 { // from the first batch on, which may be the only one, and longer than anybody tries
		office.keys[0].FailNth(0, simulator.LoseReply)
	}
	var mu sync.Mutex
	got := map[uint64]bool{}
	exhausted := 0
	var unknown atomic.Int64
	var group sync.WaitGroup
	start := make(chan struct{})
	for _, id := range ids {
		group.Go(func() {
			<-start
			request := licensing.DetachRequest{
				Offline: true, Recipient: id, Key: worldKey, Duration: time.Hour,
				Features: []licensing.Selector{{ProductNumber: worldProduct, FeatureNumber: 1}},
			}
			once := &licensing.ChangeOptions{RequestKey: strconv.FormatUint(id, 10)}
			d, err := office.Detach(w.ctx, request, once)
			for err != nil && !errors.Is(err, licensing.FeatureResourceExhaust) {
				if errors.Is(err, licensing.ErrUnknown) {
					unknown.Add(1)
				}
				d, err = office.Detach(w.ctx, request, once)
			}
			mu.Lock()
			defer mu.Unlock()
			if err != nil {
				exhausted++
			} else {
				got[d.LicenseID] = true
			}
		})
	}
	close(start)
	group.Wait()
	if unknown.Load() == 0 {
		t.Error("everybody knew at once what happened")
	}
	if len(got) != seats || exhausted != computers-seats {
		t.Fatalf("%d got a seat, %d did not", len(got), exhausted)
	}
	if office.free(1) != 0 {
		t.Errorf("%d seats are free", office.free(1))
	}
	office.reopen()
	out := office.look().Detached
	for _, d := range out {
		delete(got, d.ID)
	}
	if len(out) != seats || len(got) != 0 {
		t.Errorf("%d licenses are out after a restart, %d are gone", len(out), len(got))
	}
	w.checkPromises()
	w.turn(time.Hour)
	if office.free(1) != seats {
		t.Errorf("%d seats came home", office.free(1))
	}
}

// Callers who give up at all moments, also while it is decided for them, share
// nothing with what goes on: that is for the race detector to say. Each seat is
// free or out afterwards.
func TestCallersWhoGiveUp(t *testing.T) {
	s := newStage(t)
	s.ok(s.office.Install(s.ctx, s.office.pool(feature(1, 5000), feature(2, 5000)), nil))
	ids := s.office.strangers(200)
	lent := s.office.lend(s.laptop, 2)
	var group sync.WaitGroup
	for i, id := range ids {
		patience := time.Duration(i*i) * time.Microsecond
		group.Go(func() {
			ctx, cancel := context.WithTimeout(s.ctx, patience)
			defer cancel()
			request := s.office.request(s.laptop, 1)
			request.Recipient = id
			s.office.Detach(ctx, request, nil)
		})
		group.Go(func() {
			ctx, cancel := context.WithTimeout(s.ctx, patience)
			defer cancel()
			s.laptop.CancelDetach(ctx, licensing.CancelRequest{Offline: true, License: lent.LicenseID}, nil)
		})
	}
	group.Wait()
	s.checkPromises()
}
