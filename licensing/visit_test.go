package licensing_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"log/slog"
	"math"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sojournlm/sojourn/internal/wire"
	"github.com/sojournlm/sojourn/licensing"
	"github.com/sojournlm/sojourn/licensing/issuer"
	"github.com/sojournlm/sojourn/transport"
	"github.com/sojournlm/sojourn/transport/simulator"
)

// sickness is what is wrong with a bus, or all keys on it.
type sickness string

const (
	well         sickness = "sound"
	listingHangs sickness = "the listing hangs"
	openingHangs sickness = "the opening hangs"
	silent       sickness = "it never answers"
	answersLate  sickness = "it answers late"
	garbage      sickness = "it answers garbage"
	slowGarbage  sickness = "it answers garbage, late"
	flipped      sickness = "its signatures are wrong"
	dumbSigner   sickness = "it tells what it is and never where it stands"
)

// sickBus is a bus of simulated keys with a sickness.
type sickBus struct {
	*simulator.Bus
	is     atomic.Value // sickness
	opened atomic.Int32
}

func newSickBus() *sickBus {
	b := &sickBus{Bus: simulator.New()}
	b.is.Store(well)
	return b
}

func (b *sickBus) Keys(ctx context.Context) ([]transport.KeyInfo, error) {
	if b.is.Load() == listingHangs {
		<-ctx.Done()
	}
	return b.Bus.Keys(ctx)
}

func (b *sickBus) Open(ctx context.Context, id transport.KeyID) (transport.Conn, error) {
	b.opened.Add(1)
	if b.is.Load() == openingHangs {
		<-ctx.Done()
	}
	c, err := b.Bus.Open(ctx, id)
	if err != nil {
		return nil, err
	}
	return &sickConn{c, b}, nil
}

type sickConn struct {
	transport.Conn
	bus *sickBus
}

func (c *sickConn) Exchange(ctx context.Context, request []byte) ([]byte, error) {
	wait := func(d time.Duration) error {
		select {
		case <-time.After(d):
			return nil
		case <-ctx.Done():
			return &transport.Error{Op: "exchange", Sent: true, Err: ctx.Err()}
		}
	}
	const opcode, checkpoint = 3, 3
	is := c.bus.is.Load()
	switch {
	case is == silent || is == dumbSigner && request[opcode] == checkpoint:
		return nil, wait(time.Hour)
	case is == answersLate:
		if err := wait(1200 * time.Millisecond); err != nil {
			return nil, err
		}
	case is == slowGarbage:
		if err := wait(500 * time.Millisecond); err != nil {
			return nil, err
		}
		return []byte("garbage"), nil
	case is == garbage:
		return []byte("garbage"), nil
	}
	response, err := c.Conn.Exchange(ctx, request)
	if is == flipped && err == nil && request[opcode] == checkpoint {
		response = bytes.Clone(response)
		response[len(response)-3] ^= 1
	}
	return response, err
}

// told is a log to look at.
type told struct {
	mu sync.Mutex
	bytes.Buffer
}

func (l *told) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.Buffer.Write(b)
}

func (l *told) count(what string) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Count(l.String(), what)
}

// beside is an office with a sound key and, on a bus of its own, two sick ones.
func beside(w *world) (office, laptop *machine, bus *sickBus, log *told) {
	w.Helper()
	var features []issuer.Feature
	for number := range uint32(50) {
		features = append(features, feature(number+1, 1))
	}
	office = w.office(features...)
	laptop = w.laptop("LAPTOP", office)
	bus, log = newSickBus(), &told{}
	office.opts.Buses = []transport.Bus{bus, office.bus}
	office.opts.Logger = slog.New(slog.NewTextHandler(log, nil))
	for _, id := range []uint64{0x61000001, 0x61000002} {
		_, err := bus.Add(simulator.Config{KeyID: id, Vendor: worldVendor, VendorPublic: office.keys[0].VendorPublic()})
		w.ok(err)
	}
	return office, laptop, bus, log
}

// timed checks how long f takes, on the test's clock.
func (w *world) timed(what string, atMost time.Duration, f func()) (took time.Duration) {
	w.Helper()
	began := time.Now()
	f()
	if took = time.Since(began); took > atMost {
		w.Errorf("%s: it took %v, at most %v are good", what, took, atMost)
	}
	return took
}

func (m *machine) shows(key uint64) bool {
	m.w.Helper()
	for _, k := range collect[licensing.Key](m.w)(m.Keys(m.w.ctx, licensing.Filter{})) {
		if k.ID == key && !k.Inaccessible && k.Problem == "" {
			return true
		}
	}
	return false
}

