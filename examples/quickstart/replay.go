package main

import (
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"github.com/sojournlm/sojourn/detach"
	"github.com/sojournlm/sojourn/licensing"
)

// present shows that nothing of an earlier run can be used again: not its
// files, not altered ones, not yesterday's store. Everything that is to be
// presented is read before anything is opened.
func present(ctx context.Context, dir string) error {
	if err := checkWhole(dir); err != nil {
		return err
	}
	public, err := os.ReadFile(filepath.Join(dir, vendorFile))
	if err != nil {
		return err
	}
	if len(public) != ed25519.PublicKeySize {
		return fmt.Errorf("%s: %d bytes, want %d", vendorFile, len(public), ed25519.PublicKeySize)
	}
	files, passed, err := readCarried(dir)
	if err != nil {
		return err
	}
	say("The files of %s are presented again", filepath.Join(dir, carriedDir))
	for _, why := range passed {
		note("Passed over: %s.", why)
	}

	office, err := open(ctx, dir, "OFFICE", public, true)
	if err != nil {
		return err
	}
	defer office.close()
	before, err := office.pool(ctx)
	if err != nil {
		return err
	}
	if err := presentFiles(ctx, dir, office, public, files); err != nil {
		return err
	}
	if err := presentYesterday(ctx, dir, public); err != nil {
		return err
	}
	return compare(ctx, office, before)
}

// presentFiles presents each file to both computers, and leaves the laptop
// without a seat, as it was.
func presentFiles(ctx context.Context, dir string, office *computer, public ed25519.PublicKey, files []carriedFile) error {
	laptop, err := open(ctx, dir, "LAPTOP", public, false)
	if err != nil {
		return err
	}
	defer laptop.close()
	for _, f := range files {
		say("%s", f.name)
		if err := office.presented(ctx, f.content); err != nil {
			return err
		}
		if err := laptop.presented(ctx, f.content); err != nil {
			return err
		}
	}
	say("After all that")
	if err := laptop.denied(ctx, "its seat was given back"); err != nil {
		return err
	}
	if err := laptop.verify(ctx); err != nil {
		return err
	}
	return laptop.close()
}

// presented installs a file, and the same file with one bit altered; an altered
// fingerprint is added to the known computers. One that is altered already is added as
// it is: to alter it once more may make it genuine.
func (c *computer) presented(ctx context.Context, file []byte) error {
	if err := c.refused("", c.Install(ctx, file, nil)); err != nil {
		return err
	}
	altered := slices.Clone(file)
	altered[len(altered)/2] ^= 1
	if info, err := detach.Inspect(file); err == nil && info.Kind == detach.KindFingerprint {
		if detach.Verify(file, nil) != nil {
			return c.refused(", which is not genuine, as a known computer", c.AddFingerprint(ctx, licensing.FingerprintFields{Fingerprint: file}, nil))
		}
		return c.refused(", one bit altered, as a known computer", c.AddFingerprint(ctx, licensing.FingerprintFields{Fingerprint: altered}, nil))
	}
	return c.refused(", one bit altered", c.Install(ctx, altered, nil))
}

// refused prints why a file was refused, and fails where it was not.
func (c *computer) refused(how string, err error) error {
	if err == nil {
		return fmt.Errorf("on %s%s: accepted, and should have been refused", c.name, how)
	}
	if err := refusal(err); err != nil {
		return fmt.Errorf("on %s%s: %w", c.name, how, err)
	}
	note("on %s%s: refused, %s", c.name, how, reason(err))
	return nil
}

// presentYesterday puts the laptop's store of yesterday back, in which the seat
// was not yet given back. The copy keeps the directory as it is.
func presentYesterday(ctx context.Context, dir string, public ed25519.PublicKey) (err error) {
	say("LAPTOP's store of yesterday is put back, in which it still had the seat")
	copied, err := os.MkdirTemp("", "sojourn-yesterday-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(copied)) }()
	if err := os.CopyFS(filepath.Join(copied, "LAPTOP", keysDir), os.DirFS(filepath.Join(dir, "LAPTOP", keysDir))); err != nil {
		return err
	}
	if err := os.CopyFS(filepath.Join(copied, "LAPTOP", storeDir), os.DirFS(filepath.Join(dir, backupDir))); err != nil {
		return err
	}
	laptop, err := open(ctx, copied, "LAPTOP", public, false)
	if err != nil {
		return err
	}
	defer laptop.close()
	switch err := laptop.ask(ctx); {
	case err == nil:
		return errors.New("LAPTOP: a program may run on yesterday's store")
	case !errors.Is(err, licensing.ErrRolledBack):
		return fmt.Errorf("LAPTOP: yesterday's store is not known for what it is: %w", err)
	}
	return nil
}

// compare ends the replay: every seat is where it was before.
func compare(ctx context.Context, office *computer, before pool) error {
	after, err := office.pool(ctx)
	if err != nil {
		return err
	}
	if after != before {
		return fmt.Errorf("the pool has changed: %v before, %v after", before, after)
	}
	say("Nothing was minted, nothing was lost")
	note("Pool in key %s before: %v.", keyText, before)
	note("Pool in key %s after:  %v.", keyText, after)
	if err := office.verify(ctx); err != nil {
		return err
	}
	return office.close()
}
