package storage_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/sojournlm/sojourn/storage"
)

func TestError(t *testing.T) {
	for _, c := range []struct {
		err  error
		want string
	}{
		{&storage.Error{Op: "get", Key: "a/b", Err: storage.ErrNotFound}, `storage: get "a/b": no such key`},
		{&storage.Error{Op: "view", Err: storage.ErrClosed}, `storage: view: the store is closed`},
		{
			&storage.Error{Op: "put", Key: strings.Repeat("\n", 5000), Err: storage.ErrKey},
			`storage: put "` + strings.Repeat(`\n`, 80) + `"… (5000 bytes): a key has 1 to 1024 bytes`,
		},
	} {
		if got := c.err.Error(); got != c.want {
			t.Errorf("got  %s\nwant %s", got, c.want)
		}
		if errors.Unwrap(c.err) == nil {
			t.Errorf("%v wraps nothing", c.err)
		}
	}
	if !strings.Contains(storage.ErrKey.Error(), fmt.Sprint(storage.MaxKey)) {
		t.Errorf("ErrKey says %q, but MaxKey is %d", storage.ErrKey, storage.MaxKey)
	}
}

func TestLimits(t *testing.T) {
	for n, want := range map[int]error{0: storage.ErrKey, 1: nil, storage.MaxKey: nil, storage.MaxKey + 1: storage.ErrKey} {
		if err := storage.CheckKey(strings.Repeat("\x00", n)); !errors.Is(err, want) {
			t.Errorf("a key of %d bytes: %v, want %v", n, err, want)
		}
	}
	for n, want := range map[int]error{0: nil, storage.MaxValue: nil, storage.MaxValue + 1: storage.ErrTooLarge} {
		if err := storage.CheckValue(make([]byte, n)); !errors.Is(err, want) {
			t.Errorf("a value of %d bytes: %v, want %v", n, err, want)
		}
	}
}

func TestGateWriters(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := storage.NewGate()
		ctx, cancel := context.WithCancel(t.Context())
		if err := errors.Join(g.Enter(ctx), g.Enter(ctx), g.Enter(ctx), g.Lock(ctx)); err != nil {
			t.Fatal(err)
		}
		impatient, patient := make(chan error, 1), make(chan error, 1)
		go func() { impatient <- g.Lock(ctx) }()
		synctest.Wait()
		cancel()
		if err := <-impatient; !errors.Is(err, context.Canceled) {
			t.Errorf("a Lock that waits while its context ends gives %v", err)
		}
		go func() { patient <- g.Lock(t.Context()) }()
		synctest.Wait()
		broken := g.Break(errors.New("no disk"))
		g.Unlock()
		if err := <-patient; err != broken {
			t.Errorf("a Lock that waits while the store breaks gives %v, want %v", err, broken)
		}
	})
}

func TestGateLife(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := storage.NewGate()
		if err := errors.Join(g.Enter(t.Context()), g.Enter(t.Context())); err != nil {
			t.Fatal(err)
		}
		first := g.Break(errors.New("first"))
		if again := g.Break(errors.New("second")); again != first || !errors.Is(first, storage.ErrUnknown) {
			t.Errorf("Break gives %v, and then %v", first, again)
		}
		if err := g.Check(t.Context()); err != first {
			t.Errorf("Check of a broken gate gives %v", err)
		}
		if err := g.Enter(t.Context()); err != first {
			t.Errorf("Enter of a broken gate gives %v", err)
		}
		var mu sync.Mutex
		shut := 0
		for range 2 {
			go func() { g.Shut(); mu.Lock(); defer mu.Unlock(); shut++ }()
			synctest.Wait()
		}
		g.Leave()
		synctest.Wait()
		if shut != 0 {
			t.Error("Shut does not wait for the second function")
		}
		if err := g.Enter(t.Context()); err != storage.ErrClosed {
			t.Errorf("Enter of a gate that shuts gives %v", err)
		}
		g.Leave()
		synctest.Wait()
		if shut != 2 {
			t.Errorf("%d of 2 Shuts came to an end", shut)
		}
	})
}

func ExampleNewGate() {
	ctx := context.Background()
	gate := storage.NewGate()

	// What an Update of a store does with it.
	update := func(commit func() error) error {
		if err := gate.Enter(ctx); err != nil {
			return &storage.Error{Op: "update", Err: err}
		}
		defer gate.Leave()
		if err := gate.Lock(ctx); err != nil {
			return &storage.Error{Op: "update", Err: err}
		}
		defer gate.Unlock()
		if err := commit(); err != nil {
			return &storage.Error{Op: "update", Err: gate.Break(err)}
		}
		return nil
	}
	fmt.Println(update(func() error { return nil }))
	fmt.Println(update(func() error { return errors.New("no answer") }))
	gate.Shut()
	fmt.Println(update(func() error { return nil }))
	// Output:
	// <nil>
	// storage: update: outcome unknown, the store must be opened anew: no answer
	// storage: update: the store is closed
}
