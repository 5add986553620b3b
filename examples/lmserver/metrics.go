package main

import (
	"context"
	"log/slog"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/sojournlm/sojourn/licensing"
	"github.com/sojournlm/sojourn/licensing/lmhttp"
)

// meter measures the server, for Prometheus.
type meter struct {
	registry *prometheus.Registry
	requests *prometheus.CounterVec
	seconds  *prometheus.HistogramVec
}

func newMeter(h *house, health *readiness) *meter {
	m := &meter{
		registry: prometheus.NewRegistry(),
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "sojourn_operations_total", Help: "Requests to the API by operation and result, a status name of the API.",
		}, []string{"operation", "result"}),
		seconds: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "sojourn_operation_seconds", Help: "How long requests to the API took, by operation.",
			Buckets: []float64{.001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10},
		}, []string{"operation"}),
	}
	m.registry.MustRegister(m.requests, m.seconds, newLedgers(h, health),
		collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return m
}

// handler shows what was measured.
func (m *meter) handler(log *slog.Logger) http.Handler {
	return promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{
		ErrorLog:            slog.NewLogLogger(log.Handler(), slog.LevelError),
		MaxRequestsInFlight: 4,
		Timeout:             10 * time.Second,
	})
}

// logger is a log that also counts the requests written to it. So the log and
// the metrics cannot disagree, and only the API need know its results.
func (m *meter) logger(log *slog.Logger) *slog.Logger {
	return slog.New(counting{log.Handler(), m})
}

type counting struct {
	slog.Handler
	meter *meter
}

// Handle implements [slog.Handler].
func (c counting) Handle(ctx context.Context, r slog.Record) error {
	var method, path string
	var code licensing.Code
	var took time.Duration
	r.Attrs(func(a slog.Attr) bool {
		switch a.Key {
		case "method":
			method = a.Value.String()
		case "path":
			path = a.Value.String()
		case "code":
			code = licensing.Code(a.Value.Uint64())
		case "duration":
			took = a.Value.Duration()
		}
		return true
	})
	name := operation(method, path)
	c.meter.requests.WithLabelValues(name, code.Name()).Inc()
	c.meter.seconds.WithLabelValues(name).Observe(took.Seconds())
	return c.Handler.Handle(ctx, r)
}

// WithAttrs implements [slog.Handler].
func (c counting) WithAttrs(attrs []slog.Attr) slog.Handler {
	return counting{c.Handler.WithAttrs(attrs), c.meter}
}

// WithGroup implements [slog.Handler].
func (c counting) WithGroup(name string) slog.Handler {
	return counting{c.Handler.WithGroup(name), c.meter}
}

// operations are what requests are counted by. Anything else is "other": what
// strangers ask for must not make metrics.
var operations = []string{
	"POST /detach", "POST /canceldetach", "POST /install",
	"GET /detached/products/features", "POST /detached/download",
	"GET /cancelled/licenses", "POST /cancelled/download", "DELETE /cancelled/licenses",
	"GET /fingerprints", "POST /fingerprints", "PUT /fingerprints", "DELETE /fingerprints",
	"GET /environment", "GET /dongles", "GET /features", "GET /dongles/products/features",
	"GET /intents", "POST /peer/messages", "GET /openapi.yaml",
}

func operation(method, path string) string {
	path = strings.TrimPrefix(path, lmhttp.BasePath)
	if path == "/fingerpints" { // the API's other spelling
		path = "/fingerprints"
	}
	if method == http.MethodHead {
		method = http.MethodGet
	}
	if name := method + " " + path; slices.Contains(operations, name) {
		return name
	}
	return "other"
}

// ledgers tells where the seats are and what the ledgers did, when asked.
type ledgers struct {
	house                                   *house
	health                                  *readiness
	ready, seats, batch, commit, key, calls *prometheus.Desc
	pending, managers                       *prometheus.Desc
}

