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
// key, without a pool. A key stays its vendor's: with an existing file -vendor says
// whose it should be.
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
	if err := serve(ctx, c, log); err != nil {
		log.Error("failed", "error", err)
		return 1
	}
	return 0
}

// serve serves the key until ctx ends, which is no error.
func serve(ctx context.Context, c *config, log *slog.Logger) error {
	at, err := openOutlet(c, log) // before a key is made for it
	if err != nil {
		return err
	}
	s, err := openStick(ctx, c)
	if err != nil {
		return errors.Join(err, at.close())
	}
	log.Info("the key is ready", "id", s.ID(), "serial", s.usb.Serial, "file", c.file)
	return errors.Join(at.serve(ctx, s), s.close())
}

// outlet is where the key shows on USB. One line on standard output says that it does,
// and how. Who does not serve closes it.
type outlet interface {
	serve(context.Context, *stick) error
	close() error
}

func openOutlet(c *config, log *slog.Logger) (outlet, error) {
	if c.functionFS {
		return openBoard()
	}
	ln, err := net.Listen("tcp", c.listen)
	if err != nil {
		return nil, fmt.Errorf("-listen: %w", err)
	}
	return network{ln, log}, nil
}

// network lets computers attach the key by USB/IP.
type network struct {
	ln  net.Listener
	log *slog.Logger
}

func (n network) close() error { return n.ln.Close() }

func (n network) serve(ctx context.Context, s *stick) error {
	at := n.ln.Addr().(*net.TCPAddr)
	if !at.IP.IsLoopback() {
		n.log.Warn("USB/IP asks for no password: whoever reaches this address can take the key", "address", at)
	}
	if _, err := fmt.Println(attachLine(at, reachable)); err != nil {
		return errors.Join(fmt.Errorf("standard output: %w", err), n.close())
	}
	server := &usbip.Server{Config: s.usb, Plug: s.plug, Logger: n.log}
	if err := server.Serve(ctx, n.ln); ctx.Err() == nil {
		return err
	}
	return nil
}

// attachLine is the command that attaches the key. Of all addresses it has the one that
// host gives.
func attachLine(at *net.TCPAddr, host func() net.IP) string {
	ip := at.IP
	if ip.IsUnspecified() {
		ip = host()
	}
	port := ""
	if at.Port != usbip.Port {
		port = fmt.Sprintf("--tcp-port %d ", at.Port)
	}
	return fmt.Sprintf("usbip %sattach -r %s -b %s", port, ip, usbip.BusID)
}

// reachable is an address of this computer that others may reach, or the loopback
// address where it has none.
func reachable() net.IP {
	addresses, _ := net.InterfaceAddrs() // none is none
	best := net.IPv4(127, 0, 0, 1)
	for _, a := range addresses {
		n, ok := a.(*net.IPNet)
		switch {
		case !ok || !n.IP.IsGlobalUnicast():
		case n.IP.To4() != nil:
			return n.IP
		case best.IsLoopback():
			best = n.IP
		}
	}
	return best
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
