// Usbkey is a license key that other programs find on USB. Its memory is a file, and
// the program in it is the one that runs in every open key.
//
//	go run ./examples/usbkey -file my.key
//
// serves it by USB/IP on 127.0.0.1:3240. Any Linux or Windows computer attaches it as a
// real device with the stock usbip tool,
//
//	modprobe vhci-hcd
//	usbip attach -r 127.0.0.1 -b 1-1
//
// and has it until "usbip detach -p PORT", which pulls the plug. On a Linux board with a
// USB device port (a Raspberry Pi Zero, say)
//
//	usbkey -file my.key -functionfs
//
// makes the board itself the key, for the computer at the other end of its cable.
//
// A new key is one of the demo vendor, whose private key everybody has, and holds a
// small pool: product 29, feature 4, three seats. -vendor makes it another vendor's
// key, without a pool.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"net"
	"os"
	"os/signal"
	"syscall"

	"github.com/sojournlm/sojourn/internal/gadget"
	"github.com/sojournlm/sojourn/internal/usbip"
)

func main() { os.Exit(run()) }

func run() (exit int) {
	log := slog.New(slog.NewTextHandler(os.Stderr, nil))
	c, err := parseFlags(os.Args[1:], os.Stderr)
	switch {
	case errors.Is(err, flag.ErrHelp):
		return 0
	case err != nil:
		log.Error("not started", "error", err)
		return 2
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := serve(ctx, c, log); err != nil && !errors.Is(err, context.Canceled) {
		log.Error("failed", "error", err)
		return 1
	}
	return 0
}

func serve(ctx context.Context, c *config, log *slog.Logger) (err error) {
	s, err := openStick(ctx, c)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.close()) }()
	log.Info("the key is ready", "id", s.ID(), "serial", s.usb.Serial, "file", c.file)
	if c.functionFS {
		return serveBoard(ctx, s)
	}
	return serveNetwork(ctx, c.listen, s, log)
}

// serveNetwork lets computers attach the key by USB/IP. One line on standard output
// says that it can be done, and how.
func serveNetwork(ctx context.Context, listen string, s *stick, log *slog.Logger) error {
	ln, err := net.Listen("tcp", listen)
	if err != nil {
		return fmt.Errorf("-listen: %w", err)
	}
	at := ln.Addr().(*net.TCPAddr)
	if !at.IP.IsLoopback() {
		log.Warn("USB/IP asks for no password: whoever reaches this address can take the key", "address", at)
	}
	how := fmt.Sprintf("usbip attach -r %s -b %s", at.IP, usbip.BusID)
	if at.Port != usbip.Port {
		how = fmt.Sprintf("usbip --tcp-port %d attach -r %s -b %s", at.Port, at.IP, usbip.BusID)
	}
	if _, err := fmt.Println(how); err != nil {
		return fmt.Errorf("standard output: %w", err)
	}
	server := &usbip.Server{Config: s.usb, Plug: s.plug, Logger: log}
	return server.Serve(ctx, ln)
}

// plug is somebody attaching the key: it gets its power.
func (s *stick) plug() (*gadget.Device, func(), error) {
	conn, err := s.powerUp(context.Background())
	if err != nil {
		return nil, nil, err
	}
	return gadget.New(conn, s.usb), func() {
		conn.Close()
		s.Unplug()
	}, nil
}