func newLedgers(h *house, health *readiness) *ledgers {
	describe := func(name, help string, labels ...string) *prometheus.Desc {
		return prometheus.NewDesc("sojourn_"+name, help, labels, nil)
	}
	return &ledgers{
		house: h, health: health,
		ready: describe("ready", "1 where everything here can change and grant, else 0."),
		seats: describe("seats", "Seats of a feature in a key's pool: free, detached, or overdrawn (detached beyond what the vendor now allows).",
			"key", "product", "modification", "feature", "state"),
		batch:  describe("batch_entries", "Entries of a batch that was committed.", "ledger"),
		commit: describe("commit_seconds", "Time of a batch's commit to the store.", "ledger"),
		key:    describe("key_seconds", "Time of the key's, or the anchor's, signature of a batch.", "ledger"),
		calls:  describe("commands_total", "Commands that were answered with committed batches.", "ledger"),

		pending:  describe("pending_operations", "Operations with other managers that have not ended yet."),
		managers: describe("known_managers", "Other managers that were found on the network.", "state"),
	}
}

// Describe implements [prometheus.Collector].
func (l *ledgers) Describe(out chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{l.ready, l.seats, l.batch, l.commit, l.key, l.calls, l.pending, l.managers} {
		out <- d
	}
}

// Collect implements [prometheus.Collector].
func (l *ledgers) Collect(out chan<- prometheus.Metric) {
	ctx, cancel := context.WithTimeout(context.Background(), readyTime)
	defer cancel()
	ready := 0.0
	if len(l.health.look(ctx)) == 0 {
		ready = 1
	}
	out <- prometheus.MustNewConstMetric(l.ready, prometheus.GaugeValue, ready)

	pools := make(map[uint64]bool)
	for _, s := range l.house.Stats() {
		ledger := "manager"
		if s.Key != 0 {
			ledger = number(s.Key)
			pools[s.Key] = true
		}
		summary := func(d *prometheus.Desc, sum float64) {
			out <- prometheus.MustNewConstSummary(d, s.Batches, sum, nil, ledger)
		}
		summary(l.batch, float64(s.Entries))
		summary(l.commit, s.InStore.Seconds())
		summary(l.key, s.InKey.Seconds())
		out <- prometheus.MustNewConstMetric(l.calls, prometheus.CounterValue, float64(s.Commands), ledger)
	}
	l.collectSeats(ctx, out, pools)
	l.collectManagers(ctx, out)
}

func (l *ledgers) collectManagers(ctx context.Context, out chan<- prometheus.Metric) {
	intents, err := l.house.Intents(ctx, licensing.Page{})
	if err != nil {
		out <- prometheus.NewInvalidMetric(l.pending, err)
		return
	}
	out <- prometheus.MustNewConstMetric(l.pending, prometheus.GaugeValue, float64(intents.Total))
	computers, err := l.house.Fingerprints(ctx, "", licensing.Page{})
	if err != nil {
		out <- prometheus.NewInvalidMetric(l.managers, err)
		return
	}
	states := map[string]float64{"answers": 0, "silent": 0}
	for c := range computers.All() {
		switch {
		case !c.Remote || !c.Auto:
		case c.Silent.IsZero():
			states["answers"]++
		default:
			states["silent"]++
		}
	}
	for state, n := range states {
		out <- prometheus.MustNewConstMetric(l.managers, prometheus.GaugeValue, n, state)
	}
}

// collectSeats leaves out the licenses installed here: their seats are counted
// where they came from.
func (l *ledgers) collectSeats(ctx context.Context, out chan<- prometheus.Metric, pools map[uint64]bool) {
	features, err := l.house.Features(ctx, licensing.Filter{})
	if err != nil {
		out <- prometheus.NewInvalidMetric(l.seats, err)
		return
	}
	for f := range features.All() {
		if !pools[f.Key] {
			continue
		}
		for state, seats := range map[string]uint32{
			"free": f.Free, "detached": f.Detached - f.Overdrawn, "overdrawn": f.Overdrawn,
		} {
			out <- prometheus.MustNewConstMetric(l.seats, prometheus.GaugeValue, float64(seats),
				number(f.Key), number(uint64(f.ProductNumber)), number(uint64(f.Modification)), number(uint64(f.Number)), state)
		}
	}
}

func number(n uint64) string { return strconv.FormatUint(n, 10) }
