package main

import (
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/sojournlm/sojourn/detach"
	"github.com/sojournlm/sojourn/licensing"
)

// present shows that nothing of an earlier run can be used again: not its
// files, not altered ones, not yesterday's store.
func present(ctx context.Context, dir string) error {
	public, err := os.ReadFile(filepath.Join(dir, vendorFile))
	if err != nil {
		return fmt.Errorf("%s is not the directory of an earlier run: %w", dir, err)
	}
	if len(public) != ed25519.PublicKeySize {
		return fmt.Errorf("%s: %d bytes, want %d", vendorFile, len(public), ed25519.PublicKeySize)
	}
	say("The files of %s are presented again", filepath.Join(dir, "carried"))
	office, err := open(ctx, dir, "OFFICE", public, true)
	if err != nil {
		return err
	}
	defer office.close()
	laptop, err := open(ctx, dir, "LAPTOP", public, false)
	if err != nil {
		return err
	}
	defer laptop.close()

	carried, err := filepath.Glob(filepath.Join(dir, "carried", "*"))
	if err != nil {
		return err
	}
	if len(carried) == 0 {
		return fmt.Errorf("no files in %s", filepath.Join(dir, "carried"))
	}
	for _, name := range carried {
		file, err := os.ReadFile(name)
		if err != nil {
			return err
		}
		if len(file) == 0 {
			return fmt.Errorf("%s is empty", name)
		}
		say(filepath.Base(name))
		altered := append([]byte(nil), file...)
		altered[len(altered)/2] ^= 1
		if err := office.presented(ctx, file, altered); err != nil {
			return err
		}
		if err := laptop.presented(ctx, file, altered); err != nil {
			return err
		}
	}
	if err := office.showPool(ctx); err != nil {
		return err
	}
	if err := laptop.close(); err != nil {
		return err
	}
	if err := presentYesterday(ctx, dir, public); err != nil {
		return err
	}
	say("Nothing was minted, nothing was lost")
	return nil
}

// presented installs a file, and the same file with one bit altered; an altered
// fingerprint is also added to the known computers.
func (c *computer) presented(ctx context.Context, file, altered []byte) error {
	if err := refused("on "+c.name, c.Install(ctx, file, nil)); err != nil {
		return err
	}
	if info, err := detach.Inspect(file); err == nil && info.Kind == detach.KindFingerprint {
		return refused("on "+c.name+", one bit altered, as a known computer", c.AddFingerprint(ctx, licensing.FingerprintFields{Fingerprint: altered}, nil))
	}
	return refused("on "+c.name+", one bit altered", c.Install(ctx, altered, nil))
}

// presentYesterday puts the laptop's store of yesterday back, in which the seat
// was not yet given back.
func presentYesterday(ctx context.Context, dir string, public ed25519.PublicKey) error {
	say("LAPTOP's store of yesterday is put back, in which it still had the seat")
	copied, err := os.MkdirTemp("", "sojourn-yesterday-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(copied)
	if err := os.CopyFS(filepath.Join(copied, "LAPTOP", "keys"), os.DirFS(filepath.Join(dir, "LAPTOP", "keys"))); err != nil {
		return err
	}
	if err := os.CopyFS(filepath.Join(copied, "LAPTOP", "store"), os.DirFS(filepath.Join(dir, backupDir))); err != nil {
		return err
	}
	laptop, err := open(ctx, copied, "LAPTOP", public, false)
	if err != nil {
		return err
	}
	defer laptop.close()
	return refused("a program asks whether it may run", laptop.ask(ctx))
}

// refused prints the reason, and fails where there is none.
func refused(who string, err error) error {
	if err == nil {
		return fmt.Errorf("%s: accepted, and should have been refused", who)
	}
	var e *licensing.Error
	if !errors.As(err, &e) {
		return err
	}
	note("%s: refused, %s (%d). %s", who, e.Code.Name(), uint32(e.Code), e.Message)
	return nil
}

// backup copies the computer's store while the computer is switched off.
func (c *computer) backup(ctx context.Context, dir string, public ed25519.PublicKey) error {
	if err := c.close(); err != nil {
		return err
	}
	if err := os.CopyFS(filepath.Join(dir, backupDir), os.DirFS(c.storeDir())); err != nil {
		return err
	}
	again, err := open(ctx, dir, c.name, public, c.key != nil)
	if err != nil {
		return err
	}
	*c = *again
	return nil
}
