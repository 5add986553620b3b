package ledger_test

import (
	"context"
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/sojournlm/sojourn/internal/ledger"
	"github.com/sojournlm/sojourn/storage/memory"
)

// unanchored opens a ledger whose key is not here.
func unanchored(t *testing.T, s *memory.Store) *ledger.Ledger[*tally] {
	t.Helper()
	ctx := context.Background()
	cfg := config(s, nil, newHands())
	public, err := ledger.Stored(ctx, cfg)
	if err != nil {
		t.Fatal(err)
	}
	l, err := ledger.OpenUnanchored(ctx, cfg, public)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close(ctx) })
	return l
}

// TestUnanchored: without its key a ledger shows what signatures vouch for, up to
// the last one, and changes nothing, whatever stands in the store.
func TestUnanchored(t *testing.T) {
	ctx := context.Background()
	stages, whole, _ := three(t)
	changed := func(name string, value []byte) *memory.Store {
		s := stages[3].Clone()
		put(t, s, name, value)
		return s
	}
	for _, c := range []struct {
		name  string
		store *memory.Store
		want  error
		holds []uint32
		doubt bool
	}{
		{"closed", whole, ledger.ErrUnanchored, []uint32{1, 2, 3}, false},
		{"crashed", stages[3], ledger.ErrUnanchored, []uint32{1, 2}, true},
		{"crashed after the first", stages[1], ledger.ErrUnanchored, nil, true},
		{"the older signature is missing", changed(ledger.SignatureKey("test/1", 2), nil), ledger.ErrDamaged, nil, false},
		{"the older signature is another", changed(ledger.SignatureKey("test/1", 2), []byte("x")), ledger.ErrDamaged, nil, false},
		{"the newest signature is none", changed(ledger.SignatureKey("test/1", 3), []byte("x")), ledger.ErrDamaged, nil, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			store := c.store.Clone()
			l := unanchored(t, store)
			if !errors.Is(l.Refusal(), c.want) {
				t.Errorf("refusal %v, want %v", l.Refusal(), c.want)
			}
			for what, err := range map[string]error{
				"a change": func() error { _, err := l.Do(ctx, adding(77)); return err }(),
				"settle":   l.Settle(ctx),
			} {
				if !errors.Is(err, c.want) {
					t.Errorf("%s: %v, want %v", what, err, c.want)
				}
			}
			state, _ := l.Read()
			if holds(t, state, c.holds...); c.want == ledger.ErrUnanchored {
				for seq := range c.holds {
					if _, err := l.Proof(ctx, uint64(seq+1), 0); err != nil {
						t.Errorf("proof: %v", err)
					}
				}
				if doubtful, ok := l.Doubtful(); ok != c.doubt {
					t.Errorf("in doubt: %v", ok)
				} else if ok {
					holds(t, doubtful, append(c.holds, uint32(len(c.holds)+1))...)
				}
			}
			if err := l.Close(ctx); err != nil {
				t.Error(err)
			}
			if diff := cmp.Diff(pairs(t, c.store), pairs(t, store)); diff != "" {
				t.Errorf("the store was written: %s", diff)
			}
		})
	}
}

// TestUnanchoredBits flips every bit of everything that is stored: what is shown
// without the key is a part of what was signed, or nothing.
func TestUnanchoredBits(t *testing.T) {
	_, s, _ := three(t)
	for _, p := range pairs(t, s) {
		for bit := range 8 * len(p.Value) {
			value := append([]byte(nil), p.Value...)
			value[bit/8] ^= 1 << (bit % 8)
			bad := s.Clone()
			put(t, bad, p.Key, value)
			ctx, cfg := context.Background(), config(bad, nil, newHands())
			public, err := ledger.Stored(ctx, cfg)
			if err != nil {
				continue // named before anything is opened
			}
			l, err := ledger.OpenUnanchored(ctx, cfg, public)
			if err != nil {
				t.Fatalf("%s: %v", p.Key, err)
			}
			state, _ := l.Read()
			if n := len(state.ends); l.Refusal() == nil || n != 0 && errors.Is(l.Refusal(), ledger.ErrDamaged) {
				t.Fatalf("%s, bit %d: %d numbers, refusal %v", p.Key, bit, n, l.Refusal())
			}
			for n := range state.ends {
				if n < 1 || n > 3 {
					t.Fatalf("%s, bit %d: the state has %d", p.Key, bit, n)
				}
			}
			l.Close(ctx)
		}
	}
}
