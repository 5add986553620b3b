package discovery

import (
	"net/netip"

	"golang.org/x/net/dns/dnsmessage"
)

const (
	// uniqueRecord marks, in a record's class, that it is the only one of its
	// name: who has older ones forgets them (RFC 6762, 10.2).
	uniqueRecord dnsmessage.Class = 1 << 15
	// Times to live, in seconds, as RFC 6762 recommends them.
	ttlHost  = 120
	ttlOther = 4500
)

// service is what one manager announces.
type service struct {
	instance string // one label
	host     string // one label
	port     uint16
	secure   bool
}

func (s service) name() string     { return s.instance + "." + serviceType }
func (s service) hostName() string { return s.host + ".local." }

// announcement tells everything about the service in one message; gone says
// goodbye.
func (s service) announcement(addrs []netip.Addr, gone bool) ([]byte, error) {
	b := newBuilder(dnsmessage.Header{Response: true, Authoritative: true})
	b.try(b.StartAnswers())
	ttl := func(seconds uint32) uint32 {
		if gone {
			return 0
		}
		return seconds
	}
	if !gone { // the type of service may live on, elsewhere
		b.try(b.PTRResource(b.header(metaQuery, 0, ttlOther), dnsmessage.PTRResource{PTR: b.name(serviceType)}))
	}
	b.try(b.PTRResource(b.header(serviceType, 0, ttl(ttlOther)), dnsmessage.PTRResource{PTR: b.name(s.name())}))
	b.location(s, uniqueRecord, ttl(ttlHost))
	fields := []string{"v=" + version}
	if s.secure {
		fields = append(fields, "tls=1")
	}
	b.try(b.TXTResource(b.header(s.name(), uniqueRecord, ttl(ttlOther)), dnsmessage.TXTResource{TXT: fields}))
	b.addresses(s, addrs, ttl(ttlHost))
	return b.finish()
}

// probe asks whether anybody has the service's name, and says what for.
func (s service) probe() ([]byte, error) {
	b := newBuilder(dnsmessage.Header{})
	b.try(b.StartQuestions())
	b.try(b.Question(dnsmessage.Question{Name: b.name(s.name()), Type: dnsmessage.TypeALL, Class: dnsmessage.ClassINET}))
	b.try(b.StartAuthorities())
	b.location(s, 0, ttlHost)
	return b.finish()
}

// query asks who offers the service.
func query() ([]byte, error) {
	b := newBuilder(dnsmessage.Header{})
	b.try(b.StartQuestions())
	b.try(b.Question(dnsmessage.Question{Name: b.name(serviceType), Type: dnsmessage.TypePTR, Class: dnsmessage.ClassINET}))
	return b.finish()
}

// builder is dnsmessage's, with the first error kept.
type builder struct {
	dnsmessage.Builder
	err error
}

func newBuilder(h dnsmessage.Header) *builder {
	b := &builder{Builder: dnsmessage.NewBuilder(nil, h)}
	b.EnableCompression()
	return b
}

func (b *builder) try(err error) {
	if b.err == nil {
		b.err = err
	}
}

func (b *builder) name(s string) dnsmessage.Name {
	n, err := dnsmessage.NewName(s)
	b.try(err)
	return n
}

func (b *builder) header(name string, flags dnsmessage.Class, ttl uint32) dnsmessage.ResourceHeader {
	return dnsmessage.ResourceHeader{Name: b.name(name), Class: dnsmessage.ClassINET | flags, TTL: ttl}
}

func (b *builder) location(s service, flags dnsmessage.Class, ttl uint32) {
	b.try(b.SRVResource(b.header(s.name(), flags, ttl), dnsmessage.SRVResource{Port: s.port, Target: b.name(s.hostName())}))
}

func (b *builder) addresses(s service, addrs []netip.Addr, ttl uint32) {
	for _, a := range addrs {
		h := b.header(s.hostName(), uniqueRecord, ttl)
		if a.Is4() {
			b.try(b.AResource(h, dnsmessage.AResource{A: a.As4()}))
		} else {
			b.try(b.AAAAResource(h, dnsmessage.AAAAResource{AAAA: a.As16()}))
		}
	}
}

func (b *builder) finish() ([]byte, error) {
	packet, err := b.Finish()
	b.try(err)
	return packet, b.err
}
