package ledger

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"runtime"
	"time"

	"github.com/sojournlm/sojourn/internal/document"
	"github.com/sojournlm/sojourn/storage"
)

// Do commits what decide decides on.
//
// decide looks at the state as the batch so far leaves it, with everything due
// applied, and gives entries, none, or an error. The entries belong to the ledger
// then. It must not change the state, has no effects, and may run again. It runs in
// the committer's goroutine, also when Do has returned because ctx ended, so it
// writes nothing that it captures, and does not call Do, Settle or Close. What it
// finds out besides the entries, [Decide] gives. A panic of decide goes on in Do.
//
// When Do gives a Receipt, the entries are stored and signed. An error of decide
// is given as it is. Any error means that nothing happened, unless it wraps
// storage.ErrUnknown: then a later look at the state tells. An answer that leaned
// on other commands of its batch is given when that batch is safe; if it fails,
// its error is the answer.
//
// When ctx ends while the command waits for its turn, nothing happened. When it
// ends later, the error wraps storage.ErrUnknown as well.
func (l *Ledger[S]) Do(ctx context.Context, decide func(s S, now Moment) ([][]byte, error)) (*Receipt[S], error) {
	return l.ask(ctx, "commit", &command[S]{decide: decide})
}

// Decide is Do for a decide that finds out something besides the entries. What it
// found out is given with a Receipt only.
func Decide[S State[S], T any](ctx context.Context, l *Ledger[S], decide func(s S, now Moment) (T, [][]byte, error)) (T, *Receipt[S], error) {
	var found, none T
	receipt, err := l.Do(ctx, func(s S, now Moment) (entries [][]byte, err error) {
		found, entries, err = decide(s, now)
		return entries, err
	})
	if err != nil {
		return none, nil, err // decide may run still
	}
	return found, receipt, nil
}

// Settle finishes a batch that is stored but not signed, because the key was
// away. Do and Settle both try; what nobody settles, the next Open does.
func (l *Ledger[S]) Settle(ctx context.Context) error {
	_, err := l.ask(ctx, "settle", &command[S]{})
	return err
}

// Meet is Settle with a key that was away: it also sees that the key is where the
// ledger is. A key that has moved on meanwhile, or was put back to an earlier state,
// makes the ledger refuse everything, before a batch is stored that it would not sign.
func (l *Ledger[S]) Meet(ctx context.Context) error {
	_, err := l.ask(ctx, "meet", &command[S]{meet: true})
	return err
}

// ask puts a command to the committer and waits for the answer.
func (l *Ledger[S]) ask(ctx context.Context, op string, c *command[S]) (*Receipt[S], error) {
	if err := ctx.Err(); err != nil {
		return nil, l.fail(op, err)
	}
	c.answer = make(chan answer[S], 1)
	if !l.queue.put(c) {
		return nil, l.fail(op, ErrClosed)
	}
	var a answer[S]
	select {
	case a = <-c.answer:
	case <-ctx.Done():
		if l.queue.leave(c) {
			return nil, l.fail(op, ctx.Err())
		}
		return nil, l.fail(op, &unknown{"no longer waited for", ctx.Err()})
	case <-l.stopped:
		// It answers everybody before it stops, unless a decide ended its
		// goroutine.
		select {
		case a = <-c.answer:
		default:
			return nil, l.fail(op, &unknown{"the committer was ended", ErrClosed})
		}
	}
	if a.panicked != nil {
		panic(a.panicked)
	}
	return a.receipt, a.err
}

// run is the committer. It ends when the queue was closed and is empty.
func (l *Ledger[S]) run(ctx context.Context) {
	defer close(l.stopped)
	defer l.queue.end()
	for n := l.queue.wait(); n > 0; n = l.queue.wait() {
		l.round(ctx, n)
		// Who was just answered may come again at once: with them the next batch is
		// half as large again, without a timer.
		runtime.Gosched()
	}
	l.closed = l.recordSignature(ctx)
}

// round commits one batch of the first n commands that wait, or of as many of
// them as fit.
func (l *Ledger[S]) round(ctx context.Context, n int) {
	d, err := l.draft(ctx)
	for range n {
		c := l.queue.take()
		if c == nil {
			break // the others have left
		}
		if err == nil && c.meet {
			err = l.meet(ctx)
		}
		if err != nil || c.decide == nil {
			c.answer <- answer[S]{err: err}
			continue
		}
		if !d.add(c) {
			l.queue.untake(c)
			break
		}
	}
	switch {
	case d == nil || !d.changed():
	case err != nil:
		d.answer(nil, nil, err)
	default:
		d.answer(l.commit(ctx, d))
	}
}

