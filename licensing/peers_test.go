package licensing_test

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sojournlm/sojourn/internal/document"
	"github.com/sojournlm/sojourn/licensing"
	"github.com/sojournlm/sojourn/storage/memory"
)

// known is the list of known computers as a machine shows it.
func (m *machine) known() []licensing.Computer { m.w.Helper(); return m.look().Computers }

func (m *machine) knows(name string) (c licensing.Computer, ok bool) {
	m.w.Helper()
	for _, c := range m.known() {
		if c.HostName == name {
			return c, true
		}
	}
	return c, false
}

// Managers that answer become known by themselves; silent ones stay known and say
// since when; what was added by hand stays the user's.
func TestFoundComputers(t *testing.T) {
	inBubble(t, func(w *world) {
		office, laptop, n := two(w)
		w.await("the office knows nobody it was not told of", func() bool { c, ok := office.knows("LAPTOP"); return ok && !c.Auto })
		c, ok := laptop.knows("OFFICE")
		if !ok || !c.Auto || !c.Remote || !c.Silent.IsZero() || c.LMSID != office.id || len(c.Fingerprint) == 0 || c.Conflict {
			t.Fatalf("the office as the laptop found it: %+v", c)
		}
		if self := laptop.known()[0]; !self.Auto || self.Remote {
			t.Errorf("the laptop itself: %+v", self)
		}
		w.refused(laptop.RemoveFingerprint(w.ctx, office.id, nil), licensing.OperationIsNotAllowed)

		n.set(func(from, to *machine, _ []byte) fate { return lost })
		fell := laptop.watch.Now()
		w.await("the laptop notices", func() bool { c, _ = laptop.knows("OFFICE"); return !c.Silent.IsZero() })
		if since := c.Silent.Sub(fell); since < 0 || since > 10*time.Second || c.Problem == "" {
			t.Errorf("silent since %v after it fell silent: %q", since, c.Problem)
		}
		list, err := laptop.Keys(w.ctx, licensing.Filter{})
		w.ok(err)
		if len(list.Silent) != 1 || list.Silent[0].HostName != "OFFICE" {
			t.Errorf("silent at the list: %+v", list.Silent)
		}
		for k := range list.All() {
			if k.ID == worldKey && (!k.Remote || !k.Inaccessible || k.Manager != office.id) {
				t.Errorf("the key of a silent manager: %+v", k)
			}
		}
		n.set(nil)
		w.await("it is back", func() bool { c, _ = laptop.knows("OFFICE"); return c.Silent.IsZero() })

		// Added by hand it is the user's, and still seen.
		w.ok(laptop.know(office))
		c, _ = laptop.knows("OFFICE")
		if c.Auto || !c.Remote || len(laptop.known()) != 2 {
			t.Errorf("added by hand: %+v among %d", c, len(laptop.known()))
		}
		w.ok(laptop.EditFingerprint(w.ctx, licensing.FingerprintFields{LMSID: &office.id, HostName: new("MINE")}, nil))
		w.turn(20 * time.Second)
		time.Sleep(20 * time.Second)
		if _, ok := laptop.knows("MINE"); !ok {
			t.Error("what was edited was found anew")
		}
	})
}

// Others are asked at least every five seconds while they answer, and every ten
// while they do not, and more often at first.
func TestAskedOften(t *testing.T) {
	inBubble(t, func(w *world) {
		_, laptop, n := two(w)
		var mu sync.Mutex
		var asked []time.Time
		dead := false
		n.set(func(from, to *machine, message []byte) fate {
			mu.Lock()
			defer mu.Unlock()
			if request, err := document.ParsePeerRequest(message); from == laptop && err == nil && request.Greeting() {
				asked = append(asked, time.Now())
			}
			if dead {
				return lost
			}
			return arrives
		})
		for _, c := range []struct {
			dead bool
			most time.Duration
		}{{false, 5 * time.Second}, {true, 10 * time.Second}} {
			mu.Lock()
			dead, asked = c.dead, nil
			mu.Unlock()
			time.Sleep(5 * time.Minute)
			synctest.Wait()
			mu.Lock()
			var longest time.Duration
			for i := range asked[1:] {
				longest = max(longest, asked[i+1].Sub(asked[i]))
			}
			if longest > c.most || len(asked) < 20 || len(asked) > 200 {
				t.Errorf("dead %v: asked %d times, %v apart at most", c.dead, len(asked), longest)
			}
			mu.Unlock()
		}
	})
}

