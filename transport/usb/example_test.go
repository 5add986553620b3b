package usb_test

import (
	"context"
	"fmt"
	"log"

	"github.com/sojournlm/sojourn/device"
	"github.com/sojournlm/sojourn/transport/usb"
)

// What the keys on USB say of themselves. Without the build tag gousb, Open says how to
// build the program.
func ExampleOpen() {
	bus, err := usb.Open(&usb.Options{Vendor: 0x1209, Product: 0x0001})
	if err != nil {
		log.Fatal(err)
	}
	defer bus.Close()
	ctx := context.Background()
	keys, err := bus.Keys(ctx)
	if err != nil {
		log.Fatal(err)
	}
	for _, k := range keys {
		key, err := device.Open(ctx, bus, k.ID)
		if err != nil {
			log.Print(err) // names the key, and says what to do
			continue
		}
		info, err := key.Info(ctx)
		fmt.Println(k.ID, info.Firmware, err)
		key.Close()
	}
}

func ExampleParseIDs() {
	vendor, product, err := usb.ParseIDs("1209:0001")
	fmt.Printf("%#04x %#04x %v\n", vendor, product, err)
	_, _, err = usb.ParseIDs("1209")
	fmt.Println(err)
	// Output:
	// 0x1209 0x0001 <nil>
	// USB ids "1209": want two numbers of up to four hexadecimal digits, such as 1209:0001
}
