package peer

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/sojournlm/sojourn/internal/code"
	"github.com/sojournlm/sojourn/internal/document"
)

// manager is one end of a line.
type manager struct {
	self Self
	door *Door

	mu      sync.Mutex
	elapsed time.Duration
	served  []string // what was asked of it
	admits  func(*document.Fingerprint) error
	shares  map[string]Share // by host name
	answer  func(verb uint32, body []byte) ([]byte, error)
}

func newManager(t testing.TB, n byte) *manager {
	t.Helper()
	key := ed25519.NewKeyFromSeed(bytes.Repeat([]byte{n}, 32))
	seal, err := document.NewSealKey(bytes.Repeat([]byte{n, 1}, 16))
	if err != nil {
		t.Fatal(err)
	}
	f, err := document.SignFingerprint(key, document.Recipient{
		ID: 1<<40 + uint64(n), HostName: fmt.Sprintf("HOST-%d", n), Sign: key.Public().(ed25519.PublicKey), Seal: seal.Public(),
	}, 1_800_000_000)
	if err != nil {
		t.Fatal(err)
	}
	m := &manager{answer: func(_ uint32, body []byte) ([]byte, error) { return append([]byte("done "), body...), nil }}
	m.self = Self{Sign: key, Fingerprint: func() *document.Fingerprint { return f }, Now: func() int64 { return 1_800_000_000 + 60*int64(n) }}
	m.reopen()
	return m
}

// reopen starts the program anew.
func (m *manager) reopen() {
	m.door = NewDoor(m.self, func() time.Duration {
		m.mu.Lock()
		defer m.mu.Unlock()
		return m.elapsed
	}, func(from *document.Fingerprint) Share { return m.shares[from.Computer.HostName] }, func(_ context.Context, from *document.Fingerprint, verb uint32, body []byte) ([]byte, error) {
		if m.admits != nil {
			if err := m.admits(from); err != nil {
				return nil, err
			}
		}
		m.mu.Lock()
		m.served = append(m.served, fmt.Sprintf("%s: %d %s", from.Computer.HostName, verb, body))
		m.mu.Unlock()
		return m.answer(verb, body)
	})
}

func (m *manager) turn(d time.Duration) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.elapsed += d
}

// line carries messages to a manager and keeps them.
func (m *manager) line(kept *[][]byte) Exchange {
	return func(ctx context.Context, _ string, message []byte) ([]byte, error) {
		if kept != nil {
			*kept = append(*kept, bytes.Clone(message))
		}
		return m.door.Answer(ctx, message)
	}
}

func (m *manager) ask(ctx context.Context, to *manager, line Exchange, verb uint32, body string) ([]byte, error) {
	g, err := m.self.Greet(ctx, line, "there")
	if err != nil {
		return nil, err
	}
	return m.self.Ask(ctx, line, "there", g, verb, []byte(body))
}

func TestExchange(t *testing.T) {
	a, b := newManager(t, 1), newManager(t, 2)
	g, err := a.self.Greet(t.Context(), b.line(nil), "there")
	if err != nil {
		t.Fatal(err)
	}
	if g.Fingerprint.Computer.HostName != "HOST-2" || g.Ahead != 60 || !g.Is(b.self.Sign.Public().(ed25519.PublicKey)) {
		t.Errorf("greeted %+v", g)
	}
	got, err := a.self.Ask(t.Context(), b.line(nil), "there", g, 7, []byte("please"))
	if err != nil || string(got) != "done please" {
		t.Errorf("%q, %v", got, err)
	}
	if len(b.served) != 1 || b.served[0] != "HOST-1: 7 please" {
		t.Errorf("served %q", b.served)
	}
}

// A recorded message is of no use: not again, not to another manager, not later,
// not after a restart.
func TestReplay(t *testing.T) {
	a, b, c := newManager(t, 1), newManager(t, 2), newManager(t, 3)
	var kept [][]byte
	if _, err := a.ask(t.Context(), b, b.line(&kept), 7, "please"); err != nil {
		t.Fatal(err)
	}
	request := kept[1]
	served := len(b.served)
	refused := func(what string, at *manager, message []byte, want code.Code) {
		t.Helper()
		raw, err := at.door.Answer(t.Context(), message)
		if err != nil {
			t.Fatalf("%s: %v", what, err)
		}
		parsed, err := document.ParsePeerRequest(message)
		if err != nil {
			t.Fatal(err)
		}
		answer, err := document.ParsePeerAnswer(raw, parsed)
		if err != nil || code.Code(answer.Code) != want {
			t.Errorf("%s: %+v, %v", what, answer, err)
		}
	}
	refused("once more", b, request, code.GetResponseFailed)
	refused("to another manager", c, request, code.AccessDenied)
	b.turn(2 * NonceLife)
	refused("later", b, request, code.GetResponseFailed)
	g, err := a.self.Greet(t.Context(), b.line(nil), "there")
	if err != nil {
		t.Fatal(err)
	}
	b.turn(NonceLife)
	if _, err := a.self.Ask(t.Context(), b.line(nil), "there", g, 7, nil); !errors.Is(err, code.GetResponseFailed) {
		t.Errorf("a greeting of long ago: %v", err)
	}
	g, err = a.self.Greet(t.Context(), b.line(nil), "there")
	if err != nil {
		t.Fatal(err)
	}
	b.reopen()
	if _, err := a.self.Ask(t.Context(), b.line(nil), "there", g, 7, nil); !errors.Is(err, code.GetResponseFailed) {
		t.Errorf("a greeting of before the restart: %v", err)
	}
	if len(b.served) != served || len(c.served) != 0 {
		t.Errorf("served %q and %q", b.served, c.served)
	}
}