// An origin gives seats to those it knows only, unless it is told to admit
// whom it finds; knowing an id or a name gives nobody anything.
func TestAdmitted(t *testing.T) {
	inBubble(t, func(w *world) {
		office := w.office(feature(1, 3))
		stranger := w.laptop("STRANGER")
		w.connect(office, stranger)
		w.await("they see each other", func() bool { _, ok := stranger.knows("OFFICE"); return ok })
		if stranger.sees(worldKey) {
			t.Error("a stranger sees the keys")
		}
		_, err := stranger.Detach(w.ctx, stranger.online(office, 1), nil)
		w.refused(err, licensing.ServerNotFound)
		if !strings.Contains(err.Error(), "add its fingerprint there") {
			t.Errorf("it does not say what to do: %v", err)
		}
		office.opts.Peers.AdmitFound = true
		office.restart()
		w.await("the office finds the stranger", func() bool { _, ok := office.knows("STRANGER"); return ok })
		w.await("the stranger sees the key", func() bool { return stranger.sees(worldKey) })
		d, err := stranger.Detach(w.ctx, stranger.online(office, 1), nil)
		w.ok(err)
		// And a found computer can be detached to offline.
		_, err = stranger.CancelDetach(w.ctx, licensing.CancelRequest{License: d.LicenseID}, nil)
		w.ok(err)
		w.turn(2 * time.Minute)
		w.ok(stranger.Install(w.ctx, office.detach(stranger, 1).License, nil))
		w.checkPromises()
	})
}

// Two managers that claim one lmsId with different keys are reported, and neither
// gets a seat.
func TestConflict(t *testing.T) {
	inBubble(t, func(w *world) {
		office := w.office(feature(1, 3))
		laptop := w.laptop("LAPTOP")
		n := w.connect(office, laptop)
		// A thief answers by the laptop's lmsId with keys of its own.
		thief := newThief(t, laptop.id, "THIEF")
		office.opts.Peers.Addresses = append(office.opts.Peers.Addresses, "THIEF")
		office.opts.Peers.AdmitFound = true
		through := n.exchange(office)
		office.opts.Peers.Exchange = func(ctx context.Context, address string, message []byte) ([]byte, error) {
			if address == "THIEF" {
				return thief.answer(message)
			}
			return through(ctx, address, message)
		}
		office.restart()
		w.await("both are found", func() bool { return len(office.known()) == 3 })
		for _, c := range office.known()[1:] {
			if !c.Conflict || c.LMSID != laptop.id {
				t.Errorf("%s is no conflict: %+v", c.HostName, c)
			}
		}
		_, err := office.Detach(w.ctx, office.request(laptop, 1), nil)
		w.refused(err, licensing.OperationIsNotAllowed)
		_, err = laptop.Detach(w.ctx, laptop.online(office, 1), nil)
		w.refused(err, licensing.ServerNotFound)
		// By hand the right one is told.
		w.ok(office.know(laptop))
		w.ok(laptop.Install(w.ctx, office.detach(laptop, 1).License, nil))
		if c, _ := office.knows("THIEF"); !c.Conflict || len(office.known()) != 3 {
			t.Errorf("the thief is no longer reported: %+v", c)
		}
		w.checkPromises()
	})
}

// thief is a manager made of nothing but keys.
type thief struct {
	identity *document.Fingerprint
	sign     signer
	inside   func(request *document.PeerRequest) document.PeerAnswer
	time     int64 // what its clock shows, Unix seconds
}

func newThief(t *testing.T, id uint64, host string) *thief {
	t.Helper()
	key := newSigner(t)
	seal, err := document.NewSealKey(bytes.Repeat([]byte{9}, 32))
	if err != nil {
		t.Fatal(err)
	}
	f, err := document.SignFingerprint(key, document.Recipient{ID: id, HostName: host, Sign: publicOf(key), Seal: seal.Public()}, 1)
	if err != nil {
		t.Fatal(err)
	}
	return &thief{identity: f, sign: key, time: worldBegin.Unix()}
}

