package main

import (
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

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
	office.log.await(t, "changes and grants nothing")
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
	// Without its description a key is pulled out, which is no reason not to be
	// ready.
	office = launch(t, "-data", dir)
	if got := office.free(t); got != 2 {
		t.Errorf("without the key %d seats are shown as free, want 2", got)
	}
	if status, text := office.page(t, "/readyz"); status != http.StatusOK {
		t.Errorf("/readyz without keys: %d %s", status, text)
	}
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
