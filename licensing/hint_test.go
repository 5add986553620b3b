package licensing_test

import (
	"bytes"
	"context"
	"encoding/hex"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sojournlm/sojourn/internal/document"
	"github.com/sojournlm/sojourn/licensing"
	"github.com/sojournlm/sojourn/storage"
	"github.com/sojournlm/sojourn/storage/storagetest"
)

// hints is what the disk holds of computers that were found.
func (m *machine) hints() (all []storage.Pair) {
	m.w.Helper()
	m.w.ok(m.disk.View(m.w.ctx, func(r storage.Reader) error {
		for p, err := range r.Scan("found/") {
			if err != nil {
				return err
			}
			all = append(all, p)
		}
		return nil
	}))
	return all
}

// journal is a log that is read while it is written.
type journal struct {
	mu   sync.Mutex
	text strings.Builder
}

func (j *journal) Write(b []byte) (int, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.text.Write(b)
}

func (j *journal) String() string {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.text.String()
}

// dead lets no message through.
func dead(_, _ *machine, _ []byte) fate { return lost }

// Who was found is known after a restart, whatever the end was, and a silent one says
// since when. What is asked of it is pending with it.
func TestFoundOverRestart(t *testing.T) {
	for name, again := range map[string]func(*machine){"in order": (*machine).restart, "by a crash": (*machine).reopen} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(w *world) {
				office, laptop, n := two(w)
				d, err := laptop.Detach(w.ctx, laptop.online(office, 1), nil)
				w.ok(err)
				silence(w, laptop, n)
				before, _ := laptop.knows("OFFICE")
				time.Sleep(20 * time.Second)
				w.turn(time.Hour)
				for range 2 {
					again(laptop)
					c, ok := laptop.knows("OFFICE")
					if !ok || !c.Auto || !c.Remote || c.LMSID != office.id || len(c.Fingerprint) == 0 || c.Silent.Unix() != before.Silent.Unix() {
						t.Fatalf("known as %+v, was %+v", c, before)
					}
				}
				_, err = laptop.CancelDetach(w.ctx, licensing.CancelRequest{License: d.LicenseID}, nil)
				w.pendingAs(err)
				n.set(nil)
				w.await("it is back", func() bool { c, _ := laptop.knows("OFFICE"); return c.Silent.IsZero() })
				w.await("nothing is pending", func() bool { return len(laptop.intents()) == 0 })

				// It answers when the laptop ends, and is gone when that is back.
				n.set(dead)
				opened := laptop.watch.Now()
				again(laptop)
				if c, _ := laptop.knows("OFFICE"); c.Silent.IsZero() || c.Silent.Before(opened.Add(-30*time.Second)) {
					t.Errorf("silent since %v, and the laptop was started at %v", c.Silent, opened)
				}
				w.checkPromises()
			})
		})
	}
}

// What is known is written when it changes, and not each time that it is seen.
func TestFoundIsWrittenRarely(t *testing.T) {
	inBubble(t, func(w *world) {
		_, laptop, n := two(w)
		time.Sleep(time.Minute)
		was := laptop.hints()
		if len(was) != 1 {
			t.Fatalf("%d are stored", len(was))
		}
		next := laptop.fail(0, storagetest.Lose)
		time.Sleep(10 * time.Minute)
		if next.Fired() {
			t.Error("something was written though nothing has changed")
		}
		laptop.reopen()
		n.set(dead)
		time.Sleep(time.Minute)
		if now := laptop.hints(); len(now) != 1 || bytes.Equal(now[0].Value, was[0].Value) {
			t.Error("that it is silent is not stored")
		}
	})
}

// One that answers at more addresses than are kept is written no more often. An address at
// which it is silent makes room for one at which it answers.
func TestFoundAtManyAddresses(t *testing.T) {
	inBubble(t, func(w *world) {
		office, laptop := w.office(feature(1, 3)), w.laptop("LAPTOP")
		through := w.connect(office, laptop).exchange(laptop)
		var silent atomic.Bool // at A1
		laptop.opts.Peers = &licensing.Peers{
			Addresses: []string{"A1", "A2", "A3", "A4", "A5"},
			Exchange: func(ctx context.Context, address string, message []byte) ([]byte, error) {
				if address == "A1" && silent.Load() {
					return nil, errLine
				}
				return through(ctx, "OFFICE", message)
			},
		}
		laptop.restart()
		changes := func() (n int) {
			var last []byte
			for range 30 {
				time.Sleep(10 * time.Second)
				var now []byte
				for _, p := range laptop.hints() {
					now = append(now, p.Value...)
				}
				if last != nil && !bytes.Equal(last, now) {
					n++
				}
				last = now
			}
			return n
		}
		time.Sleep(time.Minute)
		if n := changes(); n != 0 {
			t.Errorf("what is stored changed %d times in five minutes in which nothing happened", n)
		}
		silent.Store(true)
		if n := changes(); n > 1 {
			t.Errorf("what is stored changed %d times in five minutes in which one address fell silent", n)
		}
		if all := laptop.hints(); len(all) != 1 || bytes.Contains(all[0].Value, []byte("A1")) || !bytes.Contains(all[0].Value, []byte("A5")) {
			t.Errorf("stored: %q", all)
		}
		silent.Store(false)
		if n := changes(); n != 0 {
			t.Errorf("what is stored changed %d times in five minutes in which an address answers again", n)
		}
	})
}