func (th *thief) answer(message []byte) ([]byte, error) {
	request, err := document.ParsePeerRequest(message)
	if err != nil {
		return nil, err
	}
	answer := document.PeerAnswer{Body: bytes.Repeat([]byte{1}, 40)}
	if th.inside != nil && !request.Greeting() {
		answer = th.inside(request)
	}
	answer.Time = th.time
	signed, err := document.SignPeerAnswer(th.sign, th.identity, request, answer)
	if err != nil {
		return nil, err
	}
	return signed.Bytes(), nil
}

// A peer that hangs, lies, speaks garbage or another version harms its own answer
// only: lists come quickly, and the others are served.
func TestHostilePeers(t *testing.T) {
	inBubble(t, func(w *world) {
		office, laptop, n := two(w)
		liar := newThief(t, 1<<40, "LIAR")
		liar.inside = func(*document.PeerRequest) document.PeerAnswer {
			return document.PeerAnswer{Body: bytes.Repeat([]byte{0x9b}, 1000)}
		}
		shouter := newThief(t, 1<<41, "SHOUTER")
		shouter.inside = func(*document.PeerRequest) document.PeerAnswer {
			return document.PeerAnswer{Code: 3, Message: strings.Repeat("no", 10_000), Body: []byte("garbage")}
		}
		through := n.exchange(laptop)
		laptop.opts.Peers.Exchange = func(ctx context.Context, address string, message []byte) ([]byte, error) {
			switch address {
			case "HANGS":
				<-ctx.Done()
				return nil, ctx.Err()
			case "GARBAGE":
				return bytes.Repeat([]byte{0xff}, 1<<20), nil
			case "NOTHING":
				return nil, nil
			case "VERSION":
				return []byte{0xa1, 1, 2}, nil
			case "LIAR":
				return liar.answer(message)
			case "SHOUTER":
				return shouter.answer(message)
			case "ECHO":
				return message, nil
			}
			return through(ctx, address, message)
		}
		laptop.opts.Peers.Addresses = append(laptop.opts.Peers.Addresses, "HANGS", "GARBAGE", "NOTHING", "VERSION", "LIAR", "SHOUTER", "ECHO")
		laptop.restart()
		w.await("the office is seen among them", func() bool { return laptop.sees(worldKey) })
		time.Sleep(time.Minute)
		w.turn(time.Minute)
		began := time.Now()
		list, err := laptop.Keys(w.ctx, licensing.Filter{})
		w.ok(err)
		if took := time.Since(began); took > 2*time.Second {
			t.Errorf("a list took %v", took)
		}
		var silent []string
		for _, c := range list.Silent {
			silent = append(silent, c.HostName)
		}
		if want := []string{"ECHO", "GARBAGE", "HANGS", "NOTHING", "VERSION"}; !slices.Equal(silent, want) {
			t.Errorf("silent: %q, want %q", silent, want)
		}
		d, err := laptop.Detach(w.ctx, laptop.online(office, 1), nil)
		w.ok(err)
		_, err = laptop.CancelDetach(w.ctx, licensing.CancelRequest{License: d.LicenseID}, nil)
		w.ok(err)
		w.checkPromises()
	})
}

// Who claims a key that he does not have cannot make a seat of it, nor take one
// that is given back.
func TestFalseOrigin(t *testing.T) {
	inBubble(t, func(w *world) {
		office, laptop, n := two(w)
		lent, err := laptop.Detach(w.ctx, laptop.online(office, 1), nil)
		w.ok(err)
		var mu sync.Mutex
		var inventory []byte
		liar := newThief(t, 1<<40, "A LIAR")
		liar.inside = func(r *document.PeerRequest) document.PeerAnswer {
			mu.Lock()
			defer mu.Unlock()
			if r.Verb == 1 {
				return document.PeerAnswer{Body: inventory}
			}
			return document.PeerAnswer{Body: []byte("done")}
		}
		// It shows the office's inventory as its own, and the office is cut off.
		through := n.exchange(laptop)
		laptop.opts.Peers.Exchange = func(ctx context.Context, address string, message []byte) ([]byte, error) {
			if address == "A LIAR" {
				return liar.answer(message)
			}
			answer, err := through(ctx, address, message)
			if request, fault := document.ParsePeerRequest(message); fault == nil && request.Verb == 1 && err == nil {
				if parsed, fault := document.ParsePeerAnswer(answer, request); fault == nil && parsed.Code == 0 {
					mu.Lock()
					inventory = parsed.Body
					mu.Unlock()
				}
			}
			return answer, err
		}
		laptop.opts.Peers.Addresses = append(laptop.opts.Peers.Addresses, "A LIAR")
		laptop.restart()
		w.await("the office tells", func() bool { return laptop.sees(worldKey) })
		n.set(func(from, to *machine, _ []byte) fate { return lost })
		w.await("only the liar is left", func() bool { c, _ := laptop.knows("OFFICE"); return !c.Silent.IsZero() && laptop.sees(worldKey) })

		_, err = laptop.CancelDetach(w.ctx, licensing.CancelRequest{License: lent.LicenseID}, nil)
		w.refused(err, licensing.ServerNotFound, licensing.ErrUnknown) // who gave it is silent
		if len(laptop.intents()) != 1 || len(laptop.look().Cancelled) != 1 {
			t.Error("a liar has taken the return")
		}
		// The file still can be carried.
		back, err := laptop.DownloadCancelled(w.ctx, lent.LicenseID)
		w.ok(err)
		w.ok(office.Install(w.ctx, back, nil))
		w.turn(3 * time.Minute)
		if office.free(1) != 3 {
			t.Errorf("%d seats are free", office.free(1))
		}
		_, err = laptop.Detach(w.ctx, laptop.online(office, 1), nil)
		w.refused(err, licensing.IncorrectResponseData)
		w.checkPromises()
	})
}

