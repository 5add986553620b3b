package lmhttp

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/sojournlm/sojourn/device"
	"github.com/sojournlm/sojourn/fingerprint"
	"github.com/sojournlm/sojourn/licensing"
	"github.com/sojournlm/sojourn/storage"
	"github.com/sojournlm/sojourn/storage/memory"
)

// TestStatuses: one code, one status.
func TestStatuses(t *testing.T) {
	want := make(map[licensing.Code]int)
	for status, codes := range map[int][]licensing.Code{
		400: {23, 35}, 403: {38, 57, 59}, 404: {2, 33, 34, 56}, 409: {3, 48, 52, 53, 54}, 410: {29, 55}, 422: {6, 47, 50},
		503: {12, 13, 14, 15, 31, 44, 46, 60},
	} {
		for _, c := range codes {
			want[c] = status
		}
	}
	for c := licensing.Code(1); c <= 61; c++ {
		if _, named := want[c]; !named {
			want[c] = 500
		}
		rec := newRecorder()
		a := &answer{ResponseWriter: rec}
		if got := a.fail(&licensing.Error{Op: "op", Code: c, Message: "m", Advice: "a"}); got != c || rec.code != want[c] || a.status != want[c] {
			t.Errorf("code %d: status %d, want %d", c, rec.code, want[c])
		}
		if retry := rec.header.Get("Retry-After"); (retry != "") != (rec.code == 503) {
			t.Errorf("code %d: Retry-After %q with status %d", c, retry, rec.code)
		}
	}
}

// TestNothingLeaks: what a cause from below says of this computer stays here, and
// the operator's cases have words of their own.
func TestNothingLeaks(t *testing.T) {
	const secret = "/var/lib/sojourn/store"
	key := &device.Error{Op: "install", Key: secret, Err: licensing.InvalidUpdateOrAlreadyInstalled}
	store := &storage.Error{Op: "open", Key: secret, Err: errors.New("disk")}
	words := make(map[string]bool)
	for _, cause := range []error{
		licensing.ErrRolledBack, licensing.ErrForked, licensing.ErrAnchorLost, licensing.ErrDamaged, licensing.ErrRules, licensing.ErrUnknown,
		licensing.ErrClosed, storage.ErrFull, errors.New("disk"), key, store,
	} {
		for _, code := range []licensing.Code{13, 25, 31, 35, 46, 48} {
			if statusOf(code) < 500 && cause != error(key) && cause != error(store) {
				continue // a judgment about the request, which speaks for itself
			}
			err := fmt.Errorf("%s: %w", secret, cause)
			_, p := describe(&licensing.Error{Op: "op", Code: code, Message: err.Error(), Err: err})
			if strings.Contains(p.Message, secret) || p.Message == "" {
				t.Errorf("code %d: %s", code, p.Message)
			}
			if code == licensing.StorageCorrupted {
				words[p.Message] = true
			}
		}
	}
	if len(words) != 9 { // eight causes have words of their own, the others those of the code
		t.Errorf("%d texts: %v", len(words), words)
	}
	status, p := describe(errors.New(secret))
	if status != 500 || p.Code != licensing.InternalError || strings.Contains(p.Message, secret) {
		t.Errorf("status %d, %+v", status, p)
	}
}

// TestStrangersFault: what another manager's server answers is no fault of the request.
func TestStrangersFault(t *testing.T) {
	_, garbage := parseObject([]byte("<html>"))
	status, p := describe(&licensing.Error{Op: "detach", Code: licensing.ServerNotFound, Message: "it is pending", Intent: 7, Err: garbage})
	if status != 503 || p.Code != licensing.ServerNotFound || p.Intent != 7 || p.Message != "it is pending" {
		t.Errorf("status %d, %+v", status, p)
	}
}

// TestDoubtIsTold: whatever else an error is about, what may have happened is not said
// to have not.
func TestDoubtIsTold(t *testing.T) {
	for _, cause := range []error{
		licensing.ErrRolledBack, licensing.ErrForked, licensing.ErrAnchorLost, licensing.ErrDamaged, licensing.ErrRules,
		licensing.ErrClosed, storage.ErrFull, device.ErrWornOut, errors.New("disk"),
	} {
		for _, code := range []licensing.Code{licensing.GetResponseFailed, licensing.NoService, licensing.StorageCorrupted} {
			_, p := describe(&licensing.Error{Op: "op", Code: code, Message: "m", Err: errors.Join(licensing.ErrUnknown, cause)})
			if !strings.Contains(p.Message, "may have happened") && !strings.Contains(p.Message, "not known whether") {
				t.Errorf("code %d, %v: %s", code, cause, p.Message)
			}
			_, p = describe(&licensing.Error{Op: "op", Code: code, Message: "m", Err: cause})
			if strings.Contains(p.Message, "may have happened") || strings.Contains(p.Message, "not known whether") && code != licensing.GetResponseFailed {
				t.Errorf("certain, code %d, %v: %s", code, cause, p.Message)
			}
		}
	}
}