// draft is a batch while it is decided on.
type draft[S State[S]] struct {
	l       *Ledger[S]
	base    *tip[S]
	now     Moment
	state   S // base with the entries
	entries [][]byte
	due     int // entries that were due, the first ones: no reason to commit, and not counted to its limits
	bytes   int // of the other entries
	leaning []leaning[S]
}

// leaning is a command whose answer waits for the batch.
type leaning[S State[S]] struct {
	command *command[S]
	err     error // its refusal
	first   int   // its entries
	count   int
}

// draft begins a batch, unless there is something that stands in the way.
func (l *Ledger[S]) draft(ctx context.Context) (*draft[S], error) {
	if err := l.Refusal(); err != nil {
		return nil, err
	}
	if err := l.settle(ctx); err != nil {
		return nil, err
	}
	t := l.tip.Load()
	d := &draft[S]{l: l, base: t, now: l.cfg.Clock.Now(), state: t.state}
	d.now.Unix = max(d.now.Unix, t.header.Time)
	if d.now.Err == nil {
		due := t.state.Due(d.now.Unix)
		if err := d.apply(due); err != nil {
			return nil, l.failAt("commit", t.header.Seq+1, fmt.Errorf("what is due does not apply: %w", err))
		}
		d.due, d.bytes = len(due), 0
	}
	return d, nil
}

// changed says whether anybody decided on an entry.
func (d *draft[S]) changed() bool { return len(d.entries) > d.due }

// apply adds entries as a whole or not at all.
func (d *draft[S]) apply(entries [][]byte) error {
	if len(entries) == 0 {
		return nil
	}
	state := d.state.Clone()
	size := 0
	for i, entry := range entries {
		at := Position{Seq: d.base.header.Seq + 1, Index: len(d.entries) + i, Time: d.now.Unix, Rules: d.l.cfg.Rules}
		if err := state.Apply(at, entry); err != nil {
			return &badEntry{at.Index, err}
		}
		size += len(entry)
	}
	d.state, d.entries, d.bytes = state, append(d.entries, entries...), d.bytes+size
	return nil
}

// fits says whether there is room for entries.
func (d *draft[S]) fits(entries [][]byte) bool {
	size := d.bytes
	for _, entry := range entries {
		size += len(entry)
	}
	return size <= MaxBytes && len(d.entries)-d.due+len(entries) <= MaxEntries
}

// add lets a command decide and adds its entries, or says that they are for the
// next batch.
func (d *draft[S]) add(c *command[S]) (added bool) {
	defer func() {
		// A panic is the caller's: the state is as before, for apply sets it last.
		if p := recover(); p != nil {
			c.answer <- answer[S]{panicked: p}
			added = true
		}
	}()
	entries, err := c.decide(d.state, d.now)
	if err == nil && !d.fits(entries) {
		if d.changed() {
			return false
		}
		err = d.l.fail("commit", fmt.Errorf("%w: %d entries, at most %d and %d bytes are allowed", ErrTooLarge, len(entries), MaxEntries, MaxBytes))
	}
	leaned, first := d.changed(), len(d.entries)
	if err == nil {
		if err = d.apply(entries); err != nil {
			err = d.l.failAt("commit", d.base.header.Seq+1, fmt.Errorf("the rules refuse what they decided on: %w", err))
		}
	}
	if !leaned && len(d.entries) == first {
		c.answer <- d.answerTo(leaning[S]{command: c, err: err}, nil, d.base)
		return true
	}
	d.leaning = append(d.leaning, leaning[S]{c, err, first, len(d.entries) - first})
	return true
}

// answer answers everybody who leaned on the batch, which is b or failed.
func (d *draft[S]) answer(b *batch, t *tip[S], err error) {
	for _, w := range d.leaning {
		if err != nil {
			w.command.answer <- answer[S]{err: err}
			continue
		}
		w.command.answer <- d.answerTo(w, b, t)
	}
}

// answerTo is a command's answer when its batch, if any, is safe and t the tip.
func (d *draft[S]) answerTo(w leaning[S], b *batch, t *tip[S]) answer[S] {
	switch {
	case w.err != nil:
		return answer[S]{err: w.err}
	case w.count == 0:
		return answer[S]{receipt: &Receipt[S]{Time: d.now.Unix, State: t.state}}
	}
	return answer[S]{receipt: &Receipt[S]{
		Seq: t.header.Seq, Index: w.first, Time: t.header.Time, State: t.state,
		count: w.count, batch: b, checkpoint: t.checkpoint,
	}}
}

