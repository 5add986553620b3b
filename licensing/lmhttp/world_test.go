package lmhttp

import (
	"context"
	"crypto/ed25519"
	"encoding/base64"
	"errors"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sojournlm/sojourn/detach"
	"github.com/sojournlm/sojourn/fingerprint"
	"github.com/sojournlm/sojourn/internal/document"
	"github.com/sojournlm/sojourn/licensing"
	"github.com/sojournlm/sojourn/licensing/issuer"
	"github.com/sojournlm/sojourn/storage/memory"
	"github.com/sojournlm/sojourn/transport"
	"github.com/sojournlm/sojourn/transport/simulator"
)

const (
	demoVendor = 1368487351
	keyA       = 4006242369 // holds the pool of the API documentation's detached license
	keyB       = 1368487351 // holds those of its example of a detach, and more
)

// start is a minute before the death time in the API documentation.
var start = time.Unix(1653667658-60, 0)

// clock stands still until it is turned.
type clock struct {
	mu  sync.Mutex
	now time.Time
}

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clock) Elapsed() time.Duration { return c.Now().Sub(start) }

func (c *clock) turn(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

// machine is a computer with a manager and its handler.
type machine struct {
	*licensing.Manager
	http.Handler
	lmsID uint64
	file  licensing.Buffer // its fingerprint

	w      *world
	store  *memory.Store
	anchor *licensing.AnchorFile
	buses  []transport.Bus
}

// world is an office with two keys and a laptop, which know each other as the
// computers of the API documentation's examples.
//
// What differs from run to run, ids and files, has a fixed name: mask puts the
// names in, unmask the real ones.
type world struct {
	testing.TB
	ctx            context.Context
	clock          *clock
	vendor         ed25519.PrivateKey
	keys           map[uint64]*simulator.Key
	office, laptop *machine
	opts           Options // of the handlers
	policy         licensing.Policy
	connected      bool                                             // office and laptop reach each other
	admitted       bool                                             // and the laptop asks at the office, which knows it
	cut            atomic.Pointer[func(*document.PeerRequest) bool] // whether a message to the office is lost
	names          []name
	renamed        []name // from, to
}

// name is a fixed name of something that differs from run to run.
type name struct{ fixed, real string }

// The names of the examples. A carried file is named in base64.
var (
	officeID       = "102826192"
	laptopID       = "2957062961"
	licenseID      = "956653681540574192"
	licenseIDShort = "1833675760"
)

// fileName is the fixed name of a file.
func fileName(words string) string { return base64.StdEncoding.EncodeToString([]byte(words)) }

func newWorld(t testing.TB, prepare func(*world)) *world {
	_, vendor, err := ed25519.GenerateKey(nil)
	w := &world{
		TB: t, ctx: context.Background(), clock: &clock{now: start}, vendor: vendor,
		keys: make(map[uint64]*simulator.Key),
	}
	w.ok(err)
	if prepare != nil {
		prepare(w)
	}
	bus := simulator.New()
	for _, id := range []uint64{keyA, keyB} {
		w.keys[id], err = bus.Add(simulator.Config{
			KeyID: id, Vendor: demoVendor, VendorPublic: w.public(), Model: uint8(licensing.ModelSign),
			Manufactured: time.Unix(1600000000, 0),
		})
		w.ok(err)
	}
	w.office = w.machine("B2291-PC", bus)
	w.laptop = w.machine("GRDBENCH-01")
	w.names = append(w.names,
		name{officeID, strconv.FormatUint(w.office.lmsID, 10)},
		name{laptopID, strconv.FormatUint(w.laptop.lmsID, 10)},
		name{fileName("the fingerprint of the office"), w.office.file.String()},
		name{fileName("the fingerprint of the laptop"), w.laptop.file.String()},
	)
	for _, r := range w.renamed {
		for i := range w.names {
			if w.names[i].fixed == r.fixed {
				w.names[i].fixed = r.real
			}
		}
	}
	w.ok(w.office.Install(w.ctx, w.poolA(1), nil))
	w.ok(w.office.Install(w.ctx, w.poolB(), nil))
	w.ok(w.office.AddFingerprint(w.ctx, licensing.FingerprintFields{Fingerprint: w.laptop.file}, nil))
	if w.connected { // where it had asked before, it would know that it is not admitted until the clock is turned
		w.admitted = true
		w.ok(w.laptop.restart("GRDBENCH-01"))
	}
	return w
}

func (w *world) ok(err error) {
	if err != nil {
		w.Helper()
		w.Fatal(err)
	}
}

func (w *world) public() ed25519.PublicKey { return w.vendor.Public().(ed25519.PublicKey) }

func (w *world) machine(host string, buses ...transport.Bus) *machine {
	w.Helper()
	anchor, err := licensing.OpenAnchor(w.ctx, "")
	w.ok(err)
	m := &machine{w: w, store: memory.New(), anchor: anchor, buses: buses}
	w.ok(m.start(host))
	w.Cleanup(func() {
		if err := errors.Join(m.Close(w.ctx), m.store.Close(), anchor.Close()); err != nil {
			w.Error(err)
		}
	})
	return m
}

// start opens the manager on what is there.
func (m *machine) start(host string) (err error) {
	w := m.w
	var peers *licensing.Peers
	if w.connected {
		peers = &licensing.Peers{Exchange: w.exchange()}
		if w.admitted {
			peers.Addresses = []string{"http://office"}
		}
	}
	m.Manager, err = licensing.Open(w.ctx, m.store, m.anchor, &licensing.Options{
		Peers:   peers,
		Vendors: map[uint32]ed25519.PublicKey{demoVendor: w.public()}, Buses: m.buses, HostName: host,
		Hardware: fingerprint.Static{{Name: fingerprint.MachineComponent, Value: host}},
		Clock:    w.clock, Policy: w.policy,
	})
	if err != nil {
		return err
	}
	m.Handler = New(m.Manager, &w.opts)
	env, err := m.Environment(w.ctx)
	if err != nil {
		return err
	}
	m.lmsID, m.file = env.LMSID, env.Fingerprint
	return nil
}

// exchange carries messages to the office, through its handler.
func (w *world) exchange() func(context.Context, string, []byte) ([]byte, error) {
	exchange := Exchange(&http.Client{Transport: roundTrip(func(r *http.Request) (*http.Response, error) {
		r.Host = "127.0.0.1:3189"
		rec := httptest.NewRecorder()
		New(w.office.Manager, nil).ServeHTTP(rec, r) // what it logs is no exchange of the test
		return rec.Result(), nil
	})})
	return func(ctx context.Context, address string, message []byte) ([]byte, error) {
		request, err := document.ParsePeerRequest(message)
		if err != nil {
			return nil, err
		}
		if cut := w.cut.Load(); cut != nil && (*cut)(request) {
			return nil, errors.New("the line is dead")
		}
		return exchange(ctx, address, message)
	}
}

type roundTrip func(*http.Request) (*http.Response, error)

func (f roundTrip) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// restart ends the manager and starts it again under another host name.
func (m *machine) restart(host string) error {
	return errors.Join(m.Close(m.w.ctx), m.start(host))
}

// poolA is the pool of the detached license in the API documentation.
func (w *world) poolA(counter uint64) licensing.Buffer {
	return w.pool(keyA, counter, issuer.Product{Number: 29, Name: "test_detach_29", Features: []issuer.Feature{
		{Number: 4, Name: "test net", Seats: 5, Detachable: true, RDPForbidden: true, VMForbidden: true},
		{Number: 5, Name: "Größe", Seats: 5, Detachable: true},
	}})
}

func (w *world) poolB() licensing.Buffer {
	return w.pool(keyB, 1,
		issuer.Product{Number: 4, Name: "Player", Features: []issuer.Feature{
			{Number: 1, Name: "play", Seats: 2, Detachable: true, Consumption: issuer.PerProcess},
		}},
		issuer.Product{Number: 16, Name: "Editor", Features: []issuer.Feature{
			{Number: 2, Name: "edit", Seats: 3, Detachable: true, ValidUpTo: start.Add(100 * 24 * time.Hour)},
			{Number: 3, Name: "fixed", Seats: 3},
			{Number: 7, Name: "over", Seats: 3, Detachable: true, ValidUpTo: start.Add(-time.Hour)},
		}},
		issuer.Product{Number: 17, Modification: 1, Name: "Twin", Features: []issuer.Feature{{Number: 1, Name: "first", Seats: 1, Detachable: true}}},
		issuer.Product{Number: 17, Modification: 2, Name: "Twin", Features: []issuer.Feature{{Number: 1, Name: "second", Seats: 1, Detachable: true}}},
	)
}

func (w *world) pool(key uint32, counter uint64, products ...issuer.Product) licensing.Buffer {
	w.Helper()
	file, err := issuer.Sign(w.vendor, issuer.Pool{
		Key: key, KeyPublic: w.keys[uint64(key)].Public(), Vendor: demoVendor, Counter: counter, Issued: start, Products: products,
	})
	w.ok(err)
	return file
}

// detached detaches the license of the examples to a computer, and names it.
func (w *world) detached(to *machine) *licensing.Detached {
	w.Helper()
	out, err := w.office.Detach(w.ctx, licensing.DetachRequest{
		Offline: true, Recipient: to.lmsID, Key: keyA, Duration: time.Minute,
		Features: []licensing.Selector{{ProductNumber: 29, FeatureNumber: 4}},
	}, nil)
	w.ok(err)
	w.names = append(w.names,
		name{licenseID, strconv.FormatUint(out.LicenseID, 10)},
		name{licenseIDShort, strconv.FormatUint(uint64(uint32(out.LicenseID)), 10)},
		name{fileName("a license"), out.License.String()})
	return out
}

// installed is detached, and installs it on the laptop.
func (w *world) installed() {
	w.Helper()
	w.ok(w.laptop.Install(w.ctx, w.detached(w.laptop).License, nil))
}

// cancelled is installed, and gives it back there.
func (w *world) cancelled() {
	w.Helper()
	out := w.detached(w.laptop)
	w.ok(w.laptop.Install(w.ctx, out.License, nil))
	back, err := w.laptop.CancelDetach(w.ctx, licensing.CancelRequest{Offline: true, License: out.LicenseID}, nil)
	w.ok(err)
	w.names = append(w.names, name{fileName("a return"), back.Return.String()})
}

// connect makes office and laptop reach each other.
func connect(w *world) { w.connected = true }

// cutOff loses the messages to the office from now on, all or those that are
// about a detach or a return.
func (w *world) cutOff(all bool) {
	w.Helper()
	cut := func(r *document.PeerRequest) bool { return all || r.Verb > 1 }
	w.cut.Store(&cut)
}

// borrowed gets the license of the examples online.
func (w *world) borrowed() *licensing.Detached {
	w.Helper()
	out, err := w.laptop.Detach(w.ctx, licensing.DetachRequest{
		Recipient: w.laptop.lmsID, Key: keyA, Duration: time.Minute,
		Features: []licensing.Selector{{ProductNumber: 29, FeatureNumber: 4}},
	}, nil)
	w.ok(err)
	w.names = append(w.names,
		name{licenseID, strconv.FormatUint(out.LicenseID, 10)},
		name{licenseIDShort, strconv.FormatUint(uint64(uint32(out.LicenseID)), 10)})
	return out
}

// nameIntents names what is pending at the laptop.
func (w *world) nameIntents() {
	w.Helper()
	list, err := w.laptop.Intents(w.ctx, licensing.Page{})
	w.ok(err)
	for i := range list.All() {
		w.names = append(w.names, name{"1234567890123456", strconv.FormatUint(i.ID, 10)})
	}
}

// silence cuts the office off and waits until the laptop has noticed.
func (w *world) silence() {
	w.Helper()
	_, err := w.laptop.Keys(w.ctx, licensing.Filter{}) // it answers once
	w.ok(err)
	w.clock.turn(2 * time.Second) // what it knows is too old for a list, which asks again
	w.cutOff(true)
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(10 * time.Millisecond) { // if an answer was on its way, it asks by itself
		_, err := w.laptop.Keys(w.ctx, licensing.Filter{})
		w.ok(err)
		list, err := w.laptop.Fingerprints(w.ctx, "B2291", licensing.Page{})
		w.ok(err)
		for c := range list.All() {
			if !c.Silent.IsZero() {
				return
			}
		}
		if time.Now().After(deadline) {
			w.Fatal("the laptop never noticed that the office is silent")
		}
	}
}

// unmask puts the real ids and files into a text.
func (w *world) unmask(text string) string {
	for _, n := range w.names {
		text = strings.ReplaceAll(text, n.fixed, n.real)
	}
	return text
}

var (
	digits  = regexp.MustCompile(`\d{5,}`)
	carried = regexp.MustCompile(`"[A-Za-z0-9+/=]{80,}"`)
)

// mask puts fixed names into a text.
func (w *world) mask(text string) string {
	text = carried.ReplaceAllStringFunc(text, func(quoted string) string {
		real := strings.Trim(quoted, `"`)
		for _, n := range w.names {
			if n.real == real {
				return `"` + n.fixed + `"`
			}
		}
		var file licensing.Buffer
		w.ok(file.UnmarshalText([]byte(real)))
		info, err := detach.Inspect(file)
		if _, message := document.ParsePeerRequest(file); message == nil || err != nil {
			return `"` + fileName("a message of a manager, which nobody can read as anything else") + `"`
		}
		return `"` + fileName("a new "+info.Kind.String()) + `"`
	})
	return digits.ReplaceAllStringFunc(text, func(real string) string {
		for _, n := range w.names {
			if n.real == real {
				return n.fixed
			}
		}
		return real
	})
}

// ask sends a request to a machine and gives the answer.
func (m *machine) ask(method, target, body string, header ...string) *http.Response {
	r := httptest.NewRequest(method, target, strings.NewReader(body))
	r.Host = "127.0.0.1:3189"
	if body == "" {
		r.Body, r.ContentLength = http.NoBody, 0
	} else {
		r.Header.Set("Content-Type", "application/json")
	}
	for i := 0; i < len(header); i += 2 {
		switch value := header[i+1]; header[i] {
		case "Host":
			r.Host = value
		case "Content-Length":
			r.ContentLength, _ = strconv.ParseInt(value, 10, 64)
		default:
			r.Header.Set(header[i], value)
		}
	}
	rec := httptest.NewRecorder()
	m.ServeHTTP(rec, r)
	return rec.Result()
}

// recorder is a response writer with nothing optional about it.
type recorder struct {
	header http.Header
	code   int
	body   strings.Builder
}

func newRecorder() *recorder { return &recorder{header: make(http.Header), code: http.StatusOK} }

func (r *recorder) Header() http.Header         { return r.header }
func (r *recorder) WriteHeader(status int)      { r.code = status }
func (r *recorder) Write(b []byte) (int, error) { return r.body.Write(b) }