// A recipient an hour behind is refused by an error that names both clocks, and
// nothing has left; one an hour ahead lets go early, never late.
func TestClocksDiffer(t *testing.T) {
	inBubble(t, func(w *world) {
		office, laptop, _ := two(w)
		office.watch.shift(time.Hour)
		w.await("the offset is measured", func() bool {
			c, _ := laptop.knows("OFFICE")
			return c.Ahead > 59*time.Minute && c.Ahead < 61*time.Minute
		})
		_, err := laptop.Detach(w.ctx, laptop.online(office, 1), nil)
		w.refused(err, licensing.RTCError)
		if e, ok := errors.AsType[*licensing.Error](err); !ok || !strings.Contains(e.Message, "one of the two") || !strings.Contains(e.Advice, "key's manager") {
			t.Errorf("it blames one of the clocks alone: %#v", e)
		}
		for _, m := range []*machine{office, laptop} {
			if shows := m.watch.Now().UTC().Format("2006-01-02T15:04"); !strings.Contains(err.Error(), shows) {
				t.Errorf("it does not say that %s shows %s: %v", m.name, shows, err)
			}
		}
		if office.free(1) != 3 || len(laptop.intents()) != 0 {
			t.Errorf("%d free, %d pending", office.free(1), len(laptop.intents()))
		}
	})
	inBubble(t, func(w *world) {
		office, laptop, _ := two(w)
		laptop.watch.shift(time.Hour)
		request := laptop.online(office, 1)
		request.Duration = 2 * time.Hour
		_, err := laptop.Detach(w.ctx, request, nil)
		w.ok(err)
		if _, err := laptop.check(1); err != nil {
			t.Error(err)
		}
		w.turn(61 * time.Minute)
		if _, err := laptop.check(1); !errors.Is(err, licensing.DetachedLicenseExpired) {
			t.Errorf("an hour ahead, it goes on after its death by its own clock: %v", err)
		}
		if office.free(1) != 2 {
			t.Error("the office let go early")
		}
	})
}

// Keys elsewhere can be named for any known computer; the file comes from there.
func TestOfflineThroughAnother(t *testing.T) {
	inBubble(t, func(w *world) {
		office := w.office(feature(1, 3))
		desk, laptop := w.laptop("DESK", office), w.laptop("LAPTOP", office)
		w.connect(office, desk)
		w.ok(desk.know(laptop))
		w.await("the desk sees the key", func() bool { return desk.sees(worldKey) })
		request := office.request(laptop, 1)
		d, err := desk.Detach(w.ctx, request, askedOnce)
		w.ok(err)
		again, err := desk.Detach(w.ctx, request, askedOnce)
		w.ok(err)
		if again.LicenseID != d.LicenseID || office.free(1) != 2 {
			t.Errorf("asked again: license %d, was %d; %d free", again.LicenseID, d.LicenseID, office.free(1))
		}
		w.ok(laptop.Install(w.ctx, d.License, nil))
		if _, err := laptop.check(1); err != nil {
			t.Error(err)
		}
		// Whom the office does not know gets nothing, whatever the desk says.
		w.ok(office.RemoveFingerprint(w.ctx, laptop.id, nil))
		_, err = desk.Detach(w.ctx, request, nil)
		w.refused(err, licensing.NoResultsFound)
		request.Key = 77
		_, err = desk.Detach(w.ctx, request, nil)
		w.refused(err, licensing.DongleNotFound)
		w.checkPromises()
	})
}

