package ledger

import (
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"

	"github.com/sojournlm/sojourn/internal/document"
)

// ErrUnanchored says that a ledger was opened without its anchor.
var ErrUnanchored = errors.New("the anchor is not here, so nothing can be changed")

// Stored is the public half of the key that anchors the ledger of that name, as
// the store has it: nobody's word, until entries of the ledger bear it out. It is
// nil where the store has no such ledger.
func Stored[S State[S]](ctx context.Context, cfg Config[S]) (ed25519.PublicKey, error) {
	l := &Ledger[S]{cfg: cfg}
	stored, err := l.readHead(ctx, "open")
	if err != nil {
		return nil, err
	}
	return stored.Public, nil
}

// OpenUnanchored opens for reading a ledger whose key is not here. cfg.Anchor is
// not looked at; public is the key's public half.
//
// The state is that of the newest batch for which a signature of the key is
// stored, and what is stored in front of it. After a crash the newest batch may
// have none: then it stays in doubt. An older store cannot be told from today's,
// so Refusal is never nil. It wraps ErrUnanchored where the ledger is as far well,
// or ErrDamaged or ErrRules. Close ends what OpenUnanchored began.
func OpenUnanchored[S State[S]](ctx context.Context, cfg Config[S], public ed25519.PublicKey) (*Ledger[S], error) {
	cfg.Anchor = absent{public}
	l := &Ledger[S]{cfg: cfg, public: public, stopped: make(chan struct{})}
	l.queue.wake.L = &l.queue.mu
	if err := cfg.check(); err != nil {
		return nil, l.fail("open", err)
	}
	if err := l.foldSigned(ctx); bad(err) {
		l.refuse(err)
	} else if err != nil {
		return nil, l.fail("open", err)
	}
	l.refuse(l.fail("open", ErrUnanchored))
	l.cfg.Clock.Start(l.tip.Load().header.Time)
	running, cancel := context.WithCancel(context.WithoutCancel(ctx))
	l.cancel = cancel
	go l.run(running)
	return l, nil
}

// foldSigned shows the newest state that a stored signature vouches for, none
// where the error is bad.
func (l *Ledger[S]) foldSigned(ctx context.Context) error {
	empty := &tip[S]{state: l.cfg.Empty}
	l.tip.Store(empty)
	stored, err := l.readHead(ctx, "open")
	if err != nil || stored.Seq == 0 {
		return err
	}
	before, last, err := l.fold(ctx, empty, stored)
	if err != nil {
		return err
	}
	t, err := before.fold(last, l.cfg.Rules, nil)
	if err != nil {
		return l.failAt("open", stored.Seq, err)
	}
	newest, signed, err := l.vouched(ctx, stored.Seq, last.head)
	if err != nil {
		return err
	}
	if signed {
		l.show(t, newest)
		return nil
	}
	l.pending.Store(&pending[S]{batch: last, base: before, tip: t})
	if stored.Seq == 1 {
		return nil
	}
	// The signature before it was written with it.
	checkpoint, signed, err := l.vouched(ctx, before.header.Seq, before.head)
	if err == nil && !signed {
		err = l.failAt("open", before.header.Seq, damaged("its signature is missing"))
	}
	if err != nil {
		return err
	}
	before.checkpoint = checkpoint
	l.tip.Store(before)
	return nil
}

// vouched is the stored checkpoint of a batch, verified, if there is one.
func (l *Ledger[S]) vouched(ctx context.Context, seq uint64, head document.Hash) (c document.Checkpoint, signed bool, err error) {
	records, err := l.piece(ctx, seq, seq)
	if err != nil || records[0].signature == nil {
		return c, false, err
	}
	if c, err = parseSignature(records[0].signature, seq, head, l.public); err != nil {
		return c, false, l.failAt("open", seq, err)
	}
	return c, true, nil
}

// absent is the anchor of a ledger that was opened without its own.
type absent struct{ public ed25519.PublicKey }

func (a absent) Public() ed25519.PublicKey { return a.public }

func (a absent) Checkpoint(context.Context) (document.Checkpoint, error) {
	return document.Checkpoint{}, ErrUnanchored
}

func (a absent) Advance(context.Context, document.Hash, []byte) (document.Checkpoint, error) {
	return document.Checkpoint{}, fmt.Errorf("advance: %w", ErrUnanchored)
}
