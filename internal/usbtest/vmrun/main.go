//go:build linux

// Vmrun runs a program in a small virtual machine, whose kernel has USB, and where the
// program is root. It is made for go test:
//
//	go build -o vmrun ./internal/usbtest/vmrun        # with CGO_ENABLED=0
//	go test -exec "$PWD/vmrun -kernel DIR" -tags gousb ./transport/usb
//
// DIR holds an unpacked kernel package of Debian's; the script fetch-kernel beside
// this file gets it. The machine is QEMU without acceleration, so it needs no rights
// and runs everywhere; it has no disk and no network, and is gone when the program is.
// What it boots is vmrun itself, which then is the first process there. The program
// may be linked dynamically, and its directory's testdata comes along.
//
// The exit code is the program's. Where QEMU or the kernel is not there, vmrun says so
// and pretends that all is well, unless USB_TEST_REQUIRE is set.
package main

import (
	"flag"
	"fmt"
	"os"
	"time"
)

func main() {
	if os.Getpid() == 1 {
		boot()
		return
	}
	m := machine{modules: modules}
	flag.StringVar(&m.kernel, "kernel", "", "unpacked kernel package, a `directory`")
	flag.DurationVar(&m.limit, "limit", 5*time.Minute, "end the machine after this long")
	flag.IntVar(&m.memory, "memory", 1024, "memory of the machine in `MiB`")
	flag.BoolVar(&m.verbose, "verbose", false, "show the kernel's messages")
	flag.BoolVar(&m.gadget, "gadget", false, "load what makes the machine a USB device of its own (dummy_hcd, FunctionFS)")
	flag.Func("add", "put this `program` into the machine's /bin, with the libraries it needs; may be repeated", func(name string) error {
		m.extra = append(m.extra, name)
		return nil
	})
	flag.Parse()
	if flag.NArg() == 0 {
		fmt.Fprintln(os.Stderr, "usage: vmrun [flags] PROGRAM [ARGUMENT...]")
		os.Exit(2)
	}
	m.args = flag.Args()
	if err := m.check(); err != nil {
		fmt.Fprintln(os.Stderr, "vmrun: skipped:", err)
		if os.Getenv("USB_TEST_REQUIRE") != "" {
			os.Exit(1)
		}
		return
	}
	code, err := m.run()
	if err != nil {
		fmt.Fprintln(os.Stderr, "vmrun:", err)
		os.Exit(125)
	}
	os.Exit(code)
}