// A key that moves to another manager is asked for there, and shown there.
func TestKeyMoves(t *testing.T) {
	inBubble(t, func(w *world) {
		office, annex := w.office(feature(1, 3)), w.bare("ANNEX", memory.New())
		w.ok(annex.boot())
		w.ok(annex.know(office))
		w.ok(office.know(annex))
		w.connect(office, annex)
		// The key that was the office's is now another one's there, with a pool of its own.
		key := office.addKey(worldKey + 7)
		w.ok(office.Install(w.ctx, office.poolOf(key, feature(9, 2)), nil))
		key.Unplug()
		_, err := office.Detach(w.ctx, licensing.DetachRequest{
			Recipient: office.id, Key: key.ID(), Duration: time.Hour, Features: []licensing.Selector{{ProductNumber: worldProduct, FeatureNumber: 9}},
		}, nil)
		w.refused(err, licensing.NoService)
		moved := annex.addKey(worldKey + 7)
		w.ok(annex.Install(w.ctx, annex.poolOf(moved, feature(9, 2)), nil))
		w.await("the office sees it elsewhere", func() bool { return office.sees(key.ID()) })
		d, err := office.Detach(w.ctx, licensing.DetachRequest{
			Recipient: office.id, Key: key.ID(), Duration: time.Hour, Features: []licensing.Selector{{ProductNumber: worldProduct, FeatureNumber: 9}},
		}, nil)
		w.ok(err)
		if shown := collect[licensing.Key](w)(office.Keys(w.ctx, licensing.Filter{Key: new(key.ID())})); len(shown) != 1 || !shown[0].Remote {
			t.Errorf("shown as %+v", shown)
		}
		_, err = office.CancelDetach(w.ctx, licensing.CancelRequest{License: d.LicenseID}, nil)
		w.ok(err)
		w.ok(key.Plug())
		if shown := collect[licensing.Key](w)(office.Keys(w.ctx, licensing.Filter{Key: new(key.ID())})); len(shown) != 1 || shown[0].Remote {
			t.Errorf("back here it is shown as %+v", shown)
		}
	})
}

// Addresses that are found come and go, and there is a bound.
func TestBrowse(t *testing.T) {
	inBubble(t, func(w *world) {
		office := w.office(feature(1, 3))
		laptop := w.laptop("LAPTOP", office)
		n := w.connect(office, laptop)
		laptop.opts.Peers.Addresses = nil
		ended, once := make(chan struct{}), sync.Once{}
		laptop.opts.Peers.Browse = func(ctx context.Context, found func(string)) error {
			defer once.Do(func() { close(ended) })
			for i := range 1000 {
				found(fmt.Sprintf("NOWHERE-%d", i))
			}
			time.Sleep(time.Minute) // those have been silent for long
			found("OFFICE")
			found("LAPTOP") // itself
			<-ctx.Done()
			return ctx.Err()
		}
		_ = n
		laptop.restart()
		time.Sleep(2 * time.Minute)
		w.await("the office is found among them", func() bool { return laptop.sees(worldKey) })
		if c := laptop.known(); len(c) != 2 {
			t.Errorf("%d computers are known", len(c))
		}
		w.ok(laptop.Close(w.ctx))
		<-ended
		laptop.reopen()
	})
}

// A manager without peers answers nobody.
func TestKeepsToItself(t *testing.T) {
	w := newWorld(t)
	m := w.bare("ALONE", memory.New())
	w.ok(m.boot())
	_, err := m.AnswerPeer(w.ctx, document.NewPeerGreeting(make([]byte, 32)).Bytes())
	w.refused(err, licensing.OperationIsNotAllowed)
}

type signer = ed25519.PrivateKey

func newSigner(t *testing.T) signer {
	t.Helper()
	_, key, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func publicOf(key signer) ed25519.PublicKey { return key.Public().(ed25519.PublicKey) }
