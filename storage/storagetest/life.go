package storagetest

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"sync"

	"github.com/sojournlm/sojourn/storage"
)

func lifeCases() []testCase {
	return []testCase{
		{"durable", "When Update returns nil it is durable: it survives Close, a crash of the process and a power cut.", durable},
		{"error", "An error means that the Update did not happen, unless it wraps [ErrUnknown].", errorMeansNo},
		{"unknown", "After ErrUnknown the store refuses everything, with an error that wraps ErrUnknown, until it is closed and opened anew.", unknown},
		{"unknown-whole", "Then the Update is there as a whole or not at all.", unknownWhole},
		{"closing", "Close waits for the functions that run, and they come to their end undisturbed.", closing},
		{"closed", "From its beginning on, everything else is refused with [ErrClosed].", closed},
		{"close-again", "Close may be called again.", closeAgain},
	}
}

func durable(b *bench) error {
	err := first(
		b.reopen(), // a store that was never written to
		b.holds(),
		b.put("a=1", "b=2", "c=3"),
		b.put("b=4", "d=5"),
		b.store.Update(b.ctx, func(w storage.Writer) error { return w.Delete("c") }),
	)
	if err != nil {
		return err
	}
	return first(
		b.reopen(),
		b.holds("a=1", "b=4", "d=5"),
		b.reopen(), // nothing was written since
		b.put("c=6"),
		b.reopen(),
		b.holds("a=1", "b=4", "c=6", "d=5"),
	)
}

func errorMeansNo(b *bench) error {
	if err := b.put("a=1"); err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(b.ctx)
	defer cancel()
	for what, update := range map[string]func(storage.Writer) error{
		"an error of fn":    func(storage.Writer) error { return errors.New("no") },
		"a key that is bad": func(w storage.Writer) error { return w.Put("", nil) },
		"a value too long":  func(w storage.Writer) error { return w.Put("v", make([]byte, storage.MaxValue+1)) },
		"an ended context":  func(storage.Writer) error { cancel(); return nil },
	} {
		err := b.store.Update(ctx, func(w storage.Writer) error {
			return first(putAll(w, "a=2", "b=3"), w.Delete("a"), update(w))
		})
		if err == nil || errors.Is(err, storage.ErrUnknown) {
			return fmt.Errorf("Update with %s gives %w", what, orNil(err))
		}
		if err := b.holds("a=1"); err != nil {
			return fmt.Errorf("after %s: %w", what, err)
		}
	}
	if err := first(b.reopen(), b.holds("a=1")); err != nil {
		return err
	}
	err := b.store.Update(b.ctx, func(w storage.Writer) error {
		return first(putAll(w, "a=2", "b=3"), w.Delete("a"), tooMany(w))
	})
	switch {
	case err == nil: // it keeps them all
		return nil
	case errors.Is(err, storage.ErrUnknown):
		return fmt.Errorf("Update that is too large gives %w", err)
	}
	return first(b.holds("a=1"), b.reopen(), b.holds("a=1"))
}

// chunk is the size of the values that a broken store is written with. A store
// may take many of them before it meets what is broken.
const chunk = 512 << 10

// broken makes the store break and is how many Updates it has acknowledged
// before; each wrote a pair of keys.
func (b *bench) broken() (acknowledged int, mend func(), err error) {
	if b.opts.Break == nil {
		return 0, nil, errSkipped
	}
	if err := b.put("a=1"); err != nil {
		return 0, nil, err
	}
	mend, err = b.opts.Break(b.store, b.dir)
	if err != nil {
		return 0, nil, err
	}
	const most = 1000
	for n := range most {
		err := b.store.Update(b.ctx, func(w storage.Writer) error {
			return first(w.Put(pairKey("l", n), make([]byte, chunk)), w.Put(pairKey("r", n), nil))
		})
		if errors.Is(err, storage.ErrUnknown) {
			return n, mend, nil
		}
		if err != nil {
			mend()
			return 0, nil, fmt.Errorf("a store that breaks: Update gives %w, want nil or an error that wraps ErrUnknown", err)
		}
	}
	mend()
	return 0, nil, fmt.Errorf("the store was to break and did not: %d Updates went well", most)
}

func pairKey(side string, n int) string { return fmt.Sprintf("%s/%04d", side, n) }

