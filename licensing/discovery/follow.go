package discovery

import (
	"context"
	"sync"
	"time"
)

// follow runs work on the wires of the interfaces there are, and again, on new
// wires, whenever those have changed. It ends with ctx, or with work's error.
// That there is no interface is an error only as it begins.
func follow(ctx context.Context, look func() ([]iface, error), work func(context.Context, *wires) error) error {
	now, err := look()
	if err == nil && len(now) == 0 {
		err = ErrNoInterface
	}
	if err != nil {
		return err
	}
	began := false
	for ctx.Err() == nil {
		w, err := open(now)
		if err != nil && !began {
			return err
		}
		began = true // from now on what fails is tried again: an interface may go while it is opened
		if now, err = until(ctx, now, w, look, work); err != nil {
			return err
		}
	}
	return nil
}

// until works on some wires, or waits where there are none, until the
// interfaces are others, and says which.
func until(ctx context.Context, now []iface, w *wires, look func() ([]iface, error), work func(context.Context, *wires) error) ([]iface, error) {
	working, stop := context.WithCancel(ctx)
	var running sync.WaitGroup
	done := make(chan error, 1)
	if w != nil {
		defer w.close()
		running.Go(func() { done <- work(working, w) })
	}
	defer running.Wait()
	defer stop()
	ticker := time.NewTicker(watchEvery)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return now, nil
		case err := <-done:
			if err != nil && working.Err() == nil {
				return now, err
			}
			return now, nil
		case <-ticker.C:
			// What cannot be looked at has not changed.
			if next, err := look(); w == nil || err == nil && !same(now, next) {
				return next, nil
			}
		}
	}
}
