package device_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/sojournlm/sojourn/device"
	"github.com/sojournlm/sojourn/internal/document"
)

// A ledger's anchor in a file: what was acknowledged stays, and there is only
// one way on from it.
func ExampleOpenFile() {
	dir, err := os.MkdirTemp("", "anchor-")
	if err != nil {
		panic(err)
	}
	defer os.RemoveAll(dir)
	ctx, path, here := context.Background(), filepath.Join(dir, "anchor"), [32]byte{1}

	anchor, err := device.OpenFile(ctx, path, here)
	if err != nil {
		panic(err)
	}
	batch := document.Header{Seq: 1, Count: 3, Horizon: 1_800_000_000}.Encode()
	c, err := anchor.Advance(ctx, device.Hash{}, batch)
	fmt.Println(c.Seq, c.Horizon, c.Verify(anchor.Public()), err)

	other := document.Header{Seq: 1, Count: 4}.Encode()
	_, err = anchor.Advance(ctx, device.Hash{}, other)
	fmt.Println(errors.Is(err, device.ErrFork), err)
	anchor.Close()

	_, err = device.OpenFile(ctx, path, [32]byte{2})
	fmt.Println(errors.Is(err, device.ErrBoundElsewhere))
	// Output:
	// 1 1800000000 true <nil>
	// true device: advance key anchor: the key's ledger went another way: storage is damaged or was put back
	// true
}
