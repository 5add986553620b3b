package ledger

import (
	"bytes"
	"context"
	"errors"
	"fmt"

	"github.com/sojournlm/sojourn/internal/document"
	"github.com/sojournlm/sojourn/storage"
)

// Open reads the ledger from the store, folds its state and compares it with the
// key. A batch that the key has not signed yet is judged and settled.
//
// Where store and key do not fit, or a batch is damaged, the ledger can be read
// as far as it holds good and Refusal says why nothing more is possible. Only a
// store that cannot be read, a key that cannot be reached and a Config that lacks
// something are errors of Open. Close ends what Open began.
func Open[S State[S]](ctx context.Context, cfg Config[S]) (*Ledger[S], error) {
	l := &Ledger[S]{cfg: cfg, stopped: make(chan struct{})}
	l.queue.wake.L = &l.queue.mu
	if err := cfg.check(); err != nil {
		return nil, l.fail("open", err)
	}
	l.public = cfg.Anchor.Public()
	key, err := l.checkpoint(ctx)
	if err != nil {
		return nil, l.fail("open", err)
	}
	if err := l.recover(ctx, key); err != nil {
		return nil, l.fail("open", err)
	}
	running, cancel := context.WithCancel(context.WithoutCancel(ctx))
	l.cancel = cancel
	go l.run(running)
	return l, nil
}

// recover folds the store, compares it with the key, starts the clock and settles
// what is pending. It fails only when the store cannot be read or ctx ends.
func (l *Ledger[S]) recover(ctx context.Context, key document.Checkpoint) error {
	base := &tip[S]{state: l.cfg.Empty}
	stored, err := l.readHead(ctx, "open")
	var last *batch
	if err == nil && stored.Seq > 0 {
		l.public = stored.Public
		base, last, err = l.fold(ctx, base, stored)
	}
	l.tip.Store(base)
	switch {
	case bad(err):
		l.refuse(err)
	case err != nil:
		return err
	default:
		if err := l.compare(ctx, stored, last, key); err != nil {
			return err
		}
	}
	// Once, and only now: a clock that began at an older batch, or at none, has
	// already believed the wall.
	l.cfg.Clock.Start(l.tip.Load().header.Time)
	if l.Refusal() != nil {
		return nil
	}
	if err := l.settle(ctx); err != nil && l.Refusal() == nil && ctx.Err() != nil {
		return err
	}
	return nil
}

// bad says whether err is about what is in the store, not about reading it.
func bad(err error) bool { return errors.Is(err, ErrDamaged) || errors.Is(err, ErrRules) }

// fold is the tip before the newest stored batch, and that batch, which is
// nobody's word yet.
func (l *Ledger[S]) fold(ctx context.Context, base *tip[S], stored headRecord) (*tip[S], *batch, error) {
	err := l.walk(ctx, "open", 1, stored.Seq-1, func(seq uint64, r record) error {
		b, err := parseBatch(r.batch)
		if err == nil {
			var next *tip[S]
			if next, err = base.fold(b, l.cfg.Rules, nil); err == nil {
				base = next
				return nil
			}
		}
		return l.failAt("open", seq, err)
	})
	if err != nil {
		return base, nil, err
	}
	var last *batch
	err = l.walk(ctx, "open", stored.Seq, stored.Seq, func(seq uint64, r record) error {
		if last, err = parseBatch(r.batch); err != nil {
			return l.failAt("open", seq, err)
		}
		if last.head != stored.Head {
			return l.failAt("open", seq, damaged("it is not the one of the stored head"))
		}
		return nil
	})
	return base, last, err
}

// compare holds the newest stored batch, nil in an empty store, against the
// key's checkpoint. The batch is shown, or pending.
func (l *Ledger[S]) compare(ctx context.Context, stored headRecord, last *batch, key document.Checkpoint) error {
	base := l.tip.Load()
	if last != nil {
		l.pending.Store(found(last, base, l.cfg.Rules))
	}
	refuse := func(err error) error {
		l.refuse(l.failAt("open", stored.Seq, err))
		return l.showSigned(ctx, stored, last)
	}
	switch {
	case last != nil && !bytes.Equal(stored.Public, l.cfg.Anchor.Public()):
		return refuse(fmt.Errorf("%w: it was signed by another anchor", ErrAnchorLost))
	case key.Seq > stored.Seq:
		return refuse(fmt.Errorf("%w: it ends with batch %d, the anchor is at batch %d", ErrRolledBack, stored.Seq, key.Seq))
	case key.Seq+1 < stored.Seq:
		return refuse(fmt.Errorf("%w: the anchor is at batch %d", ErrAnchorLost, key.Seq))
	case key.Seq == stored.Seq && key.Head != stored.Head:
		return refuse(fmt.Errorf("%w: the anchor has signed another one", ErrForked))
	case last == nil:
		return nil
	case key.Seq == stored.Seq:
		return l.resume(ctx, last, key)
	case key.Head != last.prev:
		return refuse(fmt.Errorf("%w: the anchor has signed another batch before it", ErrForked))
	}
	base.checkpoint = key
	return nil
}

// resume goes on where the key and the store agree.
func (l *Ledger[S]) resume(ctx context.Context, last *batch, key document.Checkpoint) error {
	seq := last.header.Seq
	t, err := l.tip.Load().fold(last, l.cfg.Rules, nil)
	if err != nil {
		l.refuse(l.failAt("open", seq, err))
		return nil
	}
	if key.Horizon < last.header.Horizon {
		l.refuse(l.failAt("open", seq, fmt.Errorf("%w: the anchor's horizon lies before the batch's", ErrForked)))
	}
	signature, err := l.get(ctx, signatureKey(l.cfg.Name, seq))
	if err != nil && !errors.Is(err, storage.ErrNotFound) {
		return err
	}
	t.recorded = bytes.Equal(signature, encodeSignature(key))
	l.show(t, key)
	return nil
}

// showSigned shows the newest batch of a refused ledger where a stored signature
// vouches for it.
func (l *Ledger[S]) showSigned(ctx context.Context, stored headRecord, last *batch) error {
	if last == nil {
		return nil
	}
	signature, err := l.get(ctx, signatureKey(l.cfg.Name, stored.Seq))
	if errors.Is(err, storage.ErrNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	c, err := parseSignature(signature, stored.Seq, stored.Head, l.public)
	if err != nil {
		return nil
	}
	if t, err := l.tip.Load().fold(last, l.cfg.Rules, nil); err == nil {
		t.recorded = true
		l.show(t, c)
	}
	return nil
}

// readHead is the stored head, with Seq 0 where there is none.
func (l *Ledger[S]) readHead(ctx context.Context, op string) (headRecord, error) {
	b, err := l.get(ctx, headKey(l.cfg.Name))
	if errors.Is(err, storage.ErrNotFound) {
		return headRecord{}, nil
	}
	if err != nil {
		return headRecord{}, err
	}
	r, err := parseHead(b)
	if err != nil {
		return r, l.fail(op, err)
	}
	return r, nil
}

func (l *Ledger[S]) get(ctx context.Context, key string) (value []byte, err error) {
	err = l.cfg.Store.View(ctx, func(r storage.Reader) (err error) {
		value, err = r.Get(key)
		return err
	})
	return value, err
}
