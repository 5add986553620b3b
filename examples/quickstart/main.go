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
	if flag.NArg() > 0 || *dir != "" && *replay != "" {
		flag.Usage()
		os.Exit(2)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	var err error
	if *replay != "" {
		err = present(ctx, *replay)
	} else {
		err = tell(ctx, *dir)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "quickstart:", err)
		os.Exit(1)
	}
}
