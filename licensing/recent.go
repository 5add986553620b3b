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

// maxRecalls is how many recalled requests are remembered of one share.
const maxRecalls = 1 << 14

// recalls are the requests of others that make no license any more, apart for each
// share of those who ask: strangers are many, and take no room from friends.
type recalls struct {
	mu     sync.Mutex
	shares map[peer.Share]*recalled
}

// recalled is those of one share, by when they are forgotten.
type recalled struct {
	until map[document.Hash]time.Duration
	swept time.Duration
}

// add remembers a request. It reports whether there was room.
func (r *recalls) add(share peer.Share, key document.Hash, now time.Duration) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.shares == nil {
		r.shares = make(map[peer.Share]*recalled)
	}
	if r.shares[share] == nil {
		r.shares[share] = &recalled{until: make(map[document.Hash]time.Duration)}
	}
	s := r.shares[share]
	full := func() bool { return len(s.until) >= maxRecalls }
	if now-s.swept >= recallLife/2 || full() && now-s.swept >= time.Second {
		s.swept = now
		for k, until := range s.until {
			if until <= now {
				delete(s.until, k)
			}
		}
	}
	if _, known := s.until[key]; !known && full() {
		return false
	}
	s.until[key] = now + recallLife
	return true
}

// has reports whether a request was recalled, as whoever its sender was then.
func (r *recalls) has(key document.Hash, now time.Duration) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, s := range r.shares {
		if s.until[key] > now {
			return true
		}
	}
	return false
}
