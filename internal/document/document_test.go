package document

import (
	"bytes"
	"errors"
	"strings"
	"testing"
)

// wantLink fails unless err is about that link and fit to be shown: without the
// words of Go and its libraries.
func wantLink(t testing.TB, err error, links ...Link) {
	t.Helper()
	var e *Error
	if !errors.As(err, &e) {
		t.Fatalf("error %v, want an *Error about %q", err, links)
	}
	for _, noise := range []string{"cbor", "Go ", "struct", "tlog", "cipher", "hpke", "ecdh", "%!", "EOF"} {
		if strings.Contains(err.Error(), noise) {
			t.Errorf("error %q speaks of %q", err, noise)
		}
	}
	for _, link := range links {
		if e.Link == link {
			return
		}
	}
	t.Fatalf("error %q is about %q, want %q", err, e.Link, links)
}

func TestFilesAreAccepted(t *testing.T) {
	w := newWorld(t)
	for name, file := range w.files(t) {
		if _, err := w.accept(file); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// A flipped bit anywhere in a file is refused. In the sealed one it is always
// the seal or the outside that says so.
func TestEveryFlippedBitOfAFile(t *testing.T) {
	w := newWorld(t)
	for name, file := range w.files(t) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			flipEach(file, func(bit int, flipped []byte) {
				_, err := w.accept(flipped)
				if err == nil {
					t.Fatalf("accepted with bit %d flipped", bit)
				}
				if name == "license" {
					wantLink(t, err, LinkSeal, LinkEnvelope, LinkEncoding, LinkVersion)
				}
				wantLink(t, err, anyLink...)
			})
		})
	}
}

var anyLink = []Link{LinkEnvelope, LinkOutside, LinkVersion, LinkEncoding, LinkContent, LinkSeal, LinkVendor,
	LinkFeatures, LinkBatch, LinkCheckpoint, LinkRecipient, LinkFingerprint, LinkPeer}

// A license without its seal stands on its signatures alone.
func TestEveryFlippedBitOfAnOpenLicense(t *testing.T) {
	w := newWorld(t)
	flipEach(w.license.Bytes(), func(bit int, flipped []byte) {
		l, err := ParseLicense(flipped)
		if err == nil {
			err = l.Verify(public(w.vendor))
		}
		if err == nil {
			t.Fatalf("accepted with bit %d flipped", bit)
		}
		wantLink(t, err, anyLink...)
	})
}

// A header and a checkpoint have no way to be wrong that their hash and
// signature do not see.
func TestEveryFlippedBitOfAHeader(t *testing.T) {
	w := newWorld(t)
	flipEach(w.header, func(bit int, flipped []byte) {
		p := w.proof
		p.Header = flipped
		_, err := p.Verify("license", public(w.key))
		wantLink(t, err, LinkBatch, LinkCheckpoint)
	})
}

func flipEach(b []byte, try func(bit int, flipped []byte)) {
	for bit := range len(b) * 8 {
		flipped := bytes.Clone(b)
		flipped[bit/8] ^= 1 << (bit % 8)
		try(bit, flipped)
	}
}

func TestEveryCutIsRefused(t *testing.T) {
	w := newWorld(t)
	for name, file := range w.files(t) {
		for n := range file {
			if _, err := w.accept(file[:n]); err == nil {
				t.Fatalf("%s: accepted with %d of %d bytes", name, n, len(file))
			} else {
				wantLink(t, err, LinkEnvelope)
			}
		}
		_, err := w.accept(append(bytes.Clone(file), 0))
		wantLink(t, err, LinkEncoding, LinkEnvelope)
	}
}

