package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"time"

	"github.com/sojournlm/sojourn/licensing"
	"github.com/sojournlm/sojourn/licensing/discovery"
	"github.com/sojournlm/sojourn/licensing/lmhttp"
)

// peer is the flag -peer.
func (c *config) peer(address string) error {
	if err := lmhttp.CheckAddress(address); err != nil {
		return err
	}
	c.peers = append(c.peers, address)
	return nil
}

// readAuthorities reads the certificates of -peer-ca. They come on top of the
// system's.
func (c *config) readAuthorities(file string) error {
	if file == "" {
		return nil
	}
	text, err := os.ReadFile(file)
	if err != nil {
		return fmt.Errorf("-peer-ca: %w", err)
	}
	pool, err := x509.SystemCertPool()
	if err != nil {
		pool = x509.NewCertPool()
	}
	if !pool.AppendCertsFromPEM(text) {
		return fmt.Errorf("-peer-ca: %s has no certificate in PEM", file)
	}
	c.authorities = pool
	return nil
}

// network is how the manager finds and reaches others.
func (c *config) network() *licensing.Peers {
	p := &licensing.Peers{Exchange: lmhttp.Exchange(c.client()), Addresses: c.peers, AdmitFound: c.admitFound}
	if c.discover {
		p.Browse = func(ctx context.Context, found func(string)) error {
			return withNetwork(ctx, func() error { return discovery.Browse(ctx, found) })
		}
	}
	return p
}

// announce lets other managers find this one until ctx ends.
func announce(ctx context.Context, c *config, at net.Addr, host string, log *slog.Logger) {
	a := discovery.Announcement{Instance: host, Listen: at.(*net.TCPAddr).AddrPort(), TLS: c.certificate != nil}
	err := withNetwork(ctx, func() error { return discovery.Announce(ctx, a) })
	if err != nil && ctx.Err() == nil {
		log.Warn("other license managers cannot find this one by themselves", "error", err)
	}
}

// withNetwork calls f, again and again while this computer has no network.
func withNetwork(ctx context.Context, f func() error) error {
	for {
		err := f()
		if !errors.Is(err, discovery.ErrNoInterface) {
			return err
		}
		select {
		case <-time.After(networkTime):
		case <-ctx.Done():
			return nil
		}
	}
}

// networkTime is how often a computer without network is looked at again.
const networkTime = 10 * time.Second

// client reaches other managers directly: a proxy would not find the ones nearby.
func (c *config) client() *http.Client {
	return &http.Client{Transport: &http.Transport{
		DialContext:           (&net.Dialer{Timeout: 5 * time.Second}).DialContext,
		TLSClientConfig:       &tls.Config{RootCAs: c.authorities},
		TLSHandshakeTimeout:   5 * time.Second,
		ResponseHeaderTimeout: time.Minute,
		IdleConnTimeout:       30 * time.Second,
		MaxIdleConnsPerHost:   8,
		ForceAttemptHTTP2:     true,
	}}
}

// onlyHere reports whether no other computer can reach an address.
func onlyHere(at net.Addr) bool {
	tcp, ok := at.(*net.TCPAddr)
	return ok && tcp.IP.IsLoopback()
}
