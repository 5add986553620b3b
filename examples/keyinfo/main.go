// Keyinfo lists the license keys on USB, and how they are.
//
//	go run -tags gousb ./examples/keyinfo
//
// Of a key that it may not use it says what to do; -udev-rule prints the file that gives
// the permission on Linux, to keys of the ids that -usb-ids names. With -json it prints an array of objects, for programs.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"

	"github.com/sojournlm/sojourn/transport/usb"
)

func main() { os.Exit(run(os.Args[1:], os.Stdout, os.Stderr)) }

func run(args []string, out, diagnostics io.Writer) (exit int) {
	var opts usb.Options
	flags := flag.NewFlagSet("keyinfo", flag.ContinueOnError)
	flags.SetOutput(diagnostics)
	asJSON := flags.Bool("json", false, "print JSON")
	rule := flags.Bool("udev-rule", false, "print the udev rule that gives permission on Linux, and nothing else")
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
	keys, err := inspect(ctx, bus, opts)
	if err == nil && *asJSON {
		err = writeJSON(out, keys)
	} else if err == nil {
		err = writeTable(out, keys)
	}
	if err != nil {
		fmt.Fprintln(diagnostics, "keyinfo:", err)
		return 1
	}
	for _, k := range keys {
		if k.Problem != "" {
			return 1
		}
	}
	return 0
}
