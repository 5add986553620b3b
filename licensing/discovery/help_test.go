package discovery

import (
	"fmt"
	"net"
	"net/netip"
	"testing"

	"golang.org/x/net/dns/dnsmessage"
)

// over is an interface as most have it.
func over(prefixes ...string) iface {
	i := iface{Interface: net.Interface{Index: 2, Name: "eth0"}}
	for _, p := range prefixes {
		i.prefixes = append(i.prefixes, netip.MustParsePrefix(p))
	}
	return i
}

func lan() iface { return over("192.0.2.1/24", "2001:db8::1/64", "fe80::1/64") }

func addrs(list ...string) (out []netip.Addr) {
	for _, a := range list {
		out = append(out, netip.MustParseAddr(a))
	}
	return out
}

func office() service { return service{instance: "OFFICE", host: "sojourn-00", port: 3189} }

// build packs a message of the test's own.
func build(t testing.TB, m dnsmessage.Message) []byte {
	t.Helper()
	packet, err := m.Pack()
	if err != nil {
		t.Fatal(err)
	}
	return packet
}

func rr(name string, ttl uint32, body dnsmessage.ResourceBody) dnsmessage.Resource {
	return dnsmessage.Resource{
		Header: dnsmessage.ResourceHeader{Name: dnsmessage.MustNewName(name), Class: dnsmessage.ClassINET, TTL: ttl},
		Body:   body,
	}
}

// hostilePackets are messages that cost a careless reader much.
func hostilePackets(t testing.TB) [][]byte {
	t.Helper()
	var list [][]byte
	instance := office().name()
	// As many questions as fit, all of them ours.
	var questions dnsmessage.Message
	for range 1400 {
		questions.Questions = append(questions.Questions, dnsmessage.Question{Name: dnsmessage.MustNewName(serviceType), Type: dnsmessage.TypePTR, Class: dnsmessage.ClassINET})
	}
	list = append(list, build(t, questions))
	// A few are answered, so this passes the bound above.
	questions.Questions = questions.Questions[:maxRecords/2]
	list = append(list, build(t, questions))
	// Many services on one host, and that host with many addresses.
	services, host := dnsmessage.Message{Header: dnsmessage.Header{Response: true}}, dnsmessage.MustNewName("a.local.")
	for i := range 40 {
		name := fmt.Sprintf("x%d.%s", i, serviceType)
		services.Answers = append(services.Answers,
			rr(name, 4500, &dnsmessage.SRVResource{Port: uint16(i + 1), Target: host}),
			rr(name, 4500, &dnsmessage.TXTResource{TXT: []string{"v=1"}}),
			rr("a.local.", 4500, &dnsmessage.AResource{A: [4]byte{10, 77, 0, byte(i)}}))
	}
	list = append(list, build(t, services))
	addresses := dnsmessage.Message{Header: dnsmessage.Header{Response: true}}
	for i := range 500 {
		addresses.Answers = append(addresses.Answers, rr("a.local.", 4500, &dnsmessage.AResource{A: [4]byte{10, 77, byte(i >> 8), byte(i)}}))
	}
	list = append(list, build(t, addresses))
	// Somebody claims the name over and over, in a probe and in a response.
	claimed := dnsmessage.Message{
		Questions:   []dnsmessage.Question{{Name: dnsmessage.MustNewName(instance), Type: dnsmessage.TypeALL, Class: dnsmessage.ClassINET}},
		Authorities: []dnsmessage.Resource{rr(instance, 120, &dnsmessage.SRVResource{Port: 65535, Target: host})},
	}
	list = append(list, build(t, claimed))
	// A name that points at itself, and noise.
	loop := append(make([]byte, 12), 0xc0, 12, 0, 12, 0, 1)
	loop[5] = 1
	return append(list, loop, nil, []byte("noise"), make([]byte, maxPacket))
}
