package usbip

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"slices"
	"sync"
	"time"

	"github.com/sojournlm/sojourn/internal/gadget"
)

// Port is the TCP port that the usbip tools use.
const Port = 3240

// patience is how long a client has for its first message, which it sends at once. Tests
// have it otherwise.
var patience = 3 * time.Second

// maxStrangers bounds the connections that have not attached the key. When one more
// comes the one that has waited longest goes: it has had its time, and who comes now may
// be the one that is waited for.
const maxStrangers = 16

// Server shows one key to clients, and lets one of them at a time attach it.
type Server struct {
	// Config is how the key is described.
	Config gadget.Config
	// Plug gives the key its power: it makes the device that a client has attached.
	// The server unplugs the device when the client is gone, and calls gone.
	Plug func() (d *gadget.Device, gone func(), err error)
	// Logger hears who came and went.
	Logger *slog.Logger

	mu        sync.Mutex
	attached  bool
	strangers []net.Conn // who have not attached the key, in the order in which they came
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
	for {
		conn, err := ln.Accept()
		if err != nil {
			if ctx.Err() != nil {
				return ctx.Err()
			}
			return fmt.Errorf("usbip: %w", err)
		}
		s.admit(conn)
		wg.Go(func() {
			defer s.known(conn)
			stop := context.AfterFunc(ctx, func() { conn.Close() })
			defer stop()
			defer conn.Close()
			if err := s.client(conn); err != nil && ctx.Err() == nil {
				s.Logger.Warn("a client was sent away", "client", conn.RemoteAddr(), "error", err)
			}
		})
	}
}

// admit counts a stranger, and sends the first of too many away.
func (s *Server) admit(conn net.Conn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.strangers = append(s.strangers, conn); len(s.strangers) > maxStrangers {
		first := s.strangers[0]
		s.strangers = s.strangers[1:]
		s.Logger.Warn("too many clients", "client", first.RemoteAddr())
		first.Close()
	}
}

// known is a stranger who is none any more: it has attached the key, or is gone.
func (s *Server) known(conn net.Conn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if i := slices.Index(s.strangers, conn); i >= 0 {
		s.strangers = slices.Delete(s.strangers, i, i+1)
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
	s.known(conn)
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
