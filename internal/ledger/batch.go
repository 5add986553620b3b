package ledger

import (
	"crypto/ed25519"
	"fmt"

	"github.com/sojournlm/sojourn/internal/document"
	"github.com/sojournlm/sojourn/storage"
)

// Version of everything a ledger stores beside the entries.
const version = 1

// Keys of the store.
func headKey(name string) string                  { return name + "/head" }
func batchKey(name string, seq uint64) string     { return fmt.Sprintf("%s/b/%016x", name, seq) }
func signatureKey(name string, seq uint64) string { return fmt.Sprintf("%s/s/%016x", name, seq) }

// headRecord is the stored head.
type headRecord struct {
	Version uint32        `cbor:"1,keyasint"`
	Seq     uint64        `cbor:"2,keyasint"`
	Head    document.Hash `cbor:"3,keyasint"`
	Public  []byte        `cbor:"4,keyasint"` // of the key that anchors the ledger
}

func parseHead(b []byte) (headRecord, error) {
	var r headRecord
	if err := document.Decode("ledger head", b, 256, &r); err != nil {
		return r, damaged("%w", err)
	}
	if r.Version != version {
		return r, fmt.Errorf("%w: ledger head of version %d", ErrRules, r.Version)
	}
	if r.Seq == 0 || len(r.Public) != ed25519.PublicKeySize {
		return r, damaged("ledger head without a batch or an anchor")
	}
	return r, nil
}

// signatureRecord is the stored checkpoint of a batch; what it is over stands in
// the batch.
type signatureRecord struct {
	Version   uint32 `cbor:"1,keyasint"`
	Horizon   int64  `cbor:"2,keyasint"`
	Signature []byte `cbor:"3,keyasint"`
}

func encodeSignature(c document.Checkpoint) []byte {
	return document.Encode(signatureRecord{Version: version, Horizon: c.Horizon, Signature: c.Signature})
}

// parseSignature gives the stored checkpoint of a batch and verifies it.
func parseSignature(b []byte, seq uint64, head document.Hash, public ed25519.PublicKey) (document.Checkpoint, error) {
	var r signatureRecord
	if err := document.Decode("stored signature", b, 256, &r); err != nil {
		return document.Checkpoint{}, damaged("%w", err)
	}
	if r.Version != version {
		return document.Checkpoint{}, fmt.Errorf("%w: signature of version %d", ErrRules, r.Version)
	}
	c := document.Checkpoint{Seq: seq, Head: head, Horizon: r.Horizon, Signature: r.Signature}
	if !c.Verify(public) {
		return document.Checkpoint{}, damaged("the stored signature is not the anchor's over this batch")
	}
	return c, nil
}

// batchRecord is a stored batch.
type batchRecord struct {
	Version uint32        `cbor:"1,keyasint"`
	Prev    document.Hash `cbor:"2,keyasint"`
	Header  []byte        `cbor:"3,keyasint"`
	Entries [][]byte      `cbor:"4,keyasint"`
}

// batch is a batch in memory. It is never changed.
type batch struct {
	prev    document.Hash
	head    document.Hash
	header  document.Header
	encoded []byte // the header
	entries [][]byte
	tree    *document.Tree
}

// newBatch completes h with what follows from the entries.
func newBatch(prev document.Hash, h document.Header, entries [][]byte) (*batch, error) {
	tree := document.NewTree(entries)
	h.Root, h.Count = tree.Root(), uint64(len(entries))
	encoded := h.Encode()
	h, err := document.ParseHeader(encoded)
	if err != nil {
		return nil, err
	}
	return &batch{
		prev: prev, head: document.Chain(prev, encoded),
		header: h, encoded: encoded, entries: entries, tree: tree,
	}, nil
}

func (b *batch) encode() []byte {
	return document.Encode(batchRecord{Version: version, Prev: b.prev, Header: b.encoded, Entries: b.entries})
}

// parseBatch reads a stored batch and checks that its entries are those of its
// header.
func parseBatch(stored []byte) (*batch, error) {
	var r batchRecord
	if err := document.Decode("stored batch", stored, storage.MaxValue, &r); err != nil {
		return nil, damaged("%w", err)
	}
	if r.Version != version {
		return nil, fmt.Errorf("%w: batch of version %d", ErrRules, r.Version)
	}
	h, err := document.ParseHeader(r.Header)
	if err != nil {
		return nil, damaged("%w", err)
	}
	if h.Count != uint64(len(r.Entries)) {
		return nil, damaged("%d entries, the header says %d", len(r.Entries), h.Count)
	}
	b := &batch{
		prev: r.Prev, head: document.Chain(r.Prev, r.Header),
		header: h, encoded: r.Header, entries: r.Entries, tree: document.NewTree(r.Entries),
	}
	if b.tree.Root() != h.Root {
		return nil, damaged("the entries are not those of the header's Merkle root")
	}
	return b, nil
}

// follows says whether the batch can come after one with that head and header,
// and by what rules.
func (b *batch) follows(head document.Hash, h document.Header, rules uint32) error {
	switch {
	case b.header.Seq != h.Seq+1:
		return damaged("it says that it is batch %d", b.header.Seq)
	case b.prev != head:
		return damaged("it does not chain on from the batch before it")
	case b.header.Time < h.Time:
		return damaged("its time lies %d s before that of the batch before it", h.Time-b.header.Time)
	case b.header.Time > latest.Unix():
		return damaged("its time lies beyond the year %d", latest.Year())
	case b.header.Rules < h.Rules:
		return damaged("its rules are older than those of the batch before it")
	case b.header.Rules > rules:
		return fmt.Errorf("%w: rules %d, this program knows %d", ErrRules, b.header.Rules, rules)
	}
	return nil
}

// proof is that of entry i by the key's checkpoint over the batch.
func (b *batch) proof(i int, c document.Checkpoint) document.Proof {
	return document.Proof{
		Entry: b.entries[i], Index: uint64(i), Path: b.tree.Prove(i),
		Prev: b.prev, Header: b.encoded, Horizon: c.Horizon, Signature: c.Signature,
	}
}

// fold is the tip after the batch, which need not be signed. Each entry is given
// to judge, if that is not nil, before it is applied.
func (t *tip[S]) fold(b *batch, rules uint32, judge func(S, Position, []byte) error) (*tip[S], error) {
	if err := b.follows(t.head, t.header, rules); err != nil {
		return nil, err
	}
	state := t.state.Clone()
	for i, entry := range b.entries {
		at := Position{Seq: b.header.Seq, Index: i, Time: b.header.Time, Rules: b.header.Rules}
		if judge != nil {
			if err := judge(state, at, entry); err != nil {
				return nil, &badEntry{i, damaged("%w", err)}
			}
		}
		if err := state.Apply(at, entry); err != nil {
			return nil, &badEntry{i, damaged("%w", err)}
		}
	}
	if want := max(t.header.Horizon, state.Horizon()); b.header.Horizon != want {
		return nil, damaged("its horizon is %d, its entries make it %d", b.header.Horizon, want)
	}
	return &tip[S]{state: state, header: b.header, head: b.head}, nil
}
