package ledger

import (
	"context"
	"errors"

	"github.com/sojournlm/sojourn/storage"
)

// How much is read in one View, so that none lasts long.
const (
	walkBatches = 500 // each with its signature: 1,000 records
	walkBytes   = 4 << 20
)

// record is what the store has of a batch; nil where it has nothing.
type record struct{ batch, signature []byte }

// walk visits the stored batches from one to another in their order, outside of
// any View. A batch that is missing is an error of the kind ErrDamaged.
func (l *Ledger[S]) walk(ctx context.Context, op string, from, to uint64, visit func(seq uint64, r record) error) error {
	for from <= to {
		records, err := l.piece(ctx, from, to)
		if err != nil {
			return err
		}
		for _, r := range records {
			if r.batch == nil {
				return l.failAt(op, from, damaged("it is missing"))
			}
			if err := visit(from, r); err != nil {
				return err
			}
			from++
		}
	}
	return nil
}

// piece reads the first of the batches from one to another, at least one.
func (l *Ledger[S]) piece(ctx context.Context, from, to uint64) (records []record, err error) {
	err = l.cfg.Store.View(ctx, func(r storage.Reader) error {
		records = nil
		for size := 0; from <= to && len(records) < walkBatches && size < walkBytes; from++ {
			batch, err := optional(r, batchKey(l.cfg.Name, from))
			if err != nil {
				return err
			}
			signature, err := optional(r, signatureKey(l.cfg.Name, from))
			if err != nil {
				return err
			}
			records = append(records, record{batch, signature})
			size += len(batch) + len(signature)
		}
		return nil
	})
	return records, err
}

// optional is the value of a key, or nil.
func optional(r storage.Reader, key string) ([]byte, error) {
	value, err := r.Get(key)
	if errors.Is(err, storage.ErrNotFound) {
		return nil, nil
	}
	return value, err
}
