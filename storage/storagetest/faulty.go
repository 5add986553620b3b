package storagetest

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"
	"sync"

	"github.com/sojournlm/sojourn/storage"
)

// ErrInjected is the reason of every failure that a [Faulty] store makes up.
var ErrInjected = errors.New("injected failure")

// A Kind is a way to fail.
type Kind int

const (
	// Refuse fails a call cleanly: nothing happened, and the store goes on. It
	// counts every View, Update, Get, Put and Delete, each commit, and each
	// Scan twice: at its beginning and behind its first pair.
	Refuse Kind = iota

	// Lose breaks the store at a commit, which did not happen. It counts
	// commits: the Updates whose function succeeded.
	Lose

	// Keep breaks the store at a commit, which did happen. It counts commits.
	Keep

	// Rerun runs the function of an Update twice, and drops what it wrote the
	// first time, as a store may. Nothing fails. It counts commits.
	Rerun
)

// Kinds are all kinds, for a loop over them.
func Kinds() []Kind { return []Kind{Refuse, Lose, Keep, Rerun} }

// String is the name of the kind.
func (k Kind) String() string {
	switch k {
	case Refuse:
		return "refuse"
	case Lose:
		return "lose"
	case Keep:
		return "keep"
	case Rerun:
		return "rerun"
	}
	return fmt.Sprintf("Kind(%d)", int(k))
}

// Faulty is a [storage.Store] over another that fails once. It is safe for
// concurrent use.
//
// A fault loop fails each call of an operation in turn, and looks what became of
// the store:
//
//	for n := 0; ; n++ {
//		inner := memory.New()
//		f := storagetest.FailNth(inner, n, kind)
//		... // the operation on f, whatever it returns
//		f.Close()
//		... // inner is the store opened anew: check the promises on it
//		if !f.Fired() {
//			break
//		}
//	}
//
// A store that was broken refuses everything with storage.ErrUnknown. The store
// below is not touched by this, and Close leaves it open, so that it can stand
// for the store opened anew.
type Faulty struct {
	inner storage.Store
	gate  *storage.Gate
	kind  Kind

	mu    sync.Mutex
	left  int // counted calls before the one that fails
	fired bool
}

// FailNth is inner with the n-th call of those that kind counts failing, from 0.
// A negative n fails none.
func FailNth(inner storage.Store, n int, kind Kind) *Faulty {
	return &Faulty{inner: inner, gate: storage.NewGate(), kind: kind, left: n}
}

// Fired says whether the failure has happened.
func (f *Faulty) Fired() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.fired
}

// hit counts a call, where one of the kinds does, and says whether it is the
// one to fail.
func (f *Faulty) hit(kinds ...Kind) bool {
	if !slices.Contains(kinds, f.kind) {
		return false
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.left--
	if f.left != -1 || f.fired {
		return false
	}
	f.fired = true
	return true
}

// refuse counts a call of op and is its failure, if it is the one to fail.
func (f *Faulty) refuse(op, key string) error {
	if f.hit(Refuse) {
		return &storage.Error{Op: op, Key: key, Err: ErrInjected}
	}
	return nil
}

// View implements [storage.Store].
func (f *Faulty) View(ctx context.Context, fn func(storage.Reader) error) error {
	if err := f.gate.Enter(ctx); err != nil {
		return &storage.Error{Op: "view", Err: err}
	}
	defer f.gate.Leave()
	if err := f.refuse("view", ""); err != nil {
		return err
	}
	return f.inner.View(ctx, func(r storage.Reader) error {
		return fn(&faultyReader{f: f, inner: r})
	})
}

// Update implements [storage.Store].
func (f *Faulty) Update(ctx context.Context, fn func(storage.Writer) error) error {
	if err := f.gate.Enter(ctx); err != nil {
		return &storage.Error{Op: "update", Err: err}
	}
	defer f.gate.Leave()
	if err := f.gate.Lock(ctx); err != nil {
		return &storage.Error{Op: "update", Err: err}
	}
	defer f.gate.Unlock()
	if err := f.refuse("update", ""); err != nil {
		return err
	}
	keep := false
	err := f.inner.Update(ctx, func(w storage.Writer) (err error) {
		keep, err = f.commit(w, fn)
		return err
	})
	switch {
	case errors.Is(err, errRerun):
		return f.inner.Update(ctx, func(w storage.Writer) error {
			_, err := f.commit(w, fn)
			return err
		})
	case errors.Is(err, errLost), keep && err == nil:
		return &storage.Error{Op: "update", Err: f.gate.Break(ErrInjected)}
	}
	return err
}

// What the function of the inner Update returns to undo it.
var (
	errRerun = errors.New("run again")
	errLost  = errors.New("lost")
)

// commit runs fn and then fails as it should: with an error, or with keep, which
// says that the commit is to succeed and its answer to be lost.
func (f *Faulty) commit(w storage.Writer, fn func(storage.Writer) error) (keep bool, err error) {
	fw := &faultyWriter{faultyReader{f: f, inner: w}, w}
	if err := fn(fw); err != nil {
		return false, err
	}
	if fw.spoiled != nil {
		return false, fw.spoiled
	}
	if err := f.refuse("update", ""); err != nil {
		return false, err
	}
	if !f.hit(Lose, Keep, Rerun) {
		return false, nil
	}
	switch f.kind {
	case Lose:
		return false, errLost
	case Rerun:
		return false, errRerun
	}
	return true, nil
}

// Close implements [storage.Store]. It leaves the inner store open.
func (f *Faulty) Close() error {
	f.gate.Shut()
	return nil
}

// faultyReader is a Reader that fails when its store says so.
type faultyReader struct {
	f       *Faulty
	inner   storage.Reader
	spoiled error // the injected failure; an Update does not outlive it
}

// fail counts a call of op and is the reason why it cannot be made.
func (r *faultyReader) fail(op, key string) error {
	err := r.f.gate.Check(context.Background()) // r.inner looks at its own
	if err != nil {
		err = &storage.Error{Op: op, Key: key, Err: err}
	} else {
		err = r.f.refuse(op, key)
	}
	if r.spoiled == nil {
		r.spoiled = err
	}
	return err
}

func (r *faultyReader) Get(key string) ([]byte, error) {
	if err := r.fail("get", key); err != nil {
		return nil, err
	}
	return r.inner.Get(key)
}

func (r *faultyReader) Scan(prefix string) iter.Seq2[storage.Pair, error] {
	return func(yield func(storage.Pair, error) bool) {
		if err := r.fail("scan", prefix); err != nil {
			yield(storage.Pair{}, err)
			return
		}
		counted := false
		for pair, err := range r.inner.Scan(prefix) {
			if !yield(pair, err) {
				return
			}
			if counted || err != nil {
				continue
			}
			counted = true
			if err := r.fail("scan", prefix); err != nil {
				yield(storage.Pair{}, err)
				return
			}
		}
	}
}

// faultyWriter is a Writer that fails when its store says so.
type faultyWriter struct {
	faultyReader
	inner storage.Writer
}

func (w *faultyWriter) Put(key string, value []byte) error {
	if err := w.fail("put", key); err != nil {
		return err
	}
	return w.inner.Put(key, value)
}

func (w *faultyWriter) Delete(key string) error {
	if err := w.fail("delete", key); err != nil {
		return err
	}
	return w.inner.Delete(key)
}
