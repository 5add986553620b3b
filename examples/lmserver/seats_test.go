package main

import (
	"fmt"
	"net/http"
	"sync"
	"testing"

	"github.com/sojournlm/sojourn/internal/netlab"
)

// TestNetLastSeat: two laptops want the last seat at the same time, over a network
// that loses packets. One gets it, the other one is told that there is none.
func TestNetLastSeat(t *testing.T) {
	t.Parallel()
	rounds := 2
	if long {
		rounds = 10
	}
	lab := netlab.New(t, 3)
	office := newMachine(t, lab.Hosts[0], append(open(lab.Hosts[0]), "-no-discovery", "-simulate", wide(t, 1, 1))...)
	var laptops [2]*machine
	var ids [2]string
	for i := range laptops {
		laptops[i] = newMachine(t, lab.Hosts[i+1], "-peer", office.url)
		ids[i] = laptops[i].environment(t).LMSID
		office.admit(t, laptops[i])
	}
	for _, m := range laptops {
		await(t, "the laptop sees the office's key", func() bool { return m.sees(t, seedKey) })
	}
	for round := range rounds {
		lab.Lose(20)
		var told [2]reply
		var asking sync.WaitGroup
		for i, m := range laptops {
			asking.Go(func() { told[i] = m.change("/detach", m.online(ids[i], 1), fmt.Sprint("round ", round), 2*patience) })
		}
		asking.Wait()
		lab.Heal()
		var winners []*machine
		for i, m := range laptops {
			// Who was left in doubt asks again.
			await(t, "the laptop is told", func() bool {
				silent := told[i].status == http.StatusServiceUnavailable && told[i].Error.Code == 14
				if silent {
					told[i] = m.change("/detach", m.online(ids[i], 1), fmt.Sprint("round ", round), 2*patience)
				}
				return !silent
			})
			switch {
			case told[i].status == http.StatusOK:
				winners = append(winners, m)
			case told[i].Error.Code != 3:
				t.Errorf("round %d: %s is told %v", round, m.host.Name(), told[i])
			}
			await(t, "nothing is pending", func() bool { return !m.pending(t) })
		}
		if p := office.pool(t, 1); len(winners) != 1 || p != (pool{free: 0, away: 1, max: 1, licenses: 1}) {
			t.Fatalf("round %d: %d have the seat, %+v: %v", round, len(winners), p, told)
		}
		for _, m := range laptops {
			if (m.here(t, 1) != 0) != (m == winners[0]) {
				t.Errorf("round %d: installed at %s: %v", round, m.host.Name(), m != winners[0])
			}
		}
		back := winners[0].change("/canceldetach", object{"dongleId": seedKey}, "", patience)
		if p := office.pool(t, 1); back.status != http.StatusOK || p.free != 1 {
			t.Fatalf("round %d: given back: %v, %+v", round, back, p)
		}
	}
}

// TestNetCarried: a return that is pending while the line is down can be carried,
// and then it is over as soon as the line is back; or at the license's death.
func TestNetCarried(t *testing.T) {
	t.Parallel()
	s := newStand(t, 3, false)
	cancel := func(feature uint32, seconds int) (license string) {
		t.Helper()
		request := s.laptop.online(s.lmsID, feature)
		request["durationInSec"] = seconds
		s.until200(t, "/detach", request, fmt.Sprint("feature ", feature), false)
		id := s.laptop.here(t, feature)
		s.arm(errands[3], failures[0], steps[2])
		told := s.laptop.change("/canceldetach", object{"dongleId": id}, "", patience)
		if told.status != http.StatusServiceUnavailable || told.Error.Code != 14 || told.Error.IntentID == "" {
			t.Fatalf("cancelled while the line is down: %v", told)
		}
		list := s.laptop.do(t, "GET", "/intents", nil).Intents
		if len(list) != 1 || list[0].IntentID != told.Error.IntentID || list[0].Operation != "canceldetach" || list[0].LicenseID == "" {
			t.Fatalf("pending: %+v, told: %v", list, told)
		}
		return list[0].LicenseID
	}
	over := func() bool { return !s.laptop.pending(t) }

	// Carried.
	license := cancel(1, 3600)
	back := s.laptop.do(t, "POST", "/cancelled/download", object{"licenseId": license}).License
	s.office.do(t, "POST", "/install", object{"license": back})
	if p := s.office.pool(t, 1); p.free != 1 || over() {
		t.Errorf("carried: %+v, over: %v", p, over())
	}
	s.down.Store(false)
	await(t, "a carried return is over when the line is back", over)
	if list := s.laptop.do(t, "GET", "/cancelled/licenses", nil).CancelledLicenses; len(list) != 0 {
		t.Errorf("the return is there, and still listed: %v", list)
	}
	s.laptop.fail(t, "POST", "/cancelled/download", object{"licenseId": license}, http.StatusNotFound, 34)
	s.office.fail(t, "POST", "/install", object{"license": back}, http.StatusConflict, 48)

	if !long {
		return // what waits for a death
	}
	// Never carried: over at the death.
	cancel(2, 8)
	await(t, "a return is over when its license is dead", over)
	if p := s.office.pool(t, 2); p.free != 1 || s.laptop.here(t, 2) != 0 {
		t.Errorf("dead: %+v", p)
	}
	s.down.Store(false)

	// Its record deleted: over at once, and the seat comes home at the death.
	license = cancel(3, 8)
	s.laptop.do(t, "DELETE", "/cancelled/licenses", object{"licenseId": license})
	if !over() {
		t.Error("a return whose record was deleted is pending")
	}
	s.down.Store(false)
	await(t, "the seat is home", func() bool { return s.find(t, 3) == isHome })
}
