package main

import (
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/sojournlm/sojourn/fingerprint"
	"github.com/sojournlm/sojourn/licensing"
	"github.com/sojournlm/sojourn/storage/badgerstore"
	"github.com/sojournlm/sojourn/transport"
	"github.com/sojournlm/sojourn/transport/simulator"
)

// Where things are in the story's directory.
const (
	vendorFile = "vendor.public" // the vendor's public key, which every program of his has compiled in
	backupDir  = "LAPTOP-store-of-yesterday"
)

// grant is how long a program may run before it asks again. It is short so
// that the story need not wait long for the last one to end.
const grant = 2 * time.Second

// computer is one of the two computers: a manager on a Badger store, its anchor
// in a file outside that store, and for OFFICE a simulated key.
type computer struct {
	*licensing.Manager
	name   string
	dir    string
	store  *badgerstore.Store
	anchor *licensing.AnchorFile
	key    *simulator.Key // nil without
}

// open starts the computer whose data lies in dir/name.
func open(ctx context.Context, dir, name string, vendor ed25519.PublicKey, withKey bool) (c *computer, err error) {
	c = &computer{name: name, dir: filepath.Join(dir, name)}
	defer func() {
		if err != nil {
			err = errors.Join(fmt.Errorf("%s: %w", name, err), c.close())
		}
	}()
	if err := os.MkdirAll(filepath.Join(c.dir, "keys"), 0o700); err != nil {
		return c, err
	}
	var buses []transport.Bus
	if withKey {
		bus := simulator.New()
		c.key, err = bus.Add(simulator.Config{
			KeyID: keyID, Vendor: publicCode, VendorPublic: vendor,
			File: filepath.Join(c.dir, "keys", fmt.Sprintf("%08X.key", uint32(keyID))),
		})
		if err != nil {
			return c, err
		}
		buses = append(buses, bus)
	}
	if c.anchor, err = licensing.OpenAnchor(ctx, filepath.Join(c.dir, "keys", "anchor")); err != nil {
		return c, err
	}
	if c.store, err = badgerstore.Open(c.storeDir(), nil); err != nil {
		return c, err
	}
	c.Manager, err = licensing.Open(ctx, c.store, c.anchor, &licensing.Options{
		Vendors:     map[uint32]ed25519.PublicKey{publicCode: vendor},
		Buses:       buses,
		HostName:    name,
		GrantLength: grant,
		// Both computers are this one, so each gets a machine id of its own.
		Hardware: fingerprint.Static{{Name: fingerprint.MachineComponent, Value: name}},
	})
	return c, err
}

func (c *computer) storeDir() string { return filepath.Join(c.dir, "store") }

// close ends the manager and what it stands on. Closing twice is harmless.
func (c *computer) close() error {
	var errs []error
	if c.Manager != nil {
		errs = append(errs, c.Manager.Close(context.Background()))
	}
	if c.store != nil {
		errs = append(errs, c.store.Close())
	}
	if c.anchor != nil {
		errs = append(errs, c.anchor.Close())
	}
	if c.key != nil {
		errs = append(errs, c.key.Close())
	}
	return errors.Join(errs...)
}

// install installs a carried file.
func (c *computer) install(ctx context.Context, file string) error {
	content, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	if err := c.Install(ctx, content, nil); err != nil {
		return err
	}
	note("%s installed %s.", c.name, filepath.Base(file))
	return nil
}

// addComputer makes the computer known whose fingerprint is in the file.
func (c *computer) addComputer(ctx context.Context, file string) error {
	content, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	if err := c.AddFingerprint(ctx, licensing.FingerprintFields{Fingerprint: content}, nil); err != nil {
		return err
	}
	note("%s knows the computer of %s now.", c.name, filepath.Base(file))
	return nil
}

// showPool prints where the seats are.
func (c *computer) showPool(ctx context.Context) error {
	list, err := c.Features(ctx, licensing.Filter{Key: new(uint64(keyID))})
	if err != nil {
		return err
	}
	for f := range list.All() {
		note("Pool of %q in key %08X: %d seats, %d free, %d away.", f.ProductName+" "+f.Name, f.Key, f.Max, f.Free, f.Detached)
	}
	return nil
}

// waitForGrants waits until the last program that was told it may run has let go.
func (c *computer) waitForGrants(ctx context.Context) error {
	note("The seat is free when the last program that was told it may run has let go: within %v.", grant)
	for tries := 0; ; tries++ {
		list, err := c.Features(ctx, licensing.Filter{Key: new(uint64(keyID))})
		if err != nil {
			return err
		}
		for f := range list.All() {
			if f.Free == f.Max {
				return nil
			}
		}
		if tries > 100 {
			return errors.New("the seat does not come home")
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(grant / 10):
		}
	}
}

// ask is what a vendor's program does before it runs.
func (c *computer) ask(ctx context.Context) error {
	g, err := c.Check(ctx, publicCode, product, feature)
	if err != nil {
		note("A program on %s asks: may I run?  No. %v", c.name, err)
		return err
	}
	note("A program on %s asks: may I run?  Yes, until %s, then ask again.", c.name, g.Ends.Format(time.TimeOnly))
	return nil
}

// verify goes through everything the computer has stored.
func (c *computer) verify(ctx context.Context) error {
	r, err := c.Verify(ctx)
	if err != nil {
		return err
	}
	note("Everything %s has stored adds up: %d entries, each signed by what anchors it.", c.name, r.Entries)
	return nil
}
