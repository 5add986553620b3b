package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"github.com/sojournlm/sojourn/device"
	"github.com/sojournlm/sojourn/licensing"
	"github.com/sojournlm/sojourn/transport"
	"github.com/sojournlm/sojourn/transport/simulator"
)

// rack is where the simulated keys are plugged in.
type rack struct {
	buses *simulator.Bus
	keys  []*key
}

// key is a simulated key, and what it should hold.
type key struct {
	*simulator.Key
	plan    plan
	counter uint64 // of the pool license in it, 0 for none
	record  string // file that says what was signed for it last, "" for a key in memory
}

// plug makes the planned keys, or opens those whose files lie in dir. In memory
// they are made anew each time.
func (r *rack) plug(ctx context.Context, plans []plan, dir string) error {
	r.buses = simulator.New()
	for _, p := range plans {
		k, err := newKey(ctx, r.buses, p, dir)
		if k != nil {
			r.keys = append(r.keys, k)
		}
		if err != nil {
			return fmt.Errorf("simulated key %d: %w", p.ID, err)
		}
	}
	return nil
}

func newKey(ctx context.Context, bus *simulator.Bus, p plan, dir string) (k *key, err error) {
	k = &key{plan: p}
	made := simulator.Config{
		KeyID: uint64(p.ID), Model: p.Model, Vendor: demoVendor, VendorPublic: demoPublic(),
	}
	if dir != "" {
		name := filepath.Join(dir, fmt.Sprintf("%08X", p.ID))
		made.File, k.record = name+".key", name+".json"
		if err := k.checkFlash(made.File); err != nil {
			return nil, err
		}
	}
	if k.Key, err = bus.Add(made); err != nil {
		return nil, err
	}
	return k, k.inspect(ctx, bus)
}

// made reports whether the key that is planned was ever made in dir.
func (p plan) made(dir string) bool {
	_, flash := os.Stat(filepath.Join(dir, fmt.Sprintf("%08X.key", p.ID)))
	_, record := os.Stat(filepath.Join(dir, fmt.Sprintf("%08X.json", p.ID)))
	return flash == nil || record == nil
}

// checkFlash refuses to make a key anew whose record says that there was one: it
// would be another key, and the seats of the old one's pool would be out of reach.
func (k *key) checkFlash(file string) error {
	_, record := os.Stat(k.record)
	if _, err := os.Stat(file); record != nil || !errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return fmt.Errorf("its memory %s is gone, though %s says that it was made: bring it back; "+
		"to make another key in its place, whose pool refuses what is stored of the old one, remove the record too", file, k.record)
}

// inspect asks the key which pool license it holds. A key that was made earlier
// keeps the model it was made with.
func (k *key) inspect(ctx context.Context, bus *simulator.Bus) error {
	connected, err := device.Open(ctx, bus, k.BusID())
	if err != nil {
		return err
	}
	info, err := connected.Info(ctx)
	if err = errors.Join(err, connected.Close()); err != nil {
		return err
	}
	if info.Model != k.plan.Model {
		return fmt.Errorf("dongleModel is %d, but the key was made with model %d, which cannot change", k.plan.Model, info.Model)
	}
	k.counter = info.PoolCounter
	return nil
}

func (r *rack) bus() transport.Bus { return r.buses }

// update signs a new pool license for every key whose plan is not what was
// signed for it last. A manager that refuses changes keeps the pools it has.
func (r *rack) update(ctx context.Context, m *licensing.Manager, log *slog.Logger) error {
	for _, k := range r.keys {
		if k.counter != 0 && k.signed() == k.counter {
			continue
		}
		err := k.update(ctx, m)
		switch {
		case errors.Is(err, licensing.StorageCorrupted):
			log.Error("the pool of a simulated key cannot be updated", "key", k.plan.ID, "error", err)
		case err != nil:
			return fmt.Errorf("simulated key %d: %w", k.plan.ID, err)
		default:
			log.Info("the pool of a simulated key was updated", "key", k.plan.ID, "counter", k.counter)
		}
	}
	return nil
}

func (k *key) update(ctx context.Context, m *licensing.Manager) error {
	license, err := k.plan.sign(k.Public(), k.counter+1, time.Now())
	if err != nil {
		return err
	}
	if err := m.Install(ctx, license, nil); err != nil {
		return err
	}
	k.counter++
	return k.remember()
}

// record is what was signed for a key last. Where it is lost, the same is signed
// once more.
type record struct {
	Counter uint64
	Public  []byte // the key's public half
	Plan    plan
}

// signed gives the counter of the license that was signed for this key by this
// plan, 0 where the last one was signed by another.
func (k *key) signed() uint64 {
	if k.record == "" {
		return 0
	}
	var last record
	text, err := os.ReadFile(k.record)
	if err != nil || json.Unmarshal(text, &last) != nil {
		return 0
	}
	now := record{last.Counter, k.Public(), k.plan}
	if !bytes.Equal(encode(last), encode(now)) {
		return 0
	}
	return last.Counter
}

// remember writes the record, as a whole or not at all.
func (k *key) remember() error {
	if k.record == "" {
		return nil
	}
	draft := k.record + ".new"
	if err := os.WriteFile(draft, encode(record{k.counter, k.Public(), k.plan}), 0o600); err != nil {
		return err
	}
	return os.Rename(draft, k.record)
}

func encode(r record) []byte {
	text, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		panic(fmt.Sprintf("lmserver: %v", err)) // numbers, texts and dates up to the year 9999
	}
	return append(text, '\n')
}

// close unplugs the keys and lets go of their files.
func (r *rack) close() error {
	var errs []error
	for _, k := range r.keys {
		errs = append(errs, k.Close())
	}
	return errors.Join(errs...)
}
