// Package discovery lets license managers find each other on the local network
// without anybody typing an address: DNS-SD (RFC 6763) over multicast DNS (RFC
// 6762), under the service type _sojourn-lm._tcp.
//
// What is found is an address and nothing more: whoever is on the network can
// announce anything, so nobody is trusted because of it. That is why every
// message is bounded and judged on its own, and nothing of it is kept but the
// addresses already told: there is no cache that a stranger could fill. An
// address counts only where it lies on the link that it was heard on, so that
// no message sends a manager to somebody elsewhere.
//
// Networks that carry no multicast need addresses by hand.
package discovery

import (
	"errors"
	"time"
)

// serviceType names the service, and version what its TXT record promises: an
// HTTP API under the address, v=1, and tls=1 where it speaks HTTPS.
const (
	serviceType = "_sojourn-lm._tcp.local."
	metaQuery   = "_services._dns-sd._udp.local."
	version     = "1"
)

// ErrNoInterface is what Announce and Browse answer when, as they begin, this
// computer has no network interface for them. Call again later.
var ErrNoInterface = errors.New("discovery: no network interface is up, has an address and can multicast")

// watchEvery is how often the interfaces are looked at, since no portable way
// tells when a computer has changed networks.
const watchEvery = 2 * time.Second