// What is wrong with one key or bus holds nothing up that is about another: a little the
// first time, and after that next to nothing, whatever is asked.
func TestBesideSick(t *testing.T) {
	const first, next = 2 * time.Second, 100 * time.Millisecond
	for _, c := range []struct {
		is            sickness
		opens, in20s  time.Duration // how long Open takes, and all the waiting in twenty seconds
		works, silent bool
	}{
		{is: listingHangs, opens: time.Second, in20s: first + 4*next, silent: true},
		{is: openingHangs, opens: first + first/4, in20s: first + first/4 + 4*next, silent: true},
		{is: silent, opens: first, in20s: first + 4*next, silent: true},
		{is: answersLate, opens: 3 * first, in20s: 2 * first, works: true},
		{is: garbage},
		{is: slowGarbage, opens: first, in20s: first + 4*next},
		{is: flipped, works: true}, // until it has a pool nobody asks where it stands
	} {
		t.Run(string(c.is), func(t *testing.T) {
			inBubble(t, func(w *world) {
				office, laptop, bus, log := beside(w)
				number := uint32(0)
				all := func(when string, atMost time.Duration, f func(what string, atMost time.Duration, f func())) {
					f(when+": list keys", atMost, func() {
						if !office.shows(worldKey) {
							t.Errorf("%s: the sound key is not shown", when)
						}
					})
					f(when+": detach", 0, func() { number++; office.detach(laptop, number) })
					f(when+": detach from an unknown key", atMost, func() {
						r := office.request(laptop, 1)
						r.Key = 4711
						_, err := office.Detach(w.ctx, r, nil)
						w.refused(err, licensing.DongleNotFound)
					})
					f(when+": list features", 0, func() { office.free(1) })
				}
				var waited time.Duration
				count := func(what string, atMost time.Duration, f func()) { waited += w.timed(what, atMost, f) }

				office.crash()
				w.ok(office.boot()) // sound
				bus.is.Store(c.is)
				if c.is != listingHangs { // the sick ones are plugged in while it runs
					for _, id := range []uint64{0x61000003, 0x61000004} {
						_, err := bus.Add(simulator.Config{KeyID: id, Vendor: worldVendor, VendorPublic: office.keys[0].VendorPublic()})
						w.ok(err)
					}
				}
				all("plugged in", first, count)
				for range 20 {
					all("then", next, count)
					time.Sleep(time.Second)
				}
				if waited > c.in20s {
					t.Errorf("%v were spent waiting, at most %v are good", waited, c.in20s)
				}
				office.crash()
				began := time.Now()
				w.ok(office.boot())
				if took := time.Since(began); took > c.opens {
					t.Errorf("it took %v to open", took)
				}
				all("opened", next, count)
				if got := office.shows(0x61000001); got != c.works {
					t.Errorf("the sick key works: %v", got)
				}
				bus.is.Store(well)
				time.Sleep(11 * time.Second)
				if !office.shows(0x61000001) || !office.shows(0x61000002) {
					t.Error("they answer again, and are not found")
				}
				if n := log.count("level=WARN"); c.works && n != 0 || n > 7 {
					t.Errorf("the log is told %d times:\n%s", n, log)
				}
				if n := log.count("can be used again"); c.silent && n == 0 {
					t.Errorf("the log is not told that they are back:\n%s", log)
				}
			})
		})
	}
}

// A key that is plugged in beside one that never answers is found at once, and so is the
// silent one when it was pulled out, seen to be gone, and put in again.
func TestPluggedInBesideSilent(t *testing.T) {
	inBubble(t, func(w *world) {
		office, _, _, _ := beside(w)
		mute := office.addKey(0x62000001)
		mute.SetDelay(1000*time.Hour, 0)
		w.timed("the first look", 2*time.Second, func() { office.shows(worldKey) })
		for at := range 10 {
			key := office.addKey(0x62000010 + uint64(at))
			w.timed("a key was plugged in", 100*time.Millisecond, func() {
				if !office.shows(key.ID()) {
					t.Error("it is not found")
				}
			})
			time.Sleep(700 * time.Millisecond)
		}
		mute.Unplug()
		w.timed("pulled out", 0, func() { office.shows(worldKey) })
		mute.SetDelay(0, 0)
		w.ok(mute.Plug())
		w.timed("put back", 0, func() {
			if !office.shows(mute.ID()) {
				t.Error("it is not found")
			}
		})
	})
}

