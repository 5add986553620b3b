//go:build !linux

package main

import (
	"context"
	"errors"
	"log/slog"
)

func serveBoard(context.Context, *stick, *slog.Logger) error {
	return errors.New("-functionfs: only Linux can be a USB device")
}
