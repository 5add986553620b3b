package usbip

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"os"
	"testing"
	"time"

	"github.com/sojournlm/sojourn/internal/gadget"
)

type echo struct{}

func (echo) Exchange(_ context.Context, request []byte) ([]byte, error) { return request, nil }

func newDevice() *gadget.Device { return gadget.New(echo{}, gadget.Config{Serial: "1"}) }

// serve starts a server and gives its address.
func serve(t *testing.T) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &Server{
		Plug:   func() (*gadget.Device, func(), error) { return newDevice(), func() {}, nil },
		Logger: slog.New(slog.DiscardHandler),
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error)
	go func() { ended <- s.Serve(ctx, ln) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
	})
	return ln.Addr().String()
}

// ask opens a connection, sends the message and reads n bytes of the reply.
func ask(t *testing.T, address string, message []byte, n int) (net.Conn, []byte) {
	t.Helper()
	conn, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	if _, err := conn.Write(message); err != nil {
		t.Fatal(err)
	}
	b := make([]byte, n)
	if _, err := io.ReadFull(conn, b); err != nil {
		t.Fatalf("reply: %v", err)
	}
	return conn, b
}

func importRequest(name string) []byte {
	return append(reply(opImportRequest, 0), append([]byte(name), make([]byte, busIDSize-len(name))...)...)
}

func exchange(t *testing.T, conn net.Conn, message []byte, want []byte) {
	t.Helper()
	if _, err := conn.Write(message); err != nil {
		t.Fatal(err)
	}
	got := make([]byte, len(want))
	if _, err := io.ReadFull(conn, got); err != nil || !bytes.Equal(got, want) {
		t.Fatalf("%x: answer %x, %v, want %x", message, got, err, want)
	}
}

// Strangers who say nothing keep neither the one who has the key from it nor one who
// comes after them, however many they are.
func TestIdleStrangers(t *testing.T) {
	address := serve(t)
	descriptors := gadget.Describe(gadget.Config{})
	taken := importReply(descriptors, gadget.FullSpeed)
	has, got := ask(t, address, importRequest(BusID), len(taken))
	if !bytes.Equal(got, taken) {
		t.Fatalf("import: %x", got)
	}
	var idle []net.Conn
	for range 3 * maxStrangers {
		conn, err := net.Dial("tcp", address)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		idle = append(idle, conn)
	}
	list := listReply(descriptors, gadget.FullSpeed)
	if _, got := ask(t, address, reply(opListRequest, 0), len(list)); !bytes.Equal(got, list) {
		t.Errorf("one who comes after them: %x", got)
	}
	if _, err := idle[0].Read(make([]byte, 1)); err == nil {
		t.Error("the first of them was told something")
	}
	out := submit{seq: 1, endpoint: 1, length: 5}
	exchange(t, has, append(out.encode(), "hello"...), submitted(1, 0, 5, nil))
}

// Who says nothing is sent away in time.
func TestPatience(t *testing.T) {
	defer func(was time.Duration) { patience = was }(patience)
	patience = 10 * time.Millisecond
	server, client := net.Pipe()
	defer client.Close()
	s := &Server{Logger: slog.New(slog.DiscardHandler)}
	if err := s.client(server); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Error(err)
	}
}

