package badgerstore_test

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sojournlm/sojourn/storage"
	"github.com/sojournlm/sojourn/storage/badgerstore"
)

// Where Badger is in a commit, as it says itself: nothing is written yet; the
// value log is, and synced; all is written and synced, and readers could find it.
const (
	beforeWriting = "writeRequests called"
	halfWritten   = "Writing to memtable"
	allWritten    = "Sending updates to subscribers"
)

// hand holds a commit when Badger says where it is.
type hand struct {
	mu            sync.Mutex
	at            string
	held, release chan struct{} // nil when it lets commits pass
}

func (h *hand) logger() *slog.Logger { return slog.New(handler{slog.DiscardHandler, h}) }

func (h *hand) hold(at string) (held <-chan struct{}, release func()) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.at, h.held, h.release = at, make(chan struct{}), make(chan struct{})
	return h.held, sync.OnceFunc(func() { close(h.release) })
}

func (h *hand) said(message string) {
	h.mu.Lock()
	if h.held == nil || !strings.Contains(message, h.at) {
		h.mu.Unlock()
		return
	}
	held, release := h.held, h.release
	h.held = nil
	h.mu.Unlock()
	close(held)
	<-release
}

type handler struct {
	slog.Handler
	hand *hand
}

func (handler) Enabled(context.Context, slog.Level) bool { return true }

func (h handler) Handle(_ context.Context, r slog.Record) error {
	h.hand.said(r.Message)
	return nil
}

// TestHeldCommit: wherever a commit is, a View neither waits for it nor sees it,
// and the context of its Update does not undo it.
func TestHeldCommit(t *testing.T) {
	for _, at := range []string{beforeWriting, halfWritten, allWritten} {
		t.Run(at, func(t *testing.T) {
			var hand hand
			s := mustOpen(t, t.TempDir(), &badgerstore.Options{Reserve: -1, Logger: hand.logger()})
			put(t, s, "a", "1")
			held, release := hand.hold(at)
			defer release()
			ctx, cancel := context.WithCancel(t.Context())
			updated := make(chan error, 1)
			go func() {
				updated <- s.Update(ctx, func(w storage.Writer) error { return w.Put("a", []byte("2")) })
			}()
			select {
			case <-held:
			case err := <-updated:
				t.Fatalf("Badger did not say %q; the Update gives %v", at, err)
			}
			cancel()
			viewed := make(chan string, 1)
			go func() {
				value, err := get(t, s, "a")
				viewed <- fmt.Sprint(value, " ", err)
			}()
			select {
			case got := <-viewed:
				if got != "1 <nil>" {
					t.Errorf("a View beside a commit sees %s", got)
				}
			case <-time.After(time.Minute):
				t.Error("a View waits for a commit")
			}
			release()
			if err := <-updated; err != nil {
				t.Errorf("an Update whose context ends during the commit gives %v", err)
			}
			if got, err := get(t, s, "a"); got != "2" || err != nil {
				t.Errorf("after the commit a View sees %q, %v", got, err)
			}
		})
	}
}
