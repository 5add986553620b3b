package main

import (
	"context"
	"crypto/ed25519"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"io"
	"io/fs"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/sojournlm/sojourn/device"
	"github.com/sojournlm/sojourn/examples/internal/demo"
)

func TestFlags(t *testing.T) {
	public, _, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKIXPublicKey(public)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "vendor.pem")
	if err := os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}), 0o600); err != nil {
		t.Fatal(err)
	}
	c, err := parseFlags([]string{"-file", "k", "-id", "7", "-usb-ids", "1234:abcd", "-vendor", "GRDNT_1=" + file}, io.Discard)
	if err != nil || c.id != 7 || c.vendorID != 0x1234 || c.productID != 0xABCD || c.vendor != 1708389999 || !c.public.Equal(public) {
		t.Errorf("%+v, %v", c, err)
	}
	for _, args := range [][]string{
		{}, {"-file", "k", "more"}, {"-file", "k", "-id", "0"}, {"-file", "k", "-id", "4294967295"}, {"-file", "k", "-usb-ids", "12"},
		{"-file", "k", "-vendor", "1"}, {"-file", "k", "-vendor", "1=no such file"}, {"-file", "k", "-vendor", "?=" + file},
		{"-file", "k", "-listen", ""}, {"-file", "k", "-listen", "here"}, {"-file", "k", "-listen", "127.0.0.1:"}, {"-file", "k", "-functionfs", "-listen", "127.0.0.1:3240"},
	} {
		if _, err := parseFlags(args, io.Discard); err == nil {
			t.Errorf("%q: accepted", args)
		}
	}
}

// A key is the same one each time it is attached, and is given its pool once.
func TestStick(t *testing.T) {
	c := &config{file: filepath.Join(t.TempDir(), "my.key"), id: 7, vendor: demo.Vendor, public: demo.Public()}
	var public ed25519.PublicKey
	for round := range 2 {
		s, err := openStick(t.Context(), c)
		if err != nil {
			t.Fatal(err)
		}
		if round > 0 && !s.Public().Equal(public) {
			t.Error("it is another key")
		}
		public = s.Public()
		for range 2 {
			_, gone, err := s.plug()
			if err != nil {
				t.Fatal(err)
			}
			gone()
		}
		if err := s.Plug(); err != nil {
			t.Fatal(err)
		}
		k, err := device.Open(t.Context(), s.bus, s.BusID())
		if err != nil {
			t.Fatal(err)
		}
		if info, err := k.Info(t.Context()); err != nil || info.PoolCounter != 1 || info.ID != 7 {
			t.Errorf("%+v, %v", info, err)
		}
		k.Close()
		if err := s.close(); err != nil {
			t.Error(err)
		}
	}
	other, _, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, flag := range []config{
		{vendor: demo.Vendor, public: other}, {vendor: demo.Vendor + 1, public: demo.Public()}, {vendor: demo.Vendor, public: demo.Public()},
	} {
		flag.file, flag.id, flag.asked = c.file, c.id, true
		s, err := openStick(t.Context(), &flag)
		if err == nil {
			err = s.close()
		}
		if same := flag.vendor == demo.Vendor && flag.public.Equal(demo.Public()); (err == nil) != same || !same && !strings.Contains(err.Error(), "-vendor") {
			t.Errorf("-vendor of vendor %d on the file of vendor %d: %v", flag.vendor, demo.Vendor, err)
		}
	}
	c.id = 8 // of a new one
	s, err := openStick(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	if s.ID() != 7 {
		t.Errorf("the file's key is %d now", s.ID())
	}
	if _, err := openStick(t.Context(), c); err == nil || strings.Contains(err.Error(), "-id") {
		t.Errorf("a file that is in use: %v", err)
	}
	if err := s.close(); err != nil {
		t.Error(err)
	}
	c.idAsked = true
	if s, err := openStick(t.Context(), c); err == nil {
		s.close()
		t.Error("opened as a key of another id")
	} else if !strings.Contains(err.Error(), "-id 8") || !strings.Contains(err.Error(), "key 7") {
		t.Error(err)
	}
}

// What is printed can be typed in, also where the key is served on all addresses.
func TestAttachLine(t *testing.T) {
	host := func() net.IP { return net.IPv4(192, 0, 2, 7) }
	for at, want := range map[string]string{
		"127.0.0.1:3240":   "usbip attach -r 127.0.0.1 -b 1-1",
		"127.0.0.1:3241":   "usbip --tcp-port 3241 attach -r 127.0.0.1 -b 1-1",
		"[::]:3240":        "usbip attach -r 192.0.2.7 -b 1-1",
		"0.0.0.0:3240":     "usbip attach -r 192.0.2.7 -b 1-1",
		"[2001:db8::1]:80": "usbip --tcp-port 80 attach -r 2001:db8::1 -b 1-1",
	} {
		if got := attachLine(net.TCPAddrFromAddrPort(netip.MustParseAddrPort(at)), host); got != want {
			t.Errorf("%s: %s, want %s", at, got, want)
		}
	}
	if ip := reachable(); ip.IsUnspecified() {
		t.Errorf("%s cannot be reached", ip)
	}
}

// Being told to end is no error, and what goes wrong in ending is one all the same.
func TestServeEnds(t *testing.T) {
	log := slog.New(slog.DiscardHandler)
	c := &config{file: filepath.Join(t.TempDir(), "my.key"), id: 7, listen: "127.0.0.1:0", vendor: demo.Vendor, public: demo.Public()}
	s, err := openStick(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	at, err := openOutlet(c, log)
	if err != nil {
		t.Fatal(err)
	}
	if err := at.serve(ctx, s); err != nil {
		t.Errorf("told to end: %v", err)
	}
	if err := s.close(); err != nil {
		t.Error(err)
	}
}

// Where the key cannot be shown none is made.
func TestServesNowhere(t *testing.T) {
	log := slog.New(slog.DiscardHandler)
	for name, c := range map[string]config{
		"an address that is none": {listen: "nowhere at all:3240"},
		"a board without a port":  {functionFS: true},
	} {
		if at, err := openOutlet(&c, log); c.functionFS && err == nil {
			at.close()
			t.Log("this is a board with a port")
			continue
		}
		c.file, c.id, c.vendor, c.public = filepath.Join(t.TempDir(), "my.key"), 7, demo.Vendor, demo.Public()
		if err := serve(t.Context(), &c, log); err == nil {
			t.Errorf("%s: served", name)
		}
		if _, err := os.Stat(c.file); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s: a key was made: %v", name, err)
		}
	}
}
