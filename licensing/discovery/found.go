package discovery

import (
	"net/netip"
	"net/url"
	"strings"
)

// maxManagers is how many managers one message may tell of.
const maxManagers = 16

// managers gives the base URLs of the managers that a message tells of, heard
// over an interface. A message must be whole in itself: the service, its text
// and its addresses. One that says goodbye, or speaks another version, tells of
// nobody.
func (m message) managers(over iface) []string {
	if !m.response {
		return nil
	}
	var list []string
	for _, s := range m.services[:min(len(m.services), maxManagers)] {
		if s.ttl == 0 || s.port == 0 {
			continue
		}
		secure, known := m.judge(s.instance)
		if !known {
			continue
		}
		if addr, found := over.onLink(m.addresses(s.host)); found {
			list = append(list, baseURL(secure, netip.AddrPortFrom(addr, s.port)))
		}
	}
	return list
}

// judge reads the text of an instance: whether it speaks this version, and TLS.
func (m message) judge(instance string) (secure, known bool) {
	for _, t := range m.texts {
		if t.instance == instance {
			v, _ := field(t.fields, "v")
			tls, _ := field(t.fields, "tls")
			return tls == "1", v == version
		}
	}
	return false, false
}

// field finds a key: the first counts, and its letters' case does not (RFC
// 6763, 6.4).
func field(fields []string, key string) (value string, found bool) {
	for _, f := range fields {
		k, v, _ := strings.Cut(f, "=")
		if lower(k) == key {
			return v, true
		}
	}
	return "", false
}

func (m message) addresses(name string) []netip.Addr {
	var list []netip.Addr
	for _, h := range m.hosts {
		if h.name == name && len(list) < maxAddresses {
			list = append(list, h.addr)
		}
	}
	return list
}

func baseURL(secure bool, at netip.AddrPort) string {
	u := url.URL{Scheme: "http", Host: at.String()}
	if secure {
		u.Scheme = "https"
	}
	return u.String()
}