// Whatever bit of a message is altered on the way, nothing is done, and an
// altered answer is never taken.
func TestAltered(t *testing.T) {
	a, b := newManager(t, 1), newManager(t, 2)
	var kept [][]byte
	if _, err := a.ask(t.Context(), b, b.line(&kept), 7, "please"); err != nil {
		t.Fatal(err)
	}
	served := len(b.served)
	for at := range kept[1] {
		for bit := range 8 {
			message := bytes.Clone(kept[1])
			message[at] ^= 1 << bit
			if answer, err := b.door.Answer(t.Context(), message); err == nil && len(b.served) != served {
				t.Fatalf("byte %d, bit %d: served %x", at, bit, answer)
			}
		}
	}
	greeting, err := document.ParsePeerRequest(kept[0])
	if err != nil {
		t.Fatal(err)
	}
	good, err := b.door.Answer(t.Context(), kept[0])
	if err != nil {
		t.Fatal(err)
	}
	for at := range good {
		for bit := range 8 {
			answer := bytes.Clone(good)
			answer[at] ^= 1 << bit
			if _, err := document.ParsePeerAnswer(answer, greeting); err == nil {
				t.Fatalf("answer, byte %d, bit %d: taken", at, bit)
			}
		}
	}
}

// Who answers in another's place, or to another question, is not believed.
func TestImpostor(t *testing.T) {
	a, b, c := newManager(t, 1), newManager(t, 2), newManager(t, 3)
	g, err := a.self.Greet(t.Context(), b.line(nil), "there")
	if err != nil {
		t.Fatal(err)
	}
	impostor := func(_ context.Context, _ string, message []byte) ([]byte, error) {
		request, err := document.ParsePeerRequest(message)
		if err != nil {
			return nil, err
		}
		answer, err := document.SignPeerAnswer(c.self.Sign, c.self.Fingerprint(), request, document.PeerAnswer{Body: []byte("done")})
		if err != nil {
			return nil, err
		}
		return answer.Bytes(), nil
	}
	_, err = a.self.Ask(t.Context(), impostor, "there", g, 7, nil)
	if e := (*Error)(nil); !errors.As(err, &e) || !e.Sent {
		t.Errorf("an impostor's answer: %v", err)
	}
	refuses := func(_ context.Context, _ string, message []byte) ([]byte, error) {
		request, err := document.ParsePeerRequest(message)
		if err != nil {
			return nil, err
		}
		answer, err := document.SignPeerAnswer(c.self.Sign, c.self.Fingerprint(), request, document.PeerAnswer{Code: uint32(code.DetachedLicenseNotFound), Message: "never\nheard of it"})
		if err != nil {
			return nil, err
		}
		return answer.Bytes(), nil
	}
	_, err = a.self.Greet(t.Context(), refuses, "there")
	if e, r := (*Error)(nil), (*Refused)(nil); !errors.As(err, &e) || e.Sent || errors.As(err, &r) || errors.Is(err, code.DetachedLicenseNotFound) {
		t.Errorf("a greeting is refused: %v", err)
	}
	if _, err = a.self.Ask(t.Context(), refuses, "there", g, 7, nil); errors.Is(err, code.DetachedLicenseNotFound) {
		t.Errorf("somebody else refuses: %v", err)
	}
	var stale []byte
	recorder := func(ctx context.Context, at string, message []byte) ([]byte, error) {
		answer, err := b.door.Answer(ctx, message)
		if stale == nil {
			stale = answer
		}
		return stale, err
	}
	if g, err = a.self.Greet(t.Context(), recorder, "there"); err != nil {
		t.Fatal(err)
	}
	if _, err := a.self.Greet(t.Context(), recorder, "there"); err == nil {
		t.Error("an old answer to a greeting was believed")
	}
	if _, err := a.self.Ask(t.Context(), recorder, "there", g, 7, nil); err == nil {
		t.Error("an answer to the greeting was taken for that of the request")
	}
}

