// Keyinfo lists the license keys on USB, and how they are.
//
//	go run -tags gousb ./examples/keyinfo
//
// Of a key that it may not use it says what to do; -udev-rule prints the file that gives
// the permission on Linux, to keys of the ids that -usb-ids names. It waits for devices
// that were plugged in just now, at most as long as -wait says, and tells of those that
// still do not answer. With -json it prints an array of objects, for programs.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"slices"
	"time"

	"github.com/sojournlm/sojourn/transport/usb"
)

func main() { os.Exit(run(os.Args[1:], os.Stdout, os.Stderr)) }

func run(args []string, out, diagnostics io.Writer) (exit int) {
	var opts usb.Options
	flags := flag.NewFlagSet("keyinfo", flag.ContinueOnError)
	flags.SetOutput(diagnostics)
	asJSON := flags.Bool("json", false, "print JSON")
	rule := flags.Bool("udev-rule", false, "print the udev rule that gives permission on Linux, and nothing else")
	wait := flags.Duration("wait", 6*time.Second, "how long to wait for devices that were plugged in and have not said yet what they are")
	flags.Func("usb-ids", "the keys' `VENDOR:PRODUCT` ids, in hexadecimal (default 1209:0001, for development only)", func(ids string) (err error) {
		opts.Vendor, opts.Product, err = usb.ParseIDs(ids)
		return err
	})
	switch err := flags.Parse(args); {
	case errors.Is(err, flag.ErrHelp):
		return 0
	case err != nil || flags.NArg() > 0:
		fmt.Fprintln(diagnostics, "keyinfo: keyinfo -help lists the flags")
		return 2
	}
	if *rule {
		io.WriteString(out, usb.UdevRule(&opts))
		return 0
	}
	bus, err := usb.Open(&opts)
	if err != nil {
		fmt.Fprintln(diagnostics, "keyinfo:", err)
		return 1
	}
	defer bus.Close()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	write := writeTable
	if *asJSON {
		write = writeJSON
	}
	sound, err := show(ctx, bus, opts, *wait, func(keys []key) error { return write(out, keys) })
	if err != nil {
		fmt.Fprintln(diagnostics, "keyinfo:", err)
	}
	if err != nil || !sound {
		return 1
	}
	return 0
}

// show writes how the keys are, and says whether there is no problem with any. An error
// also tells of devices that may be keys, and could not be shown.
func show(ctx context.Context, bus keyBus, opts usb.Options, wait time.Duration, write func([]key) error) (sound bool, err error) {
	infos, silent, err := list(ctx, bus, wait)
	if err != nil {
		return false, err
	}
	keys, err := inspect(ctx, bus, infos, opts)
	if err != nil {
		return false, err
	}
	if err := write(keys); err != nil {
		return false, err
	}
	if silent > 0 {
		return false, fmt.Errorf("%d more of the devices plugged in may be a key, and did not say so within %v: pull it out and plug it in again; if that does not help it may be broken", silent, wait)
	}
	return !slices.ContainsFunc(keys, func(k key) bool { return k.Problem != "" }), nil
}