// commit stores the batch, has it signed and shows it.
func (l *Ledger[S]) commit(ctx context.Context, d *draft[S]) (*batch, *tip[S], error) {
	h := document.Header{
		Seq:     d.base.header.Seq + 1,
		Time:    d.now.Unix,
		Horizon: max(d.base.header.Horizon, d.state.Horizon()),
		Rules:   l.cfg.Rules,
	}
	if l.cfg.Witness != nil {
		h.Witness = l.cfg.Witness()
	}
	b, err := newBatch(d.base.head, h, d.entries)
	if err != nil {
		return nil, nil, l.failAt("commit", h.Seq, err)
	}
	if err := l.store(ctx, d.base, b); err != nil {
		return nil, nil, err
	}
	t := &tip[S]{state: d.state, header: b.header, head: b.head}
	l.pending.Store(&pending[S]{batch: b, base: d.base, tip: t})
	l.queue.stored()
	if err := l.settle(ctx); err != nil {
		return nil, nil, l.failAt("commit", h.Seq, &unknown{"it is stored", errors.Unwrap(err)})
	}
	l.count(func(s *Stats) {
		s.Batches++
		s.Entries += uint64(len(b.entries))
		s.Commands += uint64(len(d.leaning))
	})
	return b, l.tip.Load(), nil
}

// store is the first step of a commit: the batch, the new head and the signature
// of the batch before.
func (l *Ledger[S]) store(ctx context.Context, base *tip[S], b *batch) error {
	value, seq := b.encode(), b.header.Seq
	began := time.Now()
	err := l.cfg.Store.Update(ctx, func(w storage.Writer) error {
		if err := l.owns(w, base); err != nil {
			return err
		}
		if seq > 1 && !base.recorded {
			if err := w.Put(signatureKey(l.cfg.Name, seq-1), encodeSignature(base.checkpoint)); err != nil {
				return err
			}
		}
		if err := w.Put(batchKey(l.cfg.Name, seq), value); err != nil {
			return err
		}
		return w.Put(headKey(l.cfg.Name), l.encodeHead(seq, b.head))
	})
	l.count(func(s *Stats) { s.InStore += time.Since(began) })
	if err == nil {
		return nil
	}
	err = l.failAt("commit", seq, err)
	if errors.Is(err, storage.ErrUnknown) || errors.Is(err, ErrForked) {
		return l.refuse(err)
	}
	return err
}

func (l *Ledger[S]) encodeHead(seq uint64, head document.Hash) []byte {
	return document.Encode(headRecord{Version: version, Seq: seq, Head: head, Public: l.public})
}

// owns says whether the store's head is still t.
func (l *Ledger[S]) owns(r storage.Reader, t *tip[S]) error {
	stored, err := r.Get(headKey(l.cfg.Name))
	if errors.Is(err, storage.ErrNotFound) {
		if t.header.Seq == 0 {
			return nil
		}
		return fmt.Errorf("%w: the stored head is gone", ErrForked)
	}
	if err != nil {
		return err
	}
	if !bytes.Equal(stored, l.encodeHead(t.header.Seq, t.head)) {
		return fmt.Errorf("%w: somebody else has written the store", ErrForked)
	}
	return nil
}

// recordSignature stores the newest signature, which otherwise comes with the
// next batch.
func (l *Ledger[S]) recordSignature(ctx context.Context) error {
	t := l.tip.Load()
	if t.header.Seq == 0 || t.recorded || l.pending.Load() != nil || l.Refusal() != nil {
		return nil
	}
	err := l.cfg.Store.Update(ctx, func(w storage.Writer) error {
		if err := l.owns(w, t); err != nil {
			return err
		}
		return w.Put(signatureKey(l.cfg.Name, t.header.Seq), encodeSignature(t.checkpoint))
	})
	if err != nil {
		return l.failAt("close", t.header.Seq, err)
	}
	return nil
}

// Close answers everybody who waits, stores the newest signature and ends the
// committer. When ctx ends first, what is under way is given up. The store stays
// open, and so does the ledger for reading. Close may be called again.
func (l *Ledger[S]) Close(ctx context.Context) error {
	l.queue.close()
	select {
	case <-l.stopped:
	case <-ctx.Done():
		l.cancel()
		<-l.stopped
	}
	l.cancel()
	return l.closed
}
