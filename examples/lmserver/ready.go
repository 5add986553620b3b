package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/sojournlm/sojourn/licensing"
)

// readiness says whether everything here can change and grant. It is safe for
// concurrent use.
type readiness struct {
	house *house
	log   *slog.Logger

	mu   sync.Mutex
	last []problem // what was logged
}

// problem is something that changes and grants nothing until an operator acts.
// The reason may name files and is for the log.
type problem struct{ subject, reason string }

// readyTime is how long the keys have to say how they are.
const readyTime = 5 * time.Second

// look finds the problems of now, and logs them when they are not those of
// before.
func (r *readiness) look(ctx context.Context) []problem {
	ctx, cancel := context.WithTimeout(ctx, readyTime)
	defer cancel()
	found := r.house.problems(ctx)
	r.mu.Lock()
	defer r.mu.Unlock()
	if slices.Equal(found, r.last) {
		return found
	}
	r.last = found
	for _, p := range found {
		r.log.Error("not ready: this can be read, but changes and grants nothing until the newest state of the store and of the keys is back",
			"what", p.subject, "reason", p.reason)
	}
	if len(found) == 0 {
		r.log.Info("ready again")
	}
	return found
}

// ServeHTTP implements [http.Handler].
func (r *readiness) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	found := r.look(req.Context())
	if len(found) == 0 {
		io.WriteString(w, "ok\n")
		return
	}
	w.WriteHeader(http.StatusServiceUnavailable)
	for _, p := range found {
		fmt.Fprintf(w, "not ready: %s; the log says why\n", p.subject)
	}
}

// noFeature is the number that no feature can have.
const noFeature = 0xFFFFFFFF

// problems are those of the manager and of its keys. A key that is pulled out is
// none.
func (h *house) problems(ctx context.Context) (found []problem) {
	// The manager itself is asked for a feature that cannot be there.
	_, err := h.Check(ctx, 0, 0, noFeature)
	if errors.Is(err, licensing.StorageCorrupted) || errors.Is(err, licensing.NoService) {
		found = append(found, problem{"the license manager", err.Error()})
	}
	keys, err := h.Keys(ctx, licensing.Filter{})
	if err != nil {
		return append(found, problem{"the list of keys", err.Error()})
	}
	for k := range keys.All() {
		if k.Problem != "" && !k.Inaccessible {
			found = append(found, problem{fmt.Sprintf("key %d", k.ID), k.Problem})
		}
	}
	return found
}
