package licensingtest_test

import (
	"strings"
	"sync"
	"testing"

	"github.com/sojournlm/sojourn/licensing/licensingtest"
)

// TestSellTogether: a Computer is safe for concurrent use, and a key takes only
// pools with a higher counter.
func TestSellTogether(t *testing.T) {
	world := licensingtest.New()
	defer world.Close()
	office := world.Office(licensingtest.Feature{Product: 29, Number: 4, Seats: 1})
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() { office.Sell(licensingtest.Feature{Product: 29, Number: 4, Seats: 7}) })
	}
	wg.Wait()
	if free := office.Free(29, 4); free != 7 {
		t.Errorf("%d seats are free, want 7", free)
	}
}

// TestSellWithoutKey: the panic names the computer and what it lacks.
func TestSellWithoutKey(t *testing.T) {
	world := licensingtest.New()
	defer world.Close()
	laptop := world.Laptop("B2291-PC")
	defer func() {
		if said, _ := recover().(string); !strings.Contains(said, "B2291-PC has no key") {
			t.Errorf("Sell on a laptop panics with %q", said)
		}
	}()
	laptop.Sell(licensingtest.Feature{Product: 29, Number: 4, Seats: 1})
}