func TestServer(t *testing.T) {
	address := serve(t)
	descriptors := gadget.Describe(gadget.Config{})
	list := listReply(descriptors, gadget.FullSpeed)
	if _, got := ask(t, address, reply(opListRequest, 0), len(list)); !bytes.Equal(got, list) {
		t.Errorf("list: %x, want %x", got, list)
	}
	if _, got := ask(t, address, importRequest("9-9"), 8); !bytes.Equal(got, reply(opImportReply, statusNoDevice)) {
		t.Errorf("another bus id: %x", got)
	}
	taken := importReply(descriptors, gadget.FullSpeed)
	conn, got := ask(t, address, importRequest(BusID), len(taken))
	if !bytes.Equal(got, taken) {
		t.Errorf("import: %x, want %x", got, taken)
	}
	if _, got := ask(t, address, importRequest(BusID), 8); !bytes.Equal(got, reply(opImportReply, statusBusy)) {
		t.Errorf("attached twice: %x", got)
	}
	in := submit{seq: 1, in: true, endpoint: 1, length: 64}
	exchange(t, conn, append(in.encode(), unlink{2, 1}.encode()...), unlinked(2, gadget.StatusUnlinked))
	exchange(t, conn, unlink{3, 1}.encode(), unlinked(3, gadget.StatusOK))
	out := submit{seq: 4, endpoint: 1, length: 5}
	exchange(t, conn, append(out.encode(), "hello"...), submitted(4, 0, 5, nil))
	in.seq = 5
	exchange(t, conn, in.encode(), submitted(5, 0, 5, []byte("hello")))
	conn.Close()
	for { // the server notices when it reads; then the key is free again
		conn, got := ask(t, address, importRequest(BusID), 8)
		conn.Close()
		if bytes.Equal(got, reply(opImportReply, statusOK)) {
			break
		}
	}
}

func TestRefuses(t *testing.T) {
	good := submit{seq: 1, in: true, endpoint: 1, length: 64}.encode()
	change := func(at int, b ...byte) []byte {
		bad := bytes.Clone(good)
		copy(bad[at:], b)
		return bad
	}
	for name, b := range map[string][]byte{
		"command":      change(0, 9),
		"device":       change(8, 1),
		"direction":    change(12, 1),
		"endpoint":     change(16, 0, 0, 0, 16),
		"huge":         change(24, 0xFF),
		"isochronous":  change(32, 0, 0, 0, 1),
		"cut":          good[:20],
		"data missing": submit{seq: 1, endpoint: 1, length: 64}.encode(),
		"number twice": append(bytes.Clone(good), good...),
		"too many":     many(maxPending + 1),
	} {
		if err := Stream(&script{in: bytes.NewReader(b)}, newDevice()); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
	if err := Stream(&script{in: bytes.NewReader(good)}, newDevice()); err != nil {
		t.Errorf("a connection that ends in order: %v", err)
	}
}

func many(n int) (b []byte) {
	for i := range n {
		b = append(b, submit{seq: uint32(i), in: true, endpoint: 1, length: 64}.encode()...)
	}
	return b
}

// script is a client that says what it has to say and listens to nothing.
type script struct{ in io.Reader }

func (s *script) Read(b []byte) (int, error)  { return s.in.Read(b) }
func (s *script) Write(b []byte) (int, error) { return len(b), nil }
func (s *script) Close() error                { return nil }

func FuzzStream(f *testing.F) {
	f.Add(append(submit{seq: 1, endpoint: 1, length: 5}.encode(), "hello"...))
	f.Add(append(submit{seq: 1, in: true, endpoint: 1, length: 64}.encode(), unlink{2, 1}.encode()...))
	f.Add(submit{seq: 1, in: true, length: 18, setup: [8]byte{0x80, 6, 0, 1, 0, 0, 18, 0}}.encode())
	f.Fuzz(func(t *testing.T, b []byte) {
		Stream(&script{in: bytes.NewReader(b)}, newDevice()) // ends, whatever came
	})
}

func FuzzMessage(f *testing.F) {
	f.Add(submit{seq: 1, endpoint: 1, length: 5}.encode())
	f.Add(unlink{2, 1}.encode())
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) != headerSize {
			return
		}
		message, err := parse([headerSize]byte(b))
		if err != nil {
			return
		}
		again, err := parse([headerSize]byte(message.(interface{ encode() []byte }).encode()))
		if err != nil || again != message {
			t.Errorf("%+v, encoded and parsed: %+v, %v", message, again, err)
		}
	})
}

func FuzzOperation(f *testing.F) {
	f.Add(reply(opListRequest, 0))
	f.Add(importRequest(BusID))
	f.Fuzz(func(t *testing.T, b []byte) {
		op, err := readOperation(bytes.NewReader(b))
		if err == nil && !op.list && len(op.busID) >= busIDSize {
			t.Errorf("a bus id of %d bytes", len(op.busID))
		}
	})
}
