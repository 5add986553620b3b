package licensing

import (
	"context"
	"crypto/ed25519"
	"fmt"
	"path/filepath"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sojournlm/sojourn/detach"
	"github.com/sojournlm/sojourn/internal/document"
	"github.com/sojournlm/sojourn/internal/ledger"
	"github.com/sojournlm/sojourn/licensing/issuer"
	"github.com/sojournlm/sojourn/storage/badgerstore"
	"github.com/sojournlm/sojourn/transport"
	"github.com/sojournlm/sojourn/transport/simulator"
)

// benchRecipients is how many computers are known; as many licenses can be out
// of one feature at a time, so there are features enough for any b.N.
const (
	benchRecipients = 256
	benchFeatures   = 256
)

// benchManager is a manager on Badger with a key that takes that long for a
// signature, and the computers it knows.
func benchManager(b *testing.B, sign time.Duration) (*Manager, []uint64) {
	b.Helper()
	ctx := context.Background()
	public, vendor, err := ed25519.GenerateKey(nil)
	check(b, err)
	bus := simulator.New()
	key, err := bus.Add(simulator.Config{KeyID: 0x1234, Vendor: 1, VendorPublic: public, Model: uint8(ModelSign)})
	check(b, err)
	store, err := badgerstore.Open(filepath.Join(b.TempDir(), "store"), nil)
	check(b, err)
	b.Cleanup(func() { store.Close() })
	anchor, err := OpenAnchor(ctx, "")
	check(b, err)
	m, err := Open(ctx, store, anchor, &Options{Vendors: map[uint32]ed25519.PublicKey{1: public}, Buses: []transport.Bus{bus}})
	check(b, err)
	b.Cleanup(func() { m.Close(ctx) })
	features := make([]issuer.Feature, benchFeatures)
	for i := range features {
		features[i] = issuer.Feature{Number: uint32(i), Name: "feature", Seats: 1 << 20, Detachable: true}
	}
	pool, err := issuer.Sign(vendor, issuer.Pool{
		Key: 0x1234, KeyPublic: key.Public(), Vendor: 1, Counter: 1, Issued: time.Now(),
		Products: []issuer.Product{{Number: 1, Name: "product", Features: features}},
	})
	check(b, err)
	check(b, m.Install(ctx, pool, nil))
	var ids []uint64
	for i := range benchRecipients {
		id, err := detach.NewIdentity(randomOf(i))
		check(b, err)
		f, err := document.SignFingerprint(id.Sign, document.Recipient{
			ID: id.ID, HostName: fmt.Sprintf("PC-%04d", i), Sign: id.Public(), Seal: id.Seal.Public(),
		}, 1)
		check(b, err)
		check(b, m.AddFingerprint(ctx, FingerprintFields{
			Fingerprint: document.Wrap(document.KindFingerprint, 0, id.ID, f.Bytes()),
		}, nil))
		ids = append(ids, id.ID)
	}
	key.SetDelay(0, sign)
	return m, ids
}

// BenchmarkDetach shows what one signature and one sync for a whole batch are
// worth: detaches/s with one caller and with 64, with a key that takes 5 ms to
// sign, on Badger on the disk. "ratio" is 64 callers' rate by one caller's,
// measured in the same run.
func BenchmarkDetach(b *testing.B) {
	var alone float64
	for _, callers := range []int{1, 64} {
		b.Run(fmt.Sprintf("callers=%d", callers), func(b *testing.B) {
			m, ids := benchManager(b, 5*time.Millisecond)
			var next atomic.Int64
			before, cpu := m.Stats()[1], cpuTime()
			b.ResetTimer()
			var wg sync.WaitGroup
			for range callers {
				wg.Go(func() {
					for {
						n := next.Add(1) - 1
						if n >= int64(b.N) {
							return
						}
						_, err := m.Detach(context.Background(), DetachRequest{
							Offline: true, Recipient: ids[n%benchRecipients], Key: 0x1234, Duration: time.Hour,
							Features: []Selector{{ProductNumber: 1, FeatureNumber: uint32(n / benchRecipients % benchFeatures)}},
						}, nil)
						if err != nil {
							b.Error(err)
							return
						}
					}
				})
			}
			wg.Wait()
			b.StopTimer()
			after := m.Stats()[1]
			rate := float64(b.N) / b.Elapsed().Seconds()
			b.ReportMetric(rate, "detaches/s")
			b.ReportMetric(float64(after.Entries-before.Entries)/float64(after.Batches-before.Batches), "entries/batch")
			b.ReportMetric(float64(after.Batches-before.Batches)/float64(b.N), "commits/detach")
			b.ReportMetric(float64((cpuTime()-cpu).Microseconds())/float64(b.N), "cpu-µs/detach")
			if callers == 1 {
				alone = rate
			} else {
				b.ReportMetric(rate/alone, "ratio")
			}
		})
	}
}

