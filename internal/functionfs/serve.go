//go:build linux

package functionfs

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"runtime"
	"sync"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/sojournlm/sojourn/internal/gadget"
	"github.com/sojournlm/sojourn/internal/wire"
	"github.com/sojournlm/sojourn/transport"
)

// Events on the control endpoint (struct usb_functionfs_event: 8 bytes of setup, and
// the kind).
const (
	eventSize    = 12
	eventEnable  = 2
	eventDisable = 3
	eventSetup   = 4
)

// Requests to an endpoint: empty the hardware's buffer, and tell the descriptor that
// holds at the speed of now (FUNCTIONFS_FIFO_FLUSH, FUNCTIONFS_ENDPOINT_DESC).
const (
	ioctlFlush    = 0x6702
	ioctlEndpoint = 0x80096782
)

// bufferSize holds the longest frame, in full packets of either speed.
const bufferSize = (wire.MaxFrame/512 + 1) * 512

// server is a gadget at work. Its two workers wait in the kernel, each in a thread of
// its own, which a signal wakes: Go takes SIGURG for its own and does nothing.
type server struct {
	*Gadget
	key gadget.Key

	mu      sync.Mutex
	closing bool
	threads map[int]bool // of the workers
	life    int          // counts resets
	writing int          // thread that writes an answer, 0 for none
	reading *reading     // nil while no request is received
}

// reading is a read of a request.
type reading struct {
	thread int
	over   chan struct{} // closed when it is
}

var errClosing = errors.New("the gadget is taken away")

// Serve answers requests with what the key answers, until ctx ends or the key is gone,
// and takes the gadget away. The error says what is gone, and what of the gadget is left.
// It is nil when ctx ended and nothing is.
func (g *Gadget) Serve(ctx context.Context, key gadget.Key) error {
	s := &server{Gadget: g, key: key, threads: map[int]bool{}}
	working, cancel := context.WithCancel(ctx)
	defer cancel()
	failed := make(chan error, 2)
	var workers sync.WaitGroup
	for _, work := range []func() error{s.events, func() error { return s.requests(working) }} {
		workers.Go(func() { failed <- s.thread(work) })
	}
	var err error
	select {
	case err = <-failed:
	case <-ctx.Done():
	}
	if ctx.Err() != nil {
		err = nil // whatever a worker says, it was told to end
	}
	cancel()
	s.end(&workers)
	return errors.Join(err, g.Close())
}

// thread runs a worker in a thread that can be woken.
func (s *server) thread(work func() error) error {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	s.mu.Lock()
	s.threads[unix.Gettid()] = true
	s.mu.Unlock()
	defer func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		delete(s.threads, unix.Gettid())
	}()
	return work()
}

// end ends the workers. One that was on its way into the kernel is woken again.
func (s *server) end(workers *sync.WaitGroup) {
	gone := make(chan struct{})
	go func() {
		workers.Wait()
		close(gone)
	}()
	for {
		s.mu.Lock()
		s.closing = true
		for thread := range s.threads {
			unix.Tgkill(os.Getpid(), thread, unix.SIGURG)
		}
		s.mu.Unlock()
		select {
		case <-gone:
			return
		case <-time.After(5 * time.Millisecond):
		}
	}
}

// call makes a system call that waits, again when a signal was not for it.
func (s *server) call(f func() (int, error)) (int, error) {
	for {
		s.mu.Lock()
		closing := s.closing
		s.mu.Unlock()
		if closing {
			return 0, errClosing
		}
		if n, err := f(); !errors.Is(err, unix.EINTR) {
			return n, err
		}
	}
}

// events answers control requests.
func (s *server) events() error {
	b := make([]byte, 4*eventSize)
	for {
		n, err := s.call(func() (int, error) { return unix.Read(s.control, b) })
		if err != nil {
			return fmt.Errorf("functionfs: control endpoint: %w", err)
		}
		for e := b[:n]; len(e) >= eventSize; e = e[eventSize:] {
			switch e[8] {
			case eventEnable, eventDisable:
				s.reset()
			case eventSetup:
				s.setup([8]byte(e))
			}
		}
	}
}

