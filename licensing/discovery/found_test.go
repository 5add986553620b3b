package discovery

import (
	"net/netip"
	"net/url"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/dns/dnsmessage"
)

func TestManagers(t *testing.T) {
	const instance, host = "OFFICE." + serviceType, "pc.local."
	at := func(name, addr string) dnsmessage.Resource {
		a := netip.MustParseAddr(addr)
		if a.Is4() {
			return rr(name, 120, &dnsmessage.AResource{A: a.As4()})
		}
		return rr(name, 120, &dnsmessage.AAAAResource{AAAA: a.As16()})
	}
	srv := rr(instance, 120, &dnsmessage.SRVResource{Port: 3189, Target: dnsmessage.MustNewName(host)})
	txt := func(fields ...string) dnsmessage.Resource {
		return rr(instance, 120, &dnsmessage.TXTResource{TXT: fields})
	}
	of := func(class dnsmessage.Class, r dnsmessage.Resource) dnsmessage.Resource {
		r.Header.Class = class
		return r
	}
	ttl0 := srv
	ttl0.Header.TTL = 0
	port0 := rr(instance, 120, &dnsmessage.SRVResource{Target: dnsmessage.MustNewName(host)})
	const plain = "http://192.0.2.7:3189"
	for _, c := range []struct {
		why     string
		records []dnsmessage.Resource
		want    string
	}{
		{"plain", []dnsmessage.Resource{srv, txt("v=1"), at(host, "192.0.2.7")}, plain},
		{"in another order", []dnsmessage.Resource{at(host, "192.0.2.7"), txt("v=1"), srv}, plain},
		{"with TLS", []dnsmessage.Resource{srv, txt("v=1", "tls=1"), at(host, "192.0.2.7")}, "https://192.0.2.7:3189"},
		{"tls=0", []dnsmessage.Resource{srv, txt("tls=0", "v=1"), at(host, "192.0.2.7")}, plain},
		{"link-local", []dnsmessage.Resource{srv, txt("v=1"), at(host, "fe80::7")}, "http://[fe80::7%25eth0]:3189"},
		{"IPv6", []dnsmessage.Resource{srv, txt("v=1"), at(host, "fe80::7"), at(host, "2001:db8::7")}, "http://[2001:db8::7]:3189"},
		{"other case", []dnsmessage.Resource{srv, txt("V=1"), at("PC.Local.", "192.0.2.7")}, plain},
		{"keys it does not know", []dnsmessage.Resource{srv, txt("", "=", "x", "y=z=v", "v=1"), at(host, "192.0.2.7")}, plain},
		{"the first v counts", []dnsmessage.Resource{srv, txt("v=1", "v=2"), at(host, "192.0.2.7")}, plain},
		{"and is another", []dnsmessage.Resource{srv, txt("v=2", "v=1"), at(host, "192.0.2.7")}, ""},
		{"no value", []dnsmessage.Resource{srv, txt("v"), at(host, "192.0.2.7")}, ""},
		{"no version", []dnsmessage.Resource{srv, txt("tls=1"), at(host, "192.0.2.7")}, ""},
		{"another version", []dnsmessage.Resource{srv, txt("v=10"), at(host, "192.0.2.7")}, ""},
		{"no text", []dnsmessage.Resource{srv, at(host, "192.0.2.7")}, ""},
		{"no address", []dnsmessage.Resource{srv, txt("v=1")}, ""},
		{"another's address", []dnsmessage.Resource{srv, txt("v=1"), at("other.local.", "192.0.2.7")}, ""},
		{"an address elsewhere", []dnsmessage.Resource{srv, txt("v=1"), at(host, "203.0.113.7")}, ""},
		{"no service", []dnsmessage.Resource{txt("v=1"), at(host, "192.0.2.7")}, ""},
		{"goodbye", []dnsmessage.Resource{ttl0, txt("v=1"), at(host, "192.0.2.7")}, ""},
		{"port 0", []dnsmessage.Resource{port0, txt("v=1"), at(host, "192.0.2.7")}, ""},
		{"another class", []dnsmessage.Resource{of(dnsmessage.ClassCHAOS, srv), txt("v=1"), at(host, "192.0.2.7")}, ""},
		{"marked as unique", []dnsmessage.Resource{of(dnsmessage.ClassINET|uniqueRecord, srv), txt("v=1"), at(host, "192.0.2.7")}, plain},
		{"another service", []dnsmessage.Resource{rr("OFFICE._http._tcp.local.", 120, srv.Body), rr("OFFICE._http._tcp.local.", 120, txt("v=1").Body), at(host, "192.0.2.7")}, ""},
		{"a service that only ends alike", []dnsmessage.Resource{rr("x"+serviceType, 120, srv.Body), rr("x"+serviceType, 120, txt("v=1").Body), at(host, "192.0.2.7")}, ""},
	} {
		for place := range 3 {
			m := dnsmessage.Message{Header: dnsmessage.Header{Response: true}}
			*[]*[]dnsmessage.Resource{&m.Answers, &m.Authorities, &m.Additionals}[place] = c.records
			read, err := parse(build(t, m))
			if err != nil {
				t.Fatalf("%s: %v", c.why, err)
			}
			got := strings.Join(read.managers(lan()), " ")
			if got != c.want {
				t.Errorf("%s: found %q, want %q", c.why, got, c.want)
			}
			m.Response = false
			if read, err = parse(build(t, m)); err != nil || len(read.managers(lan())) > 0 {
				t.Errorf("%s, but in a question: %v, %v", c.why, read.managers(lan()), err)
			}
		}
	}
}