// A known lmsId that comes back with other keys, at the same address and after a
// restart, is a conflict; the next run believes whom the first one knew.
func TestFoundConflictOverRestart(t *testing.T) {
	inBubble(t, func(w *world) {
		office, laptop, n := two(w)
		thief := newThief(t, office.id, "THIEF")
		stolen := true
		through := n.exchange(laptop)
		laptop.w.ok(laptop.Close(w.ctx))
		laptop.opts.Peers.Exchange = func(ctx context.Context, address string, message []byte) ([]byte, error) {
			if stolen && address == "OFFICE" {
				return thief.answer(message)
			}
			return through(ctx, address, message)
		}
		laptop.reopen()
		w.await("both are known", func() bool { return len(laptop.known()) == 3 })
		for _, c := range laptop.known()[1:] {
			if !c.Conflict || c.LMSID != office.id || c.HostName == "OFFICE" == c.Silent.IsZero() {
				t.Errorf("%s is no conflict, or who is silent is wrong: %+v", c.HostName, c)
			}
		}
		if laptop.sees(worldKey) {
			t.Error("a key of one in conflict can be used")
		}
		laptop.restart()
		w.await("both are known", func() bool { return len(laptop.known()) == 3 })
		w.ok(laptop.Close(w.ctx))
		stolen = false
		laptop.reopen()
		w.await("the office is believed again", func() bool { return laptop.sees(worldKey) })
		if c, _ := laptop.knows("OFFICE"); c.Conflict || !c.Silent.IsZero() || len(laptop.known()) != 2 {
			t.Errorf("known are %+v", laptop.known())
		}
	})
}

// Records that are none are dropped with a warning and nothing else comes of them;
// what is one gives its computer no power.
func TestHostileHints(t *testing.T) {
	inBubble(t, func(w *world) {
		office, laptop, n := two(w)
		time.Sleep(time.Minute)
		w.ok(laptop.Close(w.ctx))
		good := laptop.hints()[0]
		stranger := newThief(t, 1<<40, "STRANGER")
		type hint struct {
			Version     uint32   `cbor:"1,keyasint"`
			Fingerprint []byte   `cbor:"2,keyasint"`
			Addresses   []string `cbor:"3,keyasint"`
			Silent      int64    `cbor:"4,keyasint"`
			Keys        []uint64 `cbor:"5,keyasint"`
		}
		at := func(th *thief) string { return "found/" + hex.EncodeToString(publicOf(th.sign)) }
		some := func(change func(*hint)) (string, []byte) {
			th := newThief(t, 1<<41, "BAD")
			h := hint{1, th.identity.Bytes(), []string{"SOMEWHERE"}, 1, []uint64{worldKey}}
			change(&h)
			return at(th), document.Encode(h)
		}
		bad := 0
		w.ok(laptop.disk.Update(w.ctx, func(u storage.Writer) error {
			put := func(key string, value []byte) {
				bad++
				w.ok(u.Put(key, value))
			}
			put("found/", nil)
			put("found/garbage", bytes.Repeat([]byte{0xff}, 1000))
			put("found/large", make([]byte, 1<<20))
			put("found/"+strings.Repeat("0", 64), good.Value)
			for _, change := range []func(*hint){
				func(h *hint) { h.Version = 2 },
				func(h *hint) { h.Fingerprint[len(h.Fingerprint)-1] ^= 1 },
				func(h *hint) { h.Addresses = []string{"B", "A"} },
				func(h *hint) { h.Addresses = []string{"A\n"} },
				func(h *hint) { h.Addresses = []string{"1", "2", "3", "4", "5"} },
				func(h *hint) { h.Silent = -1 },
				func(h *hint) { h.Silent = 1 << 62 },
				func(h *hint) { h.Keys = []uint64{2, 1} },
				func(h *hint) { h.Keys = []uint64{1 << 40} },
				func(h *hint) { h.Keys = make([]uint64, 1000) },
			} {
				put(some(change))
			}
			bad--
			put(at(stranger), document.Encode(hint{1, stranger.identity.Bytes(), []string{"OFFICE"}, 1, []uint64{worldKey}}))
			return nil
		}))
		var log journal
		laptop.opts.Logger = slog.New(slog.NewTextHandler(&log, nil))
		n.set(dead)
		laptop.reopen()
		if known := laptop.known(); len(known) != 3 {
			t.Errorf("known are %+v", known)
		}
		if !strings.Contains(log.String(), fmt.Sprintf("records=%d", bad)) {
			t.Errorf("%d records are dropped, and the log says %q", bad, log.String())
		}
		if c, ok := laptop.knows("STRANGER"); !ok || c.Silent.Unix() != 1 {
			t.Errorf("the stranger is known as %+v", c)
		}
		n.set(nil)
		w.await("the office is seen", func() bool { return laptop.sees(worldKey) })
		d, err := laptop.Detach(w.ctx, laptop.online(office, 1), nil)
		w.ok(err)
		_, err = laptop.CancelDetach(w.ctx, licensing.CancelRequest{License: d.LicenseID}, nil)
		w.ok(err)
		time.Sleep(time.Minute)
		if got := len(laptop.hints()); got != 2 {
			t.Errorf("%d are stored: %s", got, log.String())
		}
		w.checkPromises()
	})
}