// The keys of a manager are told to others in time, whatever is wrong with one.
func TestInventoryBesideSick(t *testing.T) {
	for _, is := range []sickness{silent, listingHangs, openingHangs, slowGarbage} {
		t.Run(string(is), func(t *testing.T) {
			inBubble(t, func(w *world) {
				office, laptop, bus, _ := beside(w)
				n := w.connect(office, laptop)
				through := n.exchange(laptop)
				var longest, all atomic.Int64
				w.ok(laptop.Close(w.ctx))
				laptop.opts.Peers.Exchange = func(ctx context.Context, address string, message []byte) ([]byte, error) {
					began := time.Now()
					answer, err := through(ctx, address, message)
					took := int64(time.Since(began))
					longest.Store(max(longest.Load(), took))
					all.Add(took)
					return answer, err
				}
				laptop.reopen()
				w.await("the key is seen", func() bool { return laptop.sees(worldKey) })
				bus.is.Store(is)
				_, err := bus.Add(simulator.Config{KeyID: 0x61000009, Vendor: worldVendor, VendorPublic: office.keys[0].VendorPublic()})
				w.ok(err)
				for range 60 {
					if !laptop.sees(worldKey) {
						t.Fatal("the office's key is not seen")
					}
					w.turn(time.Second)
					time.Sleep(time.Second)
				}
				if longest, all := time.Duration(longest.Load()), time.Duration(all.Load()); longest > time.Second || all > 2500*time.Millisecond {
					t.Errorf("an answer took %v, all of a minute %v", longest, all)
				}
			})
		})
	}
}

// Who gives up leaves at once, and Close does not wait for a key that does not answer.
func TestLeaveSilent(t *testing.T) {
	for _, is := range []sickness{silent, listingHangs, openingHangs} {
		inBubble(t, func(w *world) {
			office, laptop, bus, _ := beside(w)
			office.crash()
			bus.is.Store(is)
			ctx, cancel := context.WithTimeout(w.ctx, 300*time.Millisecond)
			defer cancel()
			anchored := w.ctx
			w.ctx = ctx
			w.timed("open, given up", 300*time.Millisecond, func() {
				if err := office.boot(); err == nil {
					t.Error("it opened all the same")
				}
			})
			w.ctx = anchored
			bus.is.Store(well)
			w.ok(office.boot())
			bus.is.Store(is)
			_, err := bus.Add(simulator.Config{KeyID: 0x61000009, Vendor: worldVendor, VendorPublic: office.keys[0].VendorPublic()})
			w.ok(err)
			ctx, cancel = context.WithTimeout(w.ctx, 10*time.Millisecond)
			defer cancel()
			w.timed("list keys, given up", 10*time.Millisecond, func() { office.Keys(ctx, licensing.Filter{}) })
			w.timed("meanwhile", 0, func() { office.detach(laptop, 1) })
			w.timed("close", 0, func() { w.ok(office.Close(w.ctx)) })
		})
	}
}

// A crowd waits no longer than one, and what does not answer is asked once for all.
func TestCrowdBesideSick(t *testing.T) {
	for _, is := range []sickness{silent, openingHangs, slowGarbage} {
		inBubble(t, func(w *world) {
			office, _, bus, _ := beside(w)
			office.crash()
			w.ok(office.boot())
			bus.is.Store(is)
			_, err := bus.Add(simulator.Config{KeyID: 0x61000009, Vendor: worldVendor, VendorPublic: office.keys[0].VendorPublic()})
			w.ok(err)
			before := bus.opened.Load()
			for _, atMost := range []time.Duration{2 * time.Second, 500 * time.Millisecond} {
				var crowd sync.WaitGroup
				w.timed("all of them", atMost, func() {
					for range 50 {
						crowd.Go(func() { office.Keys(w.ctx, licensing.Filter{}) })
					}
					crowd.Wait()
				})
			}
			if n := bus.opened.Load() - before; n != 1 {
				t.Errorf("it was opened %d times", n)
			}
		})
	}
}

// A key that tells what it is and holds, and then never where it stands, is given up too.
func TestKeyThatNeverSigns(t *testing.T) {
	inBubble(t, func(w *world) {
		office, laptop, bus, _ := beside(w)
		office.crash()
		w.ok(office.boot())
		sick, err := bus.Add(simulator.Config{KeyID: 0x61000009, Vendor: worldVendor, VendorPublic: office.keys[0].VendorPublic()})
		w.ok(err)
		w.ok(office.Install(w.ctx, office.poolOf(sick, feature(1, 3)), nil))
		office.crash()
		bus.is.Store(dumbSigner)
		w.timed("open", 2*time.Second, func() { w.ok(office.boot()) })
		w.timed("list keys", 100*time.Millisecond, func() { office.shows(worldKey) })
		w.timed("detach", 0, func() { office.detach(laptop, 1) })
		r := office.request(laptop, 1)
		r.Key = sick.ID()
		w.timed("detach from it", 2*time.Second, func() {
			_, err := office.Detach(w.ctx, r, nil)
			w.refused(err, licensing.NoService)
		})
		bus.is.Store(well)
		_, err = office.Detach(w.ctx, r, nil)
		w.ok(err)
		w.checkPromises()
	})
}