// TestForeignNames has beside ours a service whose name holds a dot in a label,
// as printers have it.
func TestForeignNames(t *testing.T) {
	b := &builder{Builder: dnsmessage.NewBuilder(nil, dnsmessage.Header{Response: true})} // without compression: no offsets
	b.try(b.StartAnswers())
	b.location(office(), 0, 120)
	b.try(b.TXTResource(b.header(office().name(), 0, 120), dnsmessage.TXTResource{TXT: []string{"v=1"}}))
	b.addresses(office(), addrs("192.0.2.7"), 120)
	ours := mustBytes(b.finish())
	ours[7]++ // one answer more
	foreign := "\x03v.2\x05local\x00\x00\x01\x00\x01\x00\x00\x00\x78\x00\x04\xc0\x00\x02\x09"
	m, err := parse(slices.Insert(ours, 12, []byte(foreign)...))
	if got := m.managers(lan()); err != nil || !slices.Equal(got, []string{"http://192.0.2.7:3189"}) {
		t.Errorf("found %v, %v", got, err)
	}
}

func TestAnnouncementIsFound(t *testing.T) {
	s := office()
	s.secure = true
	m := heardOf(s.announcement(addrs("192.0.2.1", "2001:db8::1"), false))
	if got := m.managers(lan()); !slices.Equal(got, []string{"https://192.0.2.1:3189"}) {
		t.Errorf("found %v", got)
	}
	m = heardOf(s.announcement(addrs("192.0.2.1"), true))
	if got := m.managers(lan()); len(got) > 0 {
		t.Errorf("a goodbye was taken for %v", got)
	}
}

func TestBounds(t *testing.T) {
	for _, packet := range hostilePackets(t) {
		m, err := parse(packet)
		if err != nil {
			if !reflect.DeepEqual(m, message{}) {
				t.Errorf("refused (%v), and yet %v", err, m)
			}
			continue
		}
		if n := len(m.managers(lan())); n > maxManagers {
			t.Errorf("one message tells of %d managers", n)
		}
		if n := len(m.questions) + len(m.services) + len(m.texts) + len(m.hosts) + len(m.known); n > maxRecords {
			t.Errorf("%d records were kept", n)
		}
	}
}

func TestBook(t *testing.T) {
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	b := book{}
	steps := []struct {
		after time.Duration
		want  bool
	}{
		{0, true}, {0, false}, {tellAgain - 1, false}, {1, true}, {1, false}, {tellAgain, true},
	}
	for i, s := range steps {
		now = now.Add(s.after)
		if got := b.fresh(now, "http://192.0.2.7:1"); got != s.want {
			t.Errorf("step %d: fresh %v", i, got)
		}
	}
	for i := range 10 * maxKnown {
		b.fresh(now, "http://192.0.2.8:"+string(rune('a'+i)))
	}
	if len(b) != maxKnown {
		t.Errorf("the book has %d entries", len(b))
	}
	if b.fresh(now.Add(forgetAfter), "http://192.0.2.9:1") {
		t.Error("a full book took another in")
	}
	if !b.fresh(now.Add(forgetAfter+1), "http://192.0.2.9:1") || len(b) != 1 {
		t.Errorf("the silent are not forgotten: %d left", len(b))
	}
}

// FuzzParse gives the reader anything. What it finds is a URL of a neighbour,
// and little.
func FuzzParse(f *testing.F) {
	s := office()
	f.Add(mustBytes(s.announcement(addrs("192.0.2.1", "2001:db8::1", "fe80::1"), false)))
	f.Add(mustBytes(s.probe()))
	f.Add(mustBytes(query()))
	for _, p := range hostilePackets(f) {
		f.Add(p)
	}
	f.Fuzz(func(t *testing.T, packet []byte) {
		m, err := parse(packet)
		if err != nil {
			return
		}
		list := m.managers(lan())
		if len(list) > maxManagers {
			t.Fatalf("%d managers", len(list))
		}
		for _, address := range list {
			u, err := url.Parse(address)
			if err != nil {
				t.Fatal(err)
			}
			at, err := netip.ParseAddrPort(u.Host)
			if err != nil || at.Port() == 0 || (u.Scheme != "http" && u.Scheme != "https") {
				t.Fatalf("%q: %v", address, err)
			}
			if !slices.ContainsFunc(lan().prefixes, func(p netip.Prefix) bool { return p.Contains(at.Addr().WithZone("")) }) {
				t.Fatalf("%q is not a neighbour", address)
			}
		}
		// Nor does a claim fall over it, whatever it is doing.
		now := time.Now()
		c := newClaim(s)
		c.start(now, 2)
		for range 8 {
			c.hear(now, 1, m)
			if n := len(c.act(now)); n > 2 {
				t.Fatalf("%d messages at once", n)
			}
			now = now.Add(probeGap)
		}
		if _, err := c.announcement(addrs("192.0.2.1"), false); err != nil {
			t.Fatal(err)
		}
	})
}
