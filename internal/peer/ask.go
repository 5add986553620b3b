package peer

import (
	"context"
	"crypto"
	"crypto/ed25519"
	"crypto/rand"
	"fmt"

	"github.com/sojournlm/sojourn/internal/code"
	"github.com/sojournlm/sojourn/internal/document"
)

// Exchange carries a message to the manager at an address and brings its answer.
type Exchange func(ctx context.Context, address string, message []byte) (answer []byte, err error)

// Self is the manager that speaks. It is safe for concurrent use where its
// functions are.
type Self struct {
	Sign        crypto.Signer
	Fingerprint func() *document.Fingerprint // of the signer's key
	Now         func() int64                 // what this computer's clock shows, Unix seconds
}

// Greeting is what a manager says of itself, fresh.
type Greeting struct {
	Fingerprint *document.Fingerprint
	Ahead       int64  // how far its clock is ahead of this computer's, about, in seconds
	nonce       []byte // for one request to it
}

// Is reports whether the one who answered has that key.
func (g *Greeting) Is(public ed25519.PublicKey) bool {
	return public.Equal(ed25519.PublicKey(g.Fingerprint.Computer.Sign))
}

// Error is an exchange that failed.
type Error struct {
	Address string
	Sent    bool // the other may have done what it was asked for
	Err     error
}

func (e *Error) Error() string { return fmt.Sprintf("%s: %v", e.Address, e.Err) }

// Unwrap gives the cause.
func (e *Error) Unwrap() error { return e.Err }

// Refused is the signed "no" of the manager that was asked. It is certain: what was
// asked has not happened, unless the code says that it is not known.
type Refused struct {
	Code    code.Code
	Message string
	Details []byte // in the encoding of the verb
}

func (r *Refused) Error() string { return r.Message }

// Unwrap gives the code.
func (r *Refused) Unwrap() error { return r.Code }

// Greet asks who answers at an address. It gives an [*Error], which never wraps a
// [*Refused]: who refuses to be greeted may be anybody, and no manager does.
func (s *Self) Greet(ctx context.Context, exchange Exchange, address string) (*Greeting, error) {
	fail := func(err error) (*Greeting, error) { return nil, &Error{Address: address, Err: err} }
	nonce := make([]byte, 32)
	rand.Read(nonce)
	request := document.NewPeerGreeting(nonce)
	before := s.Now()
	raw, err := exchange(ctx, address, request.Bytes())
	if err != nil {
		return fail(err)
	}
	answer, err := document.ParsePeerAnswer(raw, request)
	if err != nil {
		return fail(err)
	}
	if answer.Code != 0 {
		return fail(fmt.Errorf("a greeting is refused there, which no manager does: %s", answer.Message))
	}
	return &Greeting{
		Fingerprint: answer.From(),
		Ahead:       answer.Time - (before+s.Now())/2,
		nonce:       answer.Body,
	}, nil
}

// Ask makes a request of the manager that was greeted; a greeting is good for
// one request. It gives the body of the answer, or an [*Error], which wraps a
// [*Refused] where the other has said no.
func (s *Self) Ask(ctx context.Context, exchange Exchange, address string, g *Greeting, verb uint32, body []byte) ([]byte, error) {
	fail := func(sent bool, err error) ([]byte, error) { return nil, &Error{address, sent, err} }
	target := ed25519.PublicKey(g.Fingerprint.Computer.Sign)
	request, err := document.SignPeerRequest(s.Sign, s.Fingerprint(), verb, target, g.nonce, body)
	if err != nil {
		return fail(false, err)
	}
	if err := ctx.Err(); err != nil {
		return fail(false, err)
	}
	raw, err := exchange(ctx, address, request.Bytes())
	if err != nil {
		return fail(true, err)
	}
	answer, err := document.ParsePeerAnswer(raw, request)
	if err == nil && !g.Is(answer.From().Computer.Sign) {
		err = fmt.Errorf("lmsId %d answers what lmsId %d was asked", answer.From().Computer.ID, g.Fingerprint.Computer.ID)
	}
	if err != nil {
		return fail(true, err)
	}
	if answer.Code != 0 {
		return fail(code.Code(answer.Code) == code.GetResponseFailed, &Refused{code.Code(answer.Code), answer.Message, answer.Body})
	}
	return answer.Body, nil
}
