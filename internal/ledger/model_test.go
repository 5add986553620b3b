package ledger_test

import (
	"context"
	"errors"
	"maps"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/sojournlm/sojourn/internal/ledger"
	"github.com/sojournlm/sojourn/storage"
	"github.com/sojournlm/sojourn/storage/memory"
	"github.com/sojournlm/sojourn/storage/storagetest"
)

// TestModel holds a ledger against a map: random commands, time, faults of store
// and key, crashes.
func TestModel(t *testing.T) {
	ctx := context.Background()
	rapid.Check(t, func(t *rapid.T) {
		inner, k, wall := memory.New(), newKey(), newHands()
		var l *ledger.Ledger[*tally]
		var outer *storagetest.Faulty
		model := map[uint32]int64{} // what must be there
		unsure := map[uint32]bool{} // what may be
		boot := func(n int, kind storagetest.Kind) (err error) {
			outer = storagetest.FailNth(inner, n, kind)
			l, err = ledger.Open(ctx, config(outer, k, wall))
			return err
		}
		sound := func() {
			if err := boot(-1, storagetest.Refuse); err != nil {
				t.Fatal(err)
			}
		}
		// A crash settles what is unsure.
		crash := func() {
			outer.Close()
			l.Close(ctx)
			k.set(func() { k.fault = nil })
			sound()
			state, _ := l.Read()
			for n := range unsure {
				if end, there := state.ends[n]; there {
					model[n] = end
				}
			}
			clear(unsure)
		}
		sound()
		defer func() { l.Close(ctx) }()
		t.Repeat(map[string]func(*rapid.T){
			"": func(t *rapid.T) {
				state, now := l.Read()
				maps.DeleteFunc(model, func(_ uint32, end int64) bool { return end <= now.Unix })
				for n := range model {
					if _, there := state.ends[n]; !there {
						t.Fatalf("%d is lost; %v", n, l.Refusal())
					}
				}
				for n := range state.ends {
					if model[n] == 0 && !unsure[n] {
						t.Fatalf("%d came from nowhere", n)
					}
				}
			},
			"add": func(t *rapid.T) {
				n := uint32(rapid.IntRange(0, 30).Draw(t, "number"))
				life := rapid.Int64Range(1, 100).Draw(t, "life")
				var end int64
				_, err := l.Do(ctx, func(s *tally, now ledger.Moment) ([][]byte, error) {
					if _, there := s.ends[n]; there {
						return nil, errThere
					}
					end = now.Unix + life
					return [][]byte{add(n, end)}, nil
				})
				switch {
				case err == nil:
					model[n] = end
				case errors.Is(err, errThere):
					if model[n] == 0 && !unsure[n] {
						t.Fatalf("%d is refused, but not there", n)
					}
				case errors.Is(err, storage.ErrUnknown):
					unsure[n] = true
				}
			},
			"time": func(t *rapid.T) {
				wall.pass(time.Duration(rapid.IntRange(0, 60).Draw(t, "seconds")) * time.Second)
			},
			"crash": func(*rapid.T) { crash() },
			"close": func(t *rapid.T) {
				k.set(func() { k.fault = nil })
				l.Settle(ctx)
				l.Close(ctx)
				crash()
			},
			"bad store": func(t *rapid.T) {
				crash()
				l.Close(ctx)
				kind := rapid.SampledFrom(storagetest.Kinds()).Draw(t, "kind")
				if err := boot(rapid.IntRange(0, 20).Draw(t, "nth"), kind); err == nil {
					return
				}
				if !outer.Fired() {
					t.Fatal("it does not open")
				}
				sound()
			},
			"bad key": func(t *rapid.T) {
				f := rapid.SampledFrom([]fault{loseRequest, loseReply, lie}).Draw(t, "fault")
				every := rapid.IntRange(1, 4).Draw(t, "every")
				k.set(func() {
					k.fault = func(call int) fault {
						if call%every == 0 {
							return f
						}
						return none
					}
				})
			},
			"verify": func(t *rapid.T) {
				if _, err := l.Verify(ctx); err != nil && l.Refusal() == nil && !outer.Fired() {
					t.Fatal(err)
				}
			},
		})
	})
}

