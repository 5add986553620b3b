package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/sojournlm/sojourn/internal/functionfs"
)

// serveBoard makes this board the key.
func serveBoard(ctx context.Context, s *stick) error {
	port, err := functionfs.Port()
	if err != nil {
		return err
	}
	conn, err := s.powerUp(ctx)
	if err != nil {
		return err
	}
	defer conn.Close()
	g, err := functionfs.Open("sojourn", port, s.usb)
	if err != nil {
		return err
	}
	if _, err := fmt.Println("this board is the key at", port); err != nil {
		return errors.Join(err, g.Close())
	}
	return g.Serve(ctx, conn)
}
