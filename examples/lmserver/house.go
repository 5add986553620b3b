package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"

	"github.com/sojournlm/sojourn/licensing"
	"github.com/sojournlm/sojourn/storage"
	"github.com/sojournlm/sojourn/storage/badgerstore"
	"github.com/sojournlm/sojourn/storage/memory"
	"github.com/sojournlm/sojourn/transport/usb"
)

// house is the manager with all it stands on.
type house struct {
	*licensing.Manager
	store  storage.Store
	rack   rack
	usb    *usb.Bus // nil without -usb
	anchor *licensing.AnchorFile
}

// openHouse opens what lies in the data directory, or an empty house in memory,
// and brings the simulated keys' pools to where their descriptions are.
func openHouse(ctx context.Context, c *config, log *slog.Logger) (h *house, err error) {
	h = new(house)
	defer func() {
		if err != nil {
			err = errors.Join(err, h.close(context.WithoutCancel(ctx)))
		}
	}()
	if err := h.openUSB(c); err != nil { // before anything is made
		return h, err
	}
	keys, anchor := "", ""
	if c.data != "" {
		keys = filepath.Join(c.data, "keys")
		anchor = filepath.Join(keys, "anchor")
	}
	if err := checkStore(c, anchor); err != nil {
		return h, err
	}
	if err := h.openStore(c.data, log); err != nil {
		return h, err
	}
	if c.data != "" {
		if err := h.checkAnchor(ctx, anchor); err != nil {
			return h, err
		}
		if err := os.MkdirAll(keys, 0o700); err != nil {
			return h, fmt.Errorf("-data: %w", err)
		}
	}
	plans := c.keys
	if c.verify { // makes nothing
		plans = slices.DeleteFunc(slices.Clone(plans), func(p plan) bool { return !p.made(keys) })
	}
	if err := h.rack.plug(ctx, plans, keys); err != nil {
		return h, err
	}
	if h.anchor, err = licensing.OpenAnchor(ctx, anchor); err != nil {
		return h, err
	}
	h.Manager, err = licensing.Open(ctx, h.store, h.anchor, &licensing.Options{
		Vendors:  c.vendors,
		Buses:    h.buses(),
		Peers:    c.network(),
		HostName: c.host,
		Logger:   log,
	})
	if err != nil {
		return h, err
	}
	if c.verify {
		return h, nil
	}
	return h, h.rack.update(ctx, h.Manager, log)
}

// checkStore refuses to begin with an empty store where there was another: its
// seats would be lost for good with the first change.
func checkStore(c *config, anchor string) error {
	if c.data == "" {
		return nil
	}
	store := filepath.Join(c.data, "store")
	switch files, err := os.ReadDir(store); {
	case err == nil && len(files) > 0:
		return nil
	case err != nil && !errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("-data: %w", err)
	case c.verify:
		return fmt.Errorf("-verify: %s is empty or does not exist", store)
	}
	if _, err := os.Stat(anchor); err != nil {
		return nil // the first start, or something that OpenAnchor names
	}
	return fmt.Errorf("-data: the store %s is gone, while %s remembers it: bring the newest store back; "+
		"to begin anew, as another computer and without the seats that are out, name another directory", store, filepath.Dir(anchor))
}

// checkAnchor refuses to make a new anchor for a store that has content: it could
// not vouch for that, and would stand in the way of the right one.
func (h *house) checkAnchor(ctx context.Context, anchor string) error {
	if _, err := os.Stat(anchor); !errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	used := false
	err := h.store.View(ctx, func(r storage.Reader) error {
		for _, err := range r.Scan("") {
			used = err == nil
			return err
		}
		return nil
	})
	if err == nil && used {
		return fmt.Errorf("-data: %s is gone, which vouches for the store beside it: bring %s back as it was last; "+
			"without it nothing could be changed or granted", anchor, filepath.Dir(anchor))
	}
	return err
}

func (h *house) openStore(dir string, log *slog.Logger) error {
	if dir == "" {
		log.Warn("everything is kept in memory and gone when this program ends; -data keeps it")
		h.store = memory.New()
		return nil
	}
	store, err := badgerstore.Open(filepath.Join(dir, "store"), &badgerstore.Options{Logger: log})
	switch {
	case errors.Is(err, badgerstore.ErrLocked):
		return fmt.Errorf("-data %s is in use by another process, probably another lmserver: end that one, or name another directory (%w)", dir, err)
	case err != nil:
		return fmt.Errorf("-data: %w", err)
	}
	h.store = store
	return nil
}

// close ends the manager, then what it stands on. When ctx ends, operations
// that are still under way are given up.
func (h *house) close(ctx context.Context) error {
	var errs []error
	if h.Manager != nil {
		errs = append(errs, h.Manager.Close(ctx))
	}
	if h.anchor != nil {
		errs = append(errs, h.anchor.Close())
	}
	errs = append(errs, h.closeUSB(), h.rack.close())
	if h.store != nil {
		errs = append(errs, h.store.Close())
	}
	return errors.Join(errs...)
}
