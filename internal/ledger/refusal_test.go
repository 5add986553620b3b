package ledger_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sojournlm/sojourn/internal/document"
	"github.com/sojournlm/sojourn/internal/ledger"
	"github.com/sojournlm/sojourn/storage"
	"github.com/sojournlm/sojourn/storage/memory"
)

// three is a store and a key with three batches, closed; batch n has number n.
// stages has the store as it was after n batches, without a Close.
func three(t *testing.T) (stages []*memory.Store, s *memory.Store, k *key) {
	t.Helper()
	s, k = memory.New(), newKey()
	l := open(t, config(s, k, newHands()))
	stages = append(stages, s.Clone())
	for n := range uint32(3) {
		must(t, l, n+1)
		stages = append(stages, s.Clone())
	}
	if err := l.Close(context.Background()); err != nil {
		t.Fatal(err)
	}
	return stages, s, k
}

func TestRefusals(t *testing.T) {
	stages, s, k := three(t)
	_, other, _ := three(t)
	parted := stages[2].Clone() // the first two batches as in s, the third another
	l := open(t, config(parted, at(t, stages[2], k), newHands()))
	must(t, l, 33)
	l.Close(context.Background())
	unproven := stages[3].Clone()
	put(t, unproven, ledger.SignatureKey("test/1", 3), []byte("not a signature"))
	for _, c := range []struct {
		name  string
		store *memory.Store
		key   *key
		want  error
		holds []uint32
	}{
		{"rolled back by one", stages[2], k, ledger.ErrRolledBack, []uint32{1}},
		{"rolled back by two", stages[1], k, ledger.ErrRolledBack, nil},
		{"store emptied", memory.New(), k, ledger.ErrRolledBack, nil},
		{"another third batch", parted, k, ledger.ErrForked, []uint32{1, 2, 33}},
		{"another ledger's store", other, k, ledger.ErrAnchorLost, []uint32{1, 2, 3}},
		{"new key", s, newKey(), ledger.ErrAnchorLost, []uint32{1, 2, 3}},
		{"key emptied", s, at(t, stages[0], k), ledger.ErrAnchorLost, []uint32{1, 2, 3}},
		{"key set back by two", s, at(t, stages[1], k), ledger.ErrAnchorLost, []uint32{1, 2, 3}},
		{"key set back, crash", stages[3], at(t, stages[1], k), ledger.ErrAnchorLost, []uint32{1, 2}},
		{"and no true signature", unproven, at(t, stages[1], k), ledger.ErrAnchorLost, []uint32{1, 2}},
	} {
		t.Run(c.name, func(t *testing.T) {
			ctx := context.Background()
			before := c.key.state
			store := c.store.Clone()
			l := open(t, config(store, c.key, newHands()))
			if !errors.Is(l.Refusal(), c.want) {
				t.Fatalf("refusal %v, want %v", l.Refusal(), c.want)
			}
			t.Log(l.Refusal())
			if _, err := l.Do(ctx, adding(77)); !errors.Is(err, c.want) {
				t.Errorf("a change: %v, want %v", err, c.want)
			}
			if err := l.Settle(ctx); !errors.Is(err, c.want) {
				t.Errorf("settle: %v, want %v", err, c.want)
			}
			state, _ := l.Read()
			holds(t, state, c.holds...)
			if _, err := l.Verify(ctx); !errors.Is(err, c.want) {
				t.Errorf("verify: %v, want %v", err, c.want)
			}
			for seq := uint64(1); seq <= l.Position().Seq; seq++ {
				if _, err := l.Proof(ctx, seq, 0); err != nil {
					t.Errorf("proof: %v", err)
				}
			}
			if err := l.Close(ctx); err != nil {
				t.Error(err)
			}
			if before.Seq != c.key.state.Seq || before.Head != c.key.state.Head {
				t.Error("the key has moved")
			}
		})
	}
}

// at is k as it was when the store was.
func at(t *testing.T, then *memory.Store, k *key) *key {
	t.Helper()
	older := newKey()
	older.private = k.private
	var seq uint64
	var head document.Hash
	for n := uint64(1); ; n++ {
		b, err := get(then, ledger.BatchKey("test/1", n))
		if err != nil {
			break
		}
		seq, head = n, ledger.HeadOf(b)
	}
	older.state = document.Checkpoint{Seq: seq, Head: head}
	return older
}

