package licensingtest_test

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/sojournlm/sojourn/licensing"
	"github.com/sojournlm/sojourn/licensing/licensingtest"
)

// An engineer takes a seat along on a journey, and it comes home by itself.
func Example() {
	ctx := context.Background()
	world := licensingtest.New()
	defer world.Close()

	office := world.Office(licensingtest.Feature{Product: 29, Number: 4, Seats: 3})
	laptop := world.Laptop("B2291-PC", office)

	seat, err := office.Detach(ctx, licensing.DetachRequest{
		Offline: true, Recipient: laptop.LMSID, Key: office.KeyID, Duration: 72 * time.Hour,
		Features: []licensing.Selector{{ProductNumber: 29, FeatureNumber: 4}},
	}, nil)
	fmt.Println("detached:", err, "- seats left:", office.Free(29, 4))

	fmt.Println("installed:", laptop.Install(ctx, seat.License, nil))

	_, err = laptop.Check(ctx, licensingtest.Vendor, 29, 4)
	fmt.Println("may run:", err)

	office.Cable.Pull()
	_, err = office.Detach(ctx, licensing.DetachRequest{
		Offline: true, Recipient: office.LMSID, Key: office.KeyID, Duration: time.Hour,
		Features: []licensing.Selector{{ProductNumber: 29, FeatureNumber: 4}},
	}, nil)
	fmt.Println("while the key is pulled out:", errors.Is(err, licensing.NoService))
	office.Cable.Plug()

	world.Clock.Turn(73 * time.Hour)
	_, err = laptop.Check(ctx, licensingtest.Vendor, 29, 4)
	fmt.Println("after the journey:", errors.Is(err, licensing.DetachedLicenseExpired))
	fmt.Println("seats left:", office.Free(29, 4))
	// Output:
	// detached: <nil> - seats left: 2
	// installed: <nil>
	// may run: <nil>
	// while the key is pulled out: true
	// after the journey: true
	// seats left: 3
}

// A laptop takes a seat over the network and gives it back, and a line that is cut
// loses none.
func ExampleComputer_Connect() {
	ctx := context.Background()
	world := licensingtest.New()
	defer world.Close()

	office := world.Office(licensingtest.Feature{Product: 29, Number: 4, Seats: 3})
	laptop := world.Laptop("B2291-PC", office)
	line := laptop.Connect(office)

	seat, err := laptop.Detach(ctx, licensing.DetachRequest{
		Recipient: laptop.LMSID, Key: office.KeyID, Duration: 72 * time.Hour,
		Features: []licensing.Selector{{ProductNumber: 29, FeatureNumber: 4}},
	}, nil)
	fmt.Println("detached:", err, "- seats left:", office.Free(29, 4))

	line.Cut()
	_, err = laptop.CancelDetach(ctx, licensing.CancelRequest{License: seat.LicenseID}, nil)
	fmt.Println("given back over a dead line, and pending:", errors.Is(err, licensing.ErrUnknown))
	_, err = laptop.Check(ctx, licensingtest.Vendor, 29, 4)
	fmt.Println("may no longer run:", errors.Is(err, licensing.DetachedLicenseNotFound))

	line.Mend()
	_, err = laptop.CancelDetach(ctx, licensing.CancelRequest{License: seat.LicenseID}, nil)
	fmt.Println("given back:", err, "- seats left:", office.Free(29, 4))
	// Output:
	// detached: <nil> - seats left: 2
	// given back over a dead line, and pending: true
	// may no longer run: true
	// given back: <nil> - seats left: 3
}