// More than there is room for are given up, in the store too.
func TestManyFound(t *testing.T) {
	inBubble(t, func(w *world) {
		_, laptop, n := two(w)
		through, many := n.exchange(laptop), make(map[string]*thief)
		for i := range 300 {
			many[fmt.Sprint("N", i)] = newThief(t, 1<<40+uint64(i), fmt.Sprint("N", i))
		}
		laptop.opts.Peers.Exchange = func(ctx context.Context, address string, message []byte) ([]byte, error) {
			if th := many[address]; th != nil {
				return th.answer(message)
			}
			return through(ctx, address, message)
		}
		laptop.opts.Peers.Browse = func(ctx context.Context, found func(string)) error {
			for address := range many {
				found(address)
			}
			<-ctx.Done()
			return nil
		}
		laptop.restart()
		time.Sleep(12 * time.Second)
		laptop.opts.Peers.Browse = nil
		laptop.restart()
		w.await("the office is seen", func() bool { return laptop.sees(worldKey) })
		if known, stored := len(laptop.known()), len(laptop.hints()); known > 258 || stored > 256 || stored < 200 {
			t.Errorf("%d are known, %d stored", known, stored)
		}
	})
}

// What was added by hand and is removed by hand is forgotten where it is silent, also
// over a restart; what answers is found again.
func TestRemoveFound(t *testing.T) {
	inBubble(t, func(w *world) {
		office, laptop, n := two(w)
		w.ok(laptop.know(office))
		w.ok(laptop.RemoveFingerprint(w.ctx, office.id, nil))
		if c, ok := laptop.knows("OFFICE"); !ok || !c.Auto {
			t.Errorf("it answers, and is known as %+v", c)
		}
		w.refused(laptop.EditFingerprint(w.ctx, licensing.FingerprintFields{LMSID: &office.id, HostName: new("X")}, nil), licensing.OperationIsNotAllowed)
		w.ok(laptop.know(office))
		silence(w, laptop, n)
		w.ok(laptop.RemoveFingerprint(w.ctx, office.id, nil))
		for range 2 {
			if c, ok := laptop.knows("OFFICE"); ok {
				t.Errorf("it is still known: %+v", c)
			}
			laptop.restart()
		}
		n.set(nil)
		w.await("it is found again", func() bool { c, _ := laptop.knows("OFFICE"); return c.Auto })
	})
}

// Without the network's search, those found earlier stay known, and only those in the
// settings are asked.
func TestFoundWithoutBrowse(t *testing.T) {
	inBubble(t, func(w *world) {
		_, laptop, _ := two(w)
		laptop.opts.Peers.Addresses = nil
		asked := false
		laptop.opts.Peers.Exchange = func(context.Context, string, []byte) ([]byte, error) {
			asked = true
			return nil, errLine
		}
		laptop.restart()
		time.Sleep(time.Minute)
		if c, ok := laptop.knows("OFFICE"); !ok || c.Silent.IsZero() || asked {
			t.Errorf("known as %+v, asked: %v", c, asked)
		}
	})
}

// One that calls itself by another name each time it is greeted takes the place of its own
// names, and of no computer that is switched off.
func TestManyNames(t *testing.T) {
	inBubble(t, func(w *world) {
		office, laptop := w.office(feature(1, 3)), w.laptop("LAPTOP")
		n := w.connect(office, laptop)
		through := n.exchange(office)
		names := 0
		var last *thief
		office.opts.Peers = &licensing.Peers{
			Browse: func(ctx context.Context, found func(string)) error {
				found("RENAMED")
				found("LAPTOP")
				<-ctx.Done()
				return nil
			},
			Exchange: func(ctx context.Context, address string, message []byte) ([]byte, error) {
				if address != "RENAMED" {
					return through(ctx, address, message)
				}
				if r, err := document.ParsePeerRequest(message); err == nil && r.Greeting() {
					names++
					last = newThief(t, 1<<33+uint64(names), fmt.Sprint("NAME ", names))
					last.inside = func(*document.PeerRequest) document.PeerAnswer { return document.PeerAnswer{Body: fakeInventory(77)} }
				}
				return last.answer(message)
			},
		}
		office.restart()
		w.await("the laptop is known", func() bool { _, ok := office.knows("LAPTOP"); return ok })
		laptop.crash()
		for range 30 {
			time.Sleep(time.Minute)
			w.turn(time.Minute)
		}
		if n := len(office.known()); n < 250 {
			t.Fatalf("%d computers are known, which need no room", n)
		}
		for range 2 {
			if c, ok := office.knows("LAPTOP"); !ok || c.Silent.IsZero() {
				t.Errorf("the laptop, which is switched off, is known %v: %+v", ok, c)
			}
			office.restart()
		}
	})
}