// failing is a store whose disk fails once it is told to.
type failing struct {
	storage.Store
	gate *storage.Gate
	now  bool
}

func (f *failing) Update(ctx context.Context, fn func(storage.Writer) error) error {
	if f.now {
		return &storage.Error{Op: "update", Err: f.gate.Break(errors.New("write " + secretPath + ": input/output error"))}
	}
	return f.Store.Update(ctx, fn)
}

const secretPath = "/srv/secret/store/000001.vlog"

// TestFailingStore: a change that meets a failing disk is unknown, and those after
// it have not happened; the client hears what to do, the operator's error has the
// cause, and the disk's own words stay here.
func TestFailingStore(t *testing.T) {
	w := newWorld(t, nil)
	anchor, err := licensing.OpenAnchor(w.ctx, "")
	w.ok(err)
	disk := &failing{Store: memory.New(), gate: storage.NewGate()}
	m := &machine{}
	m.Manager, err = licensing.Open(w.ctx, disk, anchor, &licensing.Options{
		HostName: "FAILING", Hardware: fingerprint.Static{{Name: fingerprint.MachineComponent, Value: "f"}}, Clock: w.clock,
	})
	w.ok(err)
	defer anchor.Close()
	defer m.Close(w.ctx)
	m.Handler = New(m.Manager, nil)
	disk.now = true
	for i := range 3 {
		res := m.ask("POST", BasePath+"/fingerprints", `{"fingerprint":"`+w.laptop.file.String()+`"}`)
		p := problemOf(t, res)
		text := p.Message + p.Advice
		switch {
		case res.StatusCode != http.StatusServiceUnavailable || strings.Contains(text, "/srv") || strings.Contains(text, "input/output"):
			t.Errorf("change %d: status %d, %+v", i, res.StatusCode, p)
		case i == 0 && p.Code != licensing.GetResponseFailed,
			i > 0 && (p.Code != licensing.StorageCorrupted || !strings.Contains(p.Message, "store failed") || !strings.Contains(p.Advice, "start it again")):
			t.Errorf("change %d: %+v", i, p)
		}
	}
	failure, ok := errors.AsType[*licensing.Error](m.AddFingerprint(w.ctx, licensing.FingerprintFields{Fingerprint: w.laptop.file}, nil))
	if !ok || errors.Is(failure, licensing.ErrUnknown) || failure.Err == nil || !strings.Contains(failure.Err.Error(), secretPath) || strings.Contains(failure.Message, secretPath) {
		t.Errorf("the operator gets %v with the cause %v", failure, failure.Err)
	}
}

// TestRolledBackStore: a store put back to an older state is refused on every
// change, in words that an operator understands, and can be read.
func TestRolledBackStore(t *testing.T) {
	w := newWorld(t, nil)
	w.ok(w.laptop.restart("GRDBENCH-01")) // what a clean end has written is a backup worth having
	old := w.laptop.store.Clone()
	w.cancelled()
	w.ok(w.laptop.Close(w.ctx))
	w.ok(w.laptop.store.Close())
	w.laptop.store = old
	w.ok(w.laptop.start("GRDBENCH-01"))
	for _, r := range routes {
		body := ""
		switch {
		case r.kind == reading:
		case r.path == "/install":
			body = w.unmask(installOf("a license"))
		case strings.HasPrefix(r.path, "/finger"):
			body = w.unmask(fingerprintOf("the fingerprint of the office", `,"lmsId":102826192`))
		case r.path == "/detach":
			body = w.unmask(detachBody)
		case r.path == "/canceldetach":
			body = w.unmask(cancelBody)
		default:
			body = w.unmask(idBody)
		}
		res := w.laptop.ask(r.method, BasePath+r.path, body)
		switch {
		case r.kind == changing:
			if p := problemOf(t, res); res.StatusCode != 503 || p.Code != 46 || !strings.Contains(p.Message, "backup") {
				t.Errorf("%s %s: status %d, %+v", r.method, r.path, res.StatusCode, p)
			}
		case r.kind == reading && res.StatusCode != http.StatusOK:
			t.Errorf("%s %s: status %d", r.method, r.path, res.StatusCode)
		}
	}
}

