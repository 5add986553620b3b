// Lmserver is a license manager as a service: the HTTP API of package lmhttp
// over a manager that keeps its data in a directory.
//
//	go run ./examples/lmserver -simulate examples/lmserver/pools.json
//
// serves the simulated keys of pools.json on 127.0.0.1:3189, from memory. With
// -data DIR everything is kept: the store in DIR/store, and in DIR/keys the
// memory of the simulated keys and the manager's own anchor. Back up DIR/store
// alone: put back without DIR/keys it is noticed and refused, and with it the
// seats of that day are back too.
//
// The file of -simulate lists the keys that are plugged in, in the field names
// of the API:
//
//	dongleId, dongleModel, vendor{publicCode}, products[{
//	  productNumber, name, modification, features[{
//	    featureNumber, name, maxConcurrentResource, remoteMode, consumptionMode,
//	    validFromDate, validUpToDate, maxRunCounter,
//	    flags{isDetachable, rdpForbidden, vmForbidden}}]}]
//
// Dates are Unix seconds. Numbers, names, the vendor and maxConcurrentResource
// must be there, everything else is 0 or false, the model 3 and the remote mode
// 3 where it is not. A key that DIR/keys has already is opened, and what changed
// in its description becomes an update of its pool. A key that is no longer
// listed is pulled out; its seats stay where they are.
//
// With -usb it uses the keys that are plugged into the computer too, and those that
// come later; the program must be built for it, with -tags gousb. Their pools are what
// is in them.
//
// It answers other license managers, and looks for those that -peer names and, where
// it listens on more than loopback, for those on the local network: their keys are
// listed with its own, and their seats can be detached online. Seats leave its own
// keys only for computers whose fingerprint was added, unless -admit-found admits
// those that were found by themselves.
//
// With -verify it goes through everything that is stored instead: it prints what it
// found, or the first thing that does not add up, and ends with status 0 or 1.
//
// When it is ready it prints one line, "listening on http://HOST:PORT", to
// standard output. Everything else is a log on standard error. SIGTERM or an
// interrupt lets the requests under way come to their end; a second one ends the
// program at once.
//
// Beside the API there are /healthz (the program runs), /readyz (nothing it knows of
// keeps it from changing and granting; that the disk is full it learns by a change)
// and /metrics (for Prometheus; asks for the token where there is one).
package main

import (
	"context"
	"errors"
	"flag"
	"log/slog"
	"os"
	"os/signal"
	"syscall"
	"time"
)

// lastResort is how long after a signal the program ends in any case. A disk
// that no longer answers must not keep it.
const lastResort = 9500 * time.Millisecond

func main() { os.Exit(run()) }

func run() (exit int) {
	log := slog.New(slog.NewTextHandler(os.Stderr, nil))
	c, err := parseFlags(os.Args[1:], os.Stderr)
	switch {
	case errors.Is(err, flag.ErrHelp):
		return 0
	case err != nil:
		log.Error("not started", "error", err)
		return 2
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	context.AfterFunc(ctx, func() {
		stop() // the next signal has its usual effect
		time.AfterFunc(lastResort, func() {
			log.Error("ended before everything was closed; nothing that was acknowledged is lost")
			os.Exit(1)
		})
	})
	work := serve
	if c.verify {
		work = verify
	}
	if err := work(ctx, c, log, os.Stdout); err != nil {
		log.Error("failed", "error", err)
		return 1
	}
	return 0
}
