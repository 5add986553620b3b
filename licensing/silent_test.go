package licensing_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/sojournlm/sojourn/licensing"
)

// silence cuts all lines and waits until the laptop knows that the office is silent.
func silence(w *world, laptop *machine, n *lines) {
	w.Helper()
	n.set(func(_, _ *machine, _ []byte) fate { return lost })
	w.await("the office is known to be silent", func() bool { c, _ := laptop.knows("OFFICE"); return !c.Silent.IsZero() })
}

// pendingAs checks that an operation failed because a manager is silent, and gives the
// id that it is pending under.
func (w *world) pendingAs(err error) uint64 {
	w.Helper()
	w.refused(err, licensing.ServerNotFound)
	var e *licensing.Error
	if !errors.As(err, &e) || e.Intent == 0 || !strings.Contains(e.Message, fmt.Sprint(e.Intent)) {
		w.Fatalf("it names no pending operation: %v", err)
	}
	return e.Intent
}

func (m *machine) isPending(id uint64) bool {
	m.w.Helper()
	return slices.ContainsFunc(m.intents(), func(i licensing.Intent) bool { return i.ID == id })
}

// A detach from a manager that is known to be silent is pending all the same, and who
// asks again goes on with it, under a request key or without one. It is given up by
// itself while the manager is still silent, for it has reached nobody.
func TestDetachFromSilent(t *testing.T) {
	for _, options := range []*licensing.ChangeOptions{nil, askedOnce} {
		inBubble(t, func(w *world) {
			office, laptop, n := two(w)
			silence(w, laptop, n)
			begin := time.Now()
			_, err := laptop.Detach(w.ctx, laptop.online(office, 1), options)
			id := w.pendingAs(err)
			if took := time.Since(begin); took > 5*time.Second {
				t.Errorf("it takes %v to say that a silent manager is silent", took)
			}
			if !laptop.isPending(id) || errors.Is(err, licensing.ErrUnknown) {
				t.Errorf("not pending, or not known to have reached nobody: %v", err)
			}
			_, err = laptop.Detach(w.ctx, laptop.online(office, 1), options)
			if again := w.pendingAs(err); again != id {
				t.Errorf("asked again it is operation %d, was %d", again, id)
			}
			other := laptop.online(office, 1)
			other.Duration += time.Hour
			_, err = laptop.Detach(w.ctx, other, nil)
			if w.pendingAs(err) == id {
				t.Error("another request is the same operation")
			}
			w.await("they are given up", func() bool { return len(laptop.intents()) == 0 })
			if took := time.Since(begin); took > time.Minute {
				t.Errorf("given up after %v", took)
			}
			_, err = laptop.Detach(w.ctx, laptop.online(office, 1), options)
			w.pendingAs(err)
			n.set(nil) // and now it is asked at once, though it is not its time
			_, err = laptop.Detach(w.ctx, laptop.online(office, 1), options)
			w.ok(err)
			if len(laptop.intents()) != 0 || office.free(1) != 2 {
				t.Errorf("%d pending, %d free", len(laptop.intents()), office.free(1))
			}
			w.checkPromises()
		})
	}
}

// Whose program dies with a detach that reached nobody has it settled with the office.
func TestUnsentOverRestart(t *testing.T) {
	inBubble(t, func(w *world) {
		office, laptop, n := two(w)
		silence(w, laptop, n)
		_, err := laptop.Detach(w.ctx, laptop.online(office, 1), nil)
		id := w.pendingAs(err)
		laptop.crash()
		laptop.reopen()
		if !laptop.isPending(id) {
			t.Error("it was not recorded before it was tried")
		}
		n.set(nil)
		w.await("nothing is pending", func() bool { return len(laptop.intents()) == 0 })
		w.turn(time.Minute)
		if _, err := laptop.check(1); err == nil || office.free(1) != 3 {
			t.Errorf("%d free, %v", office.free(1), err)
		}
	})
}

