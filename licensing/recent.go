package licensing

import (
	"sync"
	"time"

	"github.com/sojournlm/sojourn/internal/document"
	"github.com/sojournlm/sojourn/internal/peer"
)

// recent remembers request keys for a while. What outlives it, and a restart, are
// requests whose nonce is long stale.
type recent struct {
	mu    sync.Mutex
	until map[document.Hash]time.Duration
}

// recallLife is far longer than a request with a good nonce can be on its way.
const recallLife = 20 * peer.NonceLife

func (r *recent) add(key document.Hash, now time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.until == nil {
		r.until = make(map[document.Hash]time.Duration)
	}
	for k, until := range r.until {
		if until <= now {
			delete(r.until, k)
		}
	}
	r.until[key] = now + recallLife
}

func (r *recent) has(key document.Hash, now time.Duration) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.until[key] > now
}

const (
	maxRecalls   = 1 << 14         // recalled requests that are remembered of one share
	maxRecallsOf = maxRecalls / 16 // and of one computer
)

// recalls are the requests of others that make no license any more, apart for each
// share of those who ask: strangers are many, and take no room from friends. One computer
// takes a part of its share only.
type recalls struct {
	mu     sync.Mutex
	shares map[peer.Share]*recalled
}

// recalled is those of one share, by when they are forgotten.
type recalled struct {
	until map[document.Hash]recall
	of    map[string]int // how many, by public key
	swept time.Duration
}

type recall struct {
	until time.Duration
	from  string // public key
}

// add remembers a request of the computer with a public key. It reports whether there
// was room.
func (r *recalls) add(share peer.Share, public []byte, key document.Hash, now time.Duration) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.shares == nil {
		r.shares = make(map[peer.Share]*recalled)
	}
	if r.shares[share] == nil {
		r.shares[share] = &recalled{until: make(map[document.Hash]recall), of: make(map[string]int)}
	}
	s, from := r.shares[share], string(public)
	full := func() bool { return len(s.until) >= maxRecalls || s.of[from] >= maxRecallsOf }
	if now-s.swept >= recallLife/2 || full() && now-s.swept >= time.Second {
		s.swept = now
		for k, was := range s.until {
			if was.until <= now {
				s.forget(k, was)
			}
		}
	}
	switch was, known := s.until[key]; {
	case known:
		s.forget(key, was)
	case full():
		return false
	}
	s.until[key] = recall{now + recallLife, from}
	s.of[from]++
	return true
}

func (s *recalled) forget(key document.Hash, was recall) {
	delete(s.until, key)
	if s.of[was.from]--; s.of[was.from] == 0 {
		delete(s.of, was.from)
	}
}

// has reports whether a request was recalled, as whoever its sender was then.
func (r *recalls) has(key document.Hash, now time.Duration) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, s := range r.shares {
		if s.until[key].until > now {
			return true
		}
	}
	return false
}