// setup answers a control request: by reading or writing what belongs to it, or by
// the wrong one of these, which stalls it.
func (s *server) setup(setup [8]byte) {
	known := gadget.IsReset(setup)
	if known {
		s.reset()
		s.drop()
	}
	if in := setup[0]&0x80 != 0; in != known {
		unix.Read(s.control, nil)
	} else {
		unix.Write(s.control, nil)
	}
}

// reset drops answers that are under way.
func (s *server) reset() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.life++
	if s.writing != 0 {
		unix.Tgkill(os.Getpid(), s.writing, unix.SIGURG) // the kernel gives the answer up
	}
	unix.IoctlSetInt(s.in, ioctlFlush, 0)
}

// drop drops what has come of a request that is not whole. When it returns the next
// request may come.
func (s *server) drop() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for r := s.reading; r != nil && s.reading == r; {
		unix.Tgkill(os.Getpid(), r.thread, unix.SIGURG)
		s.mu.Unlock()
		select {
		case <-r.over:
		case <-time.After(time.Millisecond): // it was only on its way into the kernel
		}
		s.mu.Lock()
	}
}

// read reads from the endpoint for requests, and gives the life in which it began.
func (s *server) read(b []byte) (n, life int, err error) {
	r := &reading{unix.Gettid(), make(chan struct{})}
	s.mu.Lock()
	s.reading, life = r, s.life
	s.mu.Unlock()
	defer func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.reading = nil
		close(r.over)
	}()
	n, err = unix.Read(s.out, b)
	return n, life, err
}

func (s *server) current() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.life
}

// requests does one request after the other.
func (s *server) requests(ctx context.Context) error {
	for {
		request, life, err := s.receive()
		if err != nil {
			return fmt.Errorf("functionfs: receive: %w", err)
		}
		answer := wire.Frame{}.Answer(wire.BadFrame, nil).Encode()
		if len(request) <= wire.MaxFrame {
			answer, err = s.key.Exchange(ctx, request)
		}
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case errors.Is(err, transport.ErrNoKey) || errors.Is(err, transport.ErrClosed):
			return err
		case err == nil:
			s.send(answer, life)
		}
	}
}

// receive gives a request, and the life that it came in. A transfer that is longer
// than any is received to its end, and given as one that is too long.
func (s *server) receive() (request []byte, life int, err error) {
	var e excess
	for {
		b := make([]byte, bufferSize)
		began := 0
		n, err := s.call(func() (n int, err error) {
			n, began, err = s.read(b)
			return n, err
		})
		life = s.current() // one that came just before a reset is answered; its number tells
		if errors.Is(err, unix.ESHUTDOWN) {
			e = excess{} // the computer has let go of the key; the next read waits for it
			continue
		}
		if err != nil {
			return nil, 0, err
		}
		switch ended, tooLong := e.read(n == len(b), began); {
		case tooLong:
			return make([]byte, wire.MaxFrame+1), life, nil
		case ended:
			return b[:n], life, nil
		}
	}
}

// excess follows a transfer that is longer than any, from one read to the next. The
// rest of it does not come after a reset.
type excess struct {
	life int // in which it came
	over bool
}

// read takes note of a read that was full or not. It reports whether a transfer has
// ended, and whether that was too long.
func (e *excess) read(full bool, life int) (ended, tooLong bool) {
	over := e.over && e.life == life
	*e = excess{life: life, over: full}
	return !full, over && !full
}

// send sends an answer, and an empty packet where it needs one to end. One that the
// computer gave up meanwhile is dropped. Whatever goes wrong, the computer asks again.
func (s *server) send(answer []byte, life int) {
	s.mu.Lock()
	if s.life != life {
		s.mu.Unlock()
		return
	}
	s.writing = unix.Gettid()
	s.mu.Unlock()
	defer func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.writing = 0
	}()
	_, err := unix.Write(s.in, answer)
	if err == nil && len(answer)%s.maxPacket() == 0 && s.current() == life {
		unix.Write(s.in, nil)
	}
}

// maxPacket is the size of a full packet at the speed of now.
func (s *server) maxPacket() int {
	var descriptor [9]byte // struct usb_endpoint_descriptor
	_, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(s.in), ioctlEndpoint, uintptr(unsafe.Pointer(&descriptor)))
	if size := int(binary.LittleEndian.Uint16(descriptor[4:])); errno == 0 && size > 0 {
		return size
	}
	return gadget.HighSpeed.MaxPacket()
}