func unknown(b *bench) error {
	_, mend, err := b.broken()
	if err != nil {
		return err
	}
	view := func() error { return b.store.View(b.ctx, func(storage.Reader) error { return nil }) }
	update := func() error { return b.store.Update(b.ctx, func(storage.Writer) error { return nil }) }
	err = first(
		is(b.put("b=2"), storage.ErrUnknown, "Update after ErrUnknown"),
		is(view(), storage.ErrUnknown, "View after ErrUnknown"),
	)
	mend()
	return first(
		err,
		is(update(), storage.ErrUnknown, "an Update that writes nothing, after ErrUnknown"),
		is(view(), storage.ErrUnknown, "View after ErrUnknown, when the cause is gone,"),
		b.reopen(),
		b.put("b=2"),
		b.store.View(b.ctx, func(r storage.Reader) error {
			return first(shows(r, "a", "a=1"), shows(r, "b", "b=2"))
		}),
	)
}

func unknownWhole(b *bench) error {
	n, mend, err := b.broken()
	if err != nil {
		return err
	}
	mend()
	if err := b.reopen(); err != nil {
		return err
	}
	check := func(r storage.Reader) error {
		for i := range n {
			for _, side := range []string{"l", "r"} {
				if _, err := r.Get(pairKey(side, i)); err != nil {
					return fmt.Errorf("an acknowledged write is lost: %w", err)
				}
			}
		}
		_, left := r.Get(pairKey("l", n))
		_, right := r.Get(pairKey("r", n))
		if (left == nil) != (right == nil) {
			return fmt.Errorf("half of the unknown Update is there: %w", first(left, right))
		}
		return nil
	}
	return first(
		b.store.View(b.ctx, check),
		b.reopen(),
		b.store.View(b.ctx, check),
	)
}

func closing(b *bench) error {
	if err := b.put("a=1"); err != nil {
		return err
	}
	reading, writing, proceed := make(chan struct{}), make(chan struct{}), make(chan struct{})
	read, write := sync.OnceFunc(func() { close(reading) }), sync.OnceFunc(func() { close(writing) })
	view, update, closed := make(chan error, 1), make(chan error, 1), make(chan error, 1)
	go func() {
		view <- b.store.View(b.ctx, func(r storage.Reader) error {
			read()
			return first(b.wait(proceed, "a store to close"), shows(r, "", "a=1"))
		})
	}()
	go func() {
		update <- b.store.Update(b.ctx, func(w storage.Writer) error {
			write()
			return first(b.wait(proceed, "a store to close"), shows(w, "", "a=1"), putAll(w, "b=2"))
		})
	}()
	if err := first(b.wait(reading, "a View to begin"), b.wait(writing, "an Update to begin")); err != nil {
		return err
	}
	go func() { closed <- b.store.Close() }()
	if err := b.untilClosing(); err != nil {
		return err
	}
	for range 100 {
		runtime.Gosched() // time for a Close that does not wait
	}
	early := false
	select {
	case <-closed:
		early = true
	default:
	}
	close(proceed)
	err := first(
		wrap("a View while the store closes", b.result(view, "a View")),
		wrap("an Update while the store closes", b.result(update, "an Update")),
	)
	if err != nil {
		return err
	}
	if early {
		return errors.New("Close returned before a View and an Update had ended")
	}
	if err := b.result(closed, "Close"); err != nil {
		return fmt.Errorf("close: %w", err)
	}
	return first(b.reopen(), b.holds("a=1", "b=2"))
}

// untilClosing waits until the store refuses, because another goroutine closes
// it.
func (b *bench) untilClosing() error {
	for b.ctx.Err() == nil {
		err := b.store.View(b.ctx, func(storage.Reader) error { return nil })
		if err != nil {
			return is(err, storage.ErrClosed, "View while the store closes")
		}
		runtime.Gosched()
	}
	return errors.New("waiting in vain: a store that closes, to refuse a View")
}

func wrap(what string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%s: %w", what, err)
}

func closed(b *bench) error {
	if err := first(b.put("a=1"), b.store.Close()); err != nil {
		return err
	}
	ran := false
	view := b.store.View(b.ctx, func(storage.Reader) error { ran = true; return nil })
	update := b.store.Update(b.ctx, func(storage.Writer) error { ran = true; return nil })
	if ran {
		return errors.New("a function runs on a closed store")
	}
	return first(
		is(view, storage.ErrClosed, "View of a closed store"),
		is(update, storage.ErrClosed, "Update of a closed store"),
	)
}

func closeAgain(b *bench) error {
	return first(
		b.put("a=1"),
		wrap("the first Close", b.store.Close()),
		wrap("the second Close", b.store.Close()),
		wrap("the third Close", b.store.Close()),
		b.reopen(),
		b.holds("a=1"),
	)
}