// BenchmarkListPage shows that a page costs the same whether a thousand licenses
// are out or a million. It reads as many pages as the shorter list has, from the
// first to the last one of the list, in turn. "ratio" is the cost by that of the
// shorter list. Each length is measured with nothing but its own pool in memory, so
// what the garbage collector does for a million licenses counts, and counts against
// the long list only.
func BenchmarkListPage(b *testing.B) {
	const limit, spots = 50, 20
	short := map[string]float64{}
	for _, n := range []int{1000, 1000000} {
		pool := sync.OnceValue(func() *detach.Pool { return benchPool(b, n) })
		for _, c := range []struct {
			name   string
			filter detach.Filter
		}{
			{"all", detach.Filter{}},
			{"feature", detach.Filter{Product: new(uint32(1)), Feature: new(uint32(7))}},
		} {
			b.Run(fmt.Sprintf("%s/records=%d", c.name, n), func(b *testing.B) {
				pages := pool().Detached(c.filter).Len() / limit
				runtime.GC() // what building left behind is not the page's
				b.ReportAllocs()
				spot := 0
				for b.Loop() {
					spot = (spot + 1) % spots
					number := 1 + spot*(pages-1)/(spots-1)
					list, err := listMerged("list", Page{Number: number, Limit: limit}, merged{{pool().Detached(c.filter), 0}})
					check(b, err)
					count := 0
					for range list.All() {
						count++
					}
					if count != limit {
						b.Fatalf("a page of %d", count)
					}
				}
				cost := float64(b.Elapsed().Nanoseconds()) / float64(b.N)
				if short[c.name] == 0 {
					short[c.name] = cost
				}
				b.ReportMetric(cost/short[c.name], "ratio")
			})
		}
	}
}

// benchPool is a pool from which n licenses are out.
func benchPool(b *testing.B, n int) *detach.Pool {
	b.Helper()
	public, vendor, err := ed25519.GenerateKey(nil)
	check(b, err)
	head := document.PoolHead{Key: 0x1234, KeyPublic: public, Vendor: 1, Counter: 1}
	features := make([]document.Feature, 16)
	for i := range features {
		features[i] = document.Feature{ProductNumber: 1, FeatureNumber: uint32(i), Seats: document.MaxSeats, Detachable: true, RemoteMode: 3}
	}
	license, err := document.SignPool(vendor, head, features)
	check(b, err)
	p := detach.NewPool(detach.Trust{Key: 0x1234, Public: public, Vendor: func(uint32) ed25519.PublicKey { return public }})
	at := ledger.Position{Seq: 1, Rules: ledgerRules}
	entries, err := p.Update(license, document.RequestKey{})
	check(b, err)
	for _, e := range entries {
		check(b, p.Apply(at, e))
	}
	random := randomOf(n)
	newID := func() uint64 {
		var buf [8]byte
		random.Read(buf[:])
		var id uint64
		for _, o := range buf {
			id = id<<8 | uint64(o)
		}
		return id >> 11
	}
	identity, err := detach.NewIdentity(randomOf(0))
	check(b, err)
	for i := range n {
		at.Index++
		out, err := p.Detach(detach.DetachRequest{
			Features: []detach.Selector{{ProductNumber: 1, FeatureNumber: uint32(i % 16)}}, Seats: 1, Duration: 1 << 30,
			Recipient: document.Recipient{
				ID: 1<<32 + uint64(i/16) + 1, HostName: "PC", Sign: identity.Public(), Seal: identity.Seal.Public(),
			},
		}, Policy{}, int64(i/100), newID)
		check(b, err)
		at.Time = int64(i / 100)
		check(b, p.Apply(at, out.Entry))
	}
	return p
}

func check(tb testing.TB, err error) {
	tb.Helper()
	if err != nil {
		tb.Fatal(err)
	}
}
