package storagetest

import (
	"fmt"
	"runtime"
	"sync"

	"github.com/sojournlm/sojourn/storage"
)

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
	byGet := func(w storage.Writer, prefix, other string) (bool, error) {
		n, err := number(w, prefix+other)
		return n == 0, err
	}
	byScan := func(w storage.Writer, prefix, _ string) (bool, error) {
		pairs, err := scan(w, prefix)
		return len(pairs) == 0, err
	}
	return first(
		err,
		wrap("who looks by Get", b.skew("get/", byGet)),
		wrap("who looks by Scan", b.skew("scan/", byScan)),
	)
}

// skew lets two Updates each write one key below prefix, if free shows that the
// other has not: serializable, whichever comes second sees the first.
func (b *bench) skew(prefix string, free func(w storage.Writer, prefix, other string) (bool, error)) error {
	inside, proceed := make(chan struct{}), make(chan struct{})
	enter := sync.OnceFunc(func() { close(inside) })
	claim := func(mine, other string) error {
		return b.store.Update(b.ctx, func(w storage.Writer) error {
			ok, err := free(w, prefix, other)
			if err != nil || !ok {
				return err
			}
			if mine == "a" {
				enter()
				if err := b.wait(proceed, "the other Update to begin"); err != nil {
					return err
				}
			}
			return putAll(w, prefix+mine+"=1")
		})
	}
	one, two := make(chan error, 1), make(chan error, 1)
	go func() { one <- claim("a", "b") }()
	if err := b.wait(inside, "an Update to begin"); err != nil {
		return err
	}
	go func() { two <- claim("b", "a") }()
	for range 100 {
		runtime.Gosched() // the second's turn, if it can take it
	}
	close(proceed)
	err := first(b.result(one, "an Update"), b.result(two, "an Update"))
	if err != nil {
		return err
	}
	return b.store.View(b.ctx, func(r storage.Reader) error {
		got, err := scan(r, prefix)
		if err == nil && len(got) != 1 {
			err = fmt.Errorf("two Updates of which the second must see the first left %q, want one key", got)
		}
		return err
	})
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
