package document

import (
	"crypto"
	"crypto/ed25519"
	"crypto/sha256"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Limits on what managers say to each other, in bytes.
const (
	MaxPeerMessage = 720 << 10 // in base64 it fits in 1 MiB
	maxPeerNonce   = 64
	minPeerNonce   = 16
)

// PeerRequest is what one manager asks of another. It is signed by who asks,
// for the one it is meant for and for a nonce of his, so that it counts once
// and nowhere else. A greeting, which only asks who is there, is not signed
// and has a nonce of the asker's own.
type PeerRequest struct {
	Version   uint32 `cbor:"1,keyasint"`
	Verb      uint32 `cbor:"2,keyasint"` // 0 for a greeting
	Target    []byte `cbor:"3,keyasint"` // Ed25519 public key of the manager asked; empty in a greeting
	Nonce     []byte `cbor:"4,keyasint"`
	Asker     []byte `cbor:"5,keyasint"` // Fingerprint of who asks; empty in a greeting
	Body      []byte `cbor:"6,keyasint"` // what the verb needs
	Signature []byte `cbor:"7,keyasint"` // the asker's; empty in a greeting

	asker *Fingerprint
}

// PeerAnswer is the answer to a [PeerRequest], signed by who answers.
type PeerAnswer struct {
	Version   uint32 `cbor:"1,keyasint"`
	Request   Hash   `cbor:"2,keyasint"` // of the whole request
	Answerer  []byte `cbor:"3,keyasint"` // Fingerprint of who answers
	Time      int64  `cbor:"4,keyasint"` // by his clock, Unix seconds
	Code      uint32 `cbor:"5,keyasint"` // 0, or the status code of a refusal
	Message   string `cbor:"6,keyasint"` // of the refusal
	Body      []byte `cbor:"7,keyasint"` // what the verb gives; of a refusal its details
	Signature []byte `cbor:"8,keyasint"`

	answerer *Fingerprint
}

const (
	peerRequestName = "message of a manager"
	peerAnswerName  = "answer of a manager"
	peerVersion     = 1

	// maxPeerText is the longest message of a refusal, in bytes.
	maxPeerText = 4 << 10
)

func (r PeerRequest) payload() []byte {
	r.Signature = nil
	return Encode(r)
}

// Greeting reports whether the request is one.
func (r *PeerRequest) Greeting() bool { return r.Verb == 0 }

// NewPeerGreeting makes a greeting; nonce must be fresh and random.
func NewPeerGreeting(nonce []byte) *PeerRequest {
	return &PeerRequest{Version: peerVersion, Nonce: nonce}
}

// SignPeerRequest makes a request; asker must be the fingerprint of the signer.
func SignPeerRequest(signer crypto.Signer, asker *Fingerprint, verb uint32, target ed25519.PublicKey, nonce, body []byte) (*PeerRequest, error) {
	r := PeerRequest{Version: peerVersion, Verb: verb, Target: target, Nonce: nonce, Asker: asker.Bytes(), Body: body}
	var err error
	if r.Signature, err = DomainPeerRequest.Sign(signer, r.payload()); err != nil {
		return nil, err
	}
	return ParsePeerRequest(r.Bytes())
}

// ParsePeerRequest reads a request strictly. It is signed by the asker's key,
// unless it is a greeting.
func ParsePeerRequest(b []byte) (*PeerRequest, error) {
	const name = peerRequestName
	var r PeerRequest
	err := decodeVersion(name, b, MaxPeerMessage, &r, &r.Version, peerVersion)
	switch {
	case err != nil:
		return nil, err
	case len(r.Nonce) < minPeerNonce || len(r.Nonce) > maxPeerNonce:
		return nil, content(name, "its nonce has %d bytes, want %d to %d", len(r.Nonce), minPeerNonce, maxPeerNonce)
	case r.Greeting() && (len(r.Target) != 0 || len(r.Asker) != 0 || len(r.Body) != 0 || len(r.Signature) != 0):
		return nil, content(name, "a greeting that says more than one does")
	case r.Greeting():
		return &r, nil
	case len(r.Target) != ed25519.PublicKeySize:
		return nil, content(name, "the key of the manager it is for has %d bytes, want %d", len(r.Target), ed25519.PublicKeySize)
	}
	if r.asker, err = ParseFingerprint(r.Asker); err != nil {
		return nil, err
	}
	if !DomainPeerRequest.Verify(r.asker.Computer.Sign, r.payload(), r.Signature) {
		return nil, &Error{name, LinkPeer, "altered, or not signed by the manager it names", nil}
	}
	return &r, nil
}

// From is the fingerprint of who asks, nil in a greeting.
func (r *PeerRequest) From() *Fingerprint { return r.asker }

// Bytes is the request's encoding.
func (r *PeerRequest) Bytes() []byte { return Encode(r) }

// Hash stands for the whole request.
func (r *PeerRequest) Hash() Hash {
	return sha256.Sum256(append([]byte("sojourn/peer-request/1\x00"), r.Bytes()...))
}

func (a PeerAnswer) payload() []byte {
	a.Signature = nil
	return Encode(a)
}

// SignPeerAnswer signs what is filled in of a as the answer of the signer, whose
// fingerprint is given, to a request.
func SignPeerAnswer(signer crypto.Signer, answerer *Fingerprint, to *PeerRequest, a PeerAnswer) (*PeerAnswer, error) {
	a.Version, a.Request, a.Answerer = peerVersion, to.Hash(), answerer.Bytes()
	a.Message = clipLine(a.Message, maxPeerText)
	var err error
	if a.Signature, err = DomainPeerAnswer.Sign(signer, a.payload()); err != nil {
		return nil, err
	}
	return ParsePeerAnswer(a.Bytes(), to)
}

// ParsePeerAnswer reads an answer strictly: it is about that very request and
// signed by who answers. Whether he is the one that was asked is for the caller
// to say.
func ParsePeerAnswer(b []byte, to *PeerRequest) (*PeerAnswer, error) {
	const name = peerAnswerName
	var a PeerAnswer
	err := decodeVersion(name, b, MaxPeerMessage, &a, &a.Version, peerVersion)
	switch {
	case err != nil:
		return nil, err
	case a.Request != to.Hash():
		return nil, &Error{name, LinkPeer, "it answers another request", nil}
	case a.Message != clipLine(a.Message, maxPeerText):
		return nil, content(name, "its message is too long or has control characters")
	case a.Code == 0 && a.Message != "":
		return nil, content(name, "a message without a refusal")
	}
	if err := checkTime(name, "time", a.Time); err != nil {
		return nil, err
	}
	if a.answerer, err = ParseFingerprint(a.Answerer); err != nil {
		return nil, err
	}
	if !DomainPeerAnswer.Verify(a.answerer.Computer.Sign, a.payload(), a.Signature) {
		return nil, &Error{name, LinkPeer, "altered, or not signed by the manager it names", nil}
	}
	return &a, nil
}

// From is the fingerprint of who answers.
func (a *PeerAnswer) From() *Fingerprint { return a.answerer }

// Bytes is the answer's encoding.
func (a *PeerAnswer) Bytes() []byte { return Encode(a) }

// clipLine is a text as a stranger's program may show it: one line, not too long.
func clipLine(s string, most int) string {
	s = strings.Map(func(r rune) rune {
		if unicode.IsControl(r) {
			return ' '
		}
		return r
	}, strings.ToValidUTF8(s, " "))
	for len(s) > most {
		_, last := utf8.DecodeLastRuneInString(s)
		s = s[:len(s)-last]
	}
	return s
}
