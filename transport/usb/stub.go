//go:build !cgo || !gousb

package usb

import (
	"context"

	"github.com/sojournlm/sojourn/transport"
)

// Bus finds the keys on USB. It implements [transport.Bus] and is safe for
// concurrent use. This program was built without USB and has none.
type Bus struct{ _ Options }

var _ transport.Bus = (*Bus)(nil)

// Open opens the bus. Nil options mean the defaults. Without USB in the program
// the error wraps [ErrNotBuilt].
func Open(opts *Options) (*Bus, error) {
	_ = opts.withDefaults()
	return nil, ErrNotBuilt
}

// Keys implements [transport.Bus].
func (*Bus) Keys(context.Context) ([]transport.KeyInfo, error) { return nil, ErrNotBuilt }

// Silent is how many devices had not said yet what they are when keys were last listed.
func (*Bus) Silent() int { return 0 }

// Open implements [transport.Bus].
func (*Bus) Open(_ context.Context, id transport.KeyID) (transport.Conn, error) {
	return nil, &transport.Error{Op: "open", Key: id, Err: ErrNotBuilt}
}

// Close ends all connections.
func (*Bus) Close() error { return nil }
