// Package transporttest is the conformance suite of package transport, and a
// recorder of what goes over a bus.
//
// A case of the suite stands for a sentence of the contract, which it shows when
// it fails. The suite is complete: a transport that passes it needs no further
// tests of what the contract says.
package transporttest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/sojournlm/sojourn/transport"
)

// Rig is a bus with keys plugged in, and hands to move them. The keys answer as
// the page of package device describes; the suite leaves their ledgers and pools
// as they are.
type Rig struct {
	Bus transport.Bus

	// Keys are two keys or more, ordered by ID. All are plugged in, and none is
	// open. A rig without hands may have just one.
	Keys []transport.KeyID

	// Unplug and Plug are the hands. Where they are nil, as with keys on somebody's
	// desk, what the contract says of keys that are pulled out is not tested.
	Unplug func(transport.KeyID) error
	Plug   func(transport.KeyID) error

	// Slow makes a key take that long for every command from now on. Where it is
	// nil, what the contract says of exchanges in flight is not tested.
	Slow func(transport.KeyID, time.Duration)

	// Lose loses the response to the next command that a key gets, in a way that the
	// transport can tell. Where it is nil, what the contract says of lost responses is
	// not tested.
	Lose func(transport.KeyID)

	// Seen counts the requests that have reached a key, since whenever. A key that was
	// pulled out has forgotten what it was asked: where Seen is nil, it is not tested
	// that an error admits to it.
	Seen func(transport.KeyID) int

	Close func() error
}

// Setup makes a rig. The suite makes one for every case, and closes it.
type Setup func() (*Rig, error)

// Failure is a sentence of the contract that a transport does not keep.
type Failure struct {
	Case     string // the name of the case
	Sentence string // as it stands in the documentation of package transport
	Err      error  // what was seen
}

// Error is the case, what was seen and the sentence.
func (f *Failure) Error() string {
	return fmt.Sprintf("%s: %v\n\tthe contract says: %q", f.Case, f.Err, f.Sentence)
}

// Unwrap is what was seen.
func (f *Failure) Unwrap() error { return f.Err }

// Run tests the transport that setup gives, each case as a subtest.
func Run(t *testing.T, setup Setup) {
	for _, c := range cases() {
		t.Run(c.name, func(t *testing.T) {
			err := c.check(t.Context(), setup)
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
func Check(ctx context.Context, setup Setup) error {
	var failures []error
	for _, c := range cases() {
		if err := c.check(ctx, setup); err != nil && !errors.Is(err, errSkipped) {
			failures = append(failures, err)
		}
	}
	return errors.Join(failures...)
}

var errSkipped = errors.New("needs hands that the rig does not have")

// testCase is a sentence and how to see whether it is kept.
type testCase struct {
	name     string
	sentence string
	slow     bool // needs Rig.Slow
	hands    bool // needs Rig.Plug and Rig.Unplug
	lose     bool // needs Rig.Lose
	run      func(*bench) error
}

func cases() []testCase { return slices.Concat(busCases(), exchangeCases(), endCases()) }

// How long things take. An exchange with a slowed key takes long; whatever is to
// happen promptly takes no more than prompt; a case that takes patience hangs.
const (
	long     = 4 * time.Second
	prompt   = 2 * time.Second
	inFlight = 50 * time.Millisecond // after which an exchange with a slowed key is under way
	patience = 2 * time.Minute
)

// check runs the case on a new rig. A transport that panics fails; one that
// hangs does too, and its goroutines are left behind.
func (c testCase) check(ctx context.Context, setup Setup) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	rig, err := setup()
	if err != nil {
		return fmt.Errorf("transporttest: setup: %w", err)
	}
	hands := rig.Plug != nil && rig.Unplug != nil
	if want := 1 + one(hands); len(rig.Keys) < want {
		return fmt.Errorf("transporttest: setup: %d keys, want %d", len(rig.Keys), want)
	}
	if c.slow && rig.Slow == nil || c.hands && !hands || c.lose && rig.Lose == nil {
		return errors.Join(errSkipped, rig.Close())
	}
	result := make(chan error, 1)
	go func() {
		err := errors.New("the goroutine was ended")
		defer func() {
			if p := recover(); p != nil {
				err = fmt.Errorf("panic: %v", p)
			}
			result <- err
		}()
		err = c.run(&bench{ctx: ctx, Rig: rig})
	}()
	select {
	case err = <-result:
	case <-ctx.Done():
		err = ctx.Err()
	}
	if err == nil {
		return rig.Close()
	}
	rig.Close()
	return &Failure{Case: c.name, Sentence: c.sentence, Err: err}
}

func one(b bool) int {
	if b {
		return 1
	}
	return 0
}