// The chain breaks at the link that is wrong, and says so.
func TestLinks(t *testing.T) {
	other := seed(99)
	for _, c := range []struct {
		name string
		link Link
		try  func(t *testing.T, w *world) error
	}{
		{"a pool of another vendor", LinkVendor, func(t *testing.T, w *world) error {
			return w.pool.Verify(public(other))
		}},
		{"a license of another vendor", LinkVendor, func(t *testing.T, w *world) error {
			return w.license.Verify(public(other))
		}},
		{"a batch signed by another key", LinkCheckpoint, func(t *testing.T, w *world) error {
			w.batch(t, other)
			return ok(NewLicense(w.pool, w.proof))(t).Verify(public(w.vendor))
		}},
		{"a checkpoint signed as a return", LinkCheckpoint, func(t *testing.T, w *world) error {
			w.proof.Signature = ok(DomainReturn.Sign(w.key, w.checkpoint.payload()))(t)
			return ok(NewLicense(w.pool, w.proof))(t).Verify(public(w.vendor))
		}},
		{"another batch before", LinkCheckpoint, func(t *testing.T, w *world) error {
			w.proof.Prev[0]++
			return ok(NewLicense(w.pool, w.proof))(t).Verify(public(w.vendor))
		}},
		{"another horizon", LinkCheckpoint, func(t *testing.T, w *world) error {
			w.proof.Horizon++
			return ok(NewLicense(w.pool, w.proof))(t).Verify(public(w.vendor))
		}},
		{"a key that forgets its batch's horizon", LinkCheckpoint, func(t *testing.T, w *world) error {
			w.checkpoint.Horizon = testDeath - 1
			if err := w.checkpoint.Sign(w.key); err != nil {
				t.Fatal(err)
			}
			w.proof.Horizon, w.proof.Signature = w.checkpoint.Horizon, w.checkpoint.Signature
			return ok(NewLicense(w.pool, w.proof))(t).Verify(public(w.vendor))
		}},
		{"a license that outlives its batch's horizon", LinkBatch, func(t *testing.T, w *world) error {
			w.terms.Duration++
			w.terms.Death++
			w.entries[1] = w.terms.Encode()
			w.batch(t, w.key)
			return ok(NewLicense(w.pool, w.proof))(t).Verify(public(w.vendor))
		}},
		{"the place of another entry", LinkBatch, func(t *testing.T, w *world) error {
			w.proof.Index = 2
			return ok(NewLicense(w.pool, w.proof))(t).Verify(public(w.vendor))
		}},
		{"terms with more seats than were signed", LinkBatch, func(t *testing.T, w *world) error {
			w.terms.Seats++
			w.proof.Entry = w.terms.Encode()
			return ok(NewLicense(w.pool, w.proof))(t).Verify(public(w.vendor))
		}},
		{"the proof of another kind of entry", LinkContent, func(t *testing.T, w *world) error {
			w.proof.Entry, w.proof.Index, w.proof.Path = w.entries[0], 0, NewTree(w.entries).Prove(0)
			_, err := NewLicense(w.pool, w.proof)
			return err
		}},
		{"a header of no kind", LinkBatch, func(t *testing.T, w *world) error {
			w.proof.Header = []byte("header")
			return ok(NewLicense(w.pool, w.proof))(t).Verify(public(w.vendor))
		}},
		{"features swapped between their places", LinkFeatures, func(t *testing.T, w *world) error {
			f := w.license.file
			f.Features[0].Index, f.Features[1].Index = f.Features[1].Index, f.Features[0].Index
			_, err := ParseLicense(Encode(f))
			return err
		}},
		{"features swapped", LinkContent, func(t *testing.T, w *world) error {
			f := w.license.file
			f.Features[0], f.Features[1] = f.Features[1], f.Features[0]
			_, err := ParseLicense(Encode(f))
			return err
		}},
		{"a feature the vendor never signed", LinkFeatures, func(t *testing.T, w *world) error {
			f, forged := w.license.file, w.license.Features[0]
			forged.ValidUpTo = 0
			f.Features[0].Feature = Encode(forged)
			_, err := ParseLicense(Encode(f))
			return err
		}},
		{"a feature of another pool", LinkContent, func(t *testing.T, w *world) error {
			head := testHead(public(w.key))
			head.Counter++
			_, err := NewLicense(ok(SignPool(w.vendor, head, testFeatures()))(t), w.proof)
			return err
		}},
		{"a feature the pool has not", LinkContent, func(t *testing.T, w *world) error {
			_, err := NewLicense(ok(SignPool(w.vendor, testHead(public(w.key)), testFeatures()[2:]))(t), w.proof)
			return err
		}},
		{"a pool with other features than its head", LinkFeatures, func(t *testing.T, w *world) error {
			f := testFeatures()
			f[0].Seats++
			file := PoolFile{Signed: w.pool.Signed}
			for _, f := range f {
				file.Leaves = append(file.Leaves, Encode(f))
			}
			_, err := ParsePool(Encode(file))
			return err
		}},
		{"a return of another key's license", LinkCheckpoint, func(t *testing.T, w *world) error {
			return w.ret.Verify(public(other))
		}},
		{"a return signed by another computer", LinkRecipient, func(t *testing.T, w *world) error {
			return ok(SignReturn(other, w.proof, ReasonCancelled, testIssued, 0))(t).Verify(public(w.key))
		}},
		{"a return with grants beyond death", LinkContent, func(t *testing.T, w *world) error {
			_, err := SignReturn(w.manager, w.proof, ReasonCancelled, testIssued, testDeath+1)
			return err
		}},
		{"a return for no known reason", LinkContent, func(t *testing.T, w *world) error {
			_, err := SignReturn(w.manager, w.proof, 2, testIssued, 0)
			return err
		}},
		{"a fingerprint signed by another manager", LinkFingerprint, func(t *testing.T, w *world) error {
			_, err := SignFingerprint(other, w.computer(), testIssued)
			return err
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			err := c.try(t, newWorld(t))
			wantLink(t, err, c.link)
			t.Log(err)
		})
	}
}

// Returns are accepted where a license is not: a seat that comes home harms
// nobody, whatever its origin once told its key.
func TestReturnOfALicenseThatOutlivesItsHorizon(t *testing.T) {
	w := newWorld(t)
	w.terms.Duration++
	w.terms.Death++
	w.entries[1] = w.terms.Encode()
	w.batch(t, w.key)
	r := ok(SignReturn(w.manager, w.proof, ReasonCancelled, testIssued, 0))(t)
	if err := r.Verify(public(w.key)); err != nil {
		t.Error(err)
	}
}
