package lmhttp

import (
	"log/slog"
	"net/http"
	"time"
	"unicode/utf8"

	"github.com/sojournlm/sojourn/licensing"
)

// Options are the settings of the handler that [New] makes. Nil means the zero
// Options: this computer's own clients, no token, no log.
type Options struct {
	// Hosts are the names that the Host header of a request may carry, letter
	// case and port apart. Loopback names and addresses, and the very address
	// that a request came in on, need not be among them.
	Hosts []string

	// Token must come with every request, as "Authorization: Bearer TOKEN".
	// Empty: no token is asked for.
	Token string

	// Logger gets one line per request: method, path, status, code (that of the
	// API, 0 for a success), duration and, where the fault is on this side, the
	// error. It never gets a query, a body or a token. Nil: no log.
	Logger *slog.Logger
}

// handler serves the API. It is safe for concurrent use.
type handler struct {
	manager *licensing.Manager
	guard   guard
	paths   map[string]map[string]route // by path, then method
	limits  limits
	log     *slog.Logger
}

// New gives the API over m, under [BasePath], safe for concurrent use. Close m
// when no request is served any more; requests that come later are answered
// with status 503.
func New(m *licensing.Manager, opts *Options) http.Handler {
	if opts == nil {
		opts = &Options{}
	}
	h := &handler{manager: m, guard: newGuard(opts), paths: make(map[string]map[string]route), limits: newLimits(), log: opts.Logger}
	if h.log == nil {
		h.log = slog.New(slog.DiscardHandler)
	}
	for _, r := range routes {
		path := BasePath + r.path
		if h.paths[path] == nil {
			h.paths[path] = make(map[string]route)
		}
		h.paths[path][r.method] = r
	}
	return h
}

// ServeHTTP implements [http.Handler].
func (h *handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	start := time.Now()
	a := &answer{ResponseWriter: w, status: http.StatusOK}
	err := h.serve(a, r)
	var code licensing.Code
	if err != nil {
		code = a.fail(err)
	}
	attrs := []slog.Attr{
		slog.String("method", clip(r.Method)), slog.String("path", clip(r.URL.Path)),
		slog.Int("status", a.status), slog.Uint64("code", uint64(code)),
		slog.Duration("duration", time.Since(start)),
	}
	level := slog.LevelInfo
	if a.status >= http.StatusInternalServerError && r.Context().Err() == nil { // else the client gave up
		level, attrs = slog.LevelError, append(attrs, slog.Any("error", err))
		if a.status == http.StatusServiceUnavailable {
			level = slog.LevelWarn
		}
	}
	h.log.LogAttrs(r.Context(), level, "request", attrs...)
}

// serve answers a request, or gives the error to answer with; then nothing is
// written yet.
func (h *handler) serve(w *answer, r *http.Request) error {
	w.Header().Set("X-Content-Type-Options", "nosniff")
	w.Header().Set("Cache-Control", "no-store")
	peer := h.paths[r.URL.Path][r.Method].kind == peering
	if err := h.guard.admit(w, r, peer); err != nil {
		return err
	}
	route, err := h.route(w, r)
	if err != nil {
		return err
	}
	c := &call{ctx: r.Context(), manager: h.manager, answer: w, method: r.Method, limits: h.limits}
	defer c.end()
	if err := c.read(w, r, route.kind); err != nil {
		return err
	}
	if route.lists {
		if err := c.wait(r.Context(), h.limits.lists); err != nil {
			return err
		}
	}
	return route.serve(c)
}

// clip is a text of a stranger as far as a log or a message shows it.
func clip(s string) string {
	const most = 100
	if len(s) <= most {
		return s
	}
	end := most
	for end > most-utf8.UTFMax && !utf8.RuneStart(s[end]) {
		end--
	}
	return s[:end] + "…"
}
