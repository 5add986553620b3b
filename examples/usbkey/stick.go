package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/sojournlm/sojourn/device"
	"github.com/sojournlm/sojourn/examples/internal/demo"
	"github.com/sojournlm/sojourn/internal/document"
	"github.com/sojournlm/sojourn/internal/gadget"
	"github.com/sojournlm/sojourn/licensing"
	"github.com/sojournlm/sojourn/licensing/issuer"
	"github.com/sojournlm/sojourn/transport"
	"github.com/sojournlm/sojourn/transport/simulator"
)

// stick is the key, and how it shows on USB.
type stick struct {
	*simulator.Key
	bus *simulator.Bus
	usb gadget.Config
}

// openStick opens the key in the file, or makes it. A new key of the demo vendor is
// given a pool.
func openStick(ctx context.Context, c *config) (*stick, error) {
	s := &stick{bus: simulator.New()}
	made := simulator.Config{KeyID: c.id, Vendor: c.vendor, VendorPublic: c.public, File: c.file}
	key, err := s.bus.Add(made)
	if other, ok := errors.AsType[*simulator.OtherKeyError](err); ok {
		if c.idAsked {
			return nil, fmt.Errorf("-id %d: %s holds key %d: leave the flag out to use that, or name another -file to make a new one",
				c.id, c.file, other.ID)
		}
		made.KeyID = other.ID
		key, err = s.bus.Add(made)
	}
	if err != nil {
		return nil, err
	}
	s.Key = key
	s.usb = gadget.Config{Vendor: c.vendorID, Product: c.productID, Serial: gadget.Serial(key.ID()), Speed: gadget.HighSpeed}
	if err := s.fill(ctx, c); err != nil {
		return nil, errors.Join(err, key.Close())
	}
	s.Unplug() // until somebody attaches it
	return s, nil
}

// fill gives a key without a pool the demo vendor's, where it is that vendor's.
func (s *stick) fill(ctx context.Context, c *config) error {
	key, err := device.Open(ctx, s.bus, s.BusID())
	if err != nil {
		return err
	}
	defer key.Close()
	info, err := key.Info(ctx)
	switch {
	case err != nil:
		return err
	case c.asked && (info.Vendor != c.vendor || !s.VendorPublic().Equal(c.public)):
		return fmt.Errorf("-vendor: the key in %s was made for vendor %s, with another code or public key: "+
			"leave the flag out to use it, or name another -file to make a new one", c.file, licensing.PublicCodeText(info.Vendor))
	case info.PoolCounter > 0 || info.Vendor != demo.Vendor:
		return nil
	}
	file, err := issuer.Sign(demo.Key(), issuer.Pool{
		Key: uint32(info.ID), KeyPublic: key.Public(), Vendor: demo.Vendor, Counter: 1, Issued: time.Now(),
		Products: []issuer.Product{{Number: 29, Name: "demo", Features: []issuer.Feature{
			{Number: 4, Name: "demo seat", Seats: 3, Detachable: true},
		}}},
	})
	if err != nil {
		return err
	}
	envelope, err := document.Unwrap(file)
	if err != nil {
		return err
	}
	return key.Install(ctx, envelope.Body)
}

// powerUp plugs the key in and connects to it.
func (s *stick) powerUp(ctx context.Context) (transport.Conn, error) {
	if err := s.Plug(); err != nil {
		return nil, err
	}
	return s.bus.Open(ctx, s.BusID())
}

func (s *stick) close() error { return s.Key.Close() }