// What an error says of the other having acted is true.
func TestSent(t *testing.T) {
	a, b := newManager(t, 1), newManager(t, 2)
	dead := errors.New("the line is dead")
	for _, c := range []struct {
		name string
		line func(n int, to Exchange) Exchange
		sent bool
	}{
		{"greeting lost", func(n int, to Exchange) Exchange { return fail(dead) }, false},
		{"request lost", func(n int, to Exchange) Exchange {
			if n == 1 {
				return fail(dead)
			}
			return to
		}, true},
		{"answer garbled", func(n int, to Exchange) Exchange {
			if n == 1 {
				return func(ctx context.Context, at string, m []byte) ([]byte, error) {
					answer, err := to(ctx, at, m)
					return answer[:len(answer)-1], err
				}
			}
			return to
		}, true},
	} {
		n := 0
		line := func(ctx context.Context, at string, m []byte) ([]byte, error) {
			defer func() { n++ }()
			return c.line(n, b.line(nil))(ctx, at, m)
		}
		_, err := a.ask(t.Context(), b, line, 7, "please")
		if e := (*Error)(nil); !errors.As(err, &e) || e.Sent != c.sent {
			t.Errorf("%s: %v", c.name, err)
		}
	}
	b.answer = func(uint32, []byte) ([]byte, error) {
		return nil, &Refused{Code: code.FeatureResourceExhaust, Message: "no\nseats", Details: []byte{1}}
	}
	_, err := a.ask(t.Context(), b, b.line(nil), 7, "please")
	e, r := (*Error)(nil), (*Refused)(nil)
	if !errors.As(err, &e) || e.Sent || !errors.As(err, &r) || !errors.Is(err, code.FeatureResourceExhaust) || r.Message != "no seats" || len(r.Details) != 1 {
		t.Errorf("refused: %v", err)
	}
	b.answer = func(uint32, []byte) ([]byte, error) { return nil, dead }
	if _, err = a.ask(t.Context(), b, b.line(nil), 7, "please"); !errors.As(err, &e) || !e.Sent {
		t.Errorf("a failure that nobody understands: %v", err)
	}
	b.admits = func(*document.Fingerprint) error {
		return &Refused{Code: code.OperationIsNotAllowed, Message: "who are you"}
	}
	served := len(b.served)
	if _, err = a.ask(t.Context(), b, b.line(nil), 7, "please"); !errors.As(err, &e) || e.Sent || !errors.Is(err, code.OperationIsNotAllowed) || len(b.served) != served {
		t.Errorf("not admitted: %v", err)
	}
}

func fail(err error) Exchange {
	return func(context.Context, string, []byte) ([]byte, error) { return nil, err }
}

// Nonces that are spent are forgotten when they are stale, and there is a bound
// until then.
func TestNoncesAreBounded(t *testing.T) {
	a, b := newManager(t, 1), newManager(t, 2)
	for range 100 {
		if _, err := a.ask(t.Context(), b, b.line(nil), 7, ""); err != nil {
			t.Fatal(err)
		}
		b.turn(time.Second)
	}
	if n := len(b.door.spent); n > 60 {
		t.Errorf("%d nonces are kept", n)
	}
	c := newManager(t, 3)
	for share := range shares {
		b.shares = map[string]Share{"HOST-1": share, "HOST-3": (share + 1) % shares}
		b.reopen()
		for i := range maxSpent {
			if err := b.door.spend(b.door.nonce(), share); err != nil {
				t.Fatalf("number %d: %v", i, err)
			}
		}
		if _, err := a.ask(t.Context(), b, b.line(nil), 7, ""); !errors.Is(err, code.GetResponseFailed) {
			t.Errorf("too many at once of share %d: %v", share, err)
		}
		if _, err := c.ask(t.Context(), b, b.line(nil), 7, ""); err != nil {
			t.Errorf("who has another share than %d gets none: %v", share, err)
		}
		if len(b.door.spent) > maxSpent+1 {
			t.Errorf("%d nonces are kept", len(b.door.spent))
		}
		b.turn(NonceLife)
		if _, err := a.ask(t.Context(), b, b.line(nil), 7, ""); err != nil {
			t.Errorf("later: %v", err)
		}
	}
}

// One nonce serves one of many that use it at once.
func TestNonceOnce(t *testing.T) {
	a, b := newManager(t, 1), newManager(t, 2)
	var kept [][]byte
	g, err := a.self.Greet(t.Context(), b.line(nil), "there")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := a.self.Ask(t.Context(), func(_ context.Context, _ string, m []byte) ([]byte, error) {
		kept = append(kept, m)
		return nil, errors.New("kept")
	}, "there", g, 7, []byte("once")); err == nil {
		t.Fatal("answered")
	}
	var group sync.WaitGroup
	for range 16 {
		group.Go(func() { b.door.Answer(t.Context(), kept[0]) })
	}
	group.Wait()
	if len(b.served) != 1 {
		t.Errorf("served %d times", len(b.served))
	}
}

func FuzzAnswer(f *testing.F) {
	a, b := newManager(f, 1), newManager(f, 2)
	var kept [][]byte
	if _, err := a.ask(f.Context(), b, b.line(&kept), 7, "please"); err != nil {
		f.Fatal(err)
	}
	for _, m := range kept {
		f.Add(m)
	}
	f.Fuzz(func(t *testing.T, message []byte) {
		served := len(b.served)
		answer, err := b.door.Answer(t.Context(), message)
		if err == nil && len(answer) == 0 || err != nil && len(answer) != 0 {
			t.Fatalf("%x, %v", answer, err)
		}
		if len(b.served) != served {
			t.Fatal("served what nobody signed for it")
		}
	})
}
