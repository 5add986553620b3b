package device

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/sojournlm/sojourn/internal/code"
	"github.com/sojournlm/sojourn/internal/wire"
	"github.com/sojournlm/sojourn/transport"
)

// attempts is how often a request is made before its loss is reported.
const attempts = 3

const (
	// silence is how long a key that is asked what it is, or what pool it holds, is waited
	// for: twice what it may take. It is not asked again then. Who asks that does not know
	// yet whether it is a key at all.
	silence = 2 * time.Second
	// writing is how long a key may be at an Advance or Install, and answers nothing else
	// meanwhile. It goes on with one whose caller is gone.
	writing = 5 * time.Second
)

// asker makes one request of a command and gives the payload of its answer.
type asker func(op wire.Op, payload []byte) ([]byte, error)

// command runs do with the key to itself, and makes its error an [*Error].
func (k *Key) command(ctx context.Context, op string, do func(asker) error) error {
	select {
	case <-k.turn:
		defer func() { k.turn <- struct{}{} }()
	case <-ctx.Done():
		return &Error{Op: op, Key: k.id, Err: ctx.Err()}
	}
	err := do(func(o wire.Op, payload []byte) ([]byte, error) { return k.ask(ctx, o, payload) })
	if err == nil {
		return nil
	}
	failure := &Error{Op: op, Key: k.id, Err: err}
	if f := (*lost)(nil); errors.As(err, &f) {
		failure.MayHaveActed, failure.Err = f.acted, f.err
	}
	return failure
}

// answer makes one request and reads its answer.
func answer[T any](ask asker, op wire.Op, request []byte, parse func([]byte) (T, error)) (T, error) {
	b, err := ask(op, request)
	if err != nil {
		var none T
		return none, err
	}
	v, err := parse(b)
	if err != nil {
		return v, answered(op, err.Error())
	}
	return v, nil
}

// ask makes a request, again when it or its answer is lost or damaged. Each
// attempt has a sequence number of its own, so that a late answer to an earlier
// one is known for what it is.
func (k *Key) ask(ctx context.Context, op wire.Op, payload []byte) ([]byte, error) {
	acted := false
	var last error
	for range attempts {
		k.seq++
		request := wire.Frame{Op: op, Seq: k.seq, Payload: payload}
		b, silent, err := k.exchange(ctx, request)
		if err != nil {
			acted = acted || changes(op) && sent(err)
			last = unreachable(err, acted)
			if ctx.Err() != nil || silent || final(err) {
				break
			}
			continue
		}
		f, err := wire.Parse(b)
		if err == nil && f.Answers(request) {
			k.writing = time.Time{}
		}
		switch {
		case errors.Is(err, wire.ErrVersion) && f.Answers(request):
			return nil, &lost{fmt.Errorf("%w: %w", err, code.OutdatedVersion), changes(op)}
		case err != nil:
			last = fmt.Errorf("%w: %w", ErrAnswer, err)
		case f.Status == wire.BadFrame:
			last = fmt.Errorf("%w: %w", code.RequestFailed, f.Status)
		case !f.Answers(request):
			last = fmt.Errorf("%w: it answers another request", ErrAnswer)
		case f.Status != wire.OK:
			return nil, &lost{refusal(f.Status), acted || changes(op) && f.Status == wire.FlashFailed}
		default:
			return f.Payload, nil
		}
		acted = changes(op)
		if ctx.Err() != nil {
			break
		}
	}
	return nil, &lost{last, acted}
}

// exchange makes one attempt. silent tells that it was given up, before the context
// ended.
func (k *Key) exchange(ctx context.Context, request wire.Frame) (b []byte, silent bool, err error) {
	if changes(request.Op) {
		k.writing = time.Now().Add(writing)
	}
	if request.Op != wire.OpInfo && request.Op != wire.OpReadPool {
		b, err = k.conn.Exchange(ctx, request.Encode())
		return b, false, err
	}
	within := silence + max(0, time.Until(k.writing))
	brief, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	b, err = k.conn.Exchange(brief, request.Encode())
	if err == nil || brief.Err() == nil || ctx.Err() != nil {
		return b, false, err
	}
	err = fmt.Errorf("%w: the key did not answer within %v", transport.ErrGarbled, within.Round(time.Second))
	return nil, true, &transport.Error{Op: "exchange", Key: k.id, Sent: true, Err: err}
}

// changes reports whether an opcode changes what a key keeps.
func changes(op wire.Op) bool { return op == wire.OpAdvance || op == wire.OpInstall }

// sent reports whether a failed exchange may have reached the key.
func sent(err error) bool {
	if t := (*transport.Error)(nil); errors.As(err, &t) {
		return t.Sent
	}
	return true
}

// final reports whether a failed exchange will fail again.
func final(err error) bool {
	return errors.Is(err, transport.ErrNoKey) || errors.Is(err, transport.ErrClosed) || errors.Is(err, transport.ErrTooLong)
}
