//go:build cgo && gousb

package usb

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"

	"github.com/sojournlm/sojourn/transport"
)

// Bus finds the keys on USB. It implements [transport.Bus] and is safe for
// concurrent use.
type Bus struct {
	opts Options

	listing sync.Mutex // held while the lister is at work
	lister  lister

	calls sync.WaitGroup // goroutines in calls of libusb's, for which nobody else may be waiting
	done  chan struct{}  // closed when the bus is, with mu held

	mu      sync.Mutex
	named   []named // what was listed last
	silent  int     // how many devices were left out of it
	conns   map[*conn]struct{}
	opening map[transport.KeyID]chan struct{} // those are closed when it is over
}

var _ transport.Bus = (*Bus)(nil)

// Open opens the bus. Nil options mean the defaults. The caller closes it. An
// error is that of libusb, which could not start.
func Open(opts *Options) (*Bus, error) {
	return openWith(opts, newLister)
}

// openWith opens a bus with the lister that list gives, which may start goroutines that the
// bus waits for.
func openWith(opts *Options, list func(o Options, start func(func())) (lister, error)) (*Bus, error) {
	b := &Bus{
		opts: opts.withDefaults(), done: make(chan struct{}),
		conns: map[*conn]struct{}{}, opening: map[transport.KeyID]chan struct{}{},
	}
	var err error
	if b.lister, err = list(b.opts, b.calls.Go); err != nil {
		return nil, fmt.Errorf("usb: %w", err)
	}
	return b, nil
}

// lister finds the keys that are plugged in.
type lister interface {
	// list waits for no device longer than lookTime: one that takes longer to say what
	// it is comes with a later list. Goroutines may be started by it alone.
	list() ([]plugged, error)
	// silent is how many devices the last list left out, for they had not said what they are.
	silent() int
	// hazard is an error where opening a device is known to go wrong.
	hazard() error
	// forget has the device at that place looked at afresh the next time.
	forget(plugged)
	close() error
}

// plugged is a key that is plugged in.
type plugged struct {
	place        string // bus and ports, such as "1-2.3"
	bus, address int
	serial       string // as the key has it, without what is not for print
	remembered   bool   // the serial number may be of a device that was there before
}

// named is a key and its name.
type named struct {
	plugged
	id transport.KeyID
}

// Keys implements [transport.Bus]. A device that was plugged in, and takes longer than half
// a second to say what it is, is given by a later call; [Bus.Silent] counts those.
func (b *Bus) Keys(ctx context.Context) ([]transport.KeyInfo, error) {
	found, err := b.keys(ctx)
	if err != nil {
		return nil, fmt.Errorf("usb: list keys: %w", err)
	}
	infos := make([]transport.KeyInfo, len(found))
	for i, k := range found {
		infos[i] = transport.KeyInfo{ID: k.id, Serial: k.serial}
	}
	return infos, nil
}

// Silent is how many devices with the ids of a key were plugged in when keys were last
// listed, and had not said yet what they are.
func (b *Bus) Silent() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.silent
}

func (b *Bus) keys(ctx context.Context) ([]named, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	var found []named
	looked := make(chan error, 1)
	if err := b.call(func() {
		var err error
		found, err = b.look(ctx)
		looked <- err
	}); err != nil {
		return nil, err
	}
	select {
	case err := <-looked:
		return found, err
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// call has a goroutine of the bus call f, which may take long.
func (b *Bus) call(f func()) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closed() {
		return transport.ErrClosed
	}
	b.calls.Go(f)
	return nil
}

// look lists the keys of now, ordered by name. Connections to those that are gone, or
// were put in anew, have ended.
func (b *Bus) look(ctx context.Context) ([]named, error) {
	b.listing.Lock()
	defer b.listing.Unlock()
	switch {
	case ctx.Err() != nil:
		return nil, ctx.Err()
	case b.closed():
		return nil, transport.ErrClosed
	}
	found, err := b.lister.list()
	if err != nil {
		return nil, err
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.named, b.silent = name(found, b.named), b.lister.silent()
	for c := range b.conns {
		if !slices.ContainsFunc(found, func(p plugged) bool { return p.place == c.at.place && p.address == c.at.address }) {
			c.life.end(transport.ErrNoKey)
		}
	}
	return b.named, nil
}

const prefix = "usb:"

// name gives every key a name: its serial number, so that it keeps it wherever it is
// plugged in, and its place where it has none. Of two with one serial number
// the one that was there before keeps the name, and the other has its place added.
func name(found []plugged, before []named) []named {
	slices.SortFunc(found, func(a, b plugged) int { return strings.Compare(a.place, b.place) })
	now := make([]named, len(found))
	taken := map[transport.KeyID]bool{}
	for i, p := range found {
		now[i].plugged = p
		if at := slices.IndexFunc(before, func(n named) bool { return n.place == p.place && n.serial == p.serial }); at >= 0 {
			now[i].id = before[at].id
			taken[now[i].id] = true
		}
	}
	for i, p := range found {
		if now[i].id != "" {
			continue
		}
		id := transport.KeyID(prefix + p.serial)
		if p.serial == "" || taken[id] {
			id = transport.KeyID(prefix + p.serial + "@" + p.place)
		}
		now[i].id, taken[id] = id, true
	}
	slices.SortFunc(now, func(a, b named) int { return strings.Compare(string(a.id), string(b.id)) })
	return now
}

// printable leaves out what a serial number should not have.
func printable(serial string) string {
	serial = strings.Map(func(r rune) rune {
		switch {
		case r >= '0' && r <= '9', r >= 'A' && r <= 'Z', r >= 'a' && r <= 'z', r == '.', r == '_', r == '-':
			return r
		}
		return -1
	}, serial)
	return serial[:min(len(serial), 64)]
}

func (b *Bus) hazard() error {
	b.listing.Lock()
	defer b.listing.Unlock()
	return b.lister.hazard()
}

func (b *Bus) lookAfresh(p plugged) {
	b.listing.Lock()
	defer b.listing.Unlock()
	b.lister.forget(p)
}

// remember has the bus close the connection when it is closed itself.
func (b *Bus) remember(c *conn) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closed() {
		return transport.ErrClosed
	}
	b.conns[c] = struct{}{}
	return nil
}

func (b *Bus) forget(c *conn) {
	b.mu.Lock()
	defer b.mu.Unlock()
	delete(b.conns, c)
}

func (b *Bus) closed() bool {
	select {
	case <-b.done:
		return true
	default:
		return false
	}
}

// Close ends all connections and lets go of libusb. It waits for what the operating
// system still does to a key; where that takes long, it is resetting one that does not
// answer. Closing twice is harmless.
func (b *Bus) Close() error {
	b.mu.Lock()
	first := !b.closed()
	if first {
		close(b.done)
	}
	var open []*conn
	for c := range b.conns {
		open = append(open, c)
	}
	b.mu.Unlock()
	var errs []error
	for _, c := range open {
		if err := c.Close(); !errors.Is(err, errClosing) { // which is over below
			errs = append(errs, err)
		}
	}
	b.calls.Wait()
	if first {
		errs = append(errs, b.lister.close())
	}
	return errors.Join(errs...)
}
