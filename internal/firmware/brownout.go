package firmware

import "math/rand/v2"

// Brownout is a [Flash] whose power can be made to fail in the middle of a
// write, for tests. It is not safe for concurrent use.
type Brownout struct {
	Flash
	writes int
	cut    bool
	at     int
	tear   Tear
	dark   bool
}

// Tear says what a write leaves behind that loses its power.
type Tear struct {
	Whole   int  // this many bytes are written, all where there are fewer
	Garbage bool // the others are neither as before nor as wanted; else as before
}

// CutAt loses the power in the write after n more, 0 for the next one. Until
// Restore every call then fails with [ErrNoPower].
func (b *Brownout) CutAt(n int, tear Tear) { b.cut, b.at, b.tear = true, b.writes+n, tear }

// Restore brings the power back and forgets a cut that did not come.
func (b *Brownout) Restore() { b.cut, b.dark = false, false }

// Lost reports whether the power is lost.
func (b *Brownout) Lost() bool { return b.dark }

// Writes counts the calls of Program and Erase so far.
func (b *Brownout) Writes() int { return b.writes }

// Read implements [Flash].
func (b *Brownout) Read(page, offset int, p []byte) error {
	if b.dark {
		return ErrNoPower
	}
	return b.Flash.Read(page, offset, p)
}

// ErasesLeft implements [Flash].
func (b *Brownout) ErasesLeft(page int) (uint32, error) {
	if b.dark {
		return 0, ErrNoPower
	}
	return b.Flash.ErasesLeft(page)
}

// Program implements [Flash].
func (b *Brownout) Program(page, offset int, p []byte) error {
	if b.dark {
		return ErrNoPower
	}
	if !b.next() {
		return b.Flash.Program(page, offset, p)
	}
	n := min(b.tear.Whole, len(p))
	if err := b.Flash.Program(page, offset, p[:n]); err != nil {
		return err
	}
	if b.tear.Garbage {
		rest := garbage(len(p) - n)
		for i := range rest {
			rest[i] |= p[n+i] // some of the bits that were to be cleared are
		}
		if err := b.Flash.Program(page, offset+n, rest); err != nil {
			return err
		}
	}
	return ErrNoPower
}

// Erase implements [Flash].
func (b *Brownout) Erase(page int) error {
	if b.dark {
		return ErrNoPower
	}
	if !b.next() {
		return b.Flash.Erase(page)
	}
	_, size := b.Size()
	old := make([]byte, size)
	if err := b.Flash.Read(page, 0, old); err != nil {
		return err
	}
	if err := b.Flash.Erase(page); err != nil {
		return err
	}
	n := min(b.tear.Whole, size)
	rest := old[n:]
	if b.tear.Garbage {
		for i, g := range garbage(len(rest)) {
			rest[i] |= g // some of the bits that were to be set are
		}
	}
	if err := b.Flash.Program(page, n, rest); err != nil {
		return err
	}
	return ErrNoPower
}

// next counts a write and reports whether it is the one that loses its power.
func (b *Brownout) next() bool {
	b.dark = b.cut && b.writes == b.at
	b.writes++
	return b.dark
}

// garbage is the same for the same length, so that a failing test fails again.
func garbage(n int) []byte {
	r := rand.New(rand.NewPCG(1, uint64(n)))
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(r.Uint32())
	}
	return b
}
