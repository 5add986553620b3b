package main

import (
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"time"

	"github.com/sojournlm/sojourn/licensing"
	"github.com/sojournlm/sojourn/licensing/lmhttp"
)

// site is all that is served: the API, and the pages for those who run it.
type site struct {
	api   http.Handler
	pages map[string]http.Handler // by path
}

func newSite(h *house, health *readiness, c *config, log *slog.Logger) *site {
	meter := newMeter(h, health)
	metrics := meter.handler(log)
	// Who may ask the API may ask for the metrics. The health pages say so
	// little that no token is needed: what probes them often cannot have one.
	known := lmhttp.New(h.Manager, &lmhttp.Options{Hosts: c.hosts, Token: c.token})
	anybody := lmhttp.New(h.Manager, &lmhttp.Options{Hosts: c.hosts})
	log = meter.logger(log)
	return &site{
		api: lmhttp.New(h.Manager, &lmhttp.Options{Hosts: c.hosts, Token: c.token, Logger: log}),
		pages: map[string]http.Handler{
			"/healthz": behind(anybody, http.HandlerFunc(healthy), log),
			"/readyz":  behind(anybody, health, log),
			"/metrics": behind(known, metrics, log),
		},
	}
}

// ServeHTTP implements [http.Handler].
func (s *site) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	page, ok := s.pages[r.URL.Path]
	if !ok || r.Method != http.MethodGet && r.Method != http.MethodHead {
		page = s.api // which refuses what is not its own
	}
	page.ServeHTTP(w, r)
}

// healthy says that the program runs and answers.
func healthy(w http.ResponseWriter, _ *http.Request) {
	io.WriteString(w, "ok\n")
}

// behind shows a page to those whom the API's own handler would answer, so that
// who may ask is decided in one place. Who is refused stands in the log, like
// anybody who asks the API; who is not asks too often.
func behind(gate, page http.Handler, log *slog.Logger) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		start := time.Now()
		question := r.WithContext(r.Context())
		question.Method, question.URL = http.MethodHead, &url.URL{Path: lmhttp.BasePath + "/openapi.yaml"}
		asked := &verdict{refusal: w, header: make(http.Header)}
		gate.ServeHTTP(asked, question)
		if asked.refused {
			log.LogAttrs(r.Context(), slog.LevelInfo, "request",
				slog.String("method", r.Method), slog.String("path", r.URL.Path),
				slog.Int("status", asked.status), slog.Uint64("code", uint64(licensing.AccessDenied)),
				slog.Duration("duration", time.Since(start)))
		} else {
			w.Header().Set("Content-Type", "text/plain; charset=utf-8")
			w.Header().Set("X-Content-Type-Options", "nosniff")
			w.Header().Set("Cache-Control", "no-store")
			page.ServeHTTP(w, r)
		}
	})
}

// verdict lets a refusal through to the client, and nothing else.
type verdict struct {
	refusal http.ResponseWriter
	header  http.Header
	refused bool
	status  int
}

func (v *verdict) Header() http.Header { return v.header }

func (v *verdict) WriteHeader(status int) {
	v.status = status
	if v.refused = status >= http.StatusBadRequest; v.refused {
		for name, values := range v.header {
			v.refusal.Header()[name] = values
		}
		v.refusal.WriteHeader(status)
	}
}

func (v *verdict) Write(b []byte) (int, error) {
	if v.refused {
		return v.refusal.Write(b)
	}
	return len(b), nil
}
