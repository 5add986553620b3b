package storagetest

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"sync"
	"time"

	"github.com/sojournlm/sojourn/storage"
)

// contextEnds is the case of a context that has ended: before, within and while
// waiting.
func contextEnds(b *bench) error {
	if err := b.put("a=1"); err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(b.ctx)
	within := b.store.Update(ctx, func(w storage.Writer) error {
		err := putAll(w, "a=2")
		cancel()
		return err
	})
	before := b.store.Update(ctx, func(w storage.Writer) error { return putAll(w, "a=3") })
	view := b.store.View(ctx, func(storage.Reader) error { return nil })
	err := first(
		is(within, context.Canceled, "an Update whose context ends within"),
		is(before, context.Canceled, "an Update whose context has ended"),
		is(view, context.Canceled, "a View whose context has ended"),
		b.holds("a=1"),
	)
	if err != nil {
		return err
	}

	ctx, cancel = context.WithCancel(b.ctx)
	inside, proceed, waited := make(chan struct{}), make(chan struct{}), make(chan error, 1)
	enter := sync.OnceFunc(func() { close(inside) })
	holder := make(chan error, 1)
	go func() {
		holder <- b.store.Update(b.ctx, func(w storage.Writer) error {
			enter()
			return first(b.wait(proceed, "the end of an Update that waits"), putAll(w, "b=1"))
		})
	}()
	if err := b.wait(inside, "an Update to begin"); err != nil {
		cancel()
		return err
	}
	go func() {
		waited <- b.store.Update(ctx, func(w storage.Writer) error { return putAll(w, "a=4") })
	}()
	runtime.Gosched()
	cancel()
	// It may have found a way past the other, and then it happened.
	left := "a=4"
	err = b.result(waited, "an Update that waits, to give up")
	if err != nil {
		left, err = "a=1", is(err, context.Canceled, "an Update that waits while its context ends")
	}
	close(proceed)
	return first(err, b.result(holder, "an Update"), b.holds(left, "b=1"))
}

// commitGoesOn ends contexts while commits are under way: either the commit had
// not begun, and nothing happened, or it goes on to its end.
func commitGoesOn(b *bench) error {
	const turns, writes = 24, 4
	value := make([]byte, storage.MaxUpdate/16)
	var usual time.Duration // from the end of fn to that of its Update
	for n := range turns {
		prefix := fmt.Sprintf("%d/", n)
		ctx, cancel := context.WithCancel(b.ctx)
		var written time.Time
		err := b.store.Update(ctx, func(w storage.Writer) error {
			for i := range writes {
				if err := w.Put(fmt.Sprint(prefix, i), value); err != nil {
					return err
				}
			}
			written = time.Now()
			if n > 0 {
				time.AfterFunc(usual*time.Duration(n)/turns, cancel)
			}
			return nil
		})
		if n == 0 {
			usual = time.Since(written)
		}
		cancel()
		if err != nil && !errors.Is(err, context.Canceled) {
			return fmt.Errorf("an Update whose context ends during the commit gives %w", err)
		}
		var there []string
		viewErr := b.store.View(b.ctx, func(r storage.Reader) (err error) {
			there, err = scan(r, prefix)
			return err
		})
		if viewErr != nil {
			return viewErr
		}
		if err == nil && len(there) != writes || err != nil && len(there) != 0 {
			return fmt.Errorf("%d of %d writes are there, and their Update gives %w", len(there), writes, orNil(err))
		}
	}
	return nil
}

// held makes an Update stop in the midst of its commit, for do, and is what
// became of it.
func (b *bench) held(ctx context.Context, update func(storage.Writer) error, do func() error) error {
	if b.opts.Hold == nil {
		return errSkipped
	}
	held, release := b.opts.Hold(b.store)
	defer release()
	updated := make(chan error, 1)
	go func() { updated <- b.store.Update(ctx, update) }()
	select {
	case <-held:
	case err := <-updated:
		return fmt.Errorf("the commit was to be held; its Update gives %w", orNil(err))
	case <-b.ctx.Done():
		return errors.New("waiting in vain: a commit, to be held")
	}
	err := do()
	release()
	return first(err, b.result(updated, "an Update whose commit was held"))
}

func commitHeld(b *bench) error {
	if err := b.put("a=1"); err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(b.ctx)
	defer cancel()
	err := b.held(ctx,
		func(w storage.Writer) error { return putAll(w, "a=2", "b=3") },
		func() error { cancel(); return nil },
	)
	return first(err, b.holds("a=2", "b=3"), b.reopen(), b.holds("a=2", "b=3"))
}

func waitlessCommit(b *bench) error {
	if err := b.put("a=1", "c=5"); err != nil {
		return err
	}
	view := func() error {
		viewed := make(chan error, 1)
		go func() { viewed <- b.holds("a=1", "c=5") }()
		return wrap("beside a commit", b.result(viewed, "a View beside a commit"))
	}
	err := b.held(b.ctx,
		func(w storage.Writer) error { return first(putAll(w, "a=2", "b=3"), w.Delete("c")) },
		func() error { return first(view(), view()) },
	)
	return first(err, b.holds("a=2", "b=3"))
}
