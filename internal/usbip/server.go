package usbip

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"time"

	"github.com/sojournlm/sojourn/internal/gadget"
)

// Port is the TCP port that the usbip tools use.
const Port = 3240

// patience is how long a client has for its first message.
const patience = 10 * time.Second

// maxClients bounds the connections at one time.
const maxClients = 16

// Server shows one key to clients, and lets one of them at a time attach it.
type Server struct {
	// Config is how the key is described.
	Config gadget.Config
	// Plug gives the key its power: it makes the device that a client has attached.
	// The server unplugs the device when the client is gone, and calls gone.
	Plug func() (d *gadget.Device, gone func(), err error)
	// Logger hears who came and went.
	Logger *slog.Logger

	mu       sync.Mutex
	attached bool
}

// Serve serves clients of ln until ctx ends, and waits for all to be gone. It
// closes ln. The error is ctx.Err() or that of ln.
func (s *Server) Serve(ctx context.Context, ln net.Listener) error {
	var wg sync.WaitGroup
	defer wg.Wait()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stop := context.AfterFunc(ctx, func() { ln.Close() })
	defer stop()
	defer ln.Close()
	seats := make(chan struct{}, maxClients)
	for {
		conn, err := ln.Accept()
		if err != nil {
			if ctx.Err() != nil {
				return ctx.Err()
			}
			return fmt.Errorf("usbip: %w", err)
		}
		select {
		case seats <- struct{}{}:
		default:
			s.Logger.Warn("too many clients", "client", conn.RemoteAddr())
			conn.Close()
			continue
		}
		wg.Go(func() {
			defer func() { <-seats }()
			stop := context.AfterFunc(ctx, func() { conn.Close() })
			defer stop()
			defer conn.Close()
			if err := s.client(conn); err != nil && ctx.Err() == nil {
				s.Logger.Warn("a client was sent away", "client", conn.RemoteAddr(), "error", err)
			}
		})
	}
}

// client serves one connection.
func (s *Server) client(conn net.Conn) error {
	if err := conn.SetDeadline(time.Now().Add(patience)); err != nil {
		return err
	}
	op, err := readOperation(conn)
	if err != nil {
		return err
	}
	descriptors := gadget.Describe(s.Config)
	switch {
	case op.list:
		_, err := conn.Write(listReply(descriptors, s.Config.Speed))
		return err
	case op.busID != BusID:
		_, err := conn.Write(reply(opImportReply, statusNoDevice))
		return errors.Join(fmt.Errorf("usbip: no device is called %q", op.busID), err)
	case !s.take():
		_, err := conn.Write(reply(opImportReply, statusBusy))
		return errors.Join(errors.New("usbip: the key is attached elsewhere"), err)
	}
	defer s.giveBack()
	device, gone, err := s.Plug()
	if err != nil {
		_, writeErr := conn.Write(reply(opImportReply, statusNoDevice))
		return errors.Join(err, writeErr)
	}
	defer gone()
	defer device.Unplug()
	device.Gone = func() { conn.Close() }
	if _, err := conn.Write(importReply(descriptors, s.Config.Speed)); err != nil {
		return err
	}
	if err := conn.SetDeadline(time.Time{}); err != nil {
		return err
	}
	s.Logger.Info("attached", "client", conn.RemoteAddr())
	err = Stream(conn, device)
	s.Logger.Info("detached", "client", conn.RemoteAddr())
	return err
}

func (s *Server) take() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	free := !s.attached
	s.attached = true
	return free
}

func (s *Server) giveBack() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.attached = false
}
