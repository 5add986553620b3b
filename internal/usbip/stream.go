package usbip

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"sync"

	"github.com/sojournlm/sojourn/internal/gadget"
)

// Stream carries URBs between a client and the device until the connection ends,
// and then unplugs the device. It is nil when the client ended it between two
// messages.
func Stream(conn io.ReadWriteCloser, d *gadget.Device) error {
	s := &stream{conn: conn, device: d, pending: map[uint32]transfer{}}
	err := s.read()
	conn.Close()
	d.Unplug()
	if errors.Is(err, io.EOF) {
		return nil
	}
	return err
}

type stream struct {
	conn   io.ReadWriteCloser
	device *gadget.Device

	writing sync.Mutex

	mu      sync.Mutex
	pending map[uint32]transfer // by sequence number
}

// transfer is one that is not answered yet.
type transfer struct {
	urb      *gadget.URB
	answered chan struct{}
}

func (s *stream) read() error {
	in := bufio.NewReader(s.conn)
	for {
		var h [headerSize]byte
		if _, err := io.ReadFull(in, h[:]); err != nil {
			return err
		}
		message, err := parse(h)
		if err != nil {
			return err
		}
		switch m := message.(type) {
		case submit:
			var data []byte
			if !m.in {
				data = make([]byte, m.length)
				if _, err := io.ReadFull(in, data); err != nil {
					return fmt.Errorf("usbip: a transfer's data: %w", unexpected(err))
				}
			}
			if err := s.submit(m, data); err != nil {
				return err
			}
		case unlink:
			s.unlink(m)
		}
	}
}

func (s *stream) submit(m submit, data []byte) error {
	t := transfer{m.urb(data), make(chan struct{})}
	t.urb.Done = func(status gadget.Status, n int, in []byte) {
		s.write(submitted(m.seq, status, n, in))
		s.forget(m.seq)
		close(t.answered)
	}
	s.mu.Lock()
	_, twice := s.pending[m.seq]
	full := len(s.pending) >= maxPending
	if !twice && !full {
		s.pending[m.seq] = t
	}
	s.mu.Unlock()
	switch {
	case twice:
		return fmt.Errorf("usbip: two transfers with number %d", m.seq)
	case full:
		return fmt.Errorf("usbip: more than %d transfers at once", maxPending)
	}
	s.device.Submit(t.urb)
	return nil
}

// unlink answers with "unlinked" where the URB was still waiting, and with 0 where
// it is done. Then its own answer goes first: a client takes one that comes after
// the unlinking for nonsense, and drops the device.
func (s *stream) unlink(m unlink) {
	s.mu.Lock()
	t, there := s.pending[m.victim]
	s.mu.Unlock()
	status := gadget.StatusOK
	switch {
	case !there:
	case s.device.Cancel(t.urb):
		s.forget(m.victim)
		status = gadget.StatusUnlinked
	default:
		<-t.answered
	}
	s.write(unlinked(m.seq, status))
}

func (s *stream) forget(seq uint32) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.pending, seq)
}

// write sends a message. When that fails the connection has ended, and reading
// from it ends too.
func (s *stream) write(b []byte) {
	s.writing.Lock()
	defer s.writing.Unlock()
	if _, err := s.conn.Write(b); err != nil {
		s.conn.Close()
	}
}

func unexpected(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}