// Whoever asks a silent manager for ever new things makes no more than a few pending.
func TestHammeredSilent(t *testing.T) {
	inBubble(t, func(w *world) {
		office, laptop, n := two(w)
		silence(w, laptop, n)
		named := make(map[uint64]bool)
		for i := range 100 {
			_, err := laptop.Detach(w.ctx, laptop.online(office, 1), &licensing.ChangeOptions{RequestKey: fmt.Sprint(i)})
			w.refused(err, licensing.ServerNotFound)
			var e *licensing.Error
			if errors.As(err, &e); e.Intent != 0 {
				named[e.Intent] = true
			} else if !strings.Contains(e.Message, "pending already") {
				t.Fatalf("it does not say why nothing was begun: %v", err)
			}
			if open := len(laptop.intents()); open > 16 {
				t.Fatalf("%d are pending", open)
			}
		}
		if len(named) < 16 {
			t.Errorf("%d were begun", len(named))
		}
		for range 100 {
			_, err := laptop.Detach(w.ctx, laptop.online(office, 1), nil)
			w.refused(err, licensing.ServerNotFound)
		}
		n.set(nil)
		_, err := laptop.Detach(w.ctx, laptop.online(office, 1), askedOnce)
		w.ok(err)
		w.await("nothing is pending", func() bool { return len(laptop.intents()) == 0 })
		w.checkPromises()
	})
}

// A license is given back to a manager that is known to be silent: it is pending, and
// handed over when that answers.
func TestCancelToSilent(t *testing.T) {
	for _, options := range []*licensing.ChangeOptions{nil, askedOnce} {
		inBubble(t, func(w *world) {
			office, laptop, n := two(w)
			d, err := laptop.Detach(w.ctx, laptop.online(office, 1), nil)
			w.ok(err)
			silence(w, laptop, n)
			begin := time.Now()
			_, err = laptop.CancelDetach(w.ctx, licensing.CancelRequest{License: d.LicenseID}, options)
			id := w.pendingAs(err)
			if took := time.Since(begin); took > 5*time.Second {
				t.Errorf("it takes %v to say that a silent manager is silent", took)
			}
			_, err = laptop.CancelDetach(w.ctx, licensing.CancelRequest{License: d.LicenseID}, options)
			if again := w.pendingAs(err); again != id || !laptop.isPending(id) {
				t.Errorf("asked again it is operation %d, was %d", again, id)
			}
			if _, err := laptop.check(1); err == nil {
				t.Error("what is given back still works")
			}
			_, err = laptop.DownloadCancelled(w.ctx, d.LicenseID)
			w.ok(err)
			n.set(nil)
			w.await("nothing is pending", func() bool { return len(laptop.intents()) == 0 })
			w.turn(3 * time.Minute)
			if office.free(1) != 3 {
				t.Errorf("%d free", office.free(1))
			}
			w.checkPromises()
		})
	}
}

// An operation that was refused for certain has ended: its error names none that is
// pending.
func TestRefusedNamesNothing(t *testing.T) {
	inBubble(t, func(w *world) {
		office, laptop, _ := two(w)
		office.watch.shift(time.Hour)
		w.await("the offset is measured", func() bool { c, _ := laptop.knows("OFFICE"); return c.Ahead > 59*time.Minute })
		many := laptop.online(office, 1)
		many.Seats = 7
		for _, c := range []struct {
			code licensing.Code
			r    licensing.DetachRequest
		}{
			{licensing.RTCError, laptop.online(office, 1)}, {licensing.FeatureResourceExhaust, many},
		} {
			if c.code == licensing.FeatureResourceExhaust {
				laptop.watch.shift(time.Hour)
			}
			_, err := laptop.Detach(w.ctx, c.r, nil)
			w.refused(err, c.code)
			var e *licensing.Error
			if errors.As(err, &e); e.Intent != 0 || len(laptop.intents()) != 0 {
				t.Errorf("it names operation %d, and %d are pending: %v", e.Intent, len(laptop.intents()), err)
			}
		}
	})
}
