//go:build cgo && gousb && linux

package usb

// Root is where the kernel of these tests shows what is plugged in.
func Root(dir string) { sysfsRoot = dir }

// OpenLibusb opens a bus that lists keys as libusb knows them, as everywhere but on
// Linux.
func OpenLibusb(opts *Options) (*Bus, error) {
	b := &Bus{opts: opts.withDefaults(), conns: map[*conn]struct{}{}}
	var err error
	b.lister, err = newLibusb(b.opts)
	return b, err
}
