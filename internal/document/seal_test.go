package document

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
)

func TestSealIsFreshEachTimeAndKeepsItsContext(t *testing.T) {
	w := newWorld(t)
	var s Sealer
	seal := func(s *Sealer, origin, recipient uint64, key *SealKey) *Envelope {
		t.Helper()
		e := ok(Unwrap(ok(s.Seal(KindLicense, origin, recipient, key.Public(), []byte("body")))(t)))(t)
		if got := ok(e.OpenSealed(key))(t); string(got) != "body" {
			t.Fatalf("opened as %q", got)
		}
		return e
	}
	first := seal(&s, testKey, testManager, w.seal)
	again := seal(&s, testKey, testManager, w.seal)
	if !bytes.Equal(first.Enc, again.Enc) {
		t.Error("the second sealing to the same recipient did the elliptic-curve work again")
	}
	if bytes.Equal(first.Salt, again.Salt) || bytes.Equal(first.Body, again.Body) {
		t.Error("two sealings have the same salt or body")
	}
	other := ok(NewSealKey(bytes.Repeat([]byte{5}, 40)))(t)
	for name, e := range map[string]*Envelope{
		"another origin":    seal(&s, testKey+1, testManager, w.seal),
		"another recipient": seal(&s, testKey, testManager+1, w.seal),
		"another key":       seal(&s, testKey, testManager, other),
		"another sealer":    seal(new(Sealer), testKey, testManager, w.seal),
	} {
		if bytes.Equal(first.Enc, e.Enc) {
			t.Errorf("%s shares the context", name)
		}
	}
}

func TestSealOpensForItsRecipientOnly(t *testing.T) {
	w := newWorld(t)
	sealed := *ok(Unwrap(w.sealed(t)))(t)
	other := ok(NewSealKey(bytes.Repeat([]byte{5}, 32)))(t)
	_, err := sealed.License(other)
	wantLink(t, err, LinkSeal)
	for name, edit := range map[string]func(*Envelope){
		"origin":    func(e *Envelope) { e.Origin++ },
		"recipient": func(e *Envelope) { e.Recipient++ },
		"salt":      func(e *Envelope) { e.Salt[0]++ },
		"enc":       func(e *Envelope) { e.Enc[0]++ },
		"body":      func(e *Envelope) { e.Body = e.Body[:15] },
		"no body":   func(e *Envelope) { e.Body = nil },
		// X25519 itself ignores this bit.
		"top bit of enc": func(e *Envelope) { e.Enc[31] ^= 0x80 },
		"enc of zeros":   func(e *Envelope) { e.Enc = make([]byte, 32) },
	} {
		t.Run(name, func(t *testing.T) {
			e := ok(Unwrap(w.sealed(t)))(t)
			edit(e)
			_, err := ok(Unwrap(Encode(*e)))(t).License(w.seal)
			wantLink(t, err, LinkSeal)
		})
	}
}

// lowOrder are the X25519 public keys with which every secret gives the same
// shared secret.
var lowOrder = []string{
	"0000000000000000000000000000000000000000000000000000000000000000",
	"0100000000000000000000000000000000000000000000000000000000000000",
	"e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800",
	"5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157",
	"ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
	"edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
	"eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
}

func TestSealRefusesKeysThatHideNothing(t *testing.T) {
	var s Sealer
	for _, low := range lowOrder {
		key, _ := hex.DecodeString(low)
		_, err := s.Seal(KindLicense, testKey, testManager, key, nil)
		wantLink(t, err, LinkSeal)
		if len(s.contexts) != 0 {
			t.Fatalf("a context for %s is kept", low)
		}
		// A seat taken for such a computer could never be used.
		c := newWorld(t).computer()
		c.Seal = key
		_, err = SignFingerprint(seed(3), c, testIssued)
		wantLink(t, err, LinkContent)
		c.Seal[31] ^= 0x80
		_, err = SignFingerprint(seed(3), c, testIssued)
		wantLink(t, err, LinkContent)
	}
}

