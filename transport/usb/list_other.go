//go:build cgo && gousb && !linux

package usb

func newLister(o Options) (lister, error) { return newLibusb(o) }
