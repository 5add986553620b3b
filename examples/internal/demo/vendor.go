// Package demo is the vendor of the examples' keys.
package demo

import (
	"crypto/ed25519"
	"crypto/sha256"
)

// Vendor is the public code DEMONVK.
const Vendor = 1368487351

// Key is the demo vendor's key, the same in every example, so that what one makes
// another one takes. It is no secret: anybody can make it.
func Key() ed25519.PrivateKey {
	seed := sha256.Sum256([]byte("sojourn: the demo vendor DEMONVK, trusted by nobody who sells licenses"))
	return ed25519.NewKeyFromSeed(seed[:])
}

// Public is the public half of Key.
func Public() ed25519.PublicKey { return Key().Public().(ed25519.PublicKey) }
