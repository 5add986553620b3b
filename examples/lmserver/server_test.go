package main

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"strings"
	"testing"
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
	for _, tool := range []string{"bash", "curl", "mktemp"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Skip(err)
		}
	}
	for range 5 {
		script := exec.Command("bash", "roundtrip.sh")
		script.Env = append(os.Environ(), "OFFICE_ADDR="+unused(t), "LAPTOP_ADDR="+unused(t))
		out, err := script.CombinedOutput()
		if err != nil && strings.Contains(string(out), "address already in use") {
			continue // somebody was faster
		}
		if err != nil || !strings.Contains(string(out), "the seat is home\n") {
			t.Errorf("%v\n%s", err, out)
		}
		return
	}
	t.Error("no port stays free")
}

// unused is an address that nobody listened on a moment ago.
func unused(t *testing.T) string {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	return ln.Addr().String()
}
