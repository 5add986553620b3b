package licensing

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"time"
)

const (
	// visitSoon is how long a visit that leads to nothing may take and still be made, and
	// waited for, each time. After a longer one the next are waited for no longer.
	visitSoon = 100 * time.Millisecond

	visitAgain  = time.Second     // after one that took longer, doubled with each one more
	visitAtMost = 8 * time.Second // and at most: a key may have been replugged unnoticed

	tellAgain  = time.Second // after a warning the log is told of no other failure, doubled with each one more
	tellAtMost = time.Hour   // and at most
)

// visits are the looks at what may not answer: the listings of buses, or the keys at
// places. One at a time is made at each, in a goroutine that stop waits for, however
// soon its callers leave. What did not answer is left alone for a while.
type visits[K comparable] struct {
	what   string // for the log
	log    *slog.Logger
	ctx    context.Context
	cancel context.CancelFunc
	group  sync.WaitGroup

	mu     sync.Mutex
	closed bool
	at     map[K]*visited
}

// visited is what became of the visits at one place.
type visited struct {
	under  chan struct{} // closed when the visit under way ends; nil: none is
	began  time.Time     // the last one
	misses int           // how many in a row took long and led to nothing
	due    time.Time     // of the next visit, after a miss

	told     string    // the failure that the log knows of
	warnings int       // how many it was told
	quiet    time.Time // until when it is told of no other one
}

func (v *visits[K]) start(what string, log *slog.Logger) {
	v.what, v.log, v.at = what, log, make(map[K]*visited)
	v.ctx, v.cancel = context.WithCancel(context.Background())
}

// stop ends the visits under way. No more are made.
func (v *visits[K]) stop() {
	v.mu.Lock()
	v.closed = true
	v.mu.Unlock()
	v.cancel()
	v.group.Wait()
}

// make calls f, unless it is too early for that, and waits until it has returned, or
// ctx ends. A visit under way that began after the call is as good.
func (v *visits[K]) make(ctx context.Context, at K, f func(context.Context) error) {
	for range 2 {
		done, own, until := v.begin(at, f)
		if done == nil {
			return
		}
		if !until.IsZero() {
			brief, cancel := context.WithDeadline(ctx, until)
			defer cancel()
			ctx = brief
		}
		select {
		case <-done:
		case <-ctx.Done():
			return
		}
		if own {
			return
		}
	}
}

// begin begins a visit, or joins the one under way. done is nil where it is too early;
// until, where it is not zero, is when not to wait for it any more.
func (v *visits[K]) begin(at K, f func(context.Context) error) (done <-chan struct{}, own bool, until time.Time) {
	v.mu.Lock()
	defer v.mu.Unlock()
	p := v.at[at]
	if p == nil {
		p = &visited{}
		v.at[at] = p
	}
	own = p.under == nil
	if own {
		now := time.Now()
		if v.closed || now.Before(p.due) {
			return nil, false, until
		}
		p.under, p.began = make(chan struct{}), now
		v.visit(p, at, f)
	}
	if p.misses > 0 {
		until = p.began.Add(visitSoon)
	}
	return p.under, own, until
}

// visit makes a visit that was begun. v.mu is held.
func (v *visits[K]) visit(p *visited, at K, f func(context.Context) error) {
	under, began := p.under, p.began
	v.group.Go(func() {
		defer close(under)
		err := f(v.ctx)
		v.end(p, at, time.Since(began), err)
	})
}

// end notes what became of a visit.
func (v *visits[K]) end(p *visited, at K, took time.Duration, err error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	p.under = nil
	now := time.Now()
	switch {
	case v.closed:
		return
	case err == nil || took <= visitSoon || away(err):
		p.misses, p.due = 0, time.Time{}
	default:
		p.due = now.Add(min(visitAgain<<min(p.misses, 10), visitAtMost))
		p.misses++
	}
	switch {
	case err == nil && p.told != "":
		p.told = ""
		v.log.Info(v.what+" can be used again", "at", fmt.Sprint(at))
	case err != nil && p.told != err.Error() && !now.Before(p.quiet):
		p.told = err.Error()
		p.quiet = now.Add(min(tellAgain<<min(p.warnings, 12), tellAtMost))
		p.warnings++
		v.log.Warn(v.what+" cannot be used; it is tried again from time to time", "at", fmt.Sprint(at), "error", err)
	}
}

// keep forgets what is known of all places but those to keep.
func (v *visits[K]) keep(those func(K) bool) {
	v.mu.Lock()
	defer v.mu.Unlock()
	for at := range v.at {
		if !those(at) {
			delete(v.at, at)
		}
	}
}
