package ledger_test

import (
	"context"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sojournlm/sojourn/internal/ledger"
	"github.com/sojournlm/sojourn/storage"
	"github.com/sojournlm/sojourn/storage/memory"
)

// counter is the cheapest state, so that benchmarks measure the ledger.
type counter struct{ n, horizon int64 }

func (s *counter) Clone() *counter { c := *s; return &c }
func (s *counter) Apply(at ledger.Position, entry []byte) error {
	s.n++
	return nil
}
func (s *counter) Judge(ledger.Position, []byte) error { return nil }
func (s *counter) Due(int64) [][]byte                  { return nil }
func (s *counter) Horizon() int64                      { return s.horizon }
func (s *counter) Check() error                        { return nil }

func benchLedger(b *testing.B, s storage.Store, k *key) *ledger.Ledger[*counter] {
	l, err := ledger.Open(context.Background(), ledger.Config[*counter]{
		Name: "bench/1", Store: s, Anchor: k, Empty: new(counter), Rules: 1,
		Clock: ledger.NewClock(ledger.System(), 0, 0),
	})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { l.Close(context.Background()) })
	return l
}

// BenchmarkCommit is commands of one entry of 300 bytes by some callers at once,
// with a key that takes some time to sign.
func BenchmarkCommit(b *testing.B) {
	for _, delay := range []time.Duration{0, 5 * time.Millisecond} {
		for _, callers := range []int{1, 64} {
			b.Run(fmt.Sprintf("key=%v/callers=%d", delay, callers), func(b *testing.B) {
				k := newKey()
				k.delay = delay
				l := benchLedger(b, memory.New(), k)
				entry := make([]byte, 300)
				var left atomic.Int64
				left.Store(int64(b.N))
				b.ReportAllocs()
				b.ResetTimer()
				done := make(chan error)
				for range callers {
					go func() {
						for left.Add(-1) >= 0 {
							if _, err := l.Do(context.Background(), func(*counter, ledger.Moment) ([][]byte, error) {
								return [][]byte{entry}, nil
							}); err != nil {
								done <- err
								return
							}
						}
						done <- nil
					}()
				}
				for range callers {
					if err := <-done; err != nil {
						b.Error(err)
					}
				}
				s := l.Stats()
				b.ReportMetric(float64(s.Entries)/float64(s.Batches), "entries/batch")
				b.ReportMetric(float64(s.Batches)/float64(s.Commands), "commits/command")
				b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "commands/s")
			})
		}
	}
}

// BenchmarkRead is a look at the state.
func BenchmarkRead(b *testing.B) {
	l := benchLedger(b, memory.New(), newKey())
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			l.Read()
		}
	})
}

// thousand is a store with a thousand batches of ten entries, and its key.
func thousand(b *testing.B) (storage.Store, *key) {
	s, k := memory.New(), newKey()
	l := benchLedger(b, s, k)
	entries := make([][]byte, 10)
	for i := range entries {
		entries[i] = make([]byte, 300)
	}
	for range 1000 {
		if _, err := l.Do(context.Background(), func(*counter, ledger.Moment) ([][]byte, error) { return entries, nil }); err != nil {
			b.Fatal(err)
		}
	}
	l.Close(context.Background())
	return s, k
}

// BenchmarkOpen is the fold of a thousand batches of ten entries.
func BenchmarkOpen(b *testing.B) {
	s, k := thousand(b)
	for b.Loop() {
		benchLedger(b, s, k).Close(context.Background())
	}
}

// BenchmarkVerify is the same with every signature.
func BenchmarkVerify(b *testing.B) {
	s, k := thousand(b)
	l := benchLedger(b, s, k)
	for b.Loop() {
		if _, err := l.Verify(context.Background()); err != nil {
			b.Fatal(err)
		}
	}
}
