package discovery

import (
	"errors"
	"net/netip"
	"strings"

	"golang.org/x/net/dns/dnsmessage"
)

// maxRecords is how much of a message is looked at.
const maxRecords = 128

// message is what concerns this package of a message of multicast DNS. Names
// are in lower case, as far as they are ASCII: that is how DNS compares.
type message struct {
	response  bool
	questions []dnsmessage.Question
	known     []pointer // instances of the service type
	services  []location
	texts     []text
	hosts     []host
}

type pointer struct {
	instance string
	ttl      uint32
}

type location struct {
	instance string
	ttl      uint32
	priority uint16
	weight   uint16
	port     uint16
	host     string
}

type text struct {
	instance string
	fields   []string
}

type host struct {
	name string
	addr netip.Addr
}

// section reads one of the three lists of records in a message.
type section struct {
	header func(*dnsmessage.Parser) (dnsmessage.ResourceHeader, error)
	skip   func(*dnsmessage.Parser) error
}

var sections = []section{
	{(*dnsmessage.Parser).AnswerHeader, (*dnsmessage.Parser).SkipAnswer},
	{(*dnsmessage.Parser).AuthorityHeader, (*dnsmessage.Parser).SkipAuthority},
	{(*dnsmessage.Parser).AdditionalHeader, (*dnsmessage.Parser).SkipAdditional},
}

var errMuch = errors.New("more records than are looked at")

// parse reads a packet. What does not concern this package is passed over, also
// where its names are of a kind that dnsmessage does not take (a dot within a
// label, which other services use).
func parse(packet []byte) (message, error) {
	var p dnsmessage.Parser
	header, err := p.Start(packet)
	if err != nil {
		return message{}, err
	}
	if header.OpCode != 0 || header.RCode != 0 {
		return message{}, errors.New("not a message of multicast DNS")
	}
	m := message{response: header.Response}
	left := maxRecords
	for ; ; left-- {
		q, err := p.Question()
		if err == dnsmessage.ErrSectionDone {
			break
		}
		if err == nil && left == 0 {
			err = errMuch
		}
		if err != nil {
			if left == 0 || p.SkipQuestion() != nil {
				return message{}, err
			}
			continue
		}
		m.questions = append(m.questions, q)
	}
	for _, s := range sections {
		for ; ; left-- {
			h, err := s.header(&p)
			if err == dnsmessage.ErrSectionDone {
				break
			}
			if left <= 0 {
				return message{}, errMuch
			}
			if err != nil || !m.take(&p, h) {
				if err := s.skip(&p); err != nil {
					return message{}, err
				}
			}
		}
	}
	return m, nil
}

// take reads the record that a header begins, and says whether it did.
func (m *message) take(p *dnsmessage.Parser, h dnsmessage.ResourceHeader) bool {
	if h.Class&^uniqueRecord != dnsmessage.ClassINET {
		return false
	}
	name := lower(h.Name.String())
	ours := strings.HasSuffix(name, "."+serviceType)
	switch h.Type {
	case dnsmessage.TypePTR:
		if name != serviceType {
			return false
		}
		r, err := p.PTRResource()
		if err != nil {
			return false
		}
		m.known = append(m.known, pointer{lower(r.PTR.String()), h.TTL})
	case dnsmessage.TypeSRV:
		if !ours {
			return false
		}
		r, err := p.SRVResource()
		if err != nil {
			return false
		}
		m.services = append(m.services, location{name, h.TTL, r.Priority, r.Weight, r.Port, lower(r.Target.String())})
	case dnsmessage.TypeTXT:
		if !ours {
			return false
		}
		r, err := p.TXTResource()
		if err != nil {
			return false
		}
		m.texts = append(m.texts, text{name, r.TXT})
	case dnsmessage.TypeA:
		r, err := p.AResource()
		if err != nil {
			return false
		}
		m.hosts = append(m.hosts, host{name, netip.AddrFrom4(r.A)})
	case dnsmessage.TypeAAAA:
		r, err := p.AAAAResource()
		if err != nil {
			return false
		}
		m.hosts = append(m.hosts, host{name, netip.AddrFrom16(r.AAAA)})
	default:
		return false
	}
	return true
}

// lower is ASCII's: the only letters that DNS takes for equal.
func lower(s string) string {
	return strings.Map(func(r rune) rune {
		if 'A' <= r && r <= 'Z' {
			return r + 'a' - 'A'
		}
		return r
	}, s)
}
