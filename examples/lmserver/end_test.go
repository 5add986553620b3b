package main

import (
	"bufio"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/sojournlm/sojourn/fingerprint"
	"github.com/sojournlm/sojourn/licensing"
	"github.com/sojournlm/sojourn/storage/memory"
)

// recipients are computers that seats can be detached to.
func recipients(t *testing.T, n int) (all []computer) {
	t.Helper()
	for i := range n {
		name := fmt.Sprintf("LAPTOP-%d", i)
		anchor, err := licensing.OpenAnchor(t.Context(), "")
		if err != nil {
			t.Fatal(err)
		}
		m, err := licensing.Open(t.Context(), memory.New(), anchor, &licensing.Options{
			HostName: name, Hardware: fingerprint.Static{{Name: fingerprint.MachineComponent, Value: name}},
		})
		if err != nil {
			t.Fatal(err)
		}
		env, err := m.Environment(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, computer{LMSID: fmt.Sprint(env.LMSID), HostName: name, Fingerprint: env.Fingerprint.String()})
	}
	return all
}

// wide writes a description of the seed's key with many features of so many seats.
func wide(t *testing.T, features, seats int) (file string) {
	t.Helper()
	var list []string
	for i := range features {
		list = append(list, fmt.Sprintf(`{"featureNumber": %d, "name": "f%[1]d", "maxConcurrentResource": %d, "flags": {"isDetachable": true}}`, i+1, seats))
	}
	file = filepath.Join(t.TempDir(), "wide.json")
	text := fmt.Sprintf(`[{"dongleId": %d, "vendor": {"publicCode": %d}, "products": [{"productNumber": %d, "name": "wide", "features": [%s]}]}]`,
		seedKey, demoVendor, seedProduct, strings.Join(list, ","))
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

// out is a seat that is away.
type out struct {
	host    string
	feature uint32
}

// load is clients that detach seats as fast as they can.
type load struct {
	features uint32
	laptops  []computer

	mu                  sync.Mutex
	asked, acknowledged map[out]bool
}

// run detaches every feature for every laptop until the server is gone. enough
// is closed when so many have their seats.
func (l *load) run(t *testing.T, office *process, so int, enough chan<- struct{}) {
	var working sync.WaitGroup
	for _, laptop := range l.laptops {
		working.Go(func() {
			for feature := uint32(1); feature <= l.features; feature++ {
				seat := seat(laptop.LMSID)
				seat["productFeatures"] = []object{{"productNumber": seedProduct, "featureNumber": feature}}
				l.mu.Lock()
				l.asked[out{laptop.HostName, feature}] = true
				l.mu.Unlock()
				status, body, err := office.call("POST", api+"/detach", seat)
				if err != nil {
					return // it is gone
				}
				if status != http.StatusOK {
					t.Errorf("detach: %d %s", status, body)
					return
				}
				l.mu.Lock()
				l.acknowledged[out{laptop.HostName, feature}] = true
				if len(l.acknowledged) == so {
					close(enough)
				}
				l.mu.Unlock()
			}
		})
	}
	working.Wait()
}

// away gives the seats that are out, and checks that they are those the pool
// counts.
func (p *process) away(t *testing.T) map[out]bool {
	t.Helper()
	there := make(map[out]bool)
	count := make(map[uint32]int)
	for _, l := range p.do(t, "GET", "/detached/products/features", nil).DetachedLicenses {
		feature := l.Products[0].Features[0].FeatureNumber
		there[out{l.HostName, feature}] = true
		count[feature]++
	}
	for _, f := range p.do(t, "GET", "/features", nil).Features {
		if f.DetachedResource != count[f.FeatureNumber] || f.FloatingResource+f.DetachedResource != f.MaxConcurrentResource {
			t.Errorf("feature %+v, with %d licenses out", f, count[f.FeatureNumber])
		}
	}
	return there
}

// interrupt runs a server under load, ends it in the middle, and gives what was
// asked for, what was acknowledged, and what is there when it is back.
func interrupt(t *testing.T, end func(*process)) (l *load, there map[out]bool) {
	t.Helper()
	l = &load{features: 100, laptops: recipients(t, 8), asked: make(map[out]bool), acknowledged: make(map[out]bool)}
	args := []string{"-data", t.TempDir(), "-simulate", wide(t, int(l.features), 100)}
	office := launch(t, args...)
	for _, laptop := range l.laptops {
		office.do(t, "POST", "/fingerprints", object{"fingerprint": laptop.Fingerprint})
	}
	enough, over := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(over)
		l.run(t, office, 150, enough)
	}()
	select {
	case <-enough:
	case <-over: // with an error
	}
	end(office)
	<-over
	if len(l.acknowledged) == len(l.laptops)*int(l.features) {
		t.Log("it ended only after the work was done")
	}
	office = launch(t, args...)
	defer office.stop(t)
	if status, text := office.page(t, "/readyz"); status != http.StatusOK {
		t.Errorf("/readyz when it is back: %d %s", status, text)
	}
	return l, office.away(t)
}

