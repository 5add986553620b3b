package licensing_test

import (
	"fmt"
	"sync"
	"testing"

	"github.com/sojournlm/sojourn/licensing"
)

// atOnce detaches from the office many times at once, each time under a request key of
// its own or always for the same without one.
func atOnce(w *world, office, laptop *machine, callers int, keyed bool) (errs []error) {
	var mu sync.Mutex
	var group sync.WaitGroup
	start := make(chan struct{})
	for i := range callers {
		group.Go(func() {
			options := &licensing.ChangeOptions{}
			if keyed {
				options.RequestKey = fmt.Sprint(i)
			}
			<-start
			_, err := laptop.Detach(w.ctx, laptop.online(office, 1), options)
			mu.Lock()
			defer mu.Unlock()
			errs = append(errs, err)
		})
	}
	close(start)
	group.Wait()
	return errs
}

// However many ask at once for ever new things, no more is pending than is allowed, and
// a license can be given back meanwhile.
func TestManyAtOnce(t *testing.T) {
	lose := func(_, _ *machine, message []byte) fate {
		if moves(message) {
			return lost
		}
		return arrives
	}
	for name, tt := range map[string]struct {
		silent  bool
		callers int
		keyed   bool
		most    int
	}{
		"a silent manager":             {true, 300, true, 16},
		"one that loses requests":      {false, 600, true, 200},
		"the same of a silent manager": {true, 50, false, 1},
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(w *world) {
				office, laptop, n := two(w)
				lent, err := laptop.Detach(w.ctx, laptop.online(office, 1), nil)
				w.ok(err)
				if tt.silent {
					silence(w, laptop, n)
				} else {
					n.set(lose)
				}
				for _, err := range atOnce(w, office, laptop, tt.callers, tt.keyed) {
					w.refused(err, licensing.ServerNotFound)
				}
				if open := len(laptop.intents()); open != tt.most {
					t.Errorf("%d are pending, want %d", open, tt.most)
				}
				_, err = laptop.CancelDetach(w.ctx, licensing.CancelRequest{License: lent.LicenseID}, nil)
				w.pendingAs(err)
				n.set(nil)
				w.await("nothing is pending", func() bool { return len(laptop.intents()) == 0 })
				if free := office.free(1); free != 3 {
					t.Errorf("%d of 3 seats are free", free)
				}
				w.checkPromises()
			})
		})
	}
}

// Where the manager answers, one of those that ask for the same gets it, and the others
// are told by whom it is out.
func TestSameAtOnce(t *testing.T) {
	inBubble(t, func(w *world) {
		office, laptop, _ := two(w)
		got := 0
		for _, err := range atOnce(w, office, laptop, 50, false) {
			if err == nil {
				got++
			} else {
				w.refused(err, licensing.CancelPreviousDetachRequired)
			}
		}
		if got != 1 || len(laptop.intents()) != 0 || office.free(1) != 2 {
			t.Errorf("%d got it, %d pending, %d free", got, len(laptop.intents()), office.free(1))
		}
		w.checkPromises()
	})
}

// What is refused takes no place from what comes after.
func TestRefusedTakesNoPlace(t *testing.T) {
	inBubble(t, func(w *world) {
		office, laptop, _ := two(w)
		for i := range 300 {
			_, err := laptop.Detach(w.ctx, laptop.online(office, 99), &licensing.ChangeOptions{RequestKey: fmt.Sprint(i)})
			w.refused(err, licensing.FeatureNotFound)
		}
		_, err := laptop.Detach(w.ctx, laptop.online(office, 1), nil)
		w.ok(err)
	})
}
