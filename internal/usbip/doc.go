// Package usbip lets another computer attach a key as if it were plugged in there.
// It is the serving half of USB/IP, protocol version 1.1.1, as the kernel's
// vhci_hcd and the usbip tools of Linux and Windows speak it
// (https://docs.kernel.org/usb/usbip_protocol.html).
//
// A connection begins with one operation, "list the devices" or "import this one".
// After an import it carries URBs, until either side closes it: that is the plug
// pulled out. All numbers are big-endian. Whatever a client sends is parsed
// strictly; the first message that makes no sense ends its connection.
package usbip
