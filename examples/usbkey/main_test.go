package main

import (
	"crypto/ed25519"
	"crypto/x509"
	"encoding/pem"
	"io"
	"os"
	"path/filepath"
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
	c.id = 8
	if s, err := openStick(t.Context(), c); err == nil {
		s.close()
		t.Error("opened as a key of another id")
	}
}
