//go:build cgo && gousb && !linux

package usb

func newLister(o Options, start func(func())) (lister, error) { return newLibusb(o, start) }
