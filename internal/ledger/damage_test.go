package ledger_test

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/sojournlm/sojourn/internal/ledger"
	"github.com/sojournlm/sojourn/storage"
	"github.com/sojournlm/sojourn/storage/memory"
)

func get(s storage.Store, key string) (value []byte, err error) {
	err = s.View(context.Background(), func(r storage.Reader) (err error) {
		value, err = r.Get(key)
		return err
	})
	return value, err
}

func put(t *testing.T, s storage.Store, key string, value []byte) {
	t.Helper()
	err := s.Update(context.Background(), func(w storage.Writer) error {
		if value == nil {
			return w.Delete(key)
		}
		return w.Put(key, value)
	})
	if err != nil {
		t.Fatal(err)
	}
}

// pairs are the keys of the store with their values.
func pairs(t *testing.T, s storage.Store) (all []storage.Pair) {
	t.Helper()
	err := s.View(context.Background(), func(r storage.Reader) error {
		for p, err := range r.Scan("") {
			if err != nil {
				return err
			}
			all = append(all, p)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// TestEveryBit flips every bit of everything that is stored. It is found on
// opening or by Verify, the first bad batch is named, and nothing is shown that
// was not written.
func TestEveryBit(t *testing.T) {
	_, s, k := three(t)
	for _, p := range pairs(t, s) {
		if p.Key == ledger.BatchKey("test/1", 1) || p.Key == ledger.SignatureKey("test/1", 1) {
			continue // as the second's
		}
		for bit := range 8 * len(p.Value) {
			value := append([]byte(nil), p.Value...)
			value[bit/8] ^= 1 << (bit % 8)
			damaged(t, s, k, p.Key, value)
		}
		damaged(t, s, k, p.Key, p.Value[:len(p.Value)-1])
		damaged(t, s, k, p.Key, append(p.Value, 0))
		damaged(t, s, k, p.Key, []byte{})
		if last := ledger.SignatureKey("test/1", 3); p.Key != last && !strings.HasSuffix(p.Key, "/head") {
			damaged(t, s, k, p.Key, nil)
		}
	}
}

// damaged puts one bad value into a copy of the store and checks that it is
// named.
func damaged(t *testing.T, s *memory.Store, k *key, key string, value []byte) {
	t.Helper()
	ctx := context.Background()
	bad := s.Clone()
	put(t, bad, key, value)
	l, err := ledger.Open(ctx, config(bad, k, newHands()))
	if err != nil {
		t.Fatalf("%s: %v", key, err)
	}
	defer l.Close(ctx)
	if l.Refusal() == nil && !strings.Contains(key, "/s/") {
		t.Fatalf("%s with %x: nothing is refused", key, value)
	}
	_, err = l.Verify(ctx)
	var e *ledger.Error
	if !errors.As(err, &e) {
		t.Fatalf("%s with %x: verify says %v", key, value, err)
	}
	for n := range uint64(3) {
		if strings.HasPrefix(key, ledger.BatchKey("test/1", n+1)) || strings.HasPrefix(key, ledger.SignatureKey("test/1", n+1)) {
			if e.Seq != n+1 {
				t.Fatalf("%s: %v names batch %d", key, err, e.Seq)
			}
		}
	}
	state, _ := l.Read()
	for n := range state.ends {
		if n < 1 || n > 3 {
			t.Fatalf("%s: the state has %d", key, n)
		}
	}
}

// TestWhileOpen damages the store under an open ledger.
func TestWhileOpen(t *testing.T) {
	ctx := context.Background()
	_, s, k := three(t)
	l := open(t, config(s, k, newHands()))
	if r, err := l.Verify(ctx); err != nil || r.Batches != 3 || r.Entries != 3 || r.Signatures != 3 {
		t.Fatalf("%+v, %v", r, err)
	}
	second := ledger.BatchKey("test/1", 2)
	b, err := get(s, second)
	if err != nil {
		t.Fatal(err)
	}
	b[len(b)-1] ^= 1
	put(t, s, second, b)
	_, err = l.Verify(ctx)
	want(t, err, ledger.ErrDamaged, 2, -1)
	_, err = l.Proof(ctx, 2, 0)
	want(t, err, ledger.ErrDamaged, 2, 0)
}

// TestHeadWhileOpen takes the stored head away and sets it back under an open
// ledger.
func TestHeadWhileOpen(t *testing.T) {
	stages, s, k := three(t)
	older, err := get(stages[2], ledger.HeadKey("test/1"))
	if err != nil {
		t.Fatal(err)
	}
	for _, head := range [][]byte{nil, older, []byte("?")} {
		s := s.Clone()
		l := open(t, config(s, k, newHands()))
		put(t, s, ledger.HeadKey("test/1"), head)
		if _, err := l.Verify(context.Background()); !errors.Is(err, ledger.ErrDamaged) {
			t.Errorf("head %x: verify says %v", head, err)
		}
	}
}

// TestStateGoneWrong has the memory of the state change by itself.
func TestStateGoneWrong(t *testing.T) {
	_, s, k := three(t)
	for name, spoil := range map[string]func(*tally){
		"it does not agree with itself": func(s *tally) { s.sick = true },
		"a number too many":             func(s *tally) { s.ends[99] = 0 },
		"another horizon":               func(s *tally) { s.horizon++ },
	} {
		l := open(t, config(s, k, newHands()))
		state, _ := l.Read()
		spoil(state)
		_, err := l.Verify(context.Background())
		t.Log(name)
		want(t, err, ledger.ErrDamaged, 3, -1)
	}
}

// TestNotAnEntry has a batch that is signed and means nothing: its entry is
// named.
func TestNotAnEntry(t *testing.T) {
	s, k := memory.New(), newKey()
	l := open(t, config(s, k, newHands()))
	must(t, l, 1, 2)
	l.Close(context.Background())
	cfg := config(s, k, newHands())
	cfg.Empty.ends[2] = 0 // rules under which 2 contradicts
	l = open(t, cfg)
	want(t, l.Refusal(), ledger.ErrDamaged, 1, 1)
}

func TestHeadAt(t *testing.T) {
	ctx := context.Background()
	stages, s, k := three(t)
	l := open(t, config(s, k, newHands()))
	for seq := range uint64(4) {
		head, err := l.HeadAt(ctx, seq)
		if want := at(t, stages[seq], k).state.Head; err != nil || head != want {
			t.Errorf("batch %d: %v, %v, want %v", seq, head, err, want)
		}
	}
	_, err := l.HeadAt(ctx, 4)
	want(t, err, ledger.ErrNoProof, 4, -1)
	if h := l.Header(); h.Seq != 3 || h.Count != 1 || h.Time != noon.Unix() {
		t.Errorf("the newest header is %+v", h)
	}
	put(t, s, ledger.SignatureKey("test/1", 1), nil)
	_, err = l.HeadAt(ctx, 1)
	want(t, err, ledger.ErrDamaged, 1, -1)
	_, err = l.Proof(ctx, 3, 1)
	want(t, err, ledger.ErrNoProof, 3, 1)
}