// TestRecoveryFaults has store and key fail while a crash is recovered from.
func TestRecoveryFaults(t *testing.T) {
	ctx := context.Background()
	recovered := func(s *memory.Store, k *key) {
		t.Helper()
		l := open(t, config(s, k, newHands()))
		state, _ := l.Read()
		holds(t, state, 1, 2)
		must(t, l, 3)
		if _, err := l.Verify(ctx); err != nil {
			t.Fatal(err)
		}
	}
	for n, fired := 0, true; fired; n++ {
		s, k := memory.New(), newKey()
		unsigned(t, s, k, newHands())
		faulty := storagetest.FailNth(s, n, storagetest.Refuse)
		if l, err := ledger.Open(ctx, config(faulty, k, newHands())); err == nil {
			l.Close(ctx)
		} else if !errors.Is(err, storagetest.ErrInjected) {
			t.Fatal(err)
		}
		fired = faulty.Fired()
		recovered(s, k)
	}
	for _, f := range []fault{loseRequest, loseReply, lie} {
		for n, fired := 0, true; fired; n++ {
			s, k := memory.New(), newKey()
			unsigned(t, s, k, newHands())
			fired = false
			k.set(func() {
				k.calls = 0
				k.fault = func(call int) fault {
					if call != n {
						return none
					}
					fired = true
					return f
				}
			})
			if l, err := ledger.Open(ctx, config(s, k, newHands())); err == nil {
				if l.Refusal() != nil {
					t.Fatal(l.Refusal())
				}
				l.Close(ctx)
			}
			k.set(func() { k.fault = nil })
			recovered(s, k)
		}
	}
}

// FuzzBatch gives stored batches as an enemy may write them: those that are taken
// have one encoding, and a ledger that finds one opens.
func FuzzBatch(f *testing.F) {
	ctx := context.Background()
	s, k := memory.New(), newKey()
	l, err := ledger.Open(ctx, config(s, k, newHands()))
	if err != nil {
		f.Fatal(err)
	}
	must(f, l, 1, 2, 3)
	must(f, l, 4)
	l.Close(ctx)
	for n := range uint64(2) {
		b, err := get(s, ledger.BatchKey("test/1", n+1))
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, stored []byte) {
		if again, err := ledger.Reencode(stored); err == nil && string(again) != string(stored) {
			t.Errorf("%x is encoded as %x", stored, again)
		}
		if len(stored) > storage.MaxValue {
			return
		}
		bad := s.Clone()
		put(t, bad, ledger.BatchKey("test/1", 2), stored)
		l := open(t, config(bad, k, newHands()))
		if _, err := l.Verify(ctx); err == nil && k.state.Head != ledger.HeadOf(stored) {
			t.Error("Verify finds nothing")
		}
	})
}

// FuzzStored gives what stands beside the batches, the head and a signature, as an
// enemy may write it: a ledger that finds it opens, and where it takes another than
// its own, Verify or the anchor says so.
func FuzzStored(f *testing.F) {
	ctx := context.Background()
	s, k := memory.New(), newKey()
	l, err := ledger.Open(ctx, config(s, k, newHands()))
	if err != nil {
		f.Fatal(err)
	}
	must(f, l, 1, 2, 3)
	must(f, l, 4)
	l.Close(ctx)
	keys := []string{ledger.HeadKey("test/1"), ledger.SignatureKey("test/1", 1), ledger.SignatureKey("test/1", 2)}
	own := make([][]byte, len(keys))
	for i, key := range keys {
		if own[i], err = get(s, key); err != nil {
			f.Fatal(err)
		}
		f.Add(uint8(i), own[i])
		f.Add(uint8(i), own[(i+1)%len(own)])
	}
	f.Add(uint8(0), []byte{})
	f.Fuzz(func(t *testing.T, which uint8, stored []byte) {
		if len(stored) > storage.MaxValue {
			return
		}
		i := int(which) % len(keys)
		bad := s.Clone()
		put(t, bad, keys[i], stored)
		l := open(t, config(bad, k, newHands()))
		_, err := l.Verify(ctx)
		if string(stored) != string(own[i]) && err == nil && l.Refusal() == nil {
			t.Errorf("%s is %x, and nobody says so", keys[i], stored)
		}
		if string(stored) == string(own[i]) && (err != nil || l.Refusal() != nil) {
			t.Errorf("%v, %v", err, l.Refusal())
		}
	})
}
