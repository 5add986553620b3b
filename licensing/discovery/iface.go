package discovery

import (
	"bytes"
	"cmp"
	"net"
	"net/netip"
	"slices"
)

// Bounds of what one computer is expected to have.
const (
	maxInterfaces = 32
	maxAddresses  = 8 // of an interface or a manager
)

// iface is a network interface with the prefixes it had when looked at.
type iface struct {
	net.Interface
	prefixes []netip.Prefix
}

// usable lists the interfaces that can carry multicast DNS, by index. Loopback
// reaches nobody, and a point-to-point link is a tunnel to elsewhere.
func usable() ([]iface, error) {
	all, err := net.Interfaces()
	if err != nil {
		return nil, err
	}
	var list []iface
	for _, i := range all {
		const needed, refused = net.FlagUp | net.FlagRunning | net.FlagMulticast, net.FlagLoopback | net.FlagPointToPoint
		if i.Flags&needed != needed || i.Flags&refused != 0 {
			continue
		}
		addrs, err := i.Addrs()
		if err != nil {
			continue // it has just gone
		}
		u := iface{Interface: i}
		for _, a := range addrs {
			if p, err := netip.ParsePrefix(a.String()); err == nil && ordinary(p.Addr()) {
				u.prefixes = append(u.prefixes, p)
			}
		}
		if len(u.prefixes) > 0 {
			slices.SortFunc(u.prefixes, comparePrefixes)
			list = append(list, u)
		}
	}
	slices.SortFunc(list, func(a, b iface) int { return cmp.Compare(a.Index, b.Index) })
	return list[:min(len(list), maxInterfaces)], nil
}

func comparePrefixes(a, b netip.Prefix) int {
	return cmp.Or(a.Addr().Compare(b.Addr()), cmp.Compare(a.Bits(), b.Bits()))
}

// same says whether nothing happened between two looks.
func same(a, b []iface) bool {
	return slices.EqualFunc(a, b, func(a, b iface) bool {
		return a.Index == b.Index && a.Name == b.Name && bytes.Equal(a.HardwareAddr, b.HardwareAddr) && slices.Equal(a.prefixes, b.prefixes)
	})
}

// ordinary says whether an address can be that of one other computer.
func ordinary(a netip.Addr) bool {
	return a.IsValid() && !a.IsUnspecified() && !a.IsLoopback() && !a.IsMulticast() && a != netip.AddrFrom4([4]byte{255, 255, 255, 255})
}

// has says whether the interface speaks IPv4, or IPv6.
func (i iface) has(v4 bool) bool {
	return slices.ContainsFunc(i.prefixes, func(p netip.Prefix) bool { return p.Addr().Is4() == v4 })
}

// serving gives the interface's addresses under which a server answers that
// listens on listen: all for ::, those of IPv4 for 0.0.0.0, else that one
// alone. Link-local IPv6 is named only where there is nothing better.
func (i iface) serving(listen netip.Addr) []netip.Addr {
	var list, linkLocal []netip.Addr
	for _, p := range i.prefixes {
		a := p.Addr()
		switch {
		case listen.IsUnspecified() && listen.Is4() && !a.Is4():
		case !listen.IsUnspecified() && a != listen.WithZone(""):
		case listen.Zone() != "" && listen.Zone() != i.Name:
		case a.Is6() && a.IsLinkLocalUnicast():
			linkLocal = append(linkLocal, a)
		default:
			list = append(list, a)
		}
	}
	if len(list) == 0 {
		list = linkLocal
	}
	return list[:min(len(list), maxAddresses)]
}

// onLink chooses the address, of those that a manager claims, under which it is
// best reached over this interface: IPv4 before IPv6 before link-local IPv6.
// One that lies elsewhere does not count.
func (i iface) onLink(claimed []netip.Addr) (netip.Addr, bool) {
	var best netip.Addr
	for _, a := range claimed {
		here := slices.ContainsFunc(i.prefixes, func(p netip.Prefix) bool { return p.Contains(a) })
		if !here || !ordinary(a) {
			continue
		}
		if !best.IsValid() || cmp.Or(cmp.Compare(rank(a), rank(best)), a.Compare(best)) < 0 {
			best = a
		}
	}
	if best.Is6() && best.IsLinkLocalUnicast() {
		best = best.WithZone(i.Name)
	}
	return best, best.IsValid()
}

func rank(a netip.Addr) int {
	switch {
	case a.Is4():
		return 0
	case !a.IsLinkLocalUnicast():
		return 1
	}
	return 2
}
