package main

import (
	"bytes"
	"crypto/ed25519"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/sojournlm/sojourn/transport/usb"
)

// config is what the flags say, with the files they name read and checked.
type config struct {
	listen      string
	data        string // "": in memory
	verify      bool   // go through what is stored instead of serving
	host        string // "": the operating system's
	vendors     map[uint32]ed25519.PublicKey
	demo        bool
	keys        []plan
	usb         bool // use keys on USB
	usbIDs      usb.Options
	token       string           // "": none is asked for
	certificate *tls.Certificate // nil: plain HTTP
	insecure    bool
	hosts       []string // that the Host header may name, besides the server's own addresses
	peers       []string // addresses of other managers
	admitFound  bool
	discover    bool           // look for other managers on the network, and be found there
	authorities *x509.CertPool // for -peer with HTTPS; nil: the system's
}

// maxName is how long a computer's name may be, in bytes.
const maxName = 255

// minToken is how short a token may be, in bytes: enough not to be guessed.
const minToken = 16

// parseFlags reads the command line. The usage goes to help.
func parseFlags(args []string, help io.Writer) (*config, error) {
	c := &config{vendors: make(map[uint32]ed25519.PublicKey)}
	var simulate, tokenFile, certFile, keyFile, peerCA string
	var noDemo, noDiscovery bool
	flags := flag.NewFlagSet("lmserver", flag.ContinueOnError)
	flags.SetOutput(io.Discard)
	flags.StringVar(&c.listen, "listen", "127.0.0.1:3189", "serve on this `address`; port 0 is any free one")
	flags.Func("data", "keep everything in this `directory`: the store in store, simulated keys and the anchor in keys (default: in memory)", c.keepIn)
	flags.BoolVar(&c.verify, "verify", false, "go through everything stored in -data, say whether it adds up, and end")
	flags.StringVar(&simulate, "simulate", "", "plug in the simulated keys that this JSON `file` describes")
	flags.StringVar(&c.host, "host", "", "show this `name` of the computer (default: the operating system's)")
	flags.Func("vendor", "trust a vendor, `code=file`: the public code as number or text, and a file with the Ed25519 public key in PEM, base64 or raw; may be repeated", c.trust)
	flags.BoolVar(&noDemo, "no-demo", false, "do not trust the demo vendor DEMONVK, whose private key everybody has")
	flags.StringVar(&tokenFile, "token-file", "", "ask for the bearer token in this `file`")
	flags.StringVar(&certFile, "tls-cert", "", "serve HTTPS with the certificate chain in this PEM `file`")
	flags.StringVar(&keyFile, "tls-key", "", "the private key of -tls-cert, a PEM `file`")
	flags.BoolVar(&c.insecure, "insecure", false, "serve other computers without token or TLS: anybody on the network can take seats")
	flags.Func("allow-host", "answer to this host `name` too; may be repeated", c.allow)
	flags.Func("peer", "look for another license manager at this `address`, such as http://10.0.0.5:3189; may be repeated", c.peer)
	flags.StringVar(&peerCA, "peer-ca", "", "trust the certificates in this PEM `file` for HTTPS to other license managers, besides the system's")
	flags.BoolVar(&c.admitFound, "admit-found", false, "let every computer that is found by itself take seats online (default: only those added by hand)")
	flags.BoolVar(&noDiscovery, "no-discovery", false, "neither look for other license managers on the local network nor be found there; on loopback addresses it is never done")
	c.usbFlags(flags)
	err := flags.Parse(args)
	switch {
	case errors.Is(err, flag.ErrHelp):
		flags.SetOutput(help)
		flags.Usage()
		return nil, err
	case err != nil:
		return nil, fmt.Errorf("%w (lmserver -help lists the flags)", err)
	case flags.NArg() > 0:
		return nil, fmt.Errorf("%q is no flag (lmserver -help lists them)", flags.Arg(0))
	}
	c.demo, c.discover = !noDemo, !noDiscovery
	return c, errors.Join(
		c.checkListen(), c.checkHost(), c.checkVerify(), c.checkUSB(), c.trustDemo(), c.readPlans(simulate),
		c.readToken(tokenFile), c.readCertificate(certFile, keyFile), c.readAuthorities(peerCA))
}

