// Package usbtest plugs simulated keys into a real USB stack, for tests, on a
// machine without USB. There are two tiers; [Main] finds out which one it is in.
//
// In the mock tier everything down to libusb is real: Debian's umockdev preload
// library carries libusb's system calls over a socket, and this package answers
// them in place of the kernel, in the process of the test itself. Main starts the
// test once more under that library.
//
// In the machine tier the kernel is real too: usbcore, usbfs and vhci_hcd. The
// command vmrun below this package starts the test in a small virtual machine, to
// be used as
//
//	go test -exec "vmrun …" -tags gousb ./transport/usb
//
// In both, the keys are in the process of the test, which has all hands on them.
package usbtest
