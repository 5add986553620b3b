package main

import (
	"bufio"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/sojournlm/sojourn/fingerprint"
	"github.com/sojournlm/sojourn/licensing"
	"github.com/sojournlm/sojourn/storage/memory"
)

// The key of the API's own example of a detached license.
const (
	seedKey     = 4006242369
	seedProduct = 29
	seedFeature = 4
)

type object map[string]any

// seat is a request for a seat of the seed's key.
func seat(lmsID string) object {
	return object{
		"offline": true, "lmsId": lmsID, "dongleId": seedKey, "durationInSec": 3600,
		"productFeatures": []object{{"productNumber": seedProduct, "featureNumber": seedFeature}},
	}
}

// free gives the seats of the seed's key that are free.
func (p *process) free(t *testing.T) int {
	t.Helper()
	features := p.do(t, "GET", fmt.Sprintf("/features?dongle=%d", seedKey), nil).Features
	if len(features) != 1 {
		t.Fatalf("key %d has %d features", seedKey, len(features))
	}
	return features[0].FloatingResource
}

// detach detaches a seat for the laptop and gives the file.
func (p *process) detach(t *testing.T, laptop *process) string {
	t.Helper()
	env := laptop.do(t, "GET", "/environment", nil).Environment
	p.do(t, "POST", "/fingerprints", object{"fingerprint": env.Fingerprint})
	return p.do(t, "POST", "/detach", seat(env.LMSID)).License
}

func TestRoundTrip(t *testing.T) {
	t.Parallel()
	office := launch(t, "-data", t.TempDir(), "-simulate", "pools.json", "-host", "OFFICE")
	laptop := launch(t, "-data", t.TempDir(), "-host", "LAPTOP")
	if office.free(t) != 3 {
		t.Fatalf("%d seats are free, want 3", office.free(t))
	}
	file := office.detach(t, laptop)
	if office.free(t) != 2 {
		t.Errorf("with one seat out %d are free, want 2", office.free(t))
	}
	out := office.do(t, "GET", "/detached/products/features", nil).DetachedLicenses
	if len(out) != 1 || out[0].HostName != "LAPTOP" {
		t.Errorf("detached are %+v", out)
	}
	laptop.do(t, "POST", "/install", object{"license": file})
	back := laptop.do(t, "POST", "/canceldetach", object{"offline": true, "dongleId": seedKey}).License
	laptop.stop(t)
	office.do(t, "POST", "/install", object{"license": back})
	if office.free(t) != 3 {
		t.Errorf("after the return %d seats are free, want 3", office.free(t))
	}
	office.stop(t)
}

func TestCurl(t *testing.T) {
	t.Parallel()
	for _, tool := range []string{"bash", "curl", "mkfifo"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Skip(err)
		}
	}
	script := exec.Command("bash", "roundtrip.sh", program)
	script.Env = append(os.Environ(), "OFFICE_ADDR=127.0.0.1:0", "LAPTOP_ADDR=127.0.0.1:0")
	out, err := script.CombinedOutput()
	if err != nil || !strings.HasSuffix(string(out), "the seat is home\n") {
		t.Errorf("%v\n%s", err, out)
	}
}

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
		all = append(all, computer{fmt.Sprint(env.LMSID), name, env.Fingerprint.String()})
	}
	return all
}