func TestSealRefusesWhatCannotBeOpened(t *testing.T) {
	w := newWorld(t)
	var s Sealer
	key := w.seal.Public()
	for name, seal := range map[string]func() ([]byte, error){
		"no key":       func() ([]byte, error) { return s.Seal(KindLicense, testKey, testManager, nil, nil) },
		"a short key":  func() ([]byte, error) { return s.Seal(KindLicense, testKey, testManager, key[:31], nil) },
		"a long key":   func() ([]byte, error) { return s.Seal(KindLicense, testKey, testManager, append(key, 0), nil) },
		"a return":     func() ([]byte, error) { return s.Seal(KindReturn, testKey, testManager, key, nil) },
		"no kind":      func() ([]byte, error) { return s.Seal(0, testKey, testManager, key, nil) },
		"no origin":    func() ([]byte, error) { return s.Seal(KindLicense, 0, testManager, key, nil) },
		"no recipient": func() ([]byte, error) { return s.Seal(KindLicense, testKey, 0, key, nil) },
	} {
		if _, err := seal(); err == nil {
			t.Errorf("%s: sealed", name)
		} else {
			wantLink(t, err, LinkSeal, LinkEnvelope, LinkVersion)
		}
	}
}

func TestSealerKeepsABoundedNumberOfContexts(t *testing.T) {
	w := newWorld(t)
	s := Sealer{contexts: map[sealTo]*sealContext{}}
	for i := range maxContexts {
		s.contexts[sealTo{recipient: uint64(i)}] = nil
	}
	for range 3 {
		ok(s.Seal(KindLicense, testKey, testManager, w.seal.Public(), nil))(t)
		if len(s.contexts) != maxContexts {
			t.Fatalf("%d contexts, want %d", len(s.contexts), maxContexts)
		}
	}
}

func TestSealerIsSafeForConcurrentUse(t *testing.T) {
	w := newWorld(t)
	var s Sealer
	var wg sync.WaitGroup
	errs := make(chan error, 8*8)
	for g := range 8 {
		wg.Go(func() {
			for i := range 8 {
				body := []byte{byte(g), byte(i)}
				file, err := s.Seal(KindLicense, testKey, uint64(1+i%3), w.seal.Public(), body)
				if err == nil {
					var e *Envelope
					var got []byte
					if e, err = Unwrap(file); err == nil {
						got, err = e.OpenSealed(w.seal)
					}
					if err == nil && !bytes.Equal(got, body) {
						err = errors.New("opened as another body")
					}
				}
				errs <- err
			}
		})
	}
	wg.Wait()
	close(errs)
	for err := range errs {
		if err != nil {
			t.Error(err)
		}
	}
}

func TestSealKeyStaysPrivate(t *testing.T) {
	key := ok(NewSealKey([]byte("thirty-two bytes that none shows")))(t)
	for _, v := range []any{key, *key, struct{ K *SealKey }{key}, struct{ K SealKey }{*key}} {
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d"} {
			got := fmt.Sprintf(verb, v)
			if bare := strings.Trim(got, "{}&"); bare == got && got != "(private sealing key)" {
				t.Errorf("%s of %T shows %q", verb, v, got)
			}
			for _, piece := range []string{"thirty", "746869", "116 104"} {
				if strings.Contains(got, piece) {
					t.Errorf("%s of %T shows %q", verb, v, got)
				}
			}
		}
	}
	if _, err := NewSealKey(make([]byte, 31)); err == nil {
		t.Error("a key from 31 bytes")
	}
}

func BenchmarkSealFirst(b *testing.B) {
	w := newWorld(b)
	key, body := w.seal.Public(), w.license.Bytes()
	for b.Loop() {
		var s Sealer
		ok(s.Seal(KindLicense, testKey, testManager, key, body))(b)
	}
}

func BenchmarkSealAgain(b *testing.B) {
	w := newWorld(b)
	var s Sealer
	key, body := w.seal.Public(), w.license.Bytes()
	for b.Loop() {
		ok(s.Seal(KindLicense, testKey, testManager, key, body))(b)
	}
}

func BenchmarkOpenSealed(b *testing.B) {
	w := newWorld(b)
	e := ok(Unwrap(w.sealed(b)))(b)
	for b.Loop() {
		ok(e.OpenSealed(w.seal))(b)
	}
}
