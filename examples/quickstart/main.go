// Quickstart tells the whole story of a seat in one run: two computers, each
// with a license manager of its own on a Badger store of its own, and a
// simulated key that holds a pool. A seat is detached into a file, carried,
// installed, used, given back, carried home, and is free again.
//
//	go run ./examples/quickstart                # tell the story
//	go run ./examples/quickstart -dir DIR       # keep everything in DIR
//	go run ./examples/quickstart -replay DIR    # present DIR's files again
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
)

func main() {
	dir := flag.String("dir", "", "keep everything in this `directory`, which must be empty or missing (default: a new temporary one)")
	replay := flag.String("replay", "", "present the files of an earlier run in this `directory` again and show each refused")
	flag.Parse()
	if err := checkUsage(); err != nil {
		fmt.Fprintln(os.Stderr, "quickstart:", err)
		flag.Usage()
		os.Exit(2)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	context.AfterFunc(ctx, stop) // a second Ctrl-C ends the program at once

	var err error
	if *replay != "" {
		err = present(ctx, *replay)
	} else {
		err = tell(ctx, *dir)
	}
	switch {
	case err == nil:
	case ctx.Err() != nil:
		fmt.Fprintln(os.Stderr, "\nquickstart: interrupted before the end")
		os.Exit(130) // what a shell expects after Ctrl-C
	default:
		fmt.Fprintln(os.Stderr, "quickstart:", err)
		os.Exit(1)
	}
}

// checkUsage refuses what the flags cannot mean together. A directory that is
// named and empty, as by a variable that is not set, is not the default.
func checkUsage() error {
	if flag.NArg() > 0 {
		return fmt.Errorf("unknown argument %q", flag.Arg(0))
	}
	if flag.NFlag() > 1 {
		return fmt.Errorf("-dir and -replay exclude each other")
	}
	var err error
	flag.Visit(func(f *flag.Flag) {
		if f.Value.String() == "" {
			err = fmt.Errorf("-%s names no directory", f.Name)
		}
	})
	return err
}
