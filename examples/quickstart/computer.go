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

// Where things are in the directory of a computer.
const (
	storeDir   = "store"
	keysDir    = "keys" // what a key or an anchor keeps lies outside the store
	anchorFile = keysDir + "/anchor"
	keyFile    = keysDir + "/" + keyName + ".key"
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
	if err := os.MkdirAll(filepath.Join(c.dir, keysDir), 0o700); err != nil {
		return c, err
	}
	var buses []transport.Bus
	if withKey {
		bus := simulator.New()
		c.key, err = bus.Add(simulator.Config{
			KeyID: keyID, Vendor: publicCode, VendorPublic: vendor,
			File: filepath.Join(c.dir, keyFile),
		})
		if err != nil {
			return c, err
		}
		buses = append(buses, bus)
	}
	if c.anchor, err = licensing.OpenAnchor(ctx, filepath.Join(c.dir, anchorFile)); err != nil {
		return c, err
	}
	if c.store, err = badgerstore.Open(filepath.Join(c.dir, storeDir), nil); err != nil {
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

// pool is where the seats of the story's feature are.
type pool struct {
	max, free, away uint32
}

func (p pool) String() string {
	return fmt.Sprintf("%d seats, %d free, %d away", p.max, p.free, p.away)
}

// pool counts the seats in the computer's key, and fails where a seat is there
// twice or not at all.
func (c *computer) pool(ctx context.Context) (pool, error) {
	list, err := c.Features(ctx, licensing.Filter{Key: new(uint64(keyID))})
	if err != nil {
		return pool{}, err
	}
	for f := range list.All() {
		if f.ProductNumber != product || f.Number != feature {
			continue
		}
		p := pool{f.Max, f.Free, f.Detached}
		if uint64(p.free)+uint64(p.away) != uint64(p.max) {
			return p, fmt.Errorf("%s: the pool does not add up: %v", c.name, p)
		}
		return p, nil
	}
	return pool{}, fmt.Errorf("%s: the key %s holds no pool", c.name, keyText)
}

// showPool prints where the seats are.
func (c *computer) showPool(ctx context.Context) error {
	p, err := c.pool(ctx)
	if err != nil {
		return err
	}
	note("Pool of %q in key %s: %v.", productName+" "+featureName, keyText, p)
	return nil
}

// waitForGrants waits until the last program that was told it may run has let go.
func (c *computer) waitForGrants(ctx context.Context) error {
	note("The seat is free when the last program that was told it may run has let go: within %v.", grant)
	for range 100 {
		p, err := c.pool(ctx)
		if err != nil || p.free == p.max {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(grant / 10):
		}
	}
	return errors.New("the seat does not come home")
}

// ask is what a vendor's program does before it runs. Its error is the refusal.
func (c *computer) ask(ctx context.Context) error {
	g, err := c.Check(ctx, publicCode, product, feature)
	if err != nil {
		note("A program on %s asks: may I run?  No, %s", c.name, reason(err))
		return err
	}
	note("A program on %s asks: may I run?  Yes, until %s, then ask again.", c.name, g.Ends.Format(time.TimeOnly))
	return nil
}

// denied asks, and fails unless the program may not run.
func (c *computer) denied(ctx context.Context, because string) error {
	err := c.ask(ctx)
	if err == nil {
		return fmt.Errorf("%s: a program may run although %s", c.name, because)
	}
	return refusal(err)
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

// backup copies the computer's store while the computer is switched off.
func (c *computer) backup(ctx context.Context, dir string, public ed25519.PublicKey) error {
	if err := c.close(); err != nil {
		return err
	}
	if err := os.CopyFS(filepath.Join(dir, backupDir), os.DirFS(filepath.Join(c.dir, storeDir))); err != nil {
		return err
	}
	again, err := open(ctx, dir, c.name, public, c.key != nil)
	if err != nil {
		return err
	}
	*c = *again
	return nil
}

// refusal gives nil for an error that is an answer about what was asked, and
// the error itself where the computer could not answer.
func refusal(err error) error {
	var e *licensing.Error
	if !errors.As(err, &e) {
		return err
	}
	switch e.Code {
	case licensing.StorageCorrupted, licensing.RequestFailed, licensing.GetResponseFailed,
		licensing.NoService, licensing.InternalError:
		return err
	}
	return nil
}

// reason is what an error says, with the name and number of its code.
func reason(err error) string {
	var e *licensing.Error
	if !errors.As(err, &e) {
		return err.Error()
	}
	return fmt.Sprintf("%s (%d). %s", e.Code.Name(), uint32(e.Code), e.Message)
}
