package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strconv"
	"time"

	"github.com/sojournlm/sojourn/licensing/lmhttp"
)

// How long the parts of an orderly end may take. With the store's, which has
// what is left, they stay below lastResort.
const (
	drainTime = 5 * time.Second // requests under way
	closeTime = 2 * time.Second // the manager
)

// serve opens everything, serves until ctx ends, and closes everything. One line
// on ready says that it serves, and where.
func serve(ctx context.Context, c *config, log *slog.Logger, ready io.Writer) (err error) {
	ln, err := net.Listen("tcp", c.listen)
	if err != nil {
		return fmt.Errorf("-listen: %w", err)
	}
	defer ln.Close()
	if err := c.checkExposure(ln.Addr()); err != nil {
		return err
	}
	c.discover = c.discover && !onlyHere(ln.Addr())
	if c.insecure && !onlyHere(ln.Addr()) && (c.token == "" || c.certificate == nil) {
		log.Warn("other computers can reach this server without a token or TLS: anybody on the network can take seats; -insecure allows it", "listen", ln.Addr().String())
	}
	if c.demo {
		log.Warn("the demo vendor is trusted, whose private key everybody has: good for trying out only; -no-demo ends it",
			"vendor", "DEMONVK", "publicCode", demoVendor)
	}
	h, err := openHouse(ctx, c, log)
	if err != nil {
		return err
	}
	defer func() {
		closing, cancel := context.WithTimeout(context.WithoutCancel(ctx), closeTime)
		defer cancel()
		err = errors.Join(err, h.close(closing))
		if err == nil {
			log.Info("closed")
		}
	}()
	env, err := h.Environment(ctx)
	if err != nil {
		return err
	}
	log.Info("the license manager is open", "lmsId", env.LMSID, "host", env.HostName, "version", env.Version)
	health := &readiness{house: h, log: log}
	health.look(ctx) // so that the operator hears at once what will refuse to work
	server := lmhttp.Server(ln.Addr().String(), newSite(h, health, c, log))
	server.ErrorLog = slog.NewLogLogger(log.Handler(), slog.LevelWarn)
	serving, scheme := func() error { return server.Serve(ln) }, "http"
	if c.certificate != nil {
		server.TLSConfig = &tls.Config{Certificates: []tls.Certificate{*c.certificate}}
		serving, scheme = func() error { return server.ServeTLS(ln, "", "") }, "https"
	}
	if _, err := fmt.Fprintf(ready, "listening on %s://%s\n", scheme, reachable(ln.Addr())); err != nil {
		return fmt.Errorf("standard output: %w", err)
	}
	if c.discover {
		announcing, stop := context.WithCancel(ctx)
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			announce(announcing, c, ln.Addr(), env.HostName, log)
		}()
		defer func() {
			stop()
			<-ended
		}()
	}
	return drain(ctx, server, serving, log)
}

// reachable is the address that a client on this computer uses: a wildcard is
// none.
func reachable(addr net.Addr) string {
	tcp, ok := addr.(*net.TCPAddr)
	if !ok || !tcp.IP.IsUnspecified() {
		return addr.String()
	}
	return net.JoinHostPort("127.0.0.1", strconv.Itoa(tcp.Port))
}

// drain serves until ctx ends, and then until the requests under way have their
// answers.
func drain(ctx context.Context, server *http.Server, serving func() error, log *slog.Logger) error {
	ended := make(chan error, 1)
	go func() { ended <- serving() }()
	select {
	case err := <-ended:
		return err
	case <-ctx.Done():
	}
	log.Info("ending, requests under way are finished first")
	waiting, cancel := context.WithTimeout(context.WithoutCancel(ctx), drainTime)
	defer cancel()
	err := server.Shutdown(waiting)
	if err != nil {
		log.Warn("some requests were not finished in time and are given up")
		err = server.Close()
	}
	<-ended // http.ErrServerClosed
	return err
}
