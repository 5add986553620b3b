package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"os/exec"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/sojournlm/sojourn/internal/netlab"
)

// patience is how long a test waits for what comes by itself: managers look for
// each other every 5 s, and for one that is silent every 9 s.
const patience = 90 * time.Second

// machine is a computer of a lab that runs an lmserver, again and again.
type machine struct {
	*process
	t      *testing.T
	host   *netlab.Host
	client *http.Client
	args   []string
	flags  []string // that it runs with just now, besides

	restarts int
}

// newMachine starts an lmserver on a host and keeps its data there. Unless the
// arguments say where it listens, only the host itself reaches it.
func newMachine(t *testing.T, host *netlab.Host, args ...string) *machine {
	t.Helper()
	m := &machine{t: t, host: host, client: clientOn(t, host)}
	m.args = append([]string{"-listen", "127.0.0.1:0", "-host", host.Name(), "-data", t.TempDir()}, args...)
	if err := m.start(); err != nil {
		t.Fatal(err)
	}
	return m
}

// clientOn is a client whose connections are the host's. None outlives its request.
func clientOn(t *testing.T, host *netlab.Host) *http.Client {
	transport := &http.Transport{DialContext: host.DialContext, DisableKeepAlives: true}
	t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport}
}

// open lets everybody reach a machine of a lab, at a port of its own.
func open(host *netlab.Host) []string {
	return []string{"-listen", net.JoinHostPort(host.Addr().String(), "3189"), "-insecure"}
}

// start runs the machine's lmserver, with more flags for this run.
func (m *machine) start(flags ...string) error {
	cmd := m.host.Command(context.Background(), program, append(slices.Clone(m.args), flags...)...)
	p, err := start(m.t, cmd, m.client)
	if err == nil {
		m.process, m.flags = p, flags
	}
	return err
}

// again runs it once more as it ran last.
func (m *machine) again(t *testing.T) {
	t.Helper()
	if err := m.start(m.flags...); err != nil {
		t.Fatal(err)
	}
	m.restarts++
}

// suspend stops the process in its tracks, and resume lets it go on.
func (m *machine) suspend() { m.tell("-STOP") }
func (m *machine) resume()  { m.tell("-CONT") }

// tell sends its process a signal that not every system has.
func (m *machine) tell(signal string) {
	if out, err := exec.Command("kill", signal, strconv.Itoa(m.cmd.Process.Pid)).CombinedOutput(); err != nil {
		m.t.Errorf("kill %s: %v: %s", signal, err, out)
	}
}

// dead reports whether its process has ended.
func (m *machine) dead() bool { return m.cmd.ProcessState != nil }

// admit lets another machine take seats here.
func (m *machine) admit(t *testing.T, other *machine) {
	t.Helper()
	m.do(t, "POST", "/fingerprints", object{"fingerprint": other.environment(t).Fingerprint})
}

func (m *machine) environment(t *testing.T) computer {
	t.Helper()
	return m.do(t, "GET", "/environment", nil).Environment
}

// await asks again and again until something holds.
func await(t *testing.T, what string, holds func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); !holds(); time.Sleep(200 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("it does not come to this: %s", what)
		}
	}
}

// sees reports whether a machine sees a key elsewhere that can be used.
func (m *machine) sees(t *testing.T, key uint64) bool {
	t.Helper()
	for _, d := range m.do(t, "GET", "/dongles", nil).Dongles {
		if d.DongleID == key && d.Flags.Remote && !d.Flags.Inaccessible {
			return true
		}
	}
	return false
}

// knows gives what a machine shows of another one, nil where it does not know it.
func (m *machine) knows(t *testing.T, hostName string) *computer {
	t.Helper()
	list := m.do(t, "GET", "/fingerprints", nil).Fingerprints
	at := slices.IndexFunc(list, func(c computer) bool { return c.HostName == hostName })
	if at < 0 {
		return nil
	}
	return &list[at]
}

// reply is what somebody who asked for a change was told.
type reply struct {
	answer
	status int // 0: nothing was told
	err    error
	took   time.Duration
}

func (r reply) String() string {
	if r.status == 0 {
		return fmt.Sprintf("no answer after %v: %v", r.took, r.err)
	}
	return fmt.Sprintf("%d after %v: %+v", r.status, r.took, r.Error)
}

// change asks for a change under a request key, or none, and waits so long.
func (m *machine) change(path string, body object, key string, wait time.Duration) (r reply) {
	ctx, cancel := context.WithTimeout(context.Background(), wait)
	defer cancel()
	var header []string
	if key != "" {
		header = []string{"Idempotency-Key", key}
	}
	begin := time.Now()
	resp, content, err := m.ask(ctx, "POST", api+path, body, header...)
	r.took = time.Since(begin)
	if err == nil {
		r.status, err = resp.StatusCode, json.Unmarshal(content, &r.answer)
	}
	r.err = err
	return r
}

// online asks for a seat of a feature of the seed's key, for the machine itself and
// for a month: each time its lmserver is killed it takes ten minutes for gone.
func (m *machine) online(lmsID string, feature uint32) object {
	request := seat(lmsID)
	request["offline"], request["durationInSec"] = false, 30*24*3600
	request["productFeatures"] = []object{{"productNumber": seedProduct, "featureNumber": feature}}
	return request
}

// here gives the id by which a license for a feature is installed on a machine, 0
// for none.
func (m *machine) here(t *testing.T, feature uint32) uint64 {
	t.Helper()
	for _, f := range m.do(t, "GET", fmt.Sprintf("/features?feature=%d", feature), nil).Features {
		if !f.Flags.Remote && f.DongleID != seedKey {
			return f.DongleID
		}
	}
	return 0
}

// pool is where the seats of a feature of the seed's key are, as its manager says.
type pool struct{ free, away, max, licenses int }

// pool gives the pool of a feature. The two lists are read one after the other, so
// they are one picture only while nothing changes.
func (m *machine) pool(t *testing.T, feature uint32) (p pool) {
	t.Helper()
	for _, f := range m.do(t, "GET", fmt.Sprintf("/features?dongle=%d&feature=%d", seedKey, feature), nil).Features {
		p = pool{free: f.FloatingResource, away: f.DetachedResource, max: f.MaxConcurrentResource}
	}
	if p.free+p.away != p.max || p.max == 0 {
		t.Errorf("feature %d: %d seats are free and %d away of %d", feature, p.free, p.away, p.max)
	}
	for _, l := range m.do(t, "GET", "/detached/products/features", nil).DetachedLicenses {
		if l.Products[0].Features[0].FeatureNumber == feature {
			p.licenses++
		}
	}
	return p
}

func (m *machine) pending(t *testing.T) bool {
	t.Helper()
	return len(m.do(t, "GET", "/intents", nil).Intents) > 0
}
