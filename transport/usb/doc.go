// Package usb is a bus of real license keys: it finds them on USB and carries
// frames to them as the page of package device describes. It stands on gousb, which
// stands on libusb, a C library. That is an opt-in: without the build tag gousb, or
// without cgo, [Open] says how to get it, and everything else builds and runs on a
// machine that has nothing but Go.
//
//	bus, err := usb.Open(nil)
//	…
//	manager, err := licensing.Open(ctx, store, anchor, &licensing.Options{Buses: []transport.Bus{bus}, …})
//
// The README beside this file says what each operating system needs.
//
// Keys that are pulled out and put back are seen without a restart, on Linux also
// where no udev runs: what is plugged in is read from sysfs, each time, and each
// connection looks for its key afresh with a libusb context of its own. So there is
// nothing that can miss an event, and a connection that fails takes no other along.
//
// libusb's calls ask no context. Those that may take long, for a key that does not
// answer, are made by goroutines of the bus: Keys, Open and Exchange return when their
// context ends, and the bus's Close waits for all.
package usb
