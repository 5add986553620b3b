package main

import (
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/sojournlm/sojourn/licensing"
	"github.com/sojournlm/sojourn/licensing/issuer"
)

// The names and numbers of the story.
const (
	publicCode = 1368487351 // the vendor: DEMONVK
	keyID      = 0x2A5EA7C0 // the key with the pool
	product    = 29
	feature    = 4
	seats      = 3
	stay       = 72 * time.Hour
)

// tell makes the two computers in dir and tells the story.
func tell(ctx context.Context, dir string) error {
	dir, err := empty(dir)
	if err != nil {
		return err
	}
	carried := filepath.Join(dir, "carried")
	if err := os.Mkdir(carried, 0o700); err != nil {
		return err
	}
	public, vendor, err := ed25519.GenerateKey(nil)
	if err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(dir, vendorFile), public, 0o600); err != nil {
		return err
	}

	say("A seat leaves its pool for a while and comes home")
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
	note("Two computers, OFFICE and LAPTOP, each with a license manager of its own.")
	note("They never talk to each other: everything between them is a file that somebody carries.")

	say("1. The vendor fills a key, and the key is plugged into OFFICE")
	pool, err := issuer.Sign(vendor, issuer.Pool{
		Key: keyID, KeyPublic: office.key.Public(), Vendor: publicCode, Counter: 1, Issued: time.Now(),
		Products: []issuer.Product{{
			Number: product, Name: "Atelier",
			Features: []issuer.Feature{{Number: feature, Name: "drawing", Seats: seats, Detachable: true}},
		}},
	})
	if err != nil {
		return err
	}
	poolFile := filepath.Join(carried, fmt.Sprintf("%08X.license", uint32(keyID)))
	if err := carry(poolFile, pool, "the vendor's pool license"); err != nil {
		return err
	}
	if err := office.install(ctx, poolFile); err != nil {
		return err
	}
	if err := office.showPool(ctx); err != nil {
		return err
	}

	say("2. LAPTOP introduces itself")
	env, err := laptop.Environment(ctx)
	if err != nil {
		return err
	}
	introduction := filepath.Join(carried, "LAPTOP.fingerprint")
	if err := carry(introduction, env.Fingerprint, "who LAPTOP is, with the public keys that files are sealed to"); err != nil {
		return err
	}
	if err := office.addComputer(ctx, introduction); err != nil {
		return err
	}

	say("3. OFFICE detaches one seat for LAPTOP, for %d days", stay/(24*time.Hour))
	seat, err := office.Detach(ctx, licensing.DetachRequest{
		Offline: true, Recipient: env.LMSID, Key: keyID, Duration: stay,
		Features: []licensing.Selector{{ProductNumber: product, FeatureNumber: feature}},
	}, nil)
	if err != nil {
		return err
	}
	seatFile := filepath.Join(carried, "LAPTOP.license")
	if err := carry(seatFile, seat.License, "the seat, sealed so that only LAPTOP can open it"); err != nil {
		return err
	}
	note("License %d ends on %s at the latest, whatever happens to the file.", seat.LicenseID, seat.Ends.Format("Mon 2 Jan 15:04"))
	if err := office.showPool(ctx); err != nil {
		return err
	}

	say("4. The file is carried to LAPTOP and installed; a program asks whether it may run")
	if err := laptop.ask(ctx); err == nil {
		return errors.New("the program may run although nothing is installed")
	}
	if err := laptop.install(ctx, seatFile); err != nil {
		return err
	}
	if err := laptop.ask(ctx); err != nil {
		return err
	}
	if err := laptop.backup(ctx, dir, public); err != nil {
		return err
	}
	note("(Somebody keeps a copy of LAPTOP's store of today, and will try to put it back.)")

	say("5. The engineer is back early and gives the seat back")
	back, err := laptop.CancelDetach(ctx, licensing.CancelRequest{Offline: true, License: seat.LicenseID}, nil)
	if err != nil {
		return err
	}
	backFile := filepath.Join(carried, fmt.Sprintf("%08X-return.license", uint32(keyID)))
	if err := carry(backFile, back.Return, "the return, signed by LAPTOP"); err != nil {
		return err
	}
	if err := laptop.ask(ctx); err == nil {
		return errors.New("the program may run although the seat was given back")
	}

	say("6. The return is carried to OFFICE and installed")
	if err := office.install(ctx, backFile); err != nil {
		return err
	}
	if err := office.waitForGrants(ctx); err != nil {
		return err
	}
	if err := office.showPool(ctx); err != nil {
		return err
	}
	if err := office.verify(ctx); err != nil {
		return err
	}
	if err := laptop.verify(ctx); err != nil {
		return err
	}
	if err := errors.Join(office.close(), laptop.close()); err != nil {
		return err
	}

	say("The seat is home")
	note("The carried files are in %s", carried)
	note("Present them again, and see each refused:")
	note("    go run ./examples/quickstart -replay %s", dir)
	return nil
}

// empty gives a directory to tell the story in.
func empty(dir string) (string, error) {
	if dir == "" {
		return os.MkdirTemp("", "sojourn-")
	}
	found, err := os.ReadDir(dir)
	switch {
	case errors.Is(err, os.ErrNotExist):
		return dir, os.MkdirAll(dir, 0o700)
	case err == nil && len(found) > 0:
		return "", fmt.Errorf("%s is not empty; name another directory, or -replay this one", dir)
	}
	return dir, err
}

func say(format string, args ...any)  { fmt.Printf("\n"+format+"\n", args...) }
func note(format string, args ...any) { fmt.Printf("   "+format+"\n", args...) }

// carry writes a file that somebody takes along.
func carry(name string, content []byte, what string) error {
	if err := os.WriteFile(name, content, 0o600); err != nil {
		return err
	}
	note("%s (%d bytes): %s", filepath.Base(name), len(content), what)
	return nil
}