// TestTwoOwners opens one store twice: the second to commit is refused for good.
func TestTwoOwners(t *testing.T) {
	ctx := context.Background()
	s, k := memory.New(), newKey()
	a := open(t, config(s, k, newHands()))
	b := open(t, config(s, k, newHands()))
	must(t, a, 1)
	before := pairs(t, s)
	if _, err := b.Do(ctx, adding(2)); !errors.Is(err, ledger.ErrForked) || errors.Is(err, storage.ErrUnknown) {
		t.Errorf("the second owner: %v, want %v", err, ledger.ErrForked)
	}
	if diff := cmp.Diff(before, pairs(t, s)); diff != "" {
		t.Errorf("it has written: %s", diff)
	}
	if !errors.Is(b.Refusal(), ledger.ErrForked) {
		t.Errorf("its refusal: %v", b.Refusal())
	}
	must(t, a, 3)
	if err := a.Close(ctx); err != nil {
		t.Fatal(err)
	}
	again := open(t, config(s, k, newHands()))
	if _, err := again.Verify(ctx); err != nil {
		t.Error(err)
	}
	state, _ := again.Read()
	holds(t, state, 1, 3)
}

// TestKeyUsedElsewhere has the key sign for another store in the middle.
func TestKeyUsedElsewhere(t *testing.T) {
	ctx := context.Background()
	s, k := memory.New(), newKey()
	l := open(t, config(s, k, newHands()))
	must(t, l, 1)
	elsewhere := open(t, config(s.Clone(), k, newHands()))
	must(t, elsewhere, 2)
	if _, err := l.Do(ctx, adding(3)); !errors.Is(err, ledger.ErrForked) {
		t.Errorf("in flight: %v, want %v", err, ledger.ErrForked)
	}
	if _, err := l.Do(ctx, adding(4)); !errors.Is(err, ledger.ErrForked) || errors.Is(err, storage.ErrUnknown) {
		t.Errorf("later: %v, want %v alone", err, ledger.ErrForked)
	}
	state, _ := l.Read()
	holds(t, state, 1)
}

// TestForged has an enemy store a second batch that the key has not signed: all
// that it says has to be right.
func TestForged(t *testing.T) {
	ctx := context.Background()
	start, k, wall := memory.New(), newKey(), newHands()
	l := open(t, config(start, k, wall))
	if _, err := l.Do(ctx, func(*tally, ledger.Moment) ([][]byte, error) {
		return [][]byte{add(1, noon.Unix()+600)}, nil
	}); err != nil {
		t.Fatal(err)
	}
	first, signed := l.Position(), k.state
	wall.pass(time.Minute)
	good := document.Header{Seq: 2, Time: noon.Unix() + 30, Horizon: noon.Unix() + 900, Rules: 2}
	late := add(2, noon.Unix()+900)
	for _, c := range []struct {
		name  string
		spoil func(h *document.Header, prev *document.Hash)
		entry []byte
		want  error // nil: it is taken
		index int
	}{
		{"as it should be", func(*document.Header, *document.Hash) {}, late, nil, 0},
		{"number", func(h *document.Header, _ *document.Hash) { h.Seq = 3 }, late, ledger.ErrDamaged, -1},
		{"time", func(h *document.Header, _ *document.Hash) { h.Time = noon.Unix() - 1 }, late, ledger.ErrDamaged, -1},
		{"horizon too far", func(h *document.Header, _ *document.Hash) { h.Horizon++ }, late, ledger.ErrDamaged, -1},
		{"horizon too near", func(h *document.Header, _ *document.Hash) { h.Horizon-- }, late, ledger.ErrDamaged, -1},
		{"horizon fallen", func(h *document.Header, _ *document.Hash) { h.Horizon = noon.Unix() }, add(2, 0), ledger.ErrDamaged, -1},
		{"count", func(h *document.Header, _ *document.Hash) { h.Count = 2 }, late, ledger.ErrDamaged, -1},
		{"root", func(*document.Header, *document.Hash) {}, nil, ledger.ErrDamaged, -1},
		{"older rules", func(h *document.Header, _ *document.Hash) { h.Rules = 1 }, late, ledger.ErrDamaged, -1},
		{"newer rules", func(h *document.Header, _ *document.Hash) { h.Rules = 3 }, late, ledger.ErrRules, -1},
		{"chain", func(_ *document.Header, prev *document.Hash) { prev[0] ^= 1 }, late, ledger.ErrForked, -1},
		{"entry", func(*document.Header, *document.Hash) {}, []byte("?"), ledger.ErrDamaged, 0},
		{"entry twice", func(*document.Header, *document.Hash) {}, add(1, 0), ledger.ErrDamaged, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := start.Clone()
			h, prev := good, first.Head
			c.spoil(&h, &prev)
			stored, head := ledger.Forge(2, prev, h, k.Public(), c.entry)
			if c.entry == nil { // another one in the place of the hashed one
				_, head = ledger.Forge(2, prev, h, k.Public(), late)
			}
			put(t, s, ledger.BatchKey("test/1", 2), stored)
			put(t, s, ledger.HeadKey("test/1"), head)
			k.set(func() { k.state = signed })
			l := open(t, config(s, k, wall))
			if c.want == nil {
				if l.Refusal() != nil || l.Position().Seq != 2 {
					t.Fatalf("refusal %v at %d", l.Refusal(), l.Position().Seq)
				}
				return
			}
			want(t, l.Refusal(), c.want, 2, c.index)
			if state, _ := l.Read(); len(state.ends) != 1 || k.state.Seq != 1 {
				t.Errorf("%d numbers, the key at %d", len(state.ends), k.state.Seq)
			}
		})
	}
}

