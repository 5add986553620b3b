package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
)

// verify goes through everything that is stored, and writes what it found.
func verify(ctx context.Context, c *config, log *slog.Logger, out io.Writer) (err error) {
	h, err := openHouse(ctx, c, log)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, h.close(context.WithoutCancel(ctx))) }()
	report, err := h.Verify(ctx)
	if err != nil {
		return fmt.Errorf("after %d batches that add up: %w", report.Batches, err)
	}
	fmt.Fprintf(out, "verified: ledgers %d, batches %d, entries %d\n", report.Ledgers, report.Batches, report.Entries)
	for _, key := range report.Unread {
		fmt.Fprintf(out, "not gone through: the pool of key %d, which is not plugged in or whose vendor is not trusted\n", key)
	}
	return nil
}
