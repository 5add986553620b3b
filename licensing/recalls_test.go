package licensing

import (
	"encoding/binary"
	"testing"
	"time"

	"github.com/sojournlm/sojourn/internal/document"
	"github.com/sojournlm/sojourn/internal/peer"
)

// What strangers recall is bounded and takes no room from friends, and what is
// remembered stays for as long as it must, however many come.
func TestRecallsAreBounded(t *testing.T) {
	var r recalls
	key := func(n int) (h document.Hash) {
		binary.BigEndian.PutUint64(h[:], uint64(n)+1)
		return h
	}
	now := time.Hour
	for n := range maxRecalls {
		if !r.add(peer.Stranger, key(n), now) {
			t.Fatalf("no room for number %d", n)
		}
	}
	for range 3 {
		now += 2 * time.Second
		if r.add(peer.Stranger, key(maxRecalls), now) || r.has(key(maxRecalls), now) {
			t.Fatal("more than there is room for")
		}
	}
	if !r.add(peer.Stranger, key(0), now) {
		t.Error("one that is remembered needs no room")
	}
	if !r.add(peer.Known, key(-2), now) || !r.has(key(-2), now) {
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
	if !r.add(peer.Stranger, key(maxRecalls), now) || len(r.shares[peer.Stranger].until) != 2 {
		t.Errorf("%d are kept", len(r.shares[peer.Stranger].until))
	}
}
