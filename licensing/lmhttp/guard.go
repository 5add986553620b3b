package lmhttp

import (
	"crypto/sha256"
	"crypto/subtle"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strings"

	"github.com/sojournlm/sojourn/licensing"
)

// guard decides who may speak to the handler at all, before what is asked for
// is looked at.
type guard struct {
	hosts  map[string]bool
	token  *[sha256.Size]byte // its hash, so that lengths do not show; nil: none is asked for
	origin *http.CrossOriginProtection
}

func newGuard(opts *Options) guard {
	g := guard{hosts: map[string]bool{"localhost": true}, origin: http.NewCrossOriginProtection()}
	for _, h := range opts.Hosts {
		if _, err := netip.ParseAddr(h); err != nil { // an address needs no brackets here
			h = hostName(h)
		}
		g.hosts[canonical(h)] = true
	}
	if opts.Token != "" {
		g.token = new(sha256.Sum256([]byte(opts.Token)))
	}
	return g
}

// admit lets a request in, or gives the refusal to answer with. One of another
// manager needs no token: it is signed.
func (g *guard) admit(w http.ResponseWriter, r *http.Request, signed bool) error {
	if !g.knows(r) {
		return &refusal{
			http.StatusForbidden, licensing.AccessDenied, "this server does not answer to the host name of the request",
			"Use an address of the server, or have its operator allow the name.",
		}
	}
	if err := g.origin.Check(r); err != nil {
		return &refusal{
			http.StatusForbidden, licensing.AccessDenied, "the request comes from a page of another origin",
			"Ask from a page of this server, or from a program.",
		}
	}
	if !signed && !g.trusts(r) {
		w.Header().Set("WWW-Authenticate", "Bearer")
		return &refusal{
			http.StatusUnauthorized, licensing.AccessDenied, "the token is missing or wrong",
			"Send the header Authorization: Bearer TOKEN with the token of this server.",
		}
	}
	return nil
}

// knows tells whether the request's Host is one of this server's. An address
// that the connection really came in on cannot have been bound by somebody
// else's name server.
func (g *guard) knows(r *http.Request) bool {
	name := canonical(hostName(r.Host))
	ip, err := netip.ParseAddr(name)
	if err != nil || g.hosts[name] {
		return g.hosts[name]
	}
	if ip.IsLoopback() || ip.Unmap().IsLoopback() {
		return true
	}
	local, ok := r.Context().Value(http.LocalAddrContextKey).(net.Addr)
	if !ok {
		return false
	}
	at, err := netip.ParseAddrPort(local.String())
	return err == nil && at.Addr().Unmap().WithZone("") == ip.Unmap().WithZone("")
}

// hostName is the name in a Host header, without port, brackets, final dot and
// upper case.
func hostName(host string) string {
	name := (&url.URL{Host: host}).Hostname()
	return strings.ToLower(strings.TrimSuffix(name, "."))
}

// canonical writes an address in one way; a name stays as it is.
func canonical(name string) string {
	if ip, err := netip.ParseAddr(name); err == nil {
		return ip.Unmap().String()
	}
	return name
}

func (g *guard) trusts(r *http.Request) bool {
	if g.token == nil {
		return true
	}
	scheme, token, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	given := sha256.Sum256([]byte(strings.TrimLeft(token, " ")))
	return strings.EqualFold(scheme, "Bearer") && subtle.ConstantTimeCompare(given[:], g.token[:]) == 1
}
