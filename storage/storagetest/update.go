package storagetest

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"strconv"
	"sync"

	"github.com/sojournlm/sojourn/storage"
)

func updateCases() []testCase {
	return []testCase{
		{"whole", "An Update happens as a whole or not at all.", whole},
		{"serializable", "Updates are serializable: they happen one after the other, and each sees all those before it.", serializable},
		{"rerun", "fn may run again, so it has no effects but its Writer; only its last run counts.", rerun},
		{"view-error", "An error of fn is returned as it is.", viewError},
		{"update-error", "An error of fn is returned as it is, and nothing happened.", updateError},
		{"panic", "When fn panics or ends its goroutine, nothing happened, the panic goes on, and the store works as before.", panicking},
		{"spoiled", "A method of the Writer that fails with anything but [ErrNotFound] spoils the Update: it returns an error and nothing happened, even if fn returns nil.", spoiled},
		{"context", "When ctx ends before the commit begins, also while the Update waits for another, nothing happened and the error wraps that of ctx.", contextEnds},
		{"snapshot", "A View sees one state of the store, that between two Updates, however long it runs.", snapshot},
		{"waitless", "Views and Updates do not wait for each other.", waitless},
	}
}

func whole(b *bench) error {
	if err := b.put("a=100", "b=100", "c=x"); err != nil {
		return err
	}
	// Sums seen by readers beside a writer that moves amounts to and fro.
	stop := make(chan struct{})
	moved := make(chan error, 1)
	go func() {
		defer close(stop)
		moved <- func() error {
			for i := range 20 {
				err := b.store.Update(b.ctx, func(w storage.Writer) error {
					return putAll(w, fmt.Sprintf("a=%d", 100-i), fmt.Sprintf("b=%d", 100+i))
				})
				if err != nil {
					return err
				}
			}
			return nil
		}()
	}()
	balance := func(r storage.Reader) error {
		sum := 0
		for _, key := range []string{"a", "b"} {
			n, err := number(r, key)
			if err != nil {
				return err
			}
			sum += n
		}
		if sum != 200 {
			return fmt.Errorf("half an Update is seen: the sum is %d, want 200", sum)
		}
		return nil
	}
	var seen error
	for running := true; running && seen == nil; {
		select {
		case <-stop:
			running = false
		default:
			seen = b.store.View(b.ctx, balance)
		}
	}
	if err := first(b.result(moved, "the end of 20 Updates"), seen); err != nil {
		return err
	}
	no := errors.New("no")
	err := b.store.Update(b.ctx, func(w storage.Writer) error {
		return first(w.Delete("c"), putAll(w, "a=0", "d=1"), no)
	})
	return first(is(err, no, "Update"), b.holds("a=81", "b=119", "c=x"))
}

