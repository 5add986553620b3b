package discovery_test

import (
	"context"
	"fmt"
	"net"

	"github.com/sojournlm/sojourn/licensing/discovery"
)

// A server says where it listens, for as long as it serves.
func ExampleAnnounce() {
	listener, err := net.Listen("tcp", ":0")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer listener.Close()
	ctx, cancel := context.WithCancel(context.Background())
	cancel() // when it has served
	err = discovery.Announce(ctx, discovery.Announcement{
		Instance: "OFFICE",
		Listen:   listener.Addr().(*net.TCPAddr).AddrPort(),
	})
	if err != nil {
		fmt.Println(err) // no network, say: try again later
	}
}

func ExampleBrowse() {
	ctx, cancel := context.WithCancel(context.Background())
	cancel() // when nobody wants to know any more
	err := discovery.Browse(ctx, func(address string) {
		fmt.Println("somebody is at", address) // and not yet to be trusted
	})
	if err != nil {
		fmt.Println(err)
	}
}
