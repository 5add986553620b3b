package main

import (
	"crypto/ed25519"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"

	"github.com/sojournlm/sojourn/examples/internal/demo"
	"github.com/sojournlm/sojourn/licensing"
)

// demoVendor is the vendor of the simulated keys.
const demoVendor = demo.Vendor

func demoKey() ed25519.PrivateKey { return demo.Key() }

func demoPublic() ed25519.PublicKey { return demo.Public() }

// trustDemo adds the demo vendor to those that are trusted.
func (c *config) trustDemo() error {
	if !c.demo {
		return nil
	}
	if c.vendors[demoVendor] != nil {
		return fmt.Errorf("-vendor %d: this is the demo vendor; give -no-demo to trust another key for it", demoVendor)
	}
	c.vendors[demoVendor] = demoPublic()
	return nil
}

// trust is the flag -vendor.
func (c *config) trust(value string) error {
	code, file, ok := strings.Cut(value, "=")
	if !ok || file == "" {
		return errors.New("want CODE=FILE")
	}
	publicCode, err := parseCode(code)
	if err != nil {
		return err
	}
	if c.vendors[publicCode] != nil {
		return fmt.Errorf("vendor %s (%d) is given twice", licensing.PublicCodeText(publicCode), publicCode)
	}
	content, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	key, err := parsePublicKey(content)
	if err != nil {
		return fmt.Errorf("%s: %w", file, err)
	}
	c.vendors[publicCode] = key
	return nil
}

// parseCode reads a public code: digits alone are a number, anything else is the
// text form.
func parseCode(text string) (uint32, error) {
	if strings.Trim(text, "0123456789") != "" || text == "" {
		return licensing.ParsePublicCodeText(text)
	}
	n, err := strconv.ParseUint(text, 10, 32)
	if err != nil {
		return 0, fmt.Errorf("public code %s: does not fit 32 bits", text)
	}
	return uint32(n), nil
}

// parsePublicKey reads an Ed25519 public key: PEM (PKIX), 32 bytes, or these in
// base64.
func parsePublicKey(content []byte) (ed25519.PublicKey, error) {
	if block, _ := pem.Decode(content); block != nil {
		if block.Type != "PUBLIC KEY" {
			return nil, fmt.Errorf("a PEM block %q, want PUBLIC KEY", block.Type)
		}
		key, err := x509.ParsePKIXPublicKey(block.Bytes)
		if err != nil {
			return nil, err
		}
		public, ok := key.(ed25519.PublicKey)
		if !ok {
			return nil, fmt.Errorf("a public key of another kind (%T), want Ed25519", key)
		}
		return public, nil
	}
	if len(content) == ed25519.PublicKeySize {
		return content, nil
	}
	key, err := base64.StdEncoding.DecodeString(strings.TrimSpace(string(content)))
	if err != nil || len(key) != ed25519.PublicKeySize {
		return nil, errors.New("no Ed25519 public key: want PEM, 32 bytes, or these in base64")
	}
	return key, nil
}
