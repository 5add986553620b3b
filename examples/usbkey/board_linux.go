package main

import (
	"context"
	"log/slog"

	"github.com/sojournlm/sojourn/internal/functionfs"
)

// serveBoard makes this board the key.
func serveBoard(ctx context.Context, s *stick, log *slog.Logger) error {
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
	log.Info("this board is the key now", "port", port)
	return g.Serve(ctx, conn)
}
