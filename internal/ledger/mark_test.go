package ledger_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/sojournlm/sojourn/internal/ledger"
	"github.com/sojournlm/sojourn/storage"
	"github.com/sojournlm/sojourn/storage/memory"
)

// TestMark opens ledgers while the wall is behind: time does not run back.
func TestMark(t *testing.T) {
	s, k, wall := memory.New(), newKey(), newHands()
	l := open(t, config(s, k, wall))
	must(t, l, 1)
	wall.pass(10 * time.Hour)
	must(t, l, 2)
	older := s.Clone()
	wall.pass(time.Hour)
	must(t, l, 3)
	l.Close(context.Background())
	wall.step(-30 * time.Hour)
	for name, c := range map[string]struct {
		store *memory.Store
		hours time.Duration // of the newest batch that is shown
		key   *key
	}{"whole": {s, 11, k}, "rolled back": {older, 0, k}, "key lost": {s, 11, newKey()}} {
		_, now := open(t, config(c.store, c.key, wall)).Read()
		if want := noon.Add(c.hours * time.Hour).Unix(); now.Unix != want || now.Err != nil {
			t.Errorf("%s: it shows %+v, want %d", name, now, want)
		}
	}
}

// TestGap opens ledgers after longer than is believed: however many batches there
// are, the newest signed one is the mark.
func TestGap(t *testing.T) {
	const gap = ledger.DefaultGap
	for batches := range uint32(4) {
		for _, closed := range []bool{false, true} {
			t.Run(fmt.Sprintf("%d batches, closed %v", batches, closed), func(t *testing.T) {
				s, k, wall := memory.New(), newKey(), newHands()
				l := open(t, config(s, k, wall))
				for n := range batches {
					wall.pass(gap / 2)
					must(t, l, n)
				}
				crashed := s.Clone()
				if closed {
					l.Close(context.Background())
					crashed = s
				}
				mark := wall.Now().Unix()
				for _, ahead := range []time.Duration{gap, time.Second} {
					wall.step(ahead)
					_, now := open(t, config(crashed, k, wall)).Read()
					switch {
					case batches == 0 || ahead == gap:
						if now.Err != nil || now.Unix != now.Wall {
							t.Errorf("at most the gap ahead: %+v", now)
						}
					case !errors.Is(now.Err, ledger.ErrClock) || now.Unix != mark:
						t.Errorf("further ahead: %+v, want %d, not believed", now, mark)
					}
				}
			})
		}
	}
}

// TestGapUnsigned does so where the newest batch is not signed: the one before it
// is the mark, and without one the wall is believed.
func TestGapUnsigned(t *testing.T) {
	for signed := range uint32(3) {
		s, k, wall := memory.New(), newKey(), newHands()
		l := open(t, config(s, k, wall))
		for n := range signed {
			must(t, l, n)
		}
		mark := wall.Now().Unix()
		wall.pass(ledger.DefaultGap)
		k.set(func() { k.dead = true })
		if _, err := l.Do(context.Background(), adding(9)); !errors.Is(err, storage.ErrUnknown) {
			t.Fatal(err)
		}
		k.set(func() { k.dead = false })
		wall.pass(time.Second)
		l = open(t, config(s, k, wall))
		_, now := l.Read()
		switch {
		case signed == 0:
			if now.Err != nil || l.Position().Seq != 1 {
				t.Errorf("no mark: %+v at batch %d", now, l.Position().Seq)
			}
		case !errors.Is(now.Err, ledger.ErrClock) || now.Unix != mark || l.Position().Seq != uint64(signed):
			t.Errorf("%d signed: %+v at batch %d, want %d, not believed", signed, now, l.Position().Seq, mark)
		}
	}
}