// number is the value of key as a number, 0 where there is none.
func number(r storage.Reader, key string) (int, error) {
	value, err := r.Get(key)
	if errors.Is(err, storage.ErrNotFound) {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	return strconv.Atoi(string(value))
}

func serializable(b *bench) error {
	const writers, turns = 8, 15
	var wg sync.WaitGroup
	errs := make(chan error, writers)
	for range writers {
		wg.Go(func() {
			for range turns {
				err := b.store.Update(b.ctx, func(w storage.Writer) error {
					n, err := number(w, "n")
					if err != nil {
						return err
					}
					runtime.Gosched() // the others' turn, if they can take it
					return putAll(w, fmt.Sprintf("n=%d", n+1), fmt.Sprintf("log/%04d=", n))
				})
				if err != nil {
					errs <- err
					return
				}
			}
		})
	}
	wg.Wait()
	select {
	case err := <-errs:
		return err
	default:
	}
	err := b.store.View(b.ctx, func(r storage.Reader) error {
		n, err := number(r, "n")
		if err == nil && n != writers*turns {
			err = fmt.Errorf("%d acknowledged increments by %d writers left the counter at %d", writers*turns, writers, n)
		}
		return err
	})
	return first(err, b.skew())
}

// skew lets two Updates each write what the other has read: serializable, the
// second sees the first.
func (b *bench) skew() error {
	inside, proceed := make(chan struct{}), make(chan struct{})
	enter := sync.OnceFunc(func() { close(inside) })
	claim := func(mine, other string) error {
		return b.store.Update(b.ctx, func(w storage.Writer) error {
			n, err := number(w, other)
			if err != nil || n != 0 {
				return err
			}
			if mine == "skew/a" {
				enter()
				if err := b.wait(proceed, "the other Update to begin"); err != nil {
					return err
				}
			}
			return putAll(w, mine+"=1")
		})
	}
	one, two := make(chan error, 1), make(chan error, 1)
	go func() { one <- claim("skew/a", "skew/b") }()
	if err := b.wait(inside, "an Update to begin"); err != nil {
		return err
	}
	go func() { two <- claim("skew/b", "skew/a") }()
	runtime.Gosched()
	close(proceed)
	err := first(b.result(one, "an Update"), b.result(two, "an Update"))
	if err != nil {
		return err
	}
	return b.store.View(b.ctx, func(r storage.Reader) error { return shows(r, "skew/", "skew/a=1") })
}

func rerun(b *bench) error {
	runs := 0
	err := b.store.Update(b.ctx, func(w storage.Writer) error {
		runs++
		return putAll(w, fmt.Sprintf("run%d=", runs))
	})
	if err != nil {
		return err
	}
	if runs == 0 {
		return errors.New("Update gives nil without running fn")
	}
	return b.holds(fmt.Sprintf("run%d=", runs))
}

func viewError(b *bench) error {
	no := errors.New("no")
	if err := b.store.View(b.ctx, func(storage.Reader) error { return no }); err != no {
		return fmt.Errorf("View gives %w, want the very error of fn", orNil(err))
	}
	return nil
}

func updateError(b *bench) error {
	if err := b.put("a=1", "b=2"); err != nil {
		return err
	}
	no := errors.New("no")
	err := b.store.Update(b.ctx, func(w storage.Writer) error {
		return first(putAll(w, "a=3", "c=4"), w.Delete("b"), no)
	})
	if err != no {
		return fmt.Errorf("Update gives %w, want the very error of fn", orNil(err))
	}
	return first(b.holds("a=1", "b=2"), b.reopen(), b.holds("a=1", "b=2"))
}

func panicking(b *bench) error {
	if err := b.put("a=1"); err != nil {
		return err
	}
	write := func(w storage.Writer) {
		if err := putAll(w, "a=2", "b=3"); err != nil {
			panic(err)
		}
	}
	// scanning leaves a Scan open, which a store may hold against it.
	scanning := func(r storage.Reader, f func()) {
		for range r.Scan("") {
			f()
		}
	}
	boom := func() { panic("boom") }
	for what, try := range map[string]func(){
		"a panic in View": func() { b.store.View(b.ctx, func(r storage.Reader) error { scanning(r, boom); return nil }) },
		"a panic in Update": func() {
			b.store.Update(b.ctx, func(w storage.Writer) error { write(w); scanning(w, boom); return nil })
		},
		"Goexit in View": func() {
			b.store.View(b.ctx, func(r storage.Reader) error { scanning(r, runtime.Goexit); return nil })
		},
		"Goexit in Update": func() {
			b.store.Update(b.ctx, func(w storage.Writer) error { write(w); scanning(w, runtime.Goexit); return nil })
		},
	} {
		returned, recovered := false, any(nil)
		gone := make(chan struct{})
		go func() {
			defer close(gone)
			defer func() { recovered = recover() }()
			try()
			returned = true
		}()
		if err := b.wait(gone, what); err != nil {
			return err
		}
		if returned || (recovered != nil && recovered != "boom") {
			return fmt.Errorf("%s does not go on (returned %v, recovered %v)", what, returned, recovered)
		}
		if err := b.holds("a=1"); err != nil {
			return fmt.Errorf("after %s: %w", what, err)
		}
	}
	return first(b.put("a=4"), b.holds("a=4"))
}

func spoiled(b *bench) error {
	if err := b.put("a=1"); err != nil {
		return err
	}
	for what, bad := range map[string]func(storage.Writer){
		"Put of a bad key":          func(w storage.Writer) { _ = w.Put("", nil) },
		"Put of a value too long":   func(w storage.Writer) { _ = w.Put("v", make([]byte, storage.MaxValue+1)) },
		"Delete of a bad key":       func(w storage.Writer) { _ = w.Delete("") },
		"Get of a bad key":          func(w storage.Writer) { _, _ = w.Get("") },
		"more writes than are kept": func(w storage.Writer) { _ = many(100*storage.MaxWrites, 8)(w) },
	} {
		failed := false
		err := b.store.Update(b.ctx, func(w storage.Writer) error {
			if err := putAll(w, "a=2", "b=3"); err != nil {
				return err
			}
			bad(w)
			failed = true
			return nil
		})
		if err == nil || !failed {
			return fmt.Errorf("Update gives %w after %s", orNil(err), what)
		}
		if errors.Is(err, storage.ErrUnknown) {
			return fmt.Errorf("Update gives %w after %s, which did not happen", err, what)
		}
		if err := b.holds("a=1"); err != nil {
			return fmt.Errorf("after %s: %w", what, err)
		}
	}
	// A key that is not there spoils nothing.
	return first(
		b.store.Update(b.ctx, func(w storage.Writer) error {
			_, _ = w.Get("missing")
			return putAll(w, "a=2")
		}),
		b.holds("a=2"),
	)
}

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
	err = is(b.result(waited, "an Update that waits, to give up"), context.Canceled, "an Update that waits while its context ends")
	close(proceed)
	return first(err, b.result(holder, "an Update"), b.holds("a=1", "b=1"))
}

