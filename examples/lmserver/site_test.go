package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"math/big"
	"net"
	"net/http"
	"regexp"
	"strings"
	"testing"
	"time"
)

// TestExposure: nothing is served to other computers without token and TLS,
// unless the risk is taken.
func TestExposure(t *testing.T) {
	t.Parallel()
	token := file(t, []byte("0123456789abcdef"))
	cert, key, _ := certificate(t, net.IPv4(127, 0, 0, 1))
	for _, c := range []struct {
		args []string
		want string
	}{
		{nil, "which needs a token (-token-file) and TLS (-tls-cert and -tls-key); -insecure goes without"},
		{[]string{"-token-file", token}, "which needs TLS (-tls-cert and -tls-key); -insecure"},
		{[]string{"-tls-cert", cert, "-tls-key", key}, "which needs a token (-token-file); -insecure"},
	} {
		dir := t.TempDir()
		log := refused(t, append(c.args, "-listen", "0.0.0.0:0", "-data", dir)...)
		if !strings.Contains(log, "-listen 0.0.0.0:0: other computers can reach ") || !strings.Contains(log, c.want) {
			t.Errorf("%v:\n%s", c.args, log)
		}
	}
	launch(t, "-listen", "0.0.0.0:0", "-insecure")
}

// certificate makes a certificate for an address.
func certificate(t *testing.T, address net.IP) (certFile, keyFile string, pool *x509.CertPool) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour), IPAddresses: []net.IP{address},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	made, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	pool = x509.NewCertPool()
	pool.AddCert(made)
	return file(t, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})),
		file(t, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private})), pool
}

// trusting is how a client trusts the certificates of a pool alone.
func trusting(pool *x509.CertPool) *tls.Config { return &tls.Config{RootCAs: pool} }

// TestTokenAndTLS: with both, one serves anybody who has the token. Probes of
// the health need none.
func TestTokenAndTLS(t *testing.T) {
	t.Parallel()
	cert, key, pool := certificate(t, net.IPv4(127, 0, 0, 1))
	server := launch(t, "-listen", "0.0.0.0:0", "-tls-cert", cert, "-tls-key", key, "-token-file", file(t, []byte("0123456789abcdef\n")))
	if !strings.HasPrefix(server.url, "https://") {
		t.Fatalf("it listens on %s", server.url)
	}
	_, port, _ := net.SplitHostPort(strings.TrimPrefix(server.url, "https://"))
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: trusting(pool), ForceAttemptHTTP2: true}}
	for _, c := range []struct {
		path, token string
		status      int
	}{
		{api + "/dongles", "", 401},
		{api + "/dongles", "Bearer 0123456789abcdeX", 401},
		{api + "/dongles", "Bearer 0123456789abcdef", 200},
		{"/metrics", "", 401},
		{"/metrics", "Bearer 0123456789abcdef", 200},
		{"/healthz", "", 200},
		{"/readyz", "", 200},
		{"/", "", 401},
		{"/", "Bearer 0123456789abcdef", 404},
	} {
		req, err := http.NewRequest("GET", "https://127.0.0.1:"+port+c.path, nil)
		if err != nil {
			t.Fatal(err)
		}
		if c.token != "" {
			req.Header.Set("Authorization", c.token)
		}
		resp, err := client.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if resp.StatusCode != c.status {
			t.Errorf("%s with %q: %d, want %d", c.path, c.token, resp.StatusCode, c.status)
		}
	}
	server.log.await(t, "path=/ status=404")
	if log := server.log.String(); strings.Contains(log, "0123456789abcde") {
		t.Errorf("a token is in the log:\n%s", log)
	}
}

// TestHosts: every page refuses a request that names a stranger's host.
func TestHosts(t *testing.T) {
	t.Parallel()
	server := launch(t, "-allow-host", "licenses.example.com")
	for _, path := range []string{api + "/dongles", "/healthz", "/readyz", "/metrics", "/"} {
		for _, c := range []struct {
			host     string
			admitted bool
		}{
			{"localhost", true}, {"127.0.0.1:99", true}, {"licenses.example.com", true}, {"rebound.example.net", false},
		} {
			req, err := http.NewRequest("GET", server.url+path, nil)
			if err != nil {
				t.Fatal(err)
			}
			req.Host = c.host
			resp, err := server.client.Do(req)
			if err != nil {
				t.Fatal(err)
			}
			resp.Body.Close()
			if admitted := resp.StatusCode != http.StatusForbidden; admitted != c.admitted {
				t.Errorf("%s on host %s: %d", path, c.host, resp.StatusCode)
			} else if !admitted {
				server.log.await(t, "path="+path+" status=403 code=38")
			}
		}
	}
	for _, path := range []string{"/healthz", "/readyz", "/metrics"} {
		if status, _, err := server.call("POST", path, nil); status != http.StatusNotFound {
			t.Errorf("POST %s: %d %v", path, status, err)
		}
	}
}

