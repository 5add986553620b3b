package usb

import (
	_ "embed"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// udevRule is for keys of the ids for tests.
//
//go:embed 70-sojourn.rules
var udevRule string

// UdevRule is a file for /etc/udev/rules.d on Linux, 70-sojourn.rules, that lets people
// use keys of the options' ids. It says itself what to do with it. Nil options mean the
// defaults.
func UdevRule(opts *Options) string {
	o := opts.withDefaults()
	return strings.NewReplacer("1209", fmt.Sprintf("%04x", o.Vendor), "0001", fmt.Sprintf("%04x", o.Product)).Replace(udevRule)
}

// Options are the settings of a bus. The zero Options find keys of the ids for
// tests.
type Options struct {
	// Vendor and Product are the ids of the keys to find. Both zero: 1209:0001,
	// which is for development only.
	Vendor, Product uint16

	// Timeout is how long a key may take for an answer, whatever the caller's
	// context allows. Zero: ten seconds.
	Timeout time.Duration
}

// ParseIDs reads a device's ids as lsusb writes them: VENDOR:PRODUCT, in hexadecimal.
func ParseIDs(text string) (vendor, product uint16, err error) {
	before, after, _ := strings.Cut(text, ":")
	v, err := strconv.ParseUint(before, 16, 16)
	p, err2 := strconv.ParseUint(after, 16, 16)
	if err != nil || err2 != nil || v == 0 {
		return 0, 0, fmt.Errorf("USB ids %q: want two numbers of up to four hexadecimal digits, such as 1209:0001", text)
	}
	return uint16(v), uint16(p), nil
}

func (o *Options) withDefaults() Options {
	var d Options
	if o != nil {
		d = *o
	}
	if d.Vendor == 0 && d.Product == 0 {
		d.Vendor, d.Product = 0x1209, 0x0001
	}
	if d.Timeout <= 0 {
		d.Timeout = 10 * time.Second
	}
	return d
}

// Sentinels that errors of this package wrap, beside those of package transport.
var (
	// ErrNotBuilt: the program has no USB in it.
	ErrNotBuilt = errors.New("this program was built without USB: install libusb 1.0 with its headers and a C compiler " +
		"(Debian: apt install gcc pkg-config libusb-1.0-0-dev; macOS: brew install pkg-config libusb), " +
		"and build it with CGO_ENABLED=1 go build -tags gousb")
	// ErrPermission: the operating system does not let this user have the key.
	ErrPermission = errors.New("no permission to use the USB device: on Linux install the udev rule " +
		"that package transport/usb ships (70-sojourn.rules), with the key's ids in it, and plug the key in again; " +
		"on Windows give the key the driver WinUSB")
	// ErrDriver: the operating system's driver of the key is not one that programs can
	// use it by.
	ErrDriver = errors.New("the operating system has no driver by which programs can use the USB device: " +
		"on Windows give the key the driver WinUSB (Zadig does); elsewhere update libusb and the operating system")
	// ErrMemory: the operating system has no memory for a transfer.
	ErrMemory = errors.New("the computer has no memory left for USB: end other programs, and on Linux allow USB more " +
		"(a number of megabytes in /sys/module/usbcore/parameters/usbfs_memory_mb)")
	// ErrLibrary: libusb does not start, or does not do what it should.
	ErrLibrary = errors.New("libusb cannot do what it is asked: plug the key in again, or update libusb; " +
		"if that does not help report this with libusb's version")
	// ErrForeign: the device is not an open key, or one of a later kind.
	ErrForeign = errors.New("the USB device does not have the interface of an open key")
	// ErrNeighbour: another device, broken or hostile, describes itself in a way that
	// gousb cannot read, and as long as it is plugged in no key can be opened.
	ErrNeighbour = errors.New("a USB device describes itself in a way that cannot be read; pull it out to use keys")
)
