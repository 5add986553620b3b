package lmhttp

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"fmt"
	"io"
	mathrand "math/rand/v2"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sojournlm/sojourn/detach"
	"github.com/sojournlm/sojourn/internal/document"
	"github.com/sojournlm/sojourn/licensing"
	"github.com/sojournlm/sojourn/licensing/issuer"
	"github.com/sojournlm/sojourn/storage/memory"
	"github.com/sojournlm/sojourn/transport"
	"github.com/sojournlm/sojourn/transport/simulator"
)

const (
	clients    = 64
	recipients = 256
	features   = 512 // each can be out once to each recipient
)

// benchManager is a manager with a key that takes 5 ms for a signature, and the
// computers it knows. Its store is in memory, so that HTTP costs nothing that a
// slow disk hides.
func benchManager(b *testing.B) (*licensing.Manager, []uint64) {
	check := func(err error) {
		b.Helper()
		if err != nil {
			b.Fatal(err)
		}
	}
	ctx := context.Background()
	public, private, err := ed25519.GenerateKey(nil)
	check(err)
	bus := simulator.New()
	key, err := bus.Add(simulator.Config{KeyID: keyA, Vendor: demoVendor, VendorPublic: public})
	check(err)
	anchor, err := licensing.OpenAnchor(ctx, "")
	check(err)
	m, err := licensing.Open(ctx, memory.New(), anchor, &licensing.Options{
		Vendors: map[uint32]ed25519.PublicKey{demoVendor: public}, Buses: []transport.Bus{bus},
	})
	check(err)
	b.Cleanup(func() { check(m.Close(ctx)) })
	product := issuer.Product{Number: 1, Name: "product"}
	for i := range features {
		product.Features = append(product.Features, issuer.Feature{Number: uint32(i), Name: "feature", Seats: 1 << 20, Detachable: true})
	}
	pool, err := issuer.Sign(private, issuer.Pool{
		Key: keyA, KeyPublic: key.Public(), Vendor: demoVendor, Counter: 1, Issued: time.Now(), Products: []issuer.Product{product},
	})
	check(err)
	check(m.Install(ctx, pool, nil))
	random := mathrand.NewChaCha8([32]byte{1})
	var ids []uint64
	for i := range recipients {
		id, err := detach.NewIdentity(random)
		check(err)
		f, err := document.SignFingerprint(id.Sign, document.Recipient{
			ID: id.ID, HostName: fmt.Sprintf("PC-%04d", i), Sign: id.Public(), Seal: id.Seal.Public(),
		}, 1)
		check(err)
		file := document.Wrap(document.KindFingerprint, 0, id.ID, f.Bytes())
		check(m.AddFingerprint(ctx, licensing.FingerprintFields{Fingerprint: file}, nil))
		ids = append(ids, id.ID)
	}
	key.SetDelay(0, 5*time.Millisecond)
	return m, ids
}

// inParallel has as many callers as there are clients make the calls from first
// on, n of them, and gives the time that took.
func inParallel(b *testing.B, first, n int64, call func(i int64) error) time.Duration {
	var next atomic.Int64
	var callers sync.WaitGroup
	start := time.Now()
	for range clients {
		callers.Go(func() {
			for {
				i := next.Add(1) - 1
				if i >= n {
					return
				}
				if err := call(first + i); err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	callers.Wait()
	return time.Since(start)
}

// post sends a request and reads the answer, as a client does that keeps its
// connection.
func post(client *http.Client, url, body string) error {
	res, err := client.Post(url, jsonType, strings.NewReader(body))
	if err != nil {
		return err
	}
	defer res.Body.Close()
	answer, err := io.ReadAll(res.Body)
	if err == nil && res.StatusCode != http.StatusOK {
		err = fmt.Errorf("status %d: %s", res.StatusCode, answer)
	}
	return err
}

// BenchmarkDetach shows what HTTP costs: detaches per second by 64 clients that
// keep their connections, those of 64 callers in this process, and requests per
// second to a handler that reads as much, answers as much and does nothing, all
// in one run. "ratio" is the first by 1/(1/second + 1/third), which is what it
// could be.
func BenchmarkDetach(b *testing.B) {
	m, ids := benchManager(b)
	if int64(b.N)*2+clients > recipients*features {
		b.Fatalf("b.N = %d is more licenses than can be out at once", b.N)
	}
	place := func(i int64) (recipient uint64, feature uint32) {
		return ids[i%recipients], uint32(i / recipients)
	}
	body := func(i int64) string {
		recipient, feature := place(i)
		return fmt.Sprintf(`{"offline":true,"lmsId":"%d","dongleId":%d,"durationInSec":3600,"productFeatures":[{"productNumber":1,"featureNumber":%d}]}`,
			recipient, keyA, feature)
	}
	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: clients}}
	defer client.CloseIdleConnections()
	api := httptest.NewServer(New(m, nil))
	defer api.Close()
	answer := bytes.Repeat([]byte("x"), 1500)
	idle := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		io.Copy(io.Discard, r.Body)
		w.Write(answer)
	}))
	defer idle.Close()
	overHTTP := func(i int64) error { return post(client, api.URL+BasePath+"/detach", body(i)) }
	inProcess := func(i int64) error {
		recipient, feature := place(i)
		_, err := m.Detach(context.Background(), licensing.DetachRequest{
			Offline: true, Recipient: recipient, Key: keyA, Duration: time.Hour,
			Features: []licensing.Selector{{ProductNumber: 1, FeatureNumber: feature}},
		}, nil)
		return err
	}
	nothing := func(i int64) error { return post(client, idle.URL, body(i)) }

	// In rounds, so that whatever else the computer does falls on all three.
	const round = 500
	var first int64 // license of the round
	var took [3]time.Duration
	inParallel(b, first, clients, overHTTP) // connects
	inParallel(b, first, clients, nothing)
	first += clients
	b.ResetTimer()
	for left := int64(b.N); left > 0; left -= round {
		n := min(left, round)
		took[0] += inParallel(b, first, n, overHTTP)
		b.StopTimer()
		took[1] += inParallel(b, first+n, n, inProcess)
		took[2] += inParallel(b, first, n, nothing)
		b.StartTimer()
		first += 2 * n
	}
	b.StopTimer()
	for i, unit := range []string{"http/s", "in-process/s", "no-op/s"} {
		b.ReportMetric(float64(b.N)/took[i].Seconds(), unit)
	}
	b.ReportMetric((took[1]+took[2]).Seconds()/took[0].Seconds(), "ratio")
}
