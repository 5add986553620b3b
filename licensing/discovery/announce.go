package discovery

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

// maxInstance is how many bytes of a name are shown: a label has 63, and a
// number may follow.
const maxInstance = 48

// Announcement is what a manager says of itself on the local network. It is
// public there.
type Announcement struct {
	// Instance is the name to show, the computer's say. Where another manager
	// shows the same, a number follows it: "OFFICE (2)".
	Instance string
	// Listen is the address and port where the manager's server listens. An
	// unspecified address, :: or 0.0.0.0, stands for all of this computer's; any
	// other is the only one that is announced. Loopback never is.
	Listen netip.AddrPort
	// TLS says that the server speaks HTTPS.
	TLS bool
}

// service checks an announcement.
func (a Announcement) service() (service, error) {
	switch listen := a.Listen.Addr().Unmap(); {
	case !listen.IsValid():
		return service{}, errors.New("discovery: Announcement.Listen is not set: it is the address where the server listens")
	case a.Listen.Port() == 0:
		return service{}, errors.New("discovery: Announcement.Listen has port 0: announce the port that the server was given")
	case listen.IsLoopback():
		return service{}, fmt.Errorf("discovery: Announcement.Listen is %s: nobody else reaches a server that listens on loopback", a.Listen)
	case !listen.IsUnspecified() && !ordinary(listen):
		return service{}, fmt.Errorf("discovery: Announcement.Listen is %s: that is not one computer's address", a.Listen)
	}
	instance := label(a.Instance)
	if instance == "" {
		return service{}, fmt.Errorf("discovery: Announcement.Instance is %q: it has nothing to show", a.Instance)
	}
	// Of this announcement alone: the computer's own name belongs to its own
	// responder, whose records of it differ from ours.
	var unique [6]byte
	rand.Read(unique[:])
	return service{instance, "sojourn-" + hex.EncodeToString(unique[:]), a.Listen.Port(), a.TLS}, nil
}

// label makes one label of a name: no dots, nothing unprintable, not too long.
func label(name string) string {
	name = strings.Map(func(r rune) rune {
		switch {
		case r == '.':
			return '-'
		case r == utf8.RuneError || !unicode.IsPrint(r):
			return -1
		}
		return r
	}, name)
	for len(name) > maxInstance {
		_, size := utf8.DecodeLastRuneInString(name)
		name = name[:len(name)-size]
	}
	return strings.TrimSpace(name)
}

// Announce tells the local network of a manager until ctx ends, says goodbye
// and returns nil; nothing of it runs on. It follows the interfaces as they come
// and go. It returns an error if it cannot begin: ErrNoInterface where there is
// none, others that name the field or the interface.
func Announce(ctx context.Context, a Announcement) error {
	s, err := a.service()
	if err != nil {
		return err
	}
	c := newClaim(s)
	listen := a.Listen.Addr().Unmap()
	err = follow(ctx, func() ([]iface, error) { return servingOn(listen) }, func(ctx context.Context, w *wires) error {
		return c.hold(ctx, w, listen)
	})
	if err == ErrNoInterface && !listen.IsUnspecified() {
		err = fmt.Errorf("%w; the server listens on %s alone", err, listen)
	}
	return err
}

// servingOn lists the interfaces over which a server is reached.
func servingOn(listen netip.Addr) ([]iface, error) {
	list, err := usable()
	return slices.DeleteFunc(list, func(i iface) bool { return len(i.serving(listen)) == 0 }), err
}

// hold claims the name on some wires and answers for it until ctx ends.
func (c *claim) hold(ctx context.Context, w *wires, listen netip.Addr) error {
	defer func() {
		if c.established() { // also where the interfaces changed: addresses may have gone
			c.tell(w, act{-1, false}, listen, true)
		}
	}()
	c.start(time.Now(), len(w.list))
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		for _, a := range c.act(time.Now()) {
			if err := c.tell(w, a, listen, false); err != nil {
				return err
			}
		}
		timer.Stop()
		var wake <-chan time.Time
		if next := c.next(); !next.IsZero() {
			timer.Reset(time.Until(next))
			wake = timer.C
		}
		select {
		case <-ctx.Done():
			return nil
		case h := <-w.heard:
			c.hear(time.Now(), h.wire, h.message)
		case <-wake:
		}
	}
}

// tell sends what a claim wants sent; on each wire the addresses of its own
// interface, and no others.
func (c *claim) tell(w *wires, a act, listen netip.Addr, gone bool) error {
	for n, one := range w.list {
		if a.wire >= 0 && a.wire != n {
			continue
		}
		packet, err := c.probe()
		if !a.probe {
			packet, err = c.announcement(one.iface.serving(listen), gone)
		}
		if err != nil {
			return fmt.Errorf("discovery: building a message: %w", err)
		}
		one.send(packet)
	}
	return nil
}
