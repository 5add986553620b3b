package licensing_test

import (
	"testing"
	"time"
)

// A seat goes out and comes home, and nothing is minted on the way.
func TestJourney(t *testing.T) {
	w := newWorld(t)
	office := w.office(feature(1, 2), feature(2, 1))
	laptop := w.laptop("LAPTOP", office)
	lent := office.lend(laptop, 1)
	w.checkPromises()
	office.reopen()
	laptop.reopen()
	w.checkPromises()
	if got := office.free(1); got != 1 {
		t.Fatalf("%d seats are free, want 1", got)
	}
	back := laptop.giveBack(lent.LicenseID)
	w.ok(office.Install(w.ctx, back, nil))
	w.turn(time.Minute)
	w.checkPromises()
	if got := office.free(1); got != 2 {
		t.Fatalf("%d seats are free, want 2", got)
	}
}
