package main

import (
	"crypto/ed25519"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"flag"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// file writes a file and gives its name.
func file(t *testing.T, content []byte) (name string) {
	t.Helper()
	name = filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(name, content, 0o600); err != nil {
		t.Fatal(err)
	}
	return name
}

func publicPEM(t *testing.T, key any) []byte {
	t.Helper()
	der, err := x509.MarshalPKIXPublicKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})
}

func TestDefaults(t *testing.T) {
	got, err := parseFlags(nil, io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	want := &config{
		listen: "127.0.0.1:3189", demo: true, discover: true, hosts: []string{"127.0.0.1"},
		vendors: map[uint32]ed25519.PublicKey{demoVendor: demoPublic()},
	}
	if diff := cmp.Diff(want, got, cmp.AllowUnexported(config{})); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestFlags(t *testing.T) {
	public, _, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	inBase64 := base64.StdEncoding.EncodeToString(public) + "\n"
	got, err := parseFlags([]string{
		"-listen", "licenses.example.com:0", "-no-demo", "-data", "d", "-host", "H", "-insecure",
		"-vendor", "GRDNT_1=" + file(t, publicPEM(t, public)),
		"-vendor", "7=" + file(t, public),
		"-vendor", "1368487351=" + file(t, []byte(inBase64)),
		"-token-file", file(t, []byte("0123456789abcdef\r\n")),
		"-allow-host", "a.example", "-allow-host", "b.example",
		"-peer", "http://10.0.0.5:3189", "-peer", "https://[::1]:1/x/", "-admit-found", "-no-discovery",
	}, io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	want := &config{
		listen: "licenses.example.com:0", data: "d", host: "H", insecure: true, token: "0123456789abcdef",
		hosts: []string{"a.example", "b.example", "licenses.example.com"},
		peers: []string{"http://10.0.0.5:3189", "https://[::1]:1/x/"}, admitFound: true,
		vendors: map[uint32]ed25519.PublicKey{1708389999: public, 7: public, demoVendor: public},
	}
	if diff := cmp.Diff(want, got, cmp.AllowUnexported(config{})); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestWildcardIsNoName(t *testing.T) {
	for _, listen := range []string{":0", "0.0.0.0:0", "[::]:0"} {
		c, err := parseFlags([]string{"-listen", listen}, io.Discard)
		if err != nil || len(c.hosts) != 0 {
			t.Errorf("-listen %s: answers to %q, %v", listen, c.hosts, err)
		}
	}
}

func TestFlagErrors(t *testing.T) {
	_, private, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	secret := file(t, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: pkcs8}))
	raw := file(t, make([]byte, 32))
	missing := filepath.Join(t.TempDir(), "missing")
	for _, c := range []struct {
		args []string
		want string
	}{
		{[]string{"-nonsense"}, "flag provided but not defined: -nonsense"},
		{[]string{"serve"}, `"serve" is no flag`},
		{[]string{"-listen", "localhost"}, "-listen localhost: want HOST:PORT"},
		{[]string{"-vendor", "7"}, "flag -vendor: want CODE=FILE"},
		{[]string{"-vendor", "7="}, "flag -vendor: want CODE=FILE"},
		{[]string{"-vendor", "=" + raw}, `flag -vendor: public code "": 0 characters, want 7`},
		{[]string{"-vendor", "4294967296=" + raw}, "public code 4294967296: does not fit 32 bits"},
		{[]string{"-vendor", "GRDNT_2=" + raw}, "its last character is not its checksum"},
		{[]string{"-vendor", "7=" + missing}, "missing: no such file"},
		{[]string{"-vendor", "7=" + secret}, `a PEM block "PRIVATE KEY", want PUBLIC KEY`},
		{[]string{"-vendor", "7=" + file(t, []byte("hello"))}, "no Ed25519 public key"},
		{[]string{"-vendor", "7=" + raw, "-vendor", "7=" + raw}, "vendor 000007_ (7) is given twice"},
		{[]string{"-vendor", "DEMONVK=" + raw}, "-vendor 1368487351: this is the demo vendor; give -no-demo"},
		{[]string{"-no-demo", "-simulate", "pools.json"}, "-simulate: the demo vendor signs the simulated keys' pools"},
		{[]string{"-simulate", missing}, "-simulate: open " + missing},
		{[]string{"-simulate", file(t, []byte(`[{}]`))}, "[0].dongleId: missing"},
		{[]string{"-token-file", missing}, "-token-file: open " + missing},
		{[]string{"-token-file", file(t, []byte("short\n"))}, "the token has 5 bytes, want at least 16"},
		{[]string{"-token-file", file(t, []byte("0123456789abcdef\n0123456789abcdef\n"))}, "want one line"},
		{[]string{"-tls-cert", raw}, "-tls-cert: -tls-key is missing"},
		{[]string{"-tls-key", raw}, "-tls-key: -tls-cert is missing"},
		{[]string{"-tls-cert", raw, "-tls-key", raw}, "-tls-cert, -tls-key: tls: failed to find any PEM data"},
		{[]string{"-peer", "10.0.0.5:3189"}, "flag -peer: \"10.0.0.5:3189\" is no address of a manager"},
		{[]string{"-peer", "ftp://10.0.0.5"}, "want one such as http://10.0.0.5:3189"},
		{[]string{"-peer-ca", missing}, "-peer-ca: open " + missing},
		{[]string{"-peer-ca", raw}, "has no certificate in PEM"},
		{[]string{"-host", strings.Repeat("x", 256)}, "-host: 256 bytes, at most 255"},
		{[]string{"-host", "a\nb"}, "-host: want a name"},
		{[]string{"-data", ""}, "-data: it is empty"},
		{[]string{"-verify"}, "-verify: -data is missing"},
		{[]string{"-allow-host", ""}, "flag -allow-host: want a host name"},
		{[]string{"-allow-host", "https://x"}, "flag -allow-host: want a host name"},
	} {
		_, err := parseFlags(c.args, io.Discard)
		if err == nil || !strings.Contains(strings.ReplaceAll(err.Error(), "The system cannot find the file specified", "no such file"), c.want) {
			t.Errorf("%v: %v, want %q", c.args, err, c.want)
		}
	}
}

func TestHelp(t *testing.T) {
	var help strings.Builder
	if _, err := parseFlags([]string{"-help"}, &help); !errors.Is(err, flag.ErrHelp) {
		t.Fatal(err)
	}
	for _, name := range []string{
		"listen", "data", "simulate", "host", "vendor", "no-demo", "token-file", "tls-cert", "tls-key", "insecure", "allow-host", "verify",
		"peer", "peer-ca", "admit-found", "no-discovery",
	} {
		if !strings.Contains(help.String(), "\n  -"+name) {
			t.Errorf("the help does not name -%s", name)
		}
	}
}
