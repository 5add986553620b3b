package storagetest

import (
	"bytes"
	"errors"
	"fmt"
	"iter"
	"slices"
	"strings"

	"github.com/sojournlm/sojourn/storage"
)

func readerCases() []testCase {
	return []testCase{
		{"get", "Get is the value of key.", get},
		{"missing", "Get of a key that is not there gives an error that wraps [ErrNotFound].", missing},
		{"keys", "A key is any string of 1 to [MaxKey] bytes;", keys},
		{"bad-keys", "any other is refused with [ErrKey].", badKeys},
		{"get-owned", "What Get gives belongs to the caller, who may change it.", getOwned},
		{"scan-owned", "What Scan gives belongs to the caller, who may change it.", scanOwned},
		{"scan-prefix", "Scan ranges over the pairs whose keys begin with prefix.", scanPrefix},
		{"scan-order", "They come in ascending order of the bytes of their keys; the empty prefix takes them all.", scanOrder},
		{"scan-steady", "A range over Scan shows what was there when it began, whatever is written meanwhile.", scanSteady},
		{"scan-free", "It may be left early, nested in another and ranged over again.", scanFree},
		{"scan-error", "An error comes last, beside an empty Pair.", scanError},
		{"done", "After fn has returned, every method gives an error that wraps [ErrDone].", done},
	}
}

func get(b *bench) error {
	if err := first(b.put("a=1", "b=2", "ab=3"), b.put("b=4")); err != nil {
		return err
	}
	there := func(r storage.Reader) error {
		for key, want := range map[string]string{"a": "1", "ab": "3", "b": "4"} {
			if got, err := r.Get(key); err != nil || string(got) != want {
				return fmt.Errorf("Get(%q) gives %q, %w, want %q", key, got, orNil(err), want)
			}
		}
		return nil
	}
	return first(
		b.store.View(b.ctx, there),
		b.store.Update(b.ctx, func(w storage.Writer) error { return there(w) }),
	)
}

func missing(b *bench) error {
	if err := b.put("a=1", "c=3"); err != nil {
		return err
	}
	absent := func(r storage.Reader) error {
		for _, key := range []string{"b", "A", "a\x00", "d"} {
			value, err := r.Get(key)
			if err := is(err, storage.ErrNotFound, fmt.Sprintf("Get(%q)", key)); err != nil {
				return err
			}
			if value != nil {
				return fmt.Errorf("Get(%q) gives %q beside its error", key, value)
			}
		}
		return nil
	}
	return first(
		b.store.View(b.ctx, absent),
		b.store.Update(b.ctx, func(w storage.Writer) error { return absent(w) }),
	)
}

// oddKeys are in ascending order.
func oddKeys() []string {
	return []string{
		"\x00", "\x00\x00", "\n", " ", "!badger!txn", "%s", "..", "/", "/etc/passwd", "a", "a\x00", "a\x00b", "a/b",
		strings.Repeat("k", storage.MaxKey), "ü", "\x80", "\xff", "\xff\xff", strings.Repeat("\xff", storage.MaxKey),
	}
}

