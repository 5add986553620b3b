package ledger

import (
	"context"

	"github.com/sojournlm/sojourn/internal/document"
)

// Report is what Verify has looked at.
type Report struct {
	Batches    uint64 // that are as they should be
	Entries    uint64 // in them
	Bytes      uint64 // stored for them
	Signatures uint64 // that are the key's
}

// Verify reads everything anew up to the newest batch that is shown, and holds it
// against itself, the key's signatures and the state in memory: chain, Merkle
// roots, counts, numbers, times, horizons, rules, every signature, every entry,
// and what the state says of itself. A state with a method Equal(S) bool is also
// compared with the fold.
//
// The first thing that does not add up is the error, an [*Error] that names the
// batch and, where it is one entry, the entry; the Report says how far all was
// well. A ledger that is refused is never well: if nothing else is found, the
// error is Refusal's. Commits go on meanwhile.
func (l *Ledger[S]) Verify(ctx context.Context) (Report, error) {
	var report Report
	t := l.tip.Load()
	folded := &tip[S]{state: l.cfg.Empty}
	err := l.walk(ctx, "verify", 1, t.header.Seq, func(seq uint64, r record) error {
		b, err := parseBatch(r.batch)
		if err != nil {
			return l.failAt("verify", seq, err)
		}
		if folded, err = folded.fold(b, l.cfg.Rules, nil); err != nil {
			return l.failAt("verify", seq, err)
		}
		if _, err := l.signature(t, b, r.signature); err != nil {
			return l.failAt("verify", seq, err)
		}
		report.Batches++
		report.Entries += b.header.Count
		report.Bytes += uint64(len(r.batch) + len(r.signature))
		report.Signatures++
		return nil
	})
	if err == nil {
		err = l.verifyState(t, folded)
	}
	if err == nil {
		err = l.verifyHead(ctx, t)
	}
	if err == nil {
		err = l.Refusal()
	}
	return report, err
}

// verifyState compares the state in memory with the one folded anew.
func (l *Ledger[S]) verifyState(t, folded *tip[S]) error {
	seq := t.header.Seq
	if folded.head != t.head {
		return l.failAt("verify", seq, damaged("it is not the one that was folded"))
	}
	if err := t.state.Check(); err != nil {
		return l.failAt("verify", seq, damaged("the state after it: %w", err))
	}
	same := t.state.Horizon() == folded.state.Horizon()
	if state, ok := any(t.state).(interface{ Equal(S) bool }); ok {
		same = same && state.Equal(folded.state)
	}
	if !same {
		return l.failAt("verify", seq, damaged("the state in memory is not the fold of what is stored"))
	}
	return nil
}

// verifyHead checks that the stored head is the newest batch's, or a later one's
// when commits went on.
func (l *Ledger[S]) verifyHead(ctx context.Context, t *tip[S]) error {
	stored, err := l.readHead(ctx, "verify")
	if err != nil {
		return err
	}
	same := stored.Seq == t.header.Seq && (stored.Seq == 0 || stored.Head == t.head)
	if !same && (stored.Seq <= t.header.Seq || stored.Head == document.Hash{}) {
		return l.fail("verify", damaged("the stored head is batch %d, the newest is %d", stored.Seq, t.header.Seq))
	}
	return nil
}
