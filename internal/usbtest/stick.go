//go:build linux

package usbtest

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/sojournlm/sojourn/internal/gadget"
	"github.com/sojournlm/sojourn/internal/wire"
	"github.com/sojournlm/sojourn/transport"
	"github.com/sojournlm/sojourn/transport/simulator"
)

// Stick is a simulated key with a USB plug. It is safe for concurrent use.
type Stick struct {
	Key *simulator.Key // inside

	stack Stack
	speed gadget.Speed
	bus   *simulator.Bus
	pace  pace

	mu     sync.Mutex
	conn   transport.Conn
	device *gadget.Device // of the last Plug
	port   Port           // nil: not plugged in
}

// NewStick makes a key, and plugs it in. Close it at the end.
func NewStick(stack Stack, c simulator.Config, speed gadget.Speed) (*Stick, error) {
	bus := simulator.New()
	key, err := bus.Add(c)
	if err != nil {
		return nil, err
	}
	s := &Stick{Key: key, stack: stack, speed: speed, bus: bus}
	return s, s.Plug()
}

// Serial is the stick's serial number.
func (s *Stick) Serial() string { return gadget.Serial(s.Key.ID()) }

// Plug plugs the stick in, and waits until the computer knows it. One that is in
// stays in.
func (s *Stick) Plug() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.port != nil {
		return nil
	}
	if err := s.Key.Plug(); err != nil {
		return err
	}
	conn, err := s.bus.Open(context.Background(), s.Key.BusID())
	if err != nil {
		return err
	}
	device := gadget.New(slowed{conn, &s.pace}, gadget.Config{Serial: s.Serial(), Speed: s.speed})
	device.Gone = func() { s.pulled(device) }
	s.conn, s.device = conn, device
	port, err := s.stack.Plug(device)
	if err != nil {
		return errors.Join(err, conn.Close())
	}
	s.port = port
	return nil
}

// Unplug pulls the stick out, and waits until the computer knows it.
func (s *Stick) Unplug() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.unplug()
}

func (s *Stick) unplug() error {
	if s.port == nil {
		return nil
	}
	port := s.port
	s.port = nil
	err := errors.Join(port.Unplug(), s.conn.Close())
	s.Key.Unplug()
	return err
}

// pulled is Unplug by a fault of that device.
func (s *Stick) pulled(d *gadget.Device) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.device == d {
		s.unplug() // the computer will notice by itself where this fails
	}
}

// Device is the stick's plug, with hands for faults: that of the last Plug.
func (s *Stick) Device() *gadget.Device {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.device
}

// Slow makes the key take that long for each command from now on. A command that it
// is at already comes to its end.
func (s *Stick) Slow(d time.Duration) { s.pace.set(d) }

// Close pulls the stick out for good.
func (s *Stick) Close() error { return errors.Join(s.Unplug(), s.Key.Close()) }

// pace is how long commands take, beside what they take anyway.
type pace struct {
	mu    sync.Mutex
	delay time.Duration
	hurry chan struct{} // closed when the delay is set
}

func (p *pace) get() (time.Duration, <-chan struct{}) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.hurry == nil {
		p.hurry = make(chan struct{})
	}
	return p.delay, p.hurry
}

func (p *pace) set(d time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.hurry != nil {
		close(p.hurry)
	}
	p.delay, p.hurry = d, make(chan struct{})
}

// slowed is a connection to a key that takes its time. Unlike the simulator's own
// slowness it can be ended.
type slowed struct {
	transport.Conn
	pace *pace
}

func (s slowed) Exchange(ctx context.Context, request []byte) ([]byte, error) {
	delay, hurry := s.pace.get()
	answer, err := s.Conn.Exchange(ctx, request)
	if delay > 0 {
		timer := time.NewTimer(delay)
		defer timer.Stop()
		select {
		case <-timer.C:
		case <-hurry:
		case <-ctx.Done():
		}
	}
	return answer, err
}

// Position is the number of the key's newest batch, read past USB, whether the stick
// is in or out.
func (s *Stick) Position() (uint64, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.port == nil {
		if err := s.Key.Plug(); err != nil {
			return 0, err
		}
		defer s.Key.Unplug()
		conn, err := s.bus.Open(context.Background(), s.Key.BusID())
		if err != nil {
			return 0, err
		}
		defer conn.Close()
		return position(conn)
	}
	return position(s.conn)
}

func position(conn transport.Conn) (uint64, error) {
	b, err := conn.Exchange(context.Background(), wire.Frame{Op: wire.OpInfo}.Encode())
	if err != nil {
		return 0, err
	}
	f, err := wire.Parse(b)
	if err != nil {
		return 0, err
	}
	info, err := wire.ParseInfo(f.Payload)
	return info.Seq, err
}