func snapshot(b *bench) error {
	if err := b.put("a=1", "b=2", "c=3"); err != nil {
		return err
	}
	change := make(chan error, 1)
	return first(
		b.store.View(b.ctx, func(r storage.Reader) error {
			if err := shows(r, "", "a=1", "b=2", "c=3"); err != nil {
				return err
			}
			var got []string
			for pair, err := range r.Scan("") {
				if err != nil {
					return err
				}
				if got = append(got, pair.Key+"="+string(pair.Value)); len(got) > 1 {
					continue
				}
				go func() {
					change <- b.store.Update(b.ctx, func(w storage.Writer) error {
						return first(putAll(w, "a=4", "b=5", "d=6"), w.Delete("c"))
					})
				}()
				if err := b.result(change, "an Update beside a View"); err != nil {
					return err
				}
			}
			if fmt.Sprint(got) != "[a=1 b=2 c=3]" {
				return fmt.Errorf("a Scan beside an Update gives %q", got)
			}
			return first(shows(r, "", "a=1", "b=2", "c=3"), absent(r, "d"))
		}),
		b.holds("a=4", "b=5", "d=6"),
	)
}

func waitless(b *bench) error {
	if err := b.put("a=1"); err != nil {
		return err
	}
	beside := func(f func() error, what string) error {
		done := make(chan error, 1)
		go func() { done <- f() }()
		return b.result(done, what)
	}
	err := b.store.Update(b.ctx, func(w storage.Writer) error {
		return first(
			putAll(w, "a=2"),
			beside(func() error { return b.holds("a=1") }, "a View beside an Update"),
		)
	})
	if err != nil {
		return err
	}
	return b.store.View(b.ctx, func(r storage.Reader) error {
		return first(
			beside(func() error { return b.put("a=3") }, "an Update beside a View"),
			beside(func() error { return b.holds("a=3") }, "a View beside a View"),
			shows(r, "", "a=2"),
		)
	})
}