// What a bus listed before it hung is left alone.
func TestKeysOfASilentBus(t *testing.T) {
	inBubble(t, func(w *world) {
		office, _, bus, _ := beside(w)
		office.crash()
		bus.is.Store(garbage) // its keys are tried each time
		w.ok(office.boot())
		before := bus.opened.Load()
		office.shows(worldKey)
		if bus.opened.Load() == before {
			t.Error("they are not tried again")
		}
		bus.is.Store(listingHangs)
		before = bus.opened.Load()
		for range 20 {
			office.shows(worldKey)
			time.Sleep(time.Second)
		}
		if n := bus.opened.Load() - before; n != 0 {
			t.Errorf("they were opened %d times", n)
		}
	})
}

// A key whose pool could not be read when it came is asked again by the next look.
func TestPoolReadLater(t *testing.T) {
	inBubble(t, func(w *world) {
		office, _, bus, _ := beside(w)
		office.crash()
		w.ok(office.boot())
		key, err := bus.Add(simulator.Config{KeyID: 0x61000009, Vendor: worldVendor, VendorPublic: office.keys[0].VendorPublic()})
		w.ok(err)
		w.ok(office.Install(w.ctx, office.poolOf(key, feature(1, 3)), nil))
		office.crash()
		bus.is.Store(flipped)
		w.ok(office.boot())
		if office.shows(key.ID()) {
			t.Error("it is shown as sound")
		}
		bus.is.Store(well)
		if !office.shows(key.ID()) {
			t.Error("it answers now, and is not shown as sound")
		}
	})
}

// A key that is replugged while it is looked at is found by the next look: that it went away
// is no reason to leave it alone for a while.
func TestReplugWithinAVisit(t *testing.T) {
	inBubble(t, func(w *world) {
		office, _, _, _ := beside(w)
		key := office.addKey(0x62000001)
		key.SetDelay(time.Second, 0)
		looked := make(chan struct{})
		go func() {
			defer close(looked)
			office.shows(key.ID())
		}()
		time.Sleep(500 * time.Millisecond)
		w.ok(key.Replug())
		<-looked
		key.SetDelay(0, 0)
		w.timed("the next look", 0, func() {
			if !office.shows(key.ID()) {
				t.Error("it is not found")
			}
		})
	})
}

// Two keys have one id, and the one that has no pool is seen first, and slowly: the other
// one waits for that, and has the place then.
func TestPlaceOfAKeyBesideItsTwin(t *testing.T) {
	inBubble(t, func(w *world) {
		office, laptop, bus, _ := beside(w)
		twin, err := bus.Add(simulator.Config{KeyID: worldKey, Vendor: worldVendor, VendorPublic: office.keys[0].VendorPublic()})
		w.ok(err)
		office.crash()
		twin.SetDelay(300*time.Millisecond, 0)
		office.keys[0].SetDelay(400*time.Millisecond, 0)
		w.ok(office.boot())
		office.keys[0].SetDelay(0, 0)
		w.timed("detach", 0, func() { office.detach(laptop, 1) })
		w.checkPromises()
	})
}

// nonsense is a bus with one device that answers Info in another wrong way each time.
type nonsense struct{ n atomic.Uint32 }

func (b *nonsense) Keys(context.Context) ([]transport.KeyInfo, error) {
	return []transport.KeyInfo{{ID: "nonsense"}}, nil
}
func (b *nonsense) Open(context.Context, transport.KeyID) (transport.Conn, error) { return b, nil }
func (b *nonsense) Close() error                                                  { return nil }
func (b *nonsense) Exchange(_ context.Context, request []byte) ([]byte, error) {
	f, err := wire.Parse(request)
	if err != nil {
		return nil, err
	}
	info := wire.Info{KeyID: 1}.Encode()
	binary.BigEndian.PutUint64(info, math.MaxUint64-uint64(b.n.Add(1)))
	return f.Answer(wire.OK, info).Encode(), nil
}

// A device whose failure is another one each time does not fill the log.
func TestLogOfOneDevice(t *testing.T) {
	inBubble(t, func(w *world) {
		office, _, _, log := beside(w)
		office.opts.Buses = append(office.opts.Buses, &nonsense{})
		office.crash()
		w.ok(office.boot())
		for range 100 {
			office.shows(worldKey)
		}
		if n := log.count("level=WARN"); n != 1 {
			t.Errorf("at once: %d warnings", n)
		}
		for range 24 * 60 {
			time.Sleep(time.Minute)
			office.shows(worldKey)
		}
		if n := log.count("level=WARN"); n < 24 || n > 40 {
			t.Errorf("in a day: %d warnings", n)
		}
	})
}
