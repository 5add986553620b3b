package discovery

import (
	"context"
	"math/rand/v2"
	"time"
)

const (
	// Queries follow each other at double the time, at last at queryAtMost.
	queryAtFirst = time.Second
	queryAtMost  = time.Minute
	// An address is told again when it was heard again after tellAgain, and
	// forgotten, to make room, when it was not heard for forgetAfter.
	tellAgain   = time.Minute
	forgetAfter = 5 * time.Minute
	// maxKnown is how many addresses are kept apart.
	maxKnown = 256
)

// Browse calls found with the base URL of each manager heard of on the local
// network, http://192.0.2.7:3189 say, until ctx ends, and returns nil; nothing
// of it runs on. This computer's own managers are among them. One that is heard
// again later is told again, at most once a minute. Calls do not overlap, and
// nothing is heard while one lasts.
//
// Browse follows the interfaces as they come and go. It returns an error if it
// cannot begin: ErrNoInterface where there is none.
func Browse(ctx context.Context, found func(address string)) error {
	told := book{}
	return follow(ctx, usable, func(ctx context.Context, w *wires) error {
		return ask(ctx, w, told, found)
	})
}

// ask asks on some wires until ctx ends.
func ask(ctx context.Context, w *wires, told book, found func(string)) error {
	question, err := query()
	if err != nil {
		return err
	}
	// Computers that a power cut restarted together do not ask together.
	timer := time.NewTimer(20*time.Millisecond + rand.N(100*time.Millisecond))
	defer timer.Stop()
	gap := queryAtFirst
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-timer.C:
			for _, one := range w.list {
				one.send(question)
			}
			timer.Reset(gap)
			gap = min(2*gap, queryAtMost)
		case h := <-w.heard:
			for _, address := range h.message.managers(w.list[h.wire].iface) {
				if told.fresh(time.Now(), address) && ctx.Err() == nil {
					found(address)
				}
			}
		}
	}
}

// book remembers what was told of each address, within bounds.
type book map[string]entry

type entry struct{ told, heard time.Time }

// fresh says whether an address heard now is to be told. A full book takes in
// no more until something in it was silent long enough: a flood of invented
// managers hides new ones, and costs nothing else.
func (b book) fresh(now time.Time, address string) bool {
	e, known := b[address]
	if !known && len(b) >= maxKnown {
		for a, e := range b {
			if now.Sub(e.heard) > forgetAfter {
				delete(b, a)
			}
		}
		if len(b) >= maxKnown {
			return false
		}
	}
	fresh := !known || now.Sub(e.told) >= tellAgain
	if fresh {
		e.told = now
	}
	e.heard = now
	b[address] = e
	return fresh
}
