package main

import (
	"crypto/ed25519"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"os"
	"strconv"
	"strings"

	"github.com/sojournlm/sojourn/examples/internal/demo"
	"github.com/sojournlm/sojourn/licensing"
	"github.com/sojournlm/sojourn/transport/usb"
)

// config is what the flags say.
type config struct {
	file       string
	id         uint64 // of a new key
	idAsked    bool   // -id is there
	listen     string
	functionFS bool
	vendorID   uint16 // of USB
	productID  uint16

	vendor uint32 // whose pools a new key takes
	public ed25519.PublicKey
	asked  bool // -vendor is there
}

const maxID = 0xFFFFFFFE

// parseFlags reads the command line. The usage goes to help.
func parseFlags(args []string, help io.Writer) (*config, error) {
	c := &config{vendor: demo.Vendor, public: demo.Public()}
	flags := flag.NewFlagSet("usbkey", flag.ContinueOnError)
	flags.SetOutput(io.Discard)
	flags.StringVar(&c.file, "file", "", "the key's memory, a `file`; made where there is none")
	flags.Uint64Var(&c.id, "id", 305419896, "dongleId of a new key; with a file that holds one, which it must be")
	flags.StringVar(&c.listen, "listen", "127.0.0.1:3240", "serve USB/IP on this `address`")
	flags.BoolVar(&c.functionFS, "functionfs", false, "be the key at this board's USB device port, instead of serving USB/IP; needs root")
	flags.Func("usb-ids", "`VENDOR:PRODUCT` ids, in hexadecimal (default 1209:0001, for development only)", func(ids string) (err error) {
		c.vendorID, c.productID, err = usb.ParseIDs(ids)
		return err
	})
	flags.Func("vendor", "a new key takes the pools of this vendor, and an old one must: `code=file`, the public code, and a PEM file with the Ed25519 public key", c.newVendor)
	err := flags.Parse(args)
	switch {
	case errors.Is(err, flag.ErrHelp):
		flags.SetOutput(help)
		flags.Usage()
		return nil, err
	case err != nil:
		return nil, fmt.Errorf("%w (usbkey -help lists the flags)", err)
	case flags.NArg() > 0:
		return nil, fmt.Errorf("%q is no flag (usbkey -help lists them)", flags.Arg(0))
	case c.file == "":
		return nil, errors.New("-file is missing: it says where the key's memory is kept")
	case c.id == 0 || c.id > maxID:
		return nil, fmt.Errorf("-id %d: want 1 to %d", c.id, uint64(maxID))
	}
	given := map[string]bool{}
	flags.Visit(func(f *flag.Flag) { given[f.Name] = true })
	c.idAsked = given["id"]
	if c.functionFS && given["listen"] {
		return nil, errors.New("-functionfs and -listen: a key is at one place, the board's port or the network")
	}
	if _, port, err := net.SplitHostPort(c.listen); err != nil || port == "" {
		return nil, fmt.Errorf("-listen %q: want HOST:PORT, such as 127.0.0.1:3240", c.listen)
	}
	return c, nil
}

func (c *config) newVendor(value string) error {
	c.asked = true
	code, file, ok := strings.Cut(value, "=")
	if !ok || file == "" {
		return errors.New("want CODE=FILE")
	}
	n, err := strconv.ParseUint(code, 10, 32)
	if c.vendor = uint32(n); err != nil {
		if c.vendor, err = licensing.ParsePublicCodeText(code); err != nil {
			return err
		}
	}
	content, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	block, _ := pem.Decode(content)
	if block == nil {
		return fmt.Errorf("%s: no PEM", file)
	}
	key, err := x509.ParsePKIXPublicKey(block.Bytes)
	if err != nil {
		return fmt.Errorf("%s: %w", file, err)
	}
	if c.public, ok = key.(ed25519.PublicKey); !ok {
		return fmt.Errorf("%s: a public key of another kind (%T), want Ed25519", file, key)
	}
	return nil
}