// TestMeet takes a key back that was away: one that is where the ledger is, or that
// owes it a signature, is welcome; any other makes it refuse, and nothing is stored.
func TestMeet(t *testing.T) {
	ctx := context.Background()
	for _, c := range []struct {
		name string
		away func(t *testing.T, s *memory.Store, k *key) // what happens to the key meanwhile
		want error
	}{
		{"nothing happened", func(*testing.T, *memory.Store, *key) {}, nil},
		{"moved on elsewhere", func(t *testing.T, s *memory.Store, k *key) {
			must(t, open(t, config(s.Clone(), k, newHands())), 9)
		}, ledger.ErrRolledBack},
		{"put back", func(_ *testing.T, _ *memory.Store, k *key) { k.state = document.Checkpoint{} }, ledger.ErrAnchorLost},
		{"another history", func(_ *testing.T, _ *memory.Store, k *key) { k.state.Head[0]++ }, ledger.ErrForked},
	} {
		t.Run(c.name, func(t *testing.T) {
			s, k := memory.New(), newKey()
			l := open(t, config(s, k, newHands()))
			must(t, l, 1)
			must(t, l, 2)
			c.away(t, s, k)
			before := s.Clone()
			if err := l.Meet(ctx); !errors.Is(err, c.want) {
				t.Fatalf("meet: %v, want %v", err, c.want)
			}
			if c.want == nil {
				must(t, l, 3)
				return
			}
			if _, err := l.Do(ctx, adding(3)); !errors.Is(err, c.want) || errors.Is(err, storage.ErrUnknown) {
				t.Errorf("a change: %v, want %v alone", err, c.want)
			}
			if _, err := get(s, ledger.BatchKey("test/1", 3)); !errors.Is(err, storage.ErrNotFound) {
				t.Errorf("the third batch is stored: %v", err)
			}
			if d := cmp.Diff(count(t, before), count(t, s)); d != "" {
				t.Error(d)
			}
		})
	}
}

// count is how many pairs a store has.
func count(t *testing.T, s *memory.Store) (n int) {
	t.Helper()
	err := s.View(context.Background(), func(r storage.Reader) error {
		for _, err := range r.Scan("") {
			if err != nil {
				return err
			}
			n++
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// worn is a key that can keep nothing more.
type worn struct{ *key }

func (worn) Ready(context.Context) error { return errWorn }

var errWorn = errors.New("worn out")

// What a worn out key would never sign is refused before it is stored: a certain no, on
// which nothing waits.
func TestWornAnchorIsAskedFirst(t *testing.T) {
	s, k := memory.New(), newKey()
	l := open(t, config(s, k, newHands()))
	must(t, l, 1)
	l.Close(context.Background())
	before := s.Clone()
	cfg := config(s, k, newHands())
	cfg.Anchor = worn{k}
	l = open(t, cfg)
	_, err := l.Do(context.Background(), adding(2))
	if !errors.Is(err, errWorn) || errors.Is(err, storage.ErrUnknown) {
		t.Errorf("refused with %v, want a certain no", err)
	}
	if _, doubtful := l.Doubtful(); doubtful || l.Refusal() != nil {
		t.Errorf("in doubt %v, refusal %v", doubtful, l.Refusal())
	}
	if _, err := l.Do(context.Background(), adding(1)); !errors.Is(err, errThere) {
		t.Errorf("what needs no batch is answered with %v", err)
	}
	l.Close(context.Background())
	if diff := cmp.Diff(dump(t, before), dump(t, s)); diff != "" {
		t.Errorf("the store changed (-before +after):\n%s", diff)
	}
}

func dump(t *testing.T, s storage.Store) map[string]string {
	t.Helper()
	all := map[string]string{}
	err := s.View(context.Background(), func(r storage.Reader) error {
		for p, err := range r.Scan("") {
			if err != nil {
				return err
			}
			all[p.Key] = string(p.Value)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}
