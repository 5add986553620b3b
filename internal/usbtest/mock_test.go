//go:build linux

package usbtest

import (
	"context"
	"net"
	"os"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/sojournlm/sojourn/internal/gadget"
)

type echo struct{}

func (echo) Exchange(_ context.Context, request []byte) ([]byte, error) { return request, nil }

// A device is pulled out while a program opens it: the program has the node open, and
// finds somebody who answers it, whenever it asks. The preload library ends the program
// otherwise.
func TestUnplugWhileOpening(t *testing.T) {
	dir, err := os.MkdirTemp("/tmp", "umk") // short, for it ends up in the names of sockets
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	m, err := newMock(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer m.close()
	plug := func() *mockPort {
		t.Helper()
		p, err := m.Plug(gadget.New(echo{}, gadget.Config{Serial: "1"}))
		if err != nil {
			t.Fatal(err)
		}
		return p.(*mockPort)
	}
	connect := func(p *mockPort) client {
		t.Helper()
		conn, err := net.Dial("unix", p.path("ioctl/dev", p.node))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { conn.Close() })
		return client{conn}
	}
	gone := func(what string, c client) {
		t.Helper()
		c.say(askCall, callSpeed, 0)
		if words, err := c.next(); err != nil || words[0] != sayDone || unix.Errno(words[2]) != unix.ENODEV {
			t.Errorf("%s: %v, %v", what, words, err)
		}
	}
	for range lastAddress + 3 { // every address, and some once more
		p := plug()
		before := connect(p)
		if err := p.Unplug(); err != nil {
			t.Fatal(err)
		}
		gone("one who came before", before)
		gone("one who comes after", connect(p))
	}
	// Many at once, of whom some are not let in yet.
	p := plug()
	clients := make([]client, 50)
	for i := range clients {
		clients[i] = connect(p)
	}
	if err := p.Unplug(); err != nil {
		t.Fatal(err)
	}
	for _, c := range clients {
		gone("one of many", c)
	}
}
