package ledger

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/sojournlm/sojourn/internal/document"
)

// tries is how often a key that has not moved is asked again before the batch is
// left pending.
const tries = 3

// pending is a batch that is stored and not known to be signed. It is not state.
// It is never changed.
type pending[S State[S]] struct {
	batch *batch
	base  *tip[S]
	tip   *tip[S]        // after the batch; nil for one that was found and not judged yet
	found func() *tip[S] // what tip may become, where it is nil; nil: the batch does not fold
}

// found is a pending batch that was found in the store. What it may become is folded
// once, when somebody asks.
func found[S State[S]](b *batch, base *tip[S], rules uint32) *pending[S] {
	return &pending[S]{batch: b, base: base, found: sync.OnceValue(func() *tip[S] {
		t, err := base.fold(b, rules, nil)
		if err != nil {
			return nil
		}
		return t
	})}
}

// look is the tip after the batch, which is only to be looked at: the batch may not
// have been judged. It is nil where the batch never becomes state.
func (p *pending[S]) look() *tip[S] {
	if p.tip != nil {
		return p.tip
	}
	return p.found()
}

// settle has the pending batch signed and shows it. When it fails, with an Error,
// the batch is still pending or the ledger is refused.
func (l *Ledger[S]) settle(ctx context.Context) error {
	p := l.pending.Load()
	if p == nil {
		return nil
	}
	seq := p.base.header.Seq + 1
	p, err := l.judge(p)
	if err != nil {
		return err
	}
	var cause error
	for range tries {
		c, err := l.advance(ctx, p.batch)
		if err == nil {
			l.show(p.tip, c)
			return nil
		}
		cause = fmt.Errorf("the anchor has not signed it yet: %w", err)
		// Whether the key has moved is not guessed but asked.
		c, err = l.checkpoint(ctx)
		if err != nil {
			return l.failAt("settle", seq, fmt.Errorf("%w; its checkpoint: %w", cause, err))
		}
		switch {
		case c.Seq == seq && c.Head == p.batch.head && c.Horizon >= p.batch.header.Horizon:
			l.show(p.tip, c)
			return nil
		case c.Seq != p.base.header.Seq || c.Head != p.base.head:
			return l.refuse(l.failAt("settle", seq, fmt.Errorf("%w: the anchor is at another batch %d", ErrForked, c.Seq)))
		}
	}
	return l.failAt("settle", seq, cause)
}

// meet compares the ledger, in which nothing is pending, with the key.
func (l *Ledger[S]) meet(ctx context.Context) error {
	t := l.tip.Load()
	seq := t.header.Seq
	key, err := l.checkpoint(ctx)
	switch {
	case err != nil:
		return l.failAt("meet", seq, err)
	case key.Seq > seq:
		err = fmt.Errorf("%w: it ends with batch %d, the anchor is at batch %d", ErrRolledBack, seq, key.Seq)
	case key.Seq < seq:
		err = fmt.Errorf("%w: the anchor is at batch %d", ErrAnchorLost, key.Seq)
	case key.Head != t.head:
		err = fmt.Errorf("%w: the anchor has signed another one", ErrForked)
	case key.Horizon < t.header.Horizon:
		err = fmt.Errorf("%w: the anchor's horizon lies before the batch's", ErrForked)
	default:
		return nil
	}
	return l.refuse(l.failAt("meet", seq, err))
}

// show makes t, now signed, what everybody sees.
func (l *Ledger[S]) show(t *tip[S], c document.Checkpoint) {
	t.checkpoint = c
	l.tip.Store(t)
	l.pending.Store(nil)
}

// judge makes up its mind about a pending batch that was found in the store, and
// gives it with its tip.
func (l *Ledger[S]) judge(p *pending[S]) (*pending[S], error) {
	if p.tip != nil {
		return p, nil
	}
	seq := p.base.header.Seq + 1
	if ahead := p.batch.header.Time - l.cfg.Clock.Now().Unix; ahead > 0 {
		// It may be our own, from before the clock was put back: time will tell.
		return nil, l.failAt("settle", seq, fmt.Errorf("%w: an unsigned batch lies %v ahead of it", ErrClock, time.Duration(ahead)*time.Second))
	}
	t, err := p.base.fold(p.batch, l.cfg.Rules, S.Judge)
	if err != nil {
		return nil, l.refuse(l.failAt("settle", seq, err))
	}
	p = &pending[S]{batch: p.batch, base: p.base, tip: t}
	l.pending.Store(p)
	return p, nil
}

// advance has the key sign the batch. Whatever else the key answers is an error.
func (l *Ledger[S]) advance(ctx context.Context, b *batch) (document.Checkpoint, error) {
	began := time.Now()
	c, err := l.cfg.Anchor.Advance(ctx, b.prev, b.encoded)
	l.count(func(s *Stats) { s.InKey += time.Since(began) })
	if err != nil {
		return c, err
	}
	if c.Seq != b.header.Seq || c.Head != b.head || c.Horizon < b.header.Horizon || !c.Verify(l.public) {
		return c, errors.New("the anchor has signed something else")
	}
	return c, nil
}

// ready asks an anchor that can tell whether it can keep another batch.
func (l *Ledger[S]) ready(ctx context.Context) error {
	if a, ok := l.cfg.Anchor.(interface{ Ready(context.Context) error }); ok {
		return a.Ready(ctx)
	}
	return nil
}

// checkpoint reads where the key is.
func (l *Ledger[S]) checkpoint(ctx context.Context) (document.Checkpoint, error) {
	c, err := l.cfg.Anchor.Checkpoint(ctx)
	if err != nil {
		return c, err
	}
	if !c.Verify(l.public) {
		return c, errors.New("the anchor's checkpoint is not signed by it")
	}
	return c, nil
}