// checkListen also lets requests name the host as -listen does. A wildcard is no
// name: then the address that a request came in on is.
func (c *config) checkListen() error {
	host, _, err := net.SplitHostPort(c.listen)
	if err != nil {
		return fmt.Errorf("-listen %s: want HOST:PORT", c.listen)
	}
	if ip := net.ParseIP(host); host != "" && !ip.IsUnspecified() {
		c.hosts = append(c.hosts, host)
	}
	return nil
}

// checkHost refuses what no fingerprint could carry.
func (c *config) checkHost() error {
	switch {
	case len(c.host) > maxName:
		return fmt.Errorf("-host: %d bytes, at most %d are allowed", len(c.host), maxName)
	case !utf8.ValidString(c.host), strings.ContainsFunc(c.host, unicode.IsControl):
		return errors.New("-host: want a name in UTF-8 without control characters")
	}
	return nil
}

func (c *config) checkVerify() error {
	if c.verify && c.data == "" {
		return errors.New("-verify: -data is missing; in memory there is nothing to go through")
	}
	return nil
}

// keepIn is the flag -data.
func (c *config) keepIn(dir string) error {
	if dir == "" {
		return errors.New("it is empty; name a directory, or leave the flag out to keep everything in memory")
	}
	c.data = dir
	return nil
}

// allow is the flag -allow-host.
func (c *config) allow(name string) error {
	if _, err := netip.ParseAddr(name); err == nil {
		c.hosts = append(c.hosts, name)
		return nil
	}
	if name == "" || strings.ContainsAny(name, "/*@ ") {
		return errors.New("want a host name such as licenses.example.com")
	}
	c.hosts = append(c.hosts, name)
	return nil
}

func (c *config) readPlans(file string) error {
	switch {
	case file == "":
		return nil
	case !c.demo:
		return errors.New("-simulate: the demo vendor signs the simulated keys' pools, and -no-demo says not to trust it")
	}
	text, err := os.ReadFile(file)
	if err != nil {
		return fmt.Errorf("-simulate: %w", err)
	}
	if c.keys, err = parsePlans(text); err != nil {
		return fmt.Errorf("-simulate: %s: %w", file, err)
	}
	return nil
}

func (c *config) readToken(file string) error {
	if file == "" {
		return nil
	}
	text, err := os.ReadFile(file)
	if err != nil {
		return fmt.Errorf("-token-file: %w", err)
	}
	token := bytes.TrimRight(text, "\r\n")
	hidden := func(r rune) bool { return r <= ' ' || r > '~' }
	switch {
	case len(token) < minToken:
		return fmt.Errorf("-token-file: %s: the token has %d bytes, want at least %d", file, len(token), minToken)
	case bytes.ContainsFunc(token, hidden):
		return fmt.Errorf("-token-file: %s: want one line of visible ASCII characters", file)
	}
	c.token = string(token)
	return nil
}

func (c *config) readCertificate(certFile, keyFile string) error {
	switch {
	case certFile == "" && keyFile == "":
		return nil
	case certFile == "":
		return errors.New("-tls-key: -tls-cert is missing")
	case keyFile == "":
		return errors.New("-tls-cert: -tls-key is missing")
	}
	certificate, err := tls.LoadX509KeyPair(certFile, keyFile)
	if err != nil {
		return fmt.Errorf("-tls-cert, -tls-key: %w", err)
	}
	c.certificate = &certificate
	return nil
}

// checkExposure says why the server must not serve on that address as it is set
// up, if so.
func (c *config) checkExposure(at net.Addr) error {
	if c.insecure || onlyHere(at) {
		return nil
	}
	var missing []string
	if c.token == "" {
		missing = append(missing, "a token (-token-file)")
	}
	if c.certificate == nil {
		missing = append(missing, "TLS (-tls-cert and -tls-key)")
	}
	if len(missing) == 0 {
		return nil
	}
	return fmt.Errorf("-listen %s: other computers can reach %v, which needs %s; -insecure goes without",
		c.listen, at, strings.Join(missing, " and "))
}
