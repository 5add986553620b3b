package document

import (
	"cmp"
	"crypto"
	"crypto/ed25519"
)

// Header is what a key, and anybody who checks a license, reads of a batch.
type Header struct {
	Version uint32  `cbor:"1,keyasint"`
	Seq     uint64  `cbor:"2,keyasint"` // 1 for a ledger's first batch
	Root    Hash    `cbor:"3,keyasint"` // Merkle root over the batch's entries
	Count   uint64  `cbor:"4,keyasint"` // number of entries
	Time    int64   `cbor:"5,keyasint"` // the ledger's time, Unix seconds
	Horizon int64   `cbor:"6,keyasint"` // latest death time issued so far, Unix seconds
	Rules   uint32  `cbor:"7,keyasint"` // version of the rules the batch folds by
	Witness Witness `cbor:"8,keyasint"` // the manager's own ledger when the batch was made
}

// Witness is a ledger's position: the number and the head of its last batch.
type Witness struct {
	Seq  uint64 `cbor:"1,keyasint"`
	Head Hash   `cbor:"2,keyasint"`
}

const headerVersion = 1

// Encode gives the header's bytes, setting its version.
func (h Header) Encode() []byte {
	h.Version = headerVersion
	return Encode(h)
}

// ParseHeader reads an encoded header strictly.
func ParseHeader(b []byte) (Header, error) {
	const name = "batch header"
	var h Header
	if err := decodeVersion(name, b, MaxHeader, &h, &h.Version, headerVersion); err != nil {
		return Header{}, err
	}
	var err error
	switch {
	case h.Seq == 0:
		err = content(name, "batch number 0")
	case h.Count == 0 || h.Count > maxLeaves:
		err = content(name, "%d entries, want 1 to %d", h.Count, uint64(maxLeaves))
	default:
		err = cmp.Or(checkTime(name, "time", h.Time), checkTime(name, "horizon", h.Horizon))
	}
	if err != nil {
		return Header{}, err
	}
	return h, nil
}

// Checkpoint is what a key says of its ledger: the newest batch it was told of
// and the latest death time in all of them. The zero Checkpoint with a
// signature is a key that has seen no batch.
type Checkpoint struct {
	Seq       uint64 `cbor:"1,keyasint"`
	Head      Hash   `cbor:"2,keyasint"`
	Horizon   int64  `cbor:"3,keyasint"` // Unix seconds
	Signature []byte `cbor:"4,keyasint"` // Ed25519 by the key
}

func (c Checkpoint) payload() []byte {
	c.Signature = nil
	return Encode(c)
}

// Sign fills in the signature.
func (c *Checkpoint) Sign(signer crypto.Signer) (err error) {
	c.Signature, err = DomainCheckpoint.Sign(signer, c.payload())
	return err
}

// Verify reports whether the key with that public half signed the checkpoint.
func (c Checkpoint) Verify(public ed25519.PublicKey) bool {
	return DomainCheckpoint.Verify(public, c.payload(), c.Signature)
}

// Proof shows that an entry stands in a batch that a key signed. It needs
// nothing but the key's public half to be checked.
type Proof struct {
	Entry     []byte `cbor:"1,keyasint"` // the leaf: an encoded entry
	Index     uint64 `cbor:"2,keyasint"` // its place in the batch
	Path      Path   `cbor:"3,keyasint"` // inclusion path, RFC 6962
	Prev      Hash   `cbor:"4,keyasint"` // head before the batch
	Header    []byte `cbor:"5,keyasint"`
	Horizon   int64  `cbor:"6,keyasint"` // of the checkpoint, at least the header's
	Signature []byte `cbor:"7,keyasint"` // of the checkpoint over this batch
}

// Verify checks the inclusion and the key's signature and gives the header.
// name is the document's name in errors.
func (p Proof) Verify(name string, public ed25519.PublicKey) (Header, error) {
	h, err := ParseHeader(p.Header)
	if err != nil {
		return Header{}, &Error{name, LinkBatch, "no readable header", err}
	}
	if !Included(h.Root, h.Count, p.Index, p.Entry, p.Path) {
		return Header{}, &Error{name, LinkBatch, "the entry is not in its batch", nil}
	}
	c := Checkpoint{Seq: h.Seq, Head: Chain(p.Prev, p.Header), Horizon: p.Horizon, Signature: p.Signature}
	if !c.Verify(public) {
		return Header{}, &Error{name, LinkCheckpoint, "the batch is not signed by its key", nil}
	}
	if p.Horizon < h.Horizon {
		return Header{}, &Error{name, LinkCheckpoint, "the key signed a horizon before the batch's own", nil}
	}
	return h, nil
}

// Kinds of entries that are read outside the ledger they stand in. All other
// kinds belong to the rules that make them.
const EntryDetached uint32 = 1

// Entry is one fact of a ledger as it is stored and hashed.
type Entry struct {
	Kind uint32         `cbor:"1,keyasint"`
	Body cborRawMessage `cbor:"2,keyasint"`
}

// MaxEntry is the largest encoded entry in bytes.
const MaxEntry = 128 << 10

// EncodeEntry gives the leaf for a fact of that kind.
func EncodeEntry(kind uint32, body any) []byte {
	return Encode(Entry{Kind: kind, Body: Encode(body)})
}

// ParseEntry splits a leaf into its kind and encoded body; [Decode] reads the body.
func ParseEntry(b []byte) (kind uint32, body []byte, err error) { return parseEntry("entry", b) }

func parseEntry(name string, b []byte) (kind uint32, body []byte, err error) {
	var e Entry
	if err := Decode(name, b, MaxEntry, &e); err != nil {
		return 0, nil, err
	}
	return e.Kind, e.Body, nil
}