// TestVendors: a license counts where its vendor is trusted, and the demo vendor
// is so unless it is said otherwise.
func TestVendors(t *testing.T) {
	t.Parallel()
	office := launch(t, "-simulate", "pools.json")
	office.log.await(t, "the demo vendor is trusted")

	stranger := launch(t, "-no-demo")
	message := stranger.fail(t, "POST", "/install", object{"license": office.detach(t, stranger)}, http.StatusBadRequest, 35)
	if !strings.Contains(message, "vendor DEMONVK (1368487351) is not trusted here") {
		t.Errorf("a stranger says %q", message)
	}
	stranger.log.await(t, "the license manager is open")
	if strings.Contains(stranger.log.String(), "demo vendor") {
		t.Errorf("a stranger speaks of the demo vendor:\n%s", stranger.log)
	}
	friend := launch(t, "-no-demo", "-vendor", "DEMONVK="+file(t, publicPEM(t, demoPublic())))
	friend.do(t, "POST", "/install", object{"license": office.detach(t, friend)})
}

// TestMetrics: what was done and where the seats are.
func TestMetrics(t *testing.T) {
	t.Parallel()
	office, laptop := launch(t, "-simulate", "pools.json"), launch(t)
	laptop.do(t, "POST", "/install", object{"license": office.detach(t, laptop)})
	env := laptop.do(t, "GET", "/environment", nil).Environment
	office.fail(t, "POST", "/detach", seat(env.LMSID), http.StatusConflict, 54)
	office.call("BREW", "/coffee", nil)
	office.call("HEAD", api+"/dongles", nil)
	_, text := office.page(t, "/metrics")
	for _, want := range []string{
		`sojourn_operations_total{operation="POST /detach",result="OK"} 1`,
		`sojourn_operations_total{operation="POST /detach",result="CANCEL_PREVIOUS_DETACH_REQUIRED"} 1`,
		`sojourn_operations_total{operation="POST /fingerprints",result="OK"} 1`,
		`sojourn_operations_total{operation="other",result="NO_RESULTS_FOUND"} 1`,
		`sojourn_operations_total{operation="GET /dongles",result="OK"} 1`,
		`sojourn_operation_seconds_count{operation="POST /detach"} 2`,
		`sojourn_seats{feature="4",key="4006242369",modification="0",product="29",state="free"} 2`,
		`sojourn_seats{feature="4",key="4006242369",modification="0",product="29",state="detached"} 1`,
		`sojourn_seats{feature="4",key="4006242369",modification="0",product="29",state="overdrawn"} 0`,
		`sojourn_batch_entries_count{ledger="4006242369"} 2`,
		`sojourn_commit_seconds_count{ledger="4006242369"} 2`,
		`sojourn_key_seconds_count{ledger="4006242369"} 2`,
		`sojourn_ready 1`,
	} {
		if !strings.Contains(text, "\n"+want+"\n") {
			t.Errorf("the metrics have no %s", want)
		}
	}
	if _, text := laptop.page(t, "/metrics"); strings.Contains(text, "sojourn_seats{") {
		t.Error("the laptop counts the seat too that the office counts as detached")
	}
	if t.Failed() {
		t.Log(regexp.MustCompile(`(?m)^(#|go_|process_|sojourn_operation_seconds_bucket).*\n`).ReplaceAllString(text, ""))
	}
}

// TestOperations: every operation of the API is counted under its name.
func TestOperations(t *testing.T) {
	t.Parallel()
	_, document := launch(t).page(t, api+"/openapi.yaml")
	counted := make(map[string]bool)
	path := ""
	for line := range strings.Lines(document) {
		if m := regexp.MustCompile(`^  (/\S+):`).FindStringSubmatch(line); m != nil {
			path = m[1]
		}
		if m := regexp.MustCompile(`^    (get|post|put|delete):`).FindStringSubmatch(line); m != nil {
			name := operation(strings.ToUpper(m[1]), path)
			if name == "other" {
				t.Errorf("%s %s is not counted", m[1], path)
			}
			counted[name] = true
		}
	}
	if len(counted) != len(operations) {
		t.Errorf("%d operations are counted, the API has %d", len(operations), len(counted))
	}
}
