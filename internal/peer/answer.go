package peer

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"sync"
	"time"

	"github.com/sojournlm/sojourn/internal/code"
	"github.com/sojournlm/sojourn/internal/document"
)

const (
	// NonceLife is how long a request may come after the greeting it belongs to.
	NonceLife = 30 * time.Second

	nonceSize = 16 + 8 + 16 // random, deadline, authentication

	// maxSpent is how many nonces can be used up within their life in one share:
	// strangers are many, and take none from friends.
	maxSpent = 1 << 16
)

// Door is where others' requests come in. It is safe for concurrent use.
type Door struct {
	self Self

	// Serve does what was asked. Who asks is proven; what he may ask for is its to
	// say. An error that wraps a [*Refused] is told with its details.
	serve func(ctx context.Context, from *document.Fingerprint, verb uint32, body []byte) ([]byte, error)

	share func(from *document.Fingerprint) Share

	elapsed func() time.Duration // steady
	secret  [32]byte             // nonces of an earlier run are none

	mu    sync.Mutex
	spent map[[nonceSize]byte]spending
	count [shares]int // of spent
	swept time.Duration
}

// spending is the use of a nonce.
type spending struct {
	until time.Duration // it is stale anyway
	share Share
}

// Share is a share of what can be asked at once. Who uses one up takes nothing from
// those who have another.
type Share int

// The shares.
const (
	Stranger Share = iota // known by nothing but his own word
	Found                 // found by itself
	Known                 // known by hand

	shares
)

// NewDoor makes the door of a manager.
func NewDoor(self Self, elapsed func() time.Duration, share func(from *document.Fingerprint) Share,
	serve func(ctx context.Context, from *document.Fingerprint, verb uint32, body []byte) ([]byte, error)) *Door {
	d := &Door{self: self, serve: serve, share: share, elapsed: elapsed, spent: make(map[[nonceSize]byte]spending)}
	rand.Read(d.secret[:])
	return d
}

// Answer gives the answer to a message. The error is about a message that is
// none, or that its sender did not sign; everything else is answered in words.
func (d *Door) Answer(ctx context.Context, message []byte) ([]byte, error) {
	request, err := document.ParsePeerRequest(message)
	if err != nil {
		return nil, err
	}
	var answer document.PeerAnswer
	if request.Greeting() {
		answer.Body = d.nonce()
	} else if answer.Body, err = d.request(ctx, request); err != nil {
		answer = refusal(err)
	}
	answer.Time = d.self.Now()
	signed, err := document.SignPeerAnswer(d.self.Sign, d.self.Fingerprint(), request, answer)
	if err != nil {
		return nil, err
	}
	return signed.Bytes(), nil
}

func (d *Door) request(ctx context.Context, r *document.PeerRequest) ([]byte, error) {
	if own := d.self.Sign.Public().(ed25519.PublicKey); !bytes.Equal(r.Target, own) {
		return nil, &Refused{Code: code.AccessDenied, Message: "the request is meant for another manager"}
	}
	// Used up first: a refusal is certain only when no copy can be served later.
	if err := d.spend(r.Nonce, d.share(r.From())); err != nil {
		return nil, err
	}
	return d.serve(ctx, r.From(), r.Verb, r.Body)
}

func refusal(err error) document.PeerAnswer {
	if r, ok := errors.AsType[*Refused](err); ok && r.Code != 0 {
		return document.PeerAnswer{Code: uint32(r.Code), Message: r.Message, Body: r.Details}
	}
	// Not known to be refused: who asked must not take it for certain.
	return document.PeerAnswer{Code: uint32(code.GetResponseFailed), Message: "it is not known whether this happened"}
}

// nonce gives a new nonce. Nothing is kept for it: it proves itself.
func (d *Door) nonce() []byte {
	n := make([]byte, 24, nonceSize)
	rand.Read(n[:16])
	binary.BigEndian.PutUint64(n[16:], uint64(d.elapsed()+NonceLife))
	return append(n, d.authentication(n)...)
}

func (d *Door) authentication(n []byte) []byte {
	mac := hmac.New(sha256.New, d.secret[:])
	mac.Write(n)
	return mac.Sum(nil)[:16]
}

// spend uses a nonce up, in a share. Where that fails nothing is certain: on the way somebody
// may have copied the request, and another copy may be answered.
func (d *Door) spend(nonce []byte, share Share) error {
	stale := &Refused{Code: code.GetResponseFailed, Message: "the request does not belong to a greeting of a moment ago; greet again"}
	if len(nonce) != nonceSize || !hmac.Equal(nonce[24:], d.authentication(nonce[:24])) {
		return stale
	}
	now, until := d.elapsed(), time.Duration(binary.BigEndian.Uint64(nonce[16:24]))
	if until <= now {
		return stale
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if now-d.swept >= NonceLife/2 || d.count[share] >= maxSpent && now-d.swept >= time.Second {
		d.swept = now
		for n, s := range d.spent {
			if s.until <= now {
				delete(d.spent, n)
				d.count[s.share]--
			}
		}
	}
	key := [nonceSize]byte(nonce)
	if _, used := d.spent[key]; used {
		return stale
	}
	if d.count[share] >= maxSpent {
		return &Refused{Code: code.GetResponseFailed, Message: "too many requests at once; ask again in a moment"}
	}
	d.spent[key] = spending{until, share}
	d.count[share]++
	return nil
}
