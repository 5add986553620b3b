// Package functionfs makes a Linux board with a USB device port into a license key: it
// puts any key that exchanges frames behind the port, by the kernel's FunctionFS
// (https://docs.kernel.org/usb/functionfs.html). It needs root and the kernel modules
// libcomposite and usb_f_fs. It works on Linux alone.
package functionfs
