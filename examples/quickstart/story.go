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
	publicCode  = 1368487351 // the vendor: DEMONVK
	keyID       = 710846400  // the key with the pool
	keyName     = "2A5EA7C0" // the same in hexadecimal, as vendors name the files of a key
	keyText     = "710846400 (2A5EA7C0)"
	product     = 29
	productName = "Atelier"
	feature     = 4
	featureName = "drawing"
	seats       = 3
	stay        = 72 * time.Hour
)

// story is the two computers, and what one step leaves to the next.
type story struct {
	dir            string
	public         ed25519.PublicKey // the vendor's
	vendor         ed25519.PrivateKey
	office, laptop *computer
	laptopID       uint64 // lmsId
	license        uint64 // the id of the seat that is away
}

// tell makes the two computers in dir and tells the story.
func tell(ctx context.Context, dir string) (err error) {
	s := new(story)
	if s.dir, err = emptyDir(dir); err != nil {
		return err
	}
	say("A seat leaves its pool for a while and comes home")
	note("Everything of this run is kept in %s", s.dir)
	if err := s.begin(ctx); err != nil {
		return err
	}
	defer s.close()
	for _, step := range []func(context.Context) error{
		s.fillKey, s.introduce, s.detach, s.use, s.giveBack, s.comeHome,
	} {
		if err := step(ctx); err != nil {
			return err
		}
	}
	return s.finish()
}

// begin makes the vendor and the two computers.
func (s *story) begin(ctx context.Context) (err error) {
	if err := os.Mkdir(filepath.Join(s.dir, carriedDir), 0o700); err != nil {
		return err
	}
	if s.public, s.vendor, err = ed25519.GenerateKey(nil); err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(s.dir, vendorFile), s.public, 0o600); err != nil {
		return err
	}
	if s.office, err = open(ctx, s.dir, "OFFICE", s.public, true); err != nil {
		return err
	}
	if s.laptop, err = open(ctx, s.dir, "LAPTOP", s.public, false); err != nil {
		return errors.Join(err, s.office.close())
	}
	note("Two computers, OFFICE and LAPTOP, each with a license manager of its own.")
	note("They never talk to each other: everything between them is a file that somebody carries.")
	return nil
}

// close switches both computers off. Closing twice is harmless.
func (s *story) close() error { return errors.Join(s.office.close(), s.laptop.close()) }

func (s *story) fillKey(ctx context.Context) error {
	say("1. The vendor fills a key, and the key is plugged into OFFICE")
	license, err := issuer.Sign(s.vendor, issuer.Pool{
		Key: keyID, KeyPublic: s.office.key.Public(), Vendor: publicCode, Counter: 1, Issued: time.Now(),
		Products: []issuer.Product{{
			Number: product, Name: productName,
			Features: []issuer.Feature{{Number: feature, Name: featureName, Seats: seats, Detachable: true}},
		}},
	})
	if err != nil {
		return err
	}
	if err := s.carry(poolFile, license, "the vendor's pool license"); err != nil {
		return err
	}
	if err := s.office.install(ctx, s.carried(poolFile)); err != nil {
		return err
	}
	return s.office.showPool(ctx)
}

func (s *story) introduce(ctx context.Context) error {
	say("2. LAPTOP introduces itself")
	env, err := s.laptop.Environment(ctx)
	if err != nil {
		return err
	}
	s.laptopID = env.LMSID
	if err := s.carry(fingerprintFile, env.Fingerprint, "who LAPTOP is, with the public keys that files are sealed to"); err != nil {
		return err
	}
	return s.office.addComputer(ctx, s.carried(fingerprintFile))
}

func (s *story) detach(ctx context.Context) error {
	say("3. OFFICE detaches one seat for LAPTOP, for %d days", stay/(24*time.Hour))
	seat, err := s.office.Detach(ctx, licensing.DetachRequest{
		Offline: true, Recipient: s.laptopID, Key: keyID, Duration: stay,
		Features: []licensing.Selector{{ProductNumber: product, FeatureNumber: feature}},
	}, nil)
	if err != nil {
		return err
	}
	s.license = seat.LicenseID
	if err := s.carry(seatFile, seat.License, "the seat, sealed so that only LAPTOP can open it"); err != nil {
		return err
	}
	note("License %d ends on %s at the latest, whatever happens to the file.", seat.LicenseID, seat.Ends.Format("Mon 2 Jan 15:04"))
	return s.office.showPool(ctx)
}

func (s *story) use(ctx context.Context) error {
	say("4. The file is carried to LAPTOP and installed; a program asks whether it may run")
	if err := s.laptop.denied(ctx, "nothing is installed"); err != nil {
		return err
	}
	if err := s.laptop.install(ctx, s.carried(seatFile)); err != nil {
		return err
	}
	if err := s.laptop.ask(ctx); err != nil {
		return err
	}
	if err := s.laptop.backup(ctx, s.dir, s.public); err != nil {
		return err
	}
	note("(Somebody keeps a copy of LAPTOP's store of today, and will try to put it back.)")
	return nil
}

func (s *story) giveBack(ctx context.Context) error {
	say("5. The engineer is back early and gives the seat back")
	back, err := s.laptop.CancelDetach(ctx, licensing.CancelRequest{Offline: true, License: s.license}, nil)
	if err != nil {
		return err
	}
	if err := s.carry(returnFile, back.Return, "the return, signed by LAPTOP"); err != nil {
		return err
	}
	return s.laptop.denied(ctx, "the seat was given back")
}

func (s *story) comeHome(ctx context.Context) error {
	say("6. The return is carried to OFFICE and installed")
	if err := s.office.install(ctx, s.carried(returnFile)); err != nil {
		return err
	}
	if err := s.office.waitForGrants(ctx); err != nil {
		return err
	}
	if err := s.office.showPool(ctx); err != nil {
		return err
	}
	if err := s.office.verify(ctx); err != nil {
		return err
	}
	return s.laptop.verify(ctx)
}

// finish switches the computers off and marks the directory as whole.
func (s *story) finish() error {
	if err := s.close(); err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(s.dir, finishedFile), []byte("The story was told to its end.\n"), 0o600); err != nil {
		return err
	}
	say("The seat is home")
	note("The carried files are in %s", filepath.Join(s.dir, carriedDir))
	note("Present them again, and see each refused:")
	note("    go run ./examples/quickstart -replay %s", s.dir)
	return nil
}

// carried is where a carried file lies.
func (s *story) carried(name string) string { return filepath.Join(s.dir, carriedDir, name) }

// carry writes a file that somebody takes along.
func (s *story) carry(name string, content []byte, what string) error {
	if err := os.WriteFile(s.carried(name), content, 0o600); err != nil {
		return err
	}
	note("%s (%d bytes): %s", name, len(content), what)
	return nil
}

func say(format string, args ...any)  { fmt.Printf("\n"+format+"\n", args...) }
func note(format string, args ...any) { fmt.Printf("   "+format+"\n", args...) }