// wide writes a description of the seed's key with many features.
func wide(t *testing.T, features int) (file string) {
	t.Helper()
	var list []string
	for i := range features {
		list = append(list, fmt.Sprintf(`{"featureNumber": %d, "name": "f%[1]d", "maxConcurrentResource": 100, "flags": {"isDetachable": true}}`, i+1))
	}
	file = filepath.Join(t.TempDir(), "wide.json")
	text := fmt.Sprintf(`[{"dongleId": %d, "vendor": {"publicCode": %d}, "products": [{"productNumber": %d, "name": "wide", "features": [%s]}]}]`,
		seedKey, demoVendor, seedProduct, strings.Join(list, ","))
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

// TestKill: a process that is killed in the middle of its work has everything it
// acknowledged when it is back, and no seat is lost or minted.
func TestKill(t *testing.T) {
	t.Parallel()
	const features, workers = 100, 8
	args := []string{"-data", t.TempDir(), "-simulate", wide(t, features)}
	office := launch(t, args...)
	laptops := recipients(t, workers)
	for _, l := range laptops {
		office.do(t, "POST", "/fingerprints", object{"fingerprint": l.Fingerprint})
	}

	type out struct {
		host    string
		feature uint32
	}
	var mu sync.Mutex
	asked, acknowledged := make(map[out]bool), make(map[out]bool)
	var done atomic.Int32
	enough := make(chan struct{})
	var working sync.WaitGroup
	for _, l := range laptops {
		working.Go(func() {
			for feature := uint32(1); feature <= features; feature++ {
				request := seat(l.LMSID)
				request["productFeatures"] = []object{{"productNumber": seedProduct, "featureNumber": feature}}
				mu.Lock()
				asked[out{l.HostName, feature}] = true
				mu.Unlock()
				status, body, err := office.call("POST", api+"/detach", request)
				if err != nil {
					return // killed
				}
				if status != http.StatusOK {
					t.Errorf("detach: %d %s", status, body)
					return
				}
				mu.Lock()
				acknowledged[out{l.HostName, feature}] = true
				mu.Unlock()
				if done.Add(1) == 150 {
					close(enough)
				}
			}
		})
	}
	<-enough
	office.kill()
	working.Wait()

	office = launch(t, args...)
	there := make(map[out]bool)
	away := make(map[uint32]int)
	for _, l := range office.do(t, "GET", "/detached/products/features", nil).DetachedLicenses {
		feature := l.Products[0].Features[0].FeatureNumber
		there[out{l.HostName, feature}] = true
		away[feature]++
	}
	for o := range acknowledged {
		if !there[o] {
			t.Errorf("feature %d was detached for %s, and is not", o.feature, o.host)
		}
	}
	for o := range there {
		if !asked[o] {
			t.Errorf("feature %d is detached for %s, which did not ask", o.feature, o.host)
		}
	}
	for _, f := range office.do(t, "GET", "/features", nil).Features {
		if f.DetachedResource != away[f.FeatureNumber] || f.FloatingResource+f.DetachedResource != f.MaxConcurrentResource {
			t.Errorf("feature %+v, with %d licenses out", f, away[f.FeatureNumber])
		}
	}
	if status, text := office.page(t, "/readyz"); status != http.StatusOK {
		t.Errorf("/readyz after the crash: %d %s", status, text)
	}
	office.stop(t)
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

func TestLocked(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	launch(t, "-data", dir)
	log := refused(t, "-listen", "127.0.0.1:0", "-data", dir)
	if !strings.Contains(log, "-data "+dir+" is in use by another process") {
		t.Errorf("the log does not say that the directory is in use:\n%s", log)
	}
}

// TestYesterday: a store put back to an earlier state, while the keys' directory
// is what it was, can be read and changes nothing.
func TestYesterday(t *testing.T) {
	t.Parallel()
	needSIGTERM(t)
	dir := t.TempDir()
	args := []string{"-data", dir, "-simulate", "pools.json"}
	laptop := launch(t, "-data", t.TempDir())
	env := laptop.do(t, "GET", "/environment", nil).Environment
	office := launch(t, args...)
	office.do(t, "POST", "/fingerprints", object{"fingerprint": env.Fingerprint})
	office.stop(t)
	store, yesterday := filepath.Join(dir, "store"), filepath.Join(t.TempDir(), "yesterday")
	if err := os.CopyFS(yesterday, os.DirFS(store)); err != nil {
		t.Fatal(err)
	}
	office = launch(t, args...)
	file := office.do(t, "POST", "/detach", seat(env.LMSID)).License
	office.stop(t)
	if err := os.RemoveAll(store); err != nil {
		t.Fatal(err)
	}
	if err := os.CopyFS(store, os.DirFS(yesterday)); err != nil {
		t.Fatal(err)
	}

	// The description has changed too: that is no reason not to serve.
	office = launch(t, "-data", dir, "-simulate", pools(t, `"maxConcurrentResource": 3,`, `"maxConcurrentResource": 9,`))
	office.log.await(t, "cannot be updated")
	for _, change := range []struct {
		method, path string
		body         object
	}{
		{"POST", "/detach", seat(env.LMSID)},
		{"POST", "/canceldetach", object{"offline": true, "dongleId": seedKey}},
		{"POST", "/install", object{"license": file}},
		{"POST", "/fingerprints", object{"fingerprint": env.Fingerprint}},
		{"PUT", "/fingerprints", object{"lmsId": env.LMSID, "hostName": "OTHER"}},
		{"DELETE", "/fingerprints", object{"lmsId": env.LMSID}},
		{"DELETE", "/cancelled/licenses", object{"licenseId": 4294967297}},
	} {
		message := office.fail(t, change.method, change.path, change.body, http.StatusServiceUnavailable, 46)
		if !strings.Contains(message, "backup was put back") {
			t.Errorf("%s %s says %q", change.method, change.path, message)
		}
	}
	for _, path := range []string{
		"/features", "/dongles", "/dongles/products/features", "/detached/products/features",
		"/cancelled/licenses", "/fingerprints", "/environment",
	} {
		office.do(t, "GET", path, nil)
	}
	if status, text := office.page(t, "/readyz"); status != http.StatusServiceUnavailable || !strings.Contains(text, "not ready: the license manager") {
		t.Errorf("/readyz: %d %s", status, text)
	}
	if status, _ := office.page(t, "/healthz"); status != http.StatusOK {
		t.Errorf("/healthz: %d", status)
	}
	if _, text := office.page(t, "/metrics"); !strings.Contains(text, "\nsojourn_ready 0\n") {
		t.Error("the metrics do not say that it is not ready")
	}
	office.log.await(t, "nothing is changed or granted")
	office.stop(t)
}

// pools writes pools.json with another text in place of one.
func pools(t *testing.T, old, new string) (file string) {
	t.Helper()
	text, err := os.ReadFile("pools.json")
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(text), old) {
		t.Fatalf("pools.json has no %q", old)
	}
	file = filepath.Join(t.TempDir(), "pools.json")
	if err := os.WriteFile(file, []byte(strings.Replace(string(text), old, new, 1)), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

// TestPoolUpdate: a changed description becomes an update of that key's pool
// alone, an unchanged one is not signed again, and the seats that are out stay
// out.
func TestPoolUpdate(t *testing.T) {
	t.Parallel()
	needSIGTERM(t)
	dir := t.TempDir()
	laptop := launch(t)
	counters := func() map[string]uint64 {
		files, err := filepath.Glob(filepath.Join(dir, "keys", "*.json"))
		if err != nil {
			t.Fatal(err)
		}
		got := make(map[string]uint64)
		for _, file := range files {
			got[strings.TrimSuffix(filepath.Base(file), ".json")] = readRecord(t, file).Counter
		}
		return got
	}
	want := map[string]uint64{"519175B7": 1, "B563B801": 1, "B64CE29E": 1, "EECA6841": 1}
	start := func(file string, updates, free int) *process {
		t.Helper()
		office := launch(t, "-data", dir, "-simulate", file)
		office.log.await(t, "the license manager is open")
		if n := strings.Count(office.log.String(), "was updated"); n != updates {
			t.Errorf("%d pools were updated, want %d", n, updates)
		}
		if diff := cmp.Diff(want, counters()); diff != "" {
			t.Errorf("counters (-want +got):\n%s", diff)
		}
		if got := office.free(t); got != free {
			t.Errorf("%d seats are free, want %d", got, free)
		}
		return office
	}
	start("pools.json", 4, 3).stop(t)
	office := start("pools.json", 0, 3)
	office.detach(t, laptop)
	office.stop(t)
	changed := pools(t, `"maxConcurrentResource": 3,`, `"maxConcurrentResource": 5,`)
	want["EECA6841"]++
	start(changed, 1, 4).stop(t)
	start(changed, 0, 4).stop(t)
	want["EECA6841"]++
	start("pools.json", 1, 2).stop(t)
	// A record that is lost costs an update, and nothing else.
	if err := os.Remove(filepath.Join(dir, "keys", "EECA6841.json")); err != nil {
		t.Fatal(err)
	}
	want["EECA6841"]++
	start("pools.json", 1, 2).stop(t)

	log := refused(t, "-listen", "127.0.0.1:0", "-data", dir, "-simulate", pools(t, `"dongleModel": 2`, `"dongleModel": 5`))
	if !strings.Contains(log, "dongleModel is 5, but the key was made with model 2") {
		t.Errorf("another model for a key that is there:\n%s", log)
	}
}
