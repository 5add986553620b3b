// Package storagetest is the conformance suite of package storage, and a store
// that fails on demand.
//
// A case of the suite stands for a sentence of the contract, which it shows when
// it fails. The suite is complete: a store that passes it needs no further tests
// of what the contract says.
package storagetest

import (
	"context"
	"errors"
	"fmt"
	"os"
	"testing"
	"time"

	"github.com/sojournlm/sojourn/storage"
)

// Open is how the suite comes by a store. dir is an empty directory, the store's
// own, the first time; when it is called again with the same dir, after Close,
// it opens the same store anew. A store that is not kept in a directory takes
// dir as a name.
type Open func(dir string) (storage.Store, error)

// Options are what the suite can use beyond Open.
type Options struct {
	// Break makes a coming commit of s, which was opened with dir, fail with an
	// outcome that is not known; it need not be the next. Then mend lets the
	// store be closed and opened anew. Where Break is nil, what the contract
	// says about storage.ErrUnknown is not tested.
	Break func(s storage.Store, dir string) (mend func(), err error)

	// Hold makes the next commit of s stop in its midst: it has begun, and its
	// Update has not returned. Then held is closed, and the commit goes on when
	// release is called, be it before that or more than once. Where Hold is nil,
	// what the contract says about a commit under way is tested only as far as
	// chance allows.
	Hold func(s storage.Store) (held <-chan struct{}, release func())
}

// A Failure is a sentence of the contract that a store does not keep.
type Failure struct {
	Case     string // the name of the case
	Sentence string // as it stands in the documentation of package storage
	Err      error  // what was seen
}

// Error is the case, the sentence and what was seen.
func (f *Failure) Error() string {
	return fmt.Sprintf("%s: %v\n\tthe contract says: %q", f.Case, f.Err, f.Sentence)
}

// Unwrap is what was seen.
func (f *Failure) Unwrap() error { return f.Err }

// Run tests the stores that open gives, each case as a subtest. nil Options test
// what can be tested without them.
func Run(t *testing.T, open Open, opts *Options) {
	for _, c := range cases() {
		t.Run(c.name, func(t *testing.T) {
			err := c.check(t.Context(), open, opts)
			if errors.Is(err, errSkipped) {
				t.Skip(err)
			}
			if err != nil {
				t.Error(err)
			}
		})
	}
}

// Check is Run outside of a test: nil, or all that failed, each a [*Failure], as
// errors.Join has them.
func Check(ctx context.Context, open Open, opts *Options) error {
	var failures []error
	for _, c := range cases() {
		if err := c.check(ctx, open, opts); err != nil && !errors.Is(err, errSkipped) {
			failures = append(failures, err)
		}
	}
	return errors.Join(failures...)
}

var errSkipped = errors.New("needs what Options do not have")

// testCase is a sentence and how to break it.
type testCase struct {
	name     string
	sentence string
	run      func(*bench) error
}

func cases() []testCase {
	all := readerCases()
	all = append(all, writerCases()...)
	all = append(all, updateCases()...)
	return append(all, lifeCases()...)
}

// patience is how long a case may take before it counts as hanging.
const patience = time.Minute

// check runs the case on a new store. A store that panics or ends the goroutine
// fails; one that hangs does too, and its goroutines are left behind.
func (c testCase) check(ctx context.Context, open Open, opts *Options) error {
	if opts == nil {
		opts = new(Options)
	}
	dir, err := os.MkdirTemp("", "storagetest-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()

	b := &bench{ctx: ctx, open: open, opts: opts, dir: dir}
	result := make(chan error, 1)
	go func() {
		err := errors.New("the goroutine was ended")
		defer func() {
			if p := recover(); p != nil {
				err = fmt.Errorf("panic: %v", p)
			}
			result <- err
		}()
		err = b.use(c.run)
	}()
	select {
	case err = <-result:
	case <-ctx.Done():
		select {
		case err = <-result: // it noticed itself
		case <-time.After(time.Second):
			err = ctx.Err()
		}
	}
	if err == nil || errors.Is(err, errSkipped) {
		return err
	}
	return &Failure{Case: c.name, Sentence: c.sentence, Err: err}
}
