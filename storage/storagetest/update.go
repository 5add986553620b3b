package storagetest

import (
	"errors"
	"fmt"
	"runtime"
	"strconv"

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
		{"commit-goes-on", "A commit that has begun is not interrupted.", commitGoesOn},
		{"commit-held", "A commit that has begun is not interrupted.", commitHeld},
		{"snapshot", "A View sees one state of the store, that between two Updates, however long it runs.", snapshot},
		{"waitless", "Views and Updates do not wait for each other.", waitless},
		{"waitless-commit", "Views and Updates do not wait for each other.", waitlessCommit},
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
		"Put of a bad key":        func(w storage.Writer) { _ = w.Put("", nil) },
		"Put of a value too long": func(w storage.Writer) { _ = w.Put("v", make([]byte, storage.MaxValue+1)) },
		"Delete of a bad key":     func(w storage.Writer) { _ = w.Delete("") },
		"Get of a bad key":        func(w storage.Writer) { _, _ = w.Get("") },
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
	err := first(
		b.store.Update(b.ctx, func(w storage.Writer) error {
			_, _ = w.Get("missing") // a key that is not there spoils nothing
			return putAll(w, "a=2")
		}),
		b.holds("a=2"),
	)
	if err != nil {
		return err
	}
	var refused error
	err = b.store.Update(b.ctx, func(w storage.Writer) error {
		if err := putAll(w, "a=3", "b=3"); err != nil {
			return err
		}
		refused = tooMany(w)
		return nil
	})
	switch {
	case refused == nil && err == nil:
		return nil // it keeps them all, and nothing was spoiled
	case err == nil || errors.Is(err, storage.ErrUnknown):
		return fmt.Errorf("Update gives %w after more writes than are kept", orNil(err))
	}
	return b.holds("a=2")
}
