package storagetest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/sojournlm/sojourn/storage"
)

// bench holds the store of one case and the tools to look at it.
type bench struct {
	ctx   context.Context
	open  Open
	opts  *Options
	dir   string
	store storage.Store
}

// use opens the store, runs f and closes the store.
func (b *bench) use(f func(*bench) error) error {
	var err error
	if b.store, err = b.open(b.dir); err != nil {
		return fmt.Errorf("open: %w", err)
	}
	err = f(b)
	if cerr := b.store.Close(); err == nil && cerr != nil {
		err = fmt.Errorf("close: %w", cerr)
	}
	return err
}

// reopen closes the store and opens it anew.
func (b *bench) reopen() error {
	if err := b.store.Close(); err != nil {
		return fmt.Errorf("close: %w", err)
	}
	store, err := b.open(b.dir)
	if err != nil {
		return fmt.Errorf("open anew: %w", err)
	}
	b.store = store
	return nil
}

// put writes pairs of the form "key=value" in one Update.
func (b *bench) put(pairs ...string) error {
	return b.store.Update(b.ctx, func(w storage.Writer) error { return putAll(w, pairs...) })
}

func putAll(w storage.Writer, pairs ...string) error {
	for _, pair := range pairs {
		key, value, _ := strings.Cut(pair, "=")
		if err := w.Put(key, []byte(value)); err != nil {
			return err
		}
	}
	return nil
}

// holds says whether the store holds exactly the pairs.
func (b *bench) holds(pairs ...string) error {
	return b.store.View(b.ctx, func(r storage.Reader) error { return shows(r, "", pairs...) })
}

// shows says whether Scan of prefix gives exactly the pairs, and Get each.
func shows(r storage.Reader, prefix string, pairs ...string) error {
	got, err := scan(r, prefix)
	if err != nil {
		return err
	}
	if !slices.Equal(got, pairs) {
		return fmt.Errorf("Scan(%q) gives %q, want %q", prefix, got, pairs)
	}
	for _, pair := range pairs {
		key, want, _ := strings.Cut(pair, "=")
		got, err := r.Get(key)
		if err != nil {
			return err
		}
		if string(got) != want {
			return fmt.Errorf("Get(%q) gives %q, want %q", key, got, want)
		}
	}
	return nil
}

// scan is what Scan of prefix gives, as "key=value".
func scan(r storage.Reader, prefix string) ([]string, error) {
	var got []string
	for pair, err := range r.Scan(prefix) {
		if err != nil {
			return nil, err
		}
		got = append(got, pair.Key+"="+string(pair.Value))
	}
	return got, nil
}

// is says whether err is want, where it comes from what.
func is(err, want error, what string) error {
	if !errors.Is(err, want) {
		return fmt.Errorf("%s gives %w, want an error that wraps %q", what, orNil(err), want)
	}
	return nil
}

// orNil is err, or an error that reads "no error".
func orNil(err error) error {
	if err == nil {
		return errors.New("no error")
	}
	return err
}

// first is the first of the errors that is one.
func first(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

// wait waits for c to be closed, or for the end of the case.
func (b *bench) wait(c <-chan struct{}, what string) error {
	select {
	case <-c:
		return nil
	case <-b.ctx.Done():
		return fmt.Errorf("waiting in vain: %s", what)
	}
}

// result waits for the answer of something that runs beside the case.
func (b *bench) result(c <-chan error, what string) error {
	select {
	case err := <-c:
		return err
	case <-b.ctx.Done():
		return fmt.Errorf("waiting in vain: %s", what)
	}
}
