//go:build !linux

package main

import (
	"context"
	"errors"
)

func serveBoard(context.Context, *stick) error {
	return errors.New("-functionfs: only Linux can be a USB device")
}
