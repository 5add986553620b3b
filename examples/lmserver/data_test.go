package main

import (
	"errors"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/sojournlm/sojourn/storage"
	"github.com/sojournlm/sojourn/storage/badgerstore"
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

// TestLost: what is missing is named before anything is made in its place.
func TestLost(t *testing.T) {
	t.Parallel()
	needSIGTERM(t)
	dir := t.TempDir()
	args := []string{"-listen", "127.0.0.1:0", "-data", dir, "-simulate", "pools.json"}
	launch(t, args[2:]...).stop(t)
	for lost, want := range map[string]string{
		"store":             "bring the newest store back",
		"keys":              "bring " + filepath.Join(dir, "keys") + " back as it was last",
		"keys/anchor":       "bring " + filepath.Join(dir, "keys") + " back as it was last",
		"keys/EECA6841.key": "simulated key 4006242369: its memory",
	} {
		path, away := filepath.Join(dir, filepath.FromSlash(lost)), filepath.Join(t.TempDir(), "away")
		if err := os.Rename(path, away); err != nil {
			t.Fatal(err)
		}
		for range 2 { // it does not go away by itself
			if log := refused(t, args...); !strings.Contains(log, want) {
				t.Errorf("without %s it says:\n%s", lost, log)
			}
		}
		os.RemoveAll(path)
		if err := os.Rename(away, path); err != nil {
			t.Fatal(err)
		}
		office := launch(t, args[2:]...)
		if got := office.free(t); got != 3 {
			t.Errorf("with %s back, %d seats are free", lost, got)
		}
		office.stop(t)
	}
}

// TestVerify: an operator hears whether what is stored adds up.
func TestVerify(t *testing.T) {
	t.Parallel()
	needSIGTERM(t)
	dir := t.TempDir()
	office := launch(t, "-data", dir, "-simulate", "pools.json")
	office.detach(t, launch(t))
	office.stop(t)
	verify := func(args ...string) (string, error) {
		out, err := exec.Command(program, append([]string{"-data", dir, "-verify"}, args...)...).CombinedOutput()
		return string(out), err
	}
	if out, err := verify("-simulate", "pools.json"); err != nil || !strings.Contains(out, "verified: ledgers 5, ") || strings.Contains(out, "not gone through") {
		t.Errorf("%v\n%s", err, out)
	}
	if out, err := verify(); err != nil || !strings.Contains(out, "verified: ledgers 1, ") || strings.Count(out, "not gone through: the pool of key ") != 4 {
		t.Errorf("without keys: %v\n%s", err, out)
	}
	before, err := filepath.Glob(filepath.Join(dir, "keys", "*"))
	if err != nil {
		t.Fatal(err)
	}
	if out, err := verify("-simulate", pools(t, `"dongleId": 4006242369`, `"dongleId": 7`)); err != nil || strings.Count(out, "not gone through") != 1 {
		t.Errorf("with another key: %v\n%s", err, out)
	}
	if after, _ := filepath.Glob(filepath.Join(dir, "keys", "*")); !slices.Equal(after, before) {
		t.Errorf("verify has made %v of %v", after, before)
	}
	store, err := badgerstore.Open(filepath.Join(dir, "store"), nil)
	if err != nil {
		t.Fatal(err)
	}
	err = store.Update(t.Context(), func(w storage.Writer) error {
		const batch = "pool/eeca6841/b/0000000000000001"
		value, err := w.Get(batch)
		if err != nil {
			return err
		}
		value[len(value)/2] ^= 1
		return w.Put(batch, value)
	})
	if err := errors.Join(err, store.Close()); err != nil {
		t.Fatal(err)
	}
	out, err := verify("-simulate", "pools.json")
	if exit, ok := errors.AsType[*exec.ExitError](err); !ok || exit.ExitCode() != 1 || !strings.Contains(out, "pool/eeca6841") || !strings.Contains(out, "batch 1") {
		t.Errorf("of a damaged store: %v\n%s", err, out)
	}
	if out, err := verify("-data", t.TempDir()); err == nil || !strings.Contains(out, "is empty or does not exist") {
		t.Errorf("of an empty directory: %v\n%s", err, out)
	}
}
