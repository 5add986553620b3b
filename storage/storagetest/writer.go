package storagetest

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"

	"github.com/sojournlm/sojourn/storage"
)

func writerCases() []testCase {
	return []testCase{
		{"put", "Put sets the value of key.", put},
		{"put-owned", "After Put has returned the caller may change the bytes of value.", putOwned},
		{"values", "A value is any 0 to [MaxValue] bytes, and", values},
		{"empty", "an empty one is there like any other;", empty},
		{"long-value", "a longer one is refused with [ErrTooLarge].", longValue},
		{"delete", "Delete removes key and its value.", remove},
		{"delete-missing", "Delete of a key that is not there changes nothing and is no error.", removeMissing},
		{"own-writes", "Get and Scan see what the Update itself has written.", ownWrites},
		{"large", "An Update of up to [MaxWrites] writes and [MaxUpdate] bytes is accepted;", large},
		{"larger", "a larger one may be refused with [ErrTooLarge].", larger},
	}
}

func put(b *bench) error {
	return first(
		b.put("a=1", "b=2"),
		b.holds("a=1", "b=2"),
		b.put("a=3", "a=4", "c=5"),
		b.holds("a=4", "b=2", "c=5"),
	)
}

func putOwned(b *bench) error {
	var value []byte
	err := b.store.Update(b.ctx, func(w storage.Writer) error {
		value = []byte("one")
		if err := w.Put("a", value); err != nil {
			return err
		}
		copy(value, "two")
		if err := w.Put("b", value); err != nil {
			return err
		}
		copy(value, "XXX")
		return shows(w, "", "a=one", "b=two")
	})
	copy(value, "YYY")
	return first(err, b.holds("a=one", "b=two"))
}

func values(b *bench) error {
	random := rand.NewChaCha8([32]byte{1})
	var all [256]byte
	for i := range all {
		all[i] = byte(i)
	}
	want := map[string][]byte{"all": all[:], "zeros": make([]byte, 1000)}
	for _, n := range []int{1, 4095, 65536, storage.MaxValue - 1, storage.MaxValue} {
		value := make([]byte, n)
		random.Read(value)
		want[fmt.Sprint(n)] = value
	}
	err := b.store.Update(b.ctx, func(w storage.Writer) error {
		for key, value := range want {
			if err := w.Put(key, value); err != nil {
				return err
			}
		}
		return nil
	})
	there := func(r storage.Reader) error {
		for key, value := range want {
			got, err := r.Get(key)
			if err != nil {
				return err
			}
			if !bytes.Equal(got, value) {
				return fmt.Errorf("the value %q of %d bytes comes back otherwise, with %d", key, len(value), len(got))
			}
		}
		return nil
	}
	return first(err, b.store.View(b.ctx, there), b.reopen(), b.store.View(b.ctx, there))
}

func empty(b *bench) error {
	err := b.store.Update(b.ctx, func(w storage.Writer) error {
		return first(w.Put("empty", []byte{}), w.Put("nil", nil), shows(w, "", "empty=", "nil="))
	})
	return first(err, b.holds("empty=", "nil="), b.reopen(), b.holds("empty=", "nil="))
}

func longValue(b *bench) error {
	err := b.store.Update(b.ctx, func(w storage.Writer) error {
		return w.Put("a", make([]byte, storage.MaxValue+1))
	})
	return first(is(err, storage.ErrTooLarge, "Put of a value that is too long"), b.holds())
}

func remove(b *bench) error {
	return first(
		b.put("a=1", "b=2", "c=3"),
		b.store.Update(b.ctx, func(w storage.Writer) error {
			return first(w.Delete("b"), w.Put("d", nil), w.Delete("d"), absent(w, "b"), absent(w, "d"))
		}),
		b.holds("a=1", "c=3"),
		b.store.View(b.ctx, func(r storage.Reader) error { return absent(r, "b") }),
		b.put("b=4"),
		b.holds("a=1", "b=4", "c=3"),
	)
}

func absent(r storage.Reader, key string) error {
	_, err := r.Get(key)
	return is(err, storage.ErrNotFound, fmt.Sprintf("Get(%q)", key))
}

func removeMissing(b *bench) error {
	return first(
		b.put("a=1"),
		b.store.Update(b.ctx, func(w storage.Writer) error {
			return first(w.Delete("b"), w.Put("c", nil), w.Delete("d"), shows(w, "", "a=1", "c="))
		}),
		b.holds("a=1", "c="),
	)
}

func ownWrites(b *bench) error {
	return first(
		b.put("a=1", "b=2"),
		b.store.Update(b.ctx, func(w storage.Writer) error {
			return first(
				putAll(w, "a=3", "c=4"),
				shows(w, "", "a=3", "b=2", "c=4"),
				w.Delete("b"),
				shows(w, "", "a=3", "c=4"),
				absent(w, "b"),
				putAll(w, "b=5"),
				shows(w, "b", "b=5"),
			)
		}),
		b.holds("a=3", "b=5", "c=4"),
	)
}

// many makes count writes of size bytes each, keys counted.
func many(count, size int) func(storage.Writer) error {
	return func(w storage.Writer) error {
		for i := range count {
			key := fmt.Sprintf("%08d", i)
			if err := w.Put(key, make([]byte, size-len(key))); err != nil {
				return err
			}
		}
		return nil
	}
}

// tooMany makes more writes than a store must take, and may refuse.
func tooMany(w storage.Writer) error { return many(100*storage.MaxWrites, 8)(w) }

func (b *bench) counts(want int) error {
	return b.store.View(b.ctx, func(r storage.Reader) error {
		got := 0
		for _, err := range r.Scan("") {
			if err != nil {
				return err
			}
			got++
		}
		if got != want {
			return fmt.Errorf("%d keys are there, want %d", got, want)
		}
		return nil
	})
}

func large(b *bench) error {
	clear := func(w storage.Writer) error {
		for pair, err := range w.Scan("") {
			if err := first(err, w.Delete(pair.Key)); err != nil {
				return err
			}
		}
		return nil
	}
	const size = storage.MaxUpdate / storage.MaxWrites
	for _, shape := range []struct{ count, size int }{
		{storage.MaxWrites, 8}, {storage.MaxWrites, size}, {4, storage.MaxUpdate / 4}, {64, storage.MaxUpdate / 64},
	} {
		err := first(
			b.store.Update(b.ctx, many(shape.count, shape.size)),
			b.counts(shape.count),
			b.store.Update(b.ctx, clear),
			b.counts(0),
		)
		if err != nil {
			return fmt.Errorf("an Update of %d writes of %d bytes: %w", shape.count, shape.size, err)
		}
	}
	return nil
}

func larger(b *bench) error {
	if err := b.put("a=1"); err != nil {
		return err
	}
	for _, shape := range []struct{ count, size int }{
		{10 * storage.MaxWrites, 8}, {20, storage.MaxUpdate / 4},
	} {
		err := b.store.Update(b.ctx, many(shape.count, shape.size))
		if err == nil {
			return b.counts(1 + shape.count)
		}
		if !errors.Is(err, storage.ErrTooLarge) {
			return fmt.Errorf("an Update of %d writes of %d bytes: %w", shape.count, shape.size, err)
		}
		if err := b.holds("a=1"); err != nil {
			return err
		}
	}
	return nil
}
