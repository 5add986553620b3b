package ledger

import (
	"context"
	"fmt"

	"github.com/sojournlm/sojourn/internal/document"
)

// Receipt is the answer to a command: where its entries are, and the state with
// them. It keeps its whole batch in memory.
type Receipt[S State[S]] struct {
	Seq   uint64 // the batch; 0 when nothing was written
	Index int    // the first of the command's entries in the batch
	Time  int64  // the ledger's time, Unix seconds
	State S      // as shown to everybody after the batch

	count      int
	batch      *batch
	checkpoint document.Checkpoint
}

// Len is the number of the command's entries.
func (r *Receipt[S]) Len() int { return r.count }

// Proof shows that entry i of the command's own is in the ledger. It panics where
// i is not from 0 to Len.
func (r *Receipt[S]) Proof(i int) document.Proof {
	if i < 0 || i >= r.count {
		panic(fmt.Sprintf("ledger: proof of entry %d of %d", i, r.count))
	}
	return r.batch.proof(r.Index+i, r.checkpoint)
}

// Proof shows that an entry is in the ledger, from what is stored. Its error
// wraps ErrNoProof where there is no such entry and ErrDamaged where what is
// stored proves nothing.
func (l *Ledger[S]) Proof(ctx context.Context, seq uint64, index int) (document.Proof, error) {
	t := l.tip.Load()
	if seq == 0 || seq > t.header.Seq || index < 0 {
		return document.Proof{}, l.failEntry("proof", seq, index, ErrNoProof)
	}
	b, c, err := l.signed(ctx, t, seq)
	if err == nil && index >= len(b.entries) {
		err = ErrNoProof
	}
	if err != nil {
		return document.Proof{}, l.failEntry("proof", seq, index, err)
	}
	return b.proof(index, c), nil
}

// signed is a stored batch up to t and the key's checkpoint over it.
func (l *Ledger[S]) signed(ctx context.Context, t *tip[S], seq uint64) (*batch, document.Checkpoint, error) {
	records, err := l.piece(ctx, seq, seq)
	if err != nil {
		return nil, document.Checkpoint{}, err
	}
	b, err := parseBatch(records[0].batch)
	if err != nil {
		return nil, document.Checkpoint{}, err
	}
	if b.header.Seq != seq {
		return nil, document.Checkpoint{}, damaged("it says that it is batch %d", b.header.Seq)
	}
	c, err := l.signature(t, b, records[0].signature)
	return b, c, err
}

// signature is the key's checkpoint over a batch up to t: the stored one,
// verified, or the one in hand.
func (l *Ledger[S]) signature(t *tip[S], b *batch, stored []byte) (document.Checkpoint, error) {
	newest := b.header.Seq == t.header.Seq
	switch {
	case newest && b.head != t.head:
		return document.Checkpoint{}, damaged("it is not the one that was folded")
	case newest && stored == nil && t.checkpoint.Signature != nil:
		return t.checkpoint, nil
	case stored == nil:
		return document.Checkpoint{}, damaged("its signature is missing")
	}
	c, err := parseSignature(stored, b.header.Seq, b.head, l.public)
	if err == nil && c.Horizon < b.header.Horizon {
		err = damaged("the anchor's horizon lies before the batch's")
	}
	return c, err
}

// HeadAt is the head after a batch, for comparing with what another ledger was
// told of; zero for batch 0. Its error wraps ErrNoProof beyond the newest batch.
func (l *Ledger[S]) HeadAt(ctx context.Context, seq uint64) (document.Hash, error) {
	t := l.tip.Load()
	switch {
	case seq == 0:
		return document.Hash{}, nil
	case seq == t.header.Seq:
		return t.head, nil
	case seq > t.header.Seq:
		return document.Hash{}, l.failAt("proof", seq, ErrNoProof)
	}
	b, _, err := l.signed(ctx, t, seq)
	if err != nil {
		return document.Hash{}, l.failAt("proof", seq, err)
	}
	return b.head, nil
}

func (l *Ledger[S]) failEntry(op string, seq uint64, index int, err error) error {
	return l.failAt(op, seq, &badEntry{index, err})
}
