package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"

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
	if err := h.openStore(c.data, log); err != nil {
		return h, err
	}
	keys, anchor := "", ""
	if c.data != "" {
		keys = filepath.Join(c.data, "keys")
		anchor = filepath.Join(keys, "anchor")
		if err := os.MkdirAll(keys, 0o700); err != nil {
			return h, fmt.Errorf("-data: %w", err)
		}
	}
	if err := h.rack.plug(ctx, c.keys, keys); err != nil {
		return h, err
	}
	if err := h.openUSB(c); err != nil {
		return h, err
	}
	if h.anchor, err = licensing.OpenAnchor(ctx, anchor); err != nil {
		return h, err
	}
	h.Manager, err = licensing.Open(ctx, h.store, h.anchor, &licensing.Options{
		Vendors:  c.vendors,
		Buses:    h.buses(),
		HostName: c.host,
		Logger:   log,
	})
	if err != nil {
		return h, err
	}
	return h, h.rack.update(ctx, h.Manager, log)
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
