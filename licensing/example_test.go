package licensing_test

import (
	"context"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/sojournlm/sojourn/licensing"
	"github.com/sojournlm/sojourn/licensing/licensingtest"
)

// A seat is detached at the office, installed on the laptop, used there, and
// given back.
func Example() {
	world := licensingtest.New()
	defer world.Close()
	office := world.Office(licensingtest.Feature{Product: 29, Number: 4, Seats: 3})
	laptop := world.Laptop("LAPTOP", office)

	if err := journey(context.Background(), office.Manager, laptop.Manager, laptop.LMSID, office.KeyID, licensingtest.Vendor); err != nil {
		fmt.Println(err)
	}
	fmt.Println("seats in the pool:", office.Free(29, 4))

	back, err := laptop.CancelDetach(context.Background(), licensing.CancelRequest{Offline: true, License: office.KeyID}, nil)
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println("the return is installed:", office.Install(context.Background(), back.Return, nil))
	world.Clock.Turn(time.Minute) // the last grant has ended
	fmt.Println("seats in the pool:", office.Free(29, 4))
	// Output:
	// granted for 1m0s
	// seats in the pool: 2
	// the return is installed: <nil>
	// seats in the pool: 3
}

func journey(ctx context.Context, office, laptop *licensing.Manager, laptopID, keyID uint64, vendor uint32) error {
	// README begins
	seat, err := office.Detach(ctx, licensing.DetachRequest{
		Offline: true, Recipient: laptopID, Key: keyID, Duration: 72 * time.Hour,
		Features: []licensing.Selector{{ProductNumber: 29, FeatureNumber: 4}},
	}, nil)
	if err != nil {
		return err // a *licensing.Error: what happened, and, in Advice, what to do about it
	}
	// seat.License is a file, sealed to the laptop. Carry it there:
	if err := laptop.Install(ctx, seat.License, nil); err != nil {
		return err
	}
	grant, err := laptop.Check(ctx, vendor, 29, 4) // may I run?
	// README ends
	if err != nil {
		return err
	}
	fmt.Println("granted for", grant.Ends.Sub(seat.Ends.Add(-72*time.Hour)))
	return nil
}

// TestReadme holds README's example to the one above, which is compiled and run.
func TestReadme(t *testing.T) {
	source, err := os.ReadFile("example_test.go")
	if err != nil {
		t.Fatal(err)
	}
	readme, err := os.ReadFile("../README.md")
	if err != nil {
		t.Fatal(err)
	}
	_, code, _ := strings.Cut(string(source), "// README begins\n")
	code, _, _ = strings.Cut(code, "\t// README ends")
	code = strings.TrimPrefix(strings.ReplaceAll(code, "\n\t", "\n"), "\t")
	_, shown, found := strings.Cut(string(readme), "```go\n")
	shown, _, _ = strings.Cut(shown, "```")
	if !found || shown != code {
		t.Errorf("README shows\n%s\nwhat runs is\n%s", shown, code)
	}
}
