package discovery

import (
	"net/netip"
	"slices"
	"testing"
)

func TestServing(t *testing.T) {
	i := over("192.0.2.1/24", "198.51.100.1/25", "2001:db8::1/64", "fe80::1/64")
	for _, c := range []struct {
		listen string
		want   []netip.Addr
	}{
		{"::", addrs("192.0.2.1", "198.51.100.1", "2001:db8::1")},
		{"0.0.0.0", addrs("192.0.2.1", "198.51.100.1")},
		{"192.0.2.1", addrs("192.0.2.1")},
		{"2001:db8::1", addrs("2001:db8::1")},
		{"fe80::1%eth0", addrs("fe80::1")},
		{"fe80::1%eth1", nil},
		{"192.0.2.2", nil},
		{"127.0.0.1", nil},
	} {
		if got := i.serving(netip.MustParseAddr(c.listen)); !slices.Equal(got, c.want) {
			t.Errorf("a server on %s is announced at %v, want %v", c.listen, got, c.want)
		}
	}
	if got := over("fe80::1/64").serving(netip.IPv6Unspecified()); !slices.Equal(got, addrs("fe80::1")) {
		t.Errorf("where there is only link-local, %v is announced", got)
	}
	many := iface{}
	for n := range byte(100) {
		many.prefixes = append(many.prefixes, netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 0, 0, n + 1}), 24))
	}
	if got := many.serving(netip.IPv6Unspecified()); len(got) != maxAddresses {
		t.Errorf("%d addresses are announced", len(got))
	}
}

func TestOnLink(t *testing.T) {
	for _, c := range []struct {
		why     string
		claimed []netip.Addr
		want    string
	}{
		{"IPv4 first", addrs("fe80::7", "2001:db8::7", "192.0.2.7"), "192.0.2.7"},
		{"IPv6 before link-local", addrs("fe80::7", "2001:db8::7"), "2001:db8::7"},
		{"link-local with its zone", addrs("fe80::7"), "fe80::7%eth0"},
		{"always the same of several", addrs("192.0.2.9", "192.0.2.7", "192.0.2.8"), "192.0.2.7"},
		{"somewhere else", addrs("203.0.113.7", "2001:db8:1::7"), ""},
		{"the metadata of a cloud", addrs("169.254.169.254"), ""},
		{"loopback", addrs("127.0.0.1", "::1"), ""},
		{"IPv4 in IPv6", addrs("::ffff:192.0.2.7"), ""},
		{"multicast and nothing", addrs("224.0.0.251", "ff02::fb", "0.0.0.0", "::", "255.255.255.255"), ""},
		{"nobody", nil, ""},
	} {
		got, found := lan().onLink(c.claimed)
		if found != (c.want != "") || found && got.String() != c.want {
			t.Errorf("%s: %v, %v; want %q", c.why, got, found, c.want)
		}
	}
	// An interface with a prefix that covers everything makes nobody of them a neighbour.
	if got, found := over("10.0.0.1/0", "2001:db8::1/0").onLink(addrs("127.0.0.1", "224.0.0.1", "255.255.255.255", "::1")); found {
		t.Errorf("%v is taken for a neighbour", got)
	}
}

func TestSame(t *testing.T) {
	a, b := []iface{lan()}, []iface{lan()}
	if !same(a, b) {
		t.Error("two looks at the same are not the same")
	}
	b[0].prefixes = b[0].prefixes[1:]
	if same(a, b) || same(a, nil) || same(a, append(a, lan())) {
		t.Error("a change was not seen")
	}
}

// TestUsable looks at this machine: what is listed must be fit for use.
func TestUsable(t *testing.T) {
	list, err := usable()
	if err != nil {
		t.Fatal(err)
	}
	for _, i := range list {
		for _, p := range i.prefixes {
			if !ordinary(p.Addr()) {
				t.Errorf("%s has %s", i.Name, p)
			}
		}
	}
}
