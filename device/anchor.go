package device

import (
	"context"
	"io"
	"path/filepath"
	"sync"

	"github.com/sojournlm/sojourn/internal/firmware"
	"github.com/sojournlm/sojourn/transport"
)

// OpenFile opens the key that lives in the file at path, and makes it where
// there is none. It is an anchor only: it has a Checkpoint and can Advance, but
// never takes a pool. binding names the computer that the file belongs to, all
// zero for any. Advance is durable on the disk when it returns.
//
// Failures wrap [ErrLocked] while the file is open elsewhere, [ErrBoundElsewhere]
// where it belongs to another computer, and [ErrDamaged] where it is not whole.
func OpenFile(ctx context.Context, path string, binding [32]byte) (*Key, error) {
	id := transport.KeyID(filepath.Base(path))
	flash, err := firmware.OpenFile(path, firmware.AnchorGeometry, binding)
	if err != nil {
		return nil, &Error{Op: "open", Key: id, Err: err}
	}
	return openInside(ctx, id, flash, flash)
}

// OpenMemory makes a key that is an anchor only and is gone when it is closed.
func OpenMemory(ctx context.Context) (*Key, error) {
	return openInside(ctx, "in memory", firmware.NewMemory(firmware.AnchorGeometry), io.NopCloser(nil))
}

func openInside(ctx context.Context, id transport.KeyID, flash firmware.Flash, closer io.Closer) (*Key, error) {
	key, err := firmware.Start(flash, firmware.Manufacture{Model: 1, Firmware: 1 << 16}, nil)
	if err != nil {
		closer.Close()
		return nil, &Error{Op: "open", Key: id, Err: err}
	}
	return open(ctx, &inside{id: id, key: key, flash: closer}, id)
}

// inside is a connection to a key in this process.
type inside struct {
	id    transport.KeyID
	mu    sync.Mutex
	key   *firmware.Key // nil when closed
	flash io.Closer
}

func (c *inside) Exchange(ctx context.Context, request []byte) ([]byte, error) {
	if err := ctx.Err(); err != nil {
		return nil, c.fail(err)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.key == nil {
		return nil, c.fail(transport.ErrClosed)
	}
	return c.key.Handle(request), nil
}

func (c *inside) fail(err error) error {
	return &transport.Error{Op: "exchange", Key: c.id, Err: err}
}

func (c *inside) Close() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.key == nil {
		return nil
	}
	c.key = nil
	return c.flash.Close()
}