// checkLog looks at what an exchange left in the log: one line, and nothing in
// it that was carried.
func checkLog(t *testing.T, x *exchange, log string) {
	t.Helper()
	var line struct {
		Level, Msg, Method, Path string
		Status, Code             int
		Duration                 time.Duration
	}
	if err := json.Unmarshal([]byte(log), &line); err != nil || strings.Count(log, "\n") != 1 {
		t.Fatalf("%v: %s", err, log)
	}
	path, _, _ := strings.Cut(BasePath+x.target, "?")
	if line.Msg != "request" || line.Method != x.method || line.Path != path || line.Status == 0 || line.Duration <= 0 ||
		(line.Status < 400) != (line.Code == 0) || (line.Status == 503) != (line.Level == "WARN") {
		t.Errorf("the line is %s", log)
	}
	if carried.MatchString(log) || strings.ContainsAny(log, "?=") || strings.Contains(log, wrongToken) {
		t.Errorf("it tells too much: %s", log)
	}
}

// TestRequestKey: asked again with the same key, a detach gives the same license
// and takes no second seat.
func TestRequestKey(t *testing.T) {
	w := newWorld(t, nil)
	ask := func(key string) *http.Response {
		return w.office.ask("POST", BasePath+"/detach", w.unmask(detachBody), "Idempotency-Key", key)
	}
	for range 3 {
		if res := ask("trip-1"); res.StatusCode != http.StatusOK {
			t.Fatalf("status %d: %v", res.StatusCode, problemOf(t, res))
		}
		if _, total := entriesOf(t, w.office.ask("GET", BasePath+"/detached/products/features", "")); total != 1 {
			t.Fatalf("%d licenses are out", total)
		}
	}
	if p := problemOf(t, ask("trip-2")); p.Code != 54 {
		t.Errorf("another key: %+v", p)
	}
	for _, key := range []string{"", strings.Repeat("k", 256)} {
		if p := problemOf(t, ask(key)); p.Code != 23 || !strings.HasPrefix(p.Message, "Idempotency-Key: ") {
			t.Errorf("a key of %d bytes: %+v", len(key), p)
		}
	}
	r, err := http.NewRequest("POST", "http://127.0.0.1"+BasePath+"/detach", strings.NewReader(w.unmask(detachBody)))
	w.ok(err)
	r.Header = http.Header{"Content-Type": {"application/json"}, "Idempotency-Key": {"a", "b"}}
	rec := newRecorder()
	w.office.ServeHTTP(rec, r)
	if rec.code != http.StatusBadRequest {
		t.Errorf("two keys: status %d", rec.code)
	}
}

// TestEveryChangeTakesARequestKey: a key that was used for something else is
// refused by every change.
func TestEveryChangeTakesARequestKey(t *testing.T) {
	for _, x := range exchanges {
		file := filepath.Join("testdata", x.name+".http")
		_, _, golden, _ := readExchange(t, file)
		changes := false
		for _, r := range routes {
			path, _, _ := strings.Cut(x.target, "?")
			changes = changes || r.method == x.method && r.path == path && r.kind == changing
		}
		if !changes || golden.StatusCode != http.StatusOK || len(x.header) > 0 || strings.HasSuffix(x.name, "-again") {
			continue
		}
		w := newWorld(t, x.prepare)
		if x.arrange != nil {
			x.arrange(w)
		}
		m := w.office
		if x.laptop {
			m = w.laptop
		}
		first := m.ask(x.method, w.unmask(BasePath+x.target), w.unmask(x.body), "Idempotency-Key", "once")
		again := m.ask(x.method, w.unmask(BasePath+x.target), w.unmask(x.body), "Idempotency-Key", "once")
		a, _ := io.ReadAll(first.Body)
		b, _ := io.ReadAll(again.Body)
		if first.StatusCode != 200 || again.StatusCode != 200 || w.mask(string(a)) != w.mask(string(b)) {
			t.Errorf("%s: status %d, then %d: %s", x.name, first.StatusCode, again.StatusCode, b)
		}
	}
}

// TestGivenUp: a request whose client has gone is answered all the same, and is
// nobody's error.
func TestGivenUp(t *testing.T) {
	var log bytes.Buffer
	w := newWorld(t, func(w *world) { w.opts.Logger = slog.New(slog.NewTextHandler(&log, nil)) })
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	r, err := http.NewRequestWithContext(ctx, "POST", "http://127.0.0.1"+BasePath+"/detach", strings.NewReader(w.unmask(detachBody)))
	w.ok(err)
	r.Header.Set("Content-Type", "application/json")
	rec := newRecorder()
	w.office.ServeHTTP(rec, r)
	if rec.code != http.StatusServiceUnavailable || !strings.Contains(log.String(), "level=INFO") {
		t.Errorf("status %d: %s", rec.code, log.String())
	}
}
