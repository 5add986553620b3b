package badgerstore

import (
	"context"
	"errors"
	"fmt"
	"iter"

	badger "github.com/dgraph-io/badger/v4"

	"github.com/sojournlm/sojourn/storage"
)

// Each key is stored behind keyMark, because Badger keeps keys with a prefix of
// its own for itself. Each value is stored before valueMark, because Badger
// gives a value that it cannot read as an empty one, without an error: no value
// is empty here, so a lost one shows.
const (
	keyMark   = 'k'
	valueMark = 'v'
)

func storedKey(key string) []byte {
	stored := make([]byte, 0, 1+len(key))
	stored = append(stored, keyMark)
	return append(stored, key...)
}

func storedValue(value []byte) []byte {
	stored := make([]byte, 0, len(value)+1)
	stored = append(stored, value...)
	return append(stored, valueMark)
}

// loadValue is the value of item, in memory of its own.
func loadValue(item *badger.Item) ([]byte, error) {
	stored, err := item.ValueCopy(nil)
	if err != nil {
		return nil, err
	}
	n := len(stored) - 1
	if n < 0 || stored[n] != valueMark {
		return nil, errors.New("the value is damaged or lost on the disk")
	}
	return stored[:n:n], nil
}

// reader is what a View is given.
type reader struct {
	ctx     context.Context
	gate    *storage.Gate
	version *versions
	txn     *badger.Txn
	scans   map[*badger.Iterator]struct{} // those that are open
	done    bool
	spoiled error // the first failure; an Update does not outlive it
}

func (s *Store) begin(ctx context.Context, update bool) *reader {
	return &reader{
		ctx:     ctx,
		gate:    s.gate,
		version: s.version,
		txn:     s.db.NewTransactionAt(s.version.begin(), update),
		scans:   make(map[*badger.Iterator]struct{}),
	}
}

// finish ends what the function can do. A scan may be open still when it drew
// its pairs with iter.Pull; Badger panics over it in a commit and at the end.
func (r *reader) finish() {
	r.done = true
	for it := range r.scans {
		r.closeScan(it)
	}
}

// end gives the transaction back.
func (r *reader) end() {
	r.finish()
	r.txn.Discard()
	r.version.end(r.txn.ReadTs())
}

// fail notes and gives the failure of a method.
func (r *reader) fail(op, key string, err error) error {
	err = &storage.Error{Op: op, Key: key, Err: err}
	if r.spoiled == nil {
		r.spoiled = err
	}
	return err
}

// usable says whether the function may still use its transaction.
func (r *reader) usable() error {
	if r.done {
		return storage.ErrDone
	}
	return r.gate.Check(r.ctx)
}

// check is usable and whether key is a key.
func (r *reader) check(key string) error {
	if err := r.usable(); err != nil {
		return err
	}
	return storage.CheckKey(key)
}

func (r *reader) Get(key string) ([]byte, error) {
	if err := r.check(key); err != nil {
		return nil, r.fail("get", key, err)
	}
	var value []byte
	err := guard(func() error {
		item, err := r.txn.Get(storedKey(key))
		if err != nil {
			return err
		}
		value, err = loadValue(item)
		return err
	})
	if errors.Is(err, badger.ErrKeyNotFound) {
		return nil, &storage.Error{Op: "get", Key: key, Err: storage.ErrNotFound}
	}
	if err != nil {
		return nil, r.fail("get", key, err)
	}
	return value, nil
}

func (r *reader) Scan(prefix string) iter.Seq2[storage.Pair, error] {
	return func(yield func(storage.Pair, error) bool) {
		var it *badger.Iterator
		err := r.usable()
		if err == nil {
			it, err = r.openScan(prefix)
		}
		if err != nil {
			yield(storage.Pair{}, r.fail("scan", prefix, err))
			return
		}
		defer r.closeScan(it)
		for {
			pair, err := r.next(it)
			if err != nil {
				yield(storage.Pair{}, r.fail("scan", prefix, err))
				return
			}
			if pair.Key == "" || !yield(pair, nil) {
				return
			}
		}
	}
}

func (r *reader) openScan(prefix string) (it *badger.Iterator, err error) {
	err = guard(func() error {
		// Prefetching starts a goroutine for each pair; the values lie beside
		// the keys and need none.
		it = r.txn.NewIterator(badger.IteratorOptions{Prefix: storedKey(prefix)})
		r.scans[it] = struct{}{}
		it.Rewind()
		return nil
	})
	return it, err
}

func (r *reader) closeScan(it *badger.Iterator) {
	if _, open := r.scans[it]; open {
		delete(r.scans, it)
		it.Close()
	}
}

// next is the pair at which it stands; after the last one, an empty Pair.
func (r *reader) next(it *badger.Iterator) (pair storage.Pair, err error) {
	if err := r.usable(); err != nil {
		return storage.Pair{}, err
	}
	err = guard(func() error {
		if !it.Valid() {
			return nil
		}
		item := it.Item()
		key := string(item.Key()[1:])
		value, err := loadValue(item)
		if err != nil {
			return fmt.Errorf("%q: %w", key, err)
		}
		pair = storage.Pair{Key: key, Value: value}
		it.Next()
		return nil
	})
	return pair, err
}

// writer is what an Update is given.
type writer struct {
	*reader
}

func (w *writer) Put(key string, value []byte) error {
	err := w.check(key)
	if err == nil {
		err = storage.CheckValue(value)
	}
	if err == nil {
		err = tooLarge(w.txn.Set(storedKey(key), storedValue(value)))
	}
	if err != nil {
		return w.fail("put", key, err)
	}
	return nil
}

func (w *writer) Delete(key string) error {
	err := w.check(key)
	if err == nil {
		err = tooLarge(w.txn.Delete(storedKey(key)))
	}
	if err != nil {
		return w.fail("delete", key, err)
	}
	return nil
}

// tooLarge puts Badger's refusal of a large transaction into our words.
func tooLarge(err error) error {
	if errors.Is(err, badger.ErrTxnTooBig) {
		return fmt.Errorf("%w: the Update is larger than a transaction can be (%d writes, %d bytes always fit)",
			storage.ErrTooLarge, storage.MaxWrites, storage.MaxUpdate)
	}
	return err
}
