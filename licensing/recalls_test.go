package licensing

import (
	"encoding/binary"
	"testing"
	"time"

	"github.com/sojournlm/sojourn/internal/document"
	"github.com/sojournlm/sojourn/internal/peer"
)

// What strangers recall is bounded and takes no room from friends, one computer leaves room
// for the others of its share, and what is
// remembered stays for as long as it must, however many come.
func TestRecallsAreBounded(t *testing.T) {
	var r recalls
	key := func(n int) (h document.Hash) {
		binary.BigEndian.PutUint64(h[:], uint64(n)+1)
		return h
	}
	of := func(n int) []byte { return []byte{byte(n / maxRecallsOf)} } // whose that is
	now := time.Hour
	for n := range maxRecallsOf {
		if !r.add(peer.Known, of(0), key(-3-n), now) {
			t.Fatalf("no room for number %d of one computer", n)
		}
	}
	if r.add(peer.Known, of(0), key(-3-maxRecallsOf), now) {
		t.Error("more of one computer than there is room for")
	}
	for n := range maxRecalls {
		if !r.add(peer.Stranger, of(n), key(n), now) {
			t.Fatalf("no room for number %d", n)
		}
	}
	for range 3 {
		now += 2 * time.Second
		if r.add(peer.Stranger, of(maxRecalls), key(maxRecalls), now) || r.has(key(maxRecalls), now) {
			t.Fatal("more than there is room for")
		}
	}
	if !r.add(peer.Stranger, of(0), key(0), now) {
		t.Error("one that is remembered needs no room")
	}
	if !r.add(peer.Known, of(maxRecalls), key(-2), now) || !r.has(key(-2), now) {
		t.Error("a friend finds no room")
	}
	last := time.Hour + recallLife - 1
	for n := range maxRecalls {
		if !r.has(key(n), last) {
			t.Fatalf("number %d is forgotten too early", n)
		}
	}
	now = last + 2
	if r.has(key(1), now) || !r.has(key(0), now) {
		t.Error("forgotten are not those whose time is over")
	}
	if !r.add(peer.Stranger, of(maxRecalls), key(maxRecalls), now) {
		t.Error("no room where the others are forgotten")
	}
	if s := r.shares[peer.Stranger]; len(s.until) != 2 || len(s.of) != 2 {
		t.Errorf("%d of %d computers are kept", len(s.until), len(s.of))
	}
}