func keys(b *bench) error {
	want := oddKeys()
	slices.Sort(want)
	err := b.store.Update(b.ctx, func(w storage.Writer) error {
		for _, key := range want {
			if err := w.Put(key, []byte(key)); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	return b.store.View(b.ctx, func(r storage.Reader) error {
		for _, key := range want {
			value, err := r.Get(key)
			if err != nil {
				return err
			}
			if string(value) != key {
				return fmt.Errorf("Get(%q) gives %q", key, value)
			}
		}
		var got []string
		for pair, err := range r.Scan("") {
			if err != nil {
				return err
			}
			got = append(got, pair.Key)
		}
		if !slices.Equal(got, want) {
			return fmt.Errorf("Scan gives the keys %q, want %q", got, want)
		}
		return nil
	})
}

func badKeys(b *bench) error {
	for _, key := range []string{"", strings.Repeat("k", storage.MaxKey+1)} {
		what := fmt.Sprintf("of a key of %d bytes", len(key))
		err := b.store.View(b.ctx, func(r storage.Reader) error {
			_, err := r.Get(key)
			return is(err, storage.ErrKey, "Get "+what)
		})
		if err != nil {
			return err
		}
		for op, do := range map[string]func(storage.Writer) error{
			"Get":    func(w storage.Writer) error { _, err := w.Get(key); return err },
			"Put":    func(w storage.Writer) error { return w.Put(key, nil) },
			"Delete": func(w storage.Writer) error { return w.Delete(key) },
		} {
			if err := is(b.store.Update(b.ctx, do), storage.ErrKey, op+" "+what); err != nil {
				return err
			}
		}
	}
	return b.holds()
}

func getOwned(b *bench) error {
	if err := b.put("a=one", "b=two"); err != nil {
		return err
	}
	scribble := func(r storage.Reader) error {
		value, err := r.Get("a")
		if err != nil {
			return err
		}
		again, err := r.Get("a")
		if err != nil {
			return err
		}
		copy(value, "XXX")
		_ = append(value, "and more"...)
		if string(again) != "one" {
			return fmt.Errorf("changing one value changed another to %q", again)
		}
		return shows(r, "", "a=one", "b=two")
	}
	return first(
		b.store.View(b.ctx, scribble),
		b.store.Update(b.ctx, func(w storage.Writer) error { return scribble(w) }),
		b.store.Update(b.ctx, func(w storage.Writer) error {
			// What the Update itself wrote is not the caller's either.
			if err := w.Put("a", []byte("one")); err != nil {
				return err
			}
			return scribble(w)
		}),
		b.holds("a=one", "b=two"),
	)
}

func scanOwned(b *bench) error {
	if err := b.put("a=one", "b=two"); err != nil {
		return err
	}
	scribble := func(r storage.Reader) error {
		var kept [][]byte
		for pair, err := range r.Scan("") {
			if err != nil {
				return err
			}
			kept = append(kept, pair.Value)
		}
		if len(kept) != 2 || string(kept[0]) != "one" || string(kept[1]) != "two" {
			return fmt.Errorf("the values kept from a Scan became %q", kept)
		}
		for _, value := range kept {
			copy(value, "XXX")
			_ = append(value, "and more"...)
		}
		return shows(r, "", "a=one", "b=two")
	}
	return first(
		b.store.View(b.ctx, scribble),
		b.store.Update(b.ctx, func(w storage.Writer) error { return scribble(w) }),
		b.store.Update(b.ctx, func(w storage.Writer) error {
			if err := w.Put("b", []byte("two")); err != nil {
				return err
			}
			return scribble(w)
		}),
		b.holds("a=one", "b=two"),
	)
}

func scanPrefix(b *bench) error {
	if err := b.put("a=1", "b=2", "b/=3", "b/1=4", "b/2=5", "b0=6", "c=7", "\xff=8", "\xff\xff=9"); err != nil {
		return err
	}
	ask := func(r storage.Reader) error {
		return first(
			shows(r, "b/", "b/=3", "b/1=4", "b/2=5"),
			shows(r, "b", "b=2", "b/=3", "b/1=4", "b/2=5", "b0=6"),
			shows(r, "b/1", "b/1=4"),
			shows(r, "b/1x"),
			shows(r, "\xff", "\xff=8", "\xff\xff=9"),
			shows(r, "\xff\xff\xff"),
			shows(r, strings.Repeat("b", storage.MaxKey+1)),
		)
	}
	return first(
		b.store.View(b.ctx, ask),
		b.store.Update(b.ctx, func(w storage.Writer) error {
			// The same again, from what is not committed yet.
			return first(w.Delete("b/1"), putAll(w, "b/1=4", "\xff=8"), ask(w))
		}),
	)
}

func scanOrder(b *bench) error {
	// In two Updates and out of order, so that a sorted writer or a single
	// batch does not hide an unsorted reader.
	if err := first(b.put("b=1", "\xff=2", "a=3"), b.put("ab=4", "B=5", "\x01=6", "a\xff=7")); err != nil {
		return err
	}
	return first(
		b.holds("\x01=6", "B=5", "a=3", "ab=4", "a\xff=7", "b=1", "\xff=2"),
		b.store.Update(b.ctx, func(w storage.Writer) error {
			return first(
				putAll(w, "aa=8", "A=9"),
				shows(w, "", "\x01=6", "A=9", "B=5", "a=3", "aa=8", "ab=4", "a\xff=7", "b=1", "\xff=2"),
			)
		}),
	)
}

func scanSteady(b *bench) error {
	if err := b.put("a=1", "b=2", "c=3"); err != nil {
		return err
	}
	return first(
		b.store.Update(b.ctx, func(w storage.Writer) error {
			var got []string
			for pair, err := range w.Scan("") {
				if err != nil {
					return err
				}
				got = append(got, pair.Key+"="+string(pair.Value))
				err := first(
					w.Delete(pair.Key),
					w.Delete("c"),
					w.Put("b", []byte("changed")),
					w.Put(pair.Key+"x", []byte("new")),
				)
				if err != nil {
					return err
				}
			}
			if want := []string{"a=1", "b=2", "c=3"}; !slices.Equal(got, want) {
				return fmt.Errorf("Scan gives %q while it is written to, want %q", got, want)
			}
			return nil
		}),
		b.holds("ax=new", "b=changed", "bx=new", "cx=new"),
	)
}

func scanFree(b *bench) error {
	if err := b.put("a=1", "b=2", "c=3"); err != nil {
		return err
	}
	walk := func(r storage.Reader) error {
		all := r.Scan("")
		var got []string
		for outer, err := range all {
			if err != nil {
				return err
			}
			for inner, err := range all {
				if err != nil {
					return err
				}
				got = append(got, outer.Key+inner.Key)
				if inner.Key == outer.Key {
					break
				}
			}
		}
		if want := []string{"aa", "ba", "bb", "ca", "cb", "cc"}; !slices.Equal(got, want) {
			return fmt.Errorf("two nested Scans give %q, want %q", got, want)
		}
		return nil
	}
	return first(
		b.store.View(b.ctx, walk),
		b.store.Update(b.ctx, func(w storage.Writer) error {
			return first(putAll(w, "b=2"), walk(w))
		}),
	)
}

func scanError(b *bench) error {
	if err := b.put("a=1", "b=2", "c=3"); err != nil {
		return err
	}
	var all iter.Seq2[storage.Pair, error]
	err := b.store.View(b.ctx, func(r storage.Reader) error {
		all = r.Scan("")
		return nil
	})
	if err != nil {
		return err
	}
	count := 0
	for pair, err := range all {
		count++
		if err == nil || pair.Key != "" || pair.Value != nil {
			return fmt.Errorf("a Scan that must fail gives %q with %w", pair.Key, orNil(err))
		}
	}
	if count != 1 {
		return fmt.Errorf("a Scan that must fail gives %d pairs, want its error alone", count)
	}
	return nil
}

func done(b *bench) error {
	return first(
		b.put("a=1", "b=2", "c=3"),
		b.doneAfter(nil, ""),
		b.doneAfter(errors.New("no"), " that failed"),
		b.holds("a=1", "b=2", "c=3"),
	)
}

// doneAfter uses what functions were given that ended with end.
func (b *bench) doneAfter(end error, how string) error {
	var reader storage.Reader
	var writer storage.Writer
	var next [2]func() (storage.Pair, error, bool)
	pull := func(i int, r storage.Reader) (stop func(), err error) {
		next[i], stop = iter.Pull2(r.Scan(""))
		_, err, _ = next[i]()
		return stop, err
	}
	stop := [2]func(){func() {}, func() {}}
	defer func() { stop[0](); stop[1]() }()
	view := b.store.View(b.ctx, func(r storage.Reader) (err error) {
		reader = r
		stop[0], err = pull(0, r)
		return first(err, end)
	})
	update := b.store.Update(b.ctx, func(w storage.Writer) (err error) {
		writer = w
		stop[1]() // of the run before, if this is another
		stop[1], err = pull(1, w)
		return first(err, putAll(w, "a=1"), end)
	})
	if view != end || update != end {
		return fmt.Errorf("a View%s gives %w, an Update%s %w", how, orNil(view), how, orNil(update))
	}
	_, viewScan, _ := next[0]()
	_, updateScan, _ := next[1]()
	return first(
		is(viewScan, storage.ErrDone, "a Scan that goes on after a View"+how),
		is(updateScan, storage.ErrDone, "a Scan that goes on after an Update"+how),
		ended(reader, "the Reader of a View"+how),
		ended(writer, "the Writer of an Update"+how),
		endedWriter(writer, "the Writer of an Update"+how),
	)
}

func ended(r storage.Reader, whose string) error {
	_, getErr := r.Get("a")
	_, scanErr := scan(r, "")
	return first(
		is(getErr, storage.ErrDone, "Get of "+whose),
		is(scanErr, storage.ErrDone, "Scan of "+whose),
	)
}

func endedWriter(w storage.Writer, whose string) error {
	return first(
		is(w.Put("a", bytes.Repeat([]byte("x"), 10)), storage.ErrDone, "Put of "+whose),
		is(w.Delete("a"), storage.ErrDone, "Delete of "+whose),
	)
}
