package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/sojournlm/sojourn/internal/functionfs"
)

// board is this board, which is the key at its device port.
type board struct{ port string }

func openBoard() (outlet, error) {
	port, err := functionfs.Port()
	if err != nil {
		return nil, err
	}
	return board{port}, nil
}

func (board) close() error { return nil }

func (b board) serve(ctx context.Context, s *stick) error {
	conn, err := s.powerUp(ctx)
	if err != nil {
		return err
	}
	defer conn.Close()
	g, err := functionfs.Open("sojourn", b.port, s.usb)
	if err != nil {
		return err
	}
	if _, err := fmt.Println("this board is the key at", b.port); err != nil {
		return errors.Join(err, g.Close())
	}
	return g.Serve(ctx, conn)
}