// TestKill: a process that is killed in the middle of its work has everything it
// acknowledged when it is back, and no seat is lost or minted.
func TestKill(t *testing.T) {
	t.Parallel()
	l, there := interrupt(t, (*process).kill)
	for o := range l.acknowledged {
		if !there[o] {
			t.Errorf("feature %d was detached for %s, and is not", o.feature, o.host)
		}
	}
	for o := range there {
		if !l.asked[o] {
			t.Errorf("feature %d is detached for %s, which did not ask", o.feature, o.host)
		}
	}
}

// TestTerminate: a process that is told to end leaves nobody in doubt: exactly
// what it acknowledged has happened.
func TestTerminate(t *testing.T) {
	t.Parallel()
	needSIGTERM(t)
	l, there := interrupt(t, func(p *process) { p.stop(t) })
	if diff := cmp.Diff(l.acknowledged, there, cmp.AllowUnexported(out{})); diff != "" {
		t.Errorf("(-acknowledged +there):\n%s", diff)
	}
}

// hold begins a request that is under way until its body is sent on the
// connection. The answer comes on the reader.
func (p *process) hold(t *testing.T, body string) (net.Conn, *bufio.Reader) {
	t.Helper()
	conn, err := net.Dial("tcp", strings.TrimPrefix(p.url, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	fmt.Fprintf(conn, "POST %s/canceldetach HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"+
		"Content-Length: %d\r\nExpect: 100-continue\r\n\r\n", api, len(body))
	answers := bufio.NewReader(conn)
	resp, err := http.ReadResponse(answers, nil)
	if err != nil || resp.StatusCode != http.StatusContinue {
		t.Fatalf("%v %v, want status 100", resp, err)
	}
	return conn, answers
}

// TestDrain: a request under way gets its answer after SIGTERM, and then all is
// closed.
func TestDrain(t *testing.T) {
	t.Parallel()
	needSIGTERM(t)
	office := launch(t, "-data", t.TempDir(), "-simulate", "pools.json")
	const body = `{"offline": true, "dongleId": 12345}`
	conn, answers := office.hold(t, body)
	office.signal(t)
	office.log.await(t, "requests under way are finished first")
	fmt.Fprint(conn, body)
	resp, err := http.ReadResponse(answers, nil)
	if err != nil || resp.StatusCode != http.StatusNotFound {
		t.Errorf("the request under way got %v %v, want status 404", resp, err)
	}
	office.wait(t)
	office.log.await(t, "msg=closed")
}

// TestStuck: a client that never sends its request does not keep the server.
func TestStuck(t *testing.T) {
	t.Parallel()
	needSIGTERM(t)
	office := launch(t, "-data", t.TempDir())
	office.hold(t, "never sent")
	office.signal(t)
	office.wait(t)
	office.log.await(t, "given up")
	office.log.await(t, "msg=closed")
}

func needSIGTERM(t *testing.T) {
	t.Helper()
	if runtime.GOOS == "windows" {
		t.Skip("there is no SIGTERM")
	}
}
