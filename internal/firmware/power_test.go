package firmware

import (
	"bytes"
	"errors"
	"testing"

	"pgregory.net/rapid"

	"github.com/sojournlm/sojourn/internal/wire"
)

// tears gives every way to tear writes of at most n bytes, or, with coarse, the
// ones at their borders.
func tears(n int, coarse bool) []Tear {
	var all []Tear
	for whole := 0; whole <= n; whole++ {
		if coarse && whole > 1 && whole < n-1 && whole != n/2 && whole != poolHeader && whole != sumSize {
			continue
		}
		all = append(all, Tear{whole, false}, Tear{whole, true})
	}
	return all
}

// A power cut in any write of the first start leaves a key without an identity
// or with one, which then stays.
func TestPowerLostAtFirstStart(t *testing.T) {
	cuts := 0
	for n := 0; ; n++ {
		lost := false
		for _, tear := range tears(small.PageSize, false) {
			f := &Brownout{Flash: NewMemory(small)}
			f.CutAt(n, tear)
			_, err := Start(f, anchor, nil)
			if f.Lost() != errors.Is(err, ErrNoPower) {
				t.Fatalf("write %d, %+v: %v", n, tear, err)
			}
			lost = lost || f.Lost()
			if !f.Lost() && err != nil {
				t.Fatal(err)
			}
			f.Restore()
			whole, ok, err := readIdentity(f, 0)
			if err != nil {
				t.Fatal(err)
			}
			k := start(t, f, anchor)
			if ok && k.id != whole {
				t.Fatalf("write %d, %+v: the identity changed", n, tear)
			}
			if again := start(t, f, anchor); again.id != k.id {
				t.Fatalf("write %d, %+v: another start, another identity", n, tear)
			}
			if c := checkpoint(t, k); c.Seq != 0 || c.Head != [32]byte{} {
				t.Fatalf("write %d, %+v: a new key stands at %+v", n, tear, c)
			}
			cuts++
		}
		if !lost {
			break
		}
	}
	if cuts < 4*2*small.PageSize {
		t.Errorf("only %d cuts", cuts)
	}
}

// A start that mends one copy of the identity may lose its power too.
func TestPowerLostWhileMending(t *testing.T) {
	for page := range identityPages {
		broken := NewMemory(small)
		id := start(t, broken, anchor).id
		if err := broken.Erase(page); err != nil {
			t.Fatal(err)
		}
		for n := range 2 {
			for _, tear := range tears(small.PageSize, false) {
				f := &Brownout{Flash: broken.Clone()}
				f.CutAt(n, tear)
				if _, err := Start(f, anchor, nil); !errors.Is(err, ErrNoPower) {
					t.Fatalf("page %d, write %d: %v", page, n, err)
				}
				f.Restore()
				if k := start(t, f, anchor); k.id != id {
					t.Fatalf("page %d, write %d, %+v: the identity changed", page, n, tear)
				}
				for page := range identityPages {
					if got, whole, err := readIdentity(f, page); err != nil || !whole || got != id {
						t.Fatalf("page %d is not mended", page)
					}
				}
			}
		}
	}
}

// A power cut in any write of any Advance, over several rounds of the log,
// leaves the position before it or the one after it, and the key goes on.
func TestPowerLostInAdvance(t *testing.T) {
	flash := NewMemory(small)
	k := start(t, flash, anchor)
	now, cuts := checkpoint(t, k), 0
	for range 13 {
		for n := 0; ; n++ {
			lost := false
			for _, tear := range tears(positionSize, false) {
				f := &Brownout{Flash: flash.Clone()}
				k := start(t, f, anchor)
				f.CutAt(n, tear)
				status, powered := advance(t, k, now)
				lost = lost || !powered
				if powered {
					if status != wire.OK {
						t.Fatal(status)
					}
					continue
				}
				cuts++
				f.Restore()
				recovers(t, f, now)
			}
			if !lost {
				break
			}
		}
		if status, _ := advance(t, k, now); status != wire.OK {
			t.Fatal(status)
		}
		now = checkpoint(t, k)
	}
	if cuts < 13*2*positionSize {
		t.Errorf("only %d cuts", cuts)
	}
}

// recovers starts a key that lost its power on the way from one position to the
// next, and goes on from where it stands, past the end of its page.
func recovers(t tester, f Flash, before wire.Checkpoint) {
	t.Helper()
	k := start(t, f, anchor)
	c := checkpoint(t, k)
	switch c.Seq {
	case before.Seq:
		if c != before {
			t.Fatalf("stands at %+v, stood at %+v", c, before)
		}
	case before.Seq + 1:
		if c.Head != after(before) || c.Horizon < before.Horizon {
			t.Fatalf("stands at %+v, came from %+v", c, before)
		}
	default:
		t.Fatalf("stands at %+v, stood at %+v", c, before)
	}
	if status, _ := advance(t, k, before); status != wire.OK {
		t.Fatalf("asked again: %v", status)
	}
	for range 5 {
		p := k.log.newest
		if err := k.log.append(position{Seq: p.Seq + 1, Head: after(c), Horizon: p.Horizon}); err != nil {
			t.Fatal(err)
		}
	}
	if again := start(t, f, anchor).log.newest; again != k.log.newest {
		t.Fatalf("kept %+v, came back at %+v", k.log.newest, again)
	}
}

// A power cut in any write of an Install leaves the old pool license or the new.
func TestPowerLostInInstall(t *testing.T) {
	flash := NewMemory(KeyGeometry)
	k := start(t, flash, made)
	old := []byte(nil)
	for counter, features := range []int{1, 30, 2} { // the third goes over the first
		next := pool(t, k, uint64(counter+1), features)
		for n := 0; ; n++ {
			lost := false
			for _, tear := range tears(flash.geometry.PageSize, true) {
				f := &Brownout{Flash: flash.Clone()}
				k := start(t, f, made)
				f.CutAt(n, tear)
				status, powered := install(t, k, next)
				if powered {
					if status != wire.OK {
						t.Fatal(status)
					}
					break
				}
				lost = true
				f.Restore()
				k = start(t, f, made)
				if got := readBack(t, k); !bytes.Equal(got, old) && !bytes.Equal(got, next) {
					t.Fatalf("counter %d, write %d, %+v: %d bytes that are neither", counter, n, tear, len(got))
				}
				if status, _ := install(t, k, next); status != wire.OK {
					t.Fatalf("asked again: %v", status)
				}
				if got := readBack(t, start(t, f, made)); !bytes.Equal(got, next) {
					t.Fatal("the acknowledged pool license is lost")
				}
			}
			if !lost {
				break
			}
		}
		if status, _ := install(t, k, next); status != wire.OK {
			t.Fatal(status)
		}
		old = next
	}
}

// Any number of cuts, one after the other, in starts and in commands.
func TestPowerLostAgainAndAgain(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		f := &Brownout{Flash: NewMemory(small)}
		var public []byte // once it was told
		var now wire.Checkpoint
		var k *Key
		for range rapid.IntRange(1, 60).Draw(t, "steps") {
			if rapid.IntRange(0, 2).Draw(t, "cut") == 0 {
				f.CutAt(rapid.IntRange(0, 3).Draw(t, "write"), Tear{
					Whole:   rapid.IntRange(0, positionSize).Draw(t, "whole"),
					Garbage: rapid.Bool().Draw(t, "garbage"),
				})
			}
			if k == nil {
				var err error
				if k, err = Start(f, anchor, nil); err != nil {
					if !f.Lost() {
						t.Fatal(err)
					}
					f.Restore()
					continue
				}
				c := checkpoint(t, k)
				switch {
				case public != nil && !bytes.Equal(public, k.Public()):
					t.Fatal("the identity changed")
				case c.Seq == now.Seq && c.Head == now.Head:
				case c.Seq == now.Seq+1 && c.Head == after(now):
				default:
					t.Fatalf("stands at %+v, stood at %+v", c, now)
				}
				now, public = c, k.Public()
			}
			status, powered := advance(t, k, now)
			switch {
			case !powered:
				f.Restore()
				k = nil
			case status != wire.OK:
				t.Fatal(status)
			default:
				now = checkpoint(t, k)
			}
		}
	})
}

// faulty is a flash whose nth write fails, with or without having happened, and
// which then works again.
type faulty struct {
	Flash
	n     int
	acts  bool
	fired bool
}

var errBroken = errors.New("broken")

func (f *faulty) write(do func() error) error {
	f.n--
	if f.n != -1 {
		return do()
	}
	f.fired = true
	if f.acts {
		if err := do(); err != nil {
			return err
		}
	}
	return errBroken
}

func (f *faulty) Program(page, offset int, b []byte) error {
	return f.write(func() error { return f.Flash.Program(page, offset, b) })
}

func (f *faulty) Erase(page int) error {
	return f.write(func() error { return f.Flash.Erase(page) })
}

// A write that fails says so; what the key then says of itself is what is in its
// flash.
func TestFlashFails(t *testing.T) {
	for _, acts := range []bool{false, true} {
		for n := 0; ; n++ {
			memory := NewMemory(KeyGeometry)
			first := start(t, memory, made)
			f := &faulty{Flash: memory, n: n, acts: acts}
			k := start(t, f, made)
			next := pool(t, first, 1, 30)
			status, _ := install(t, k, next)
			if status != wire.OK && status != wire.FlashFailed {
				t.Fatal(status)
			}
			got := readBack(t, k)
			if status == wire.OK && !bytes.Equal(got, next) {
				t.Fatal("an acknowledged pool license is not there")
			}
			if want := readBack(t, start(t, memory, made)); !bytes.Equal(got, want) {
				t.Fatalf("write %d: the key shows another pool license than it keeps", n)
			}
			before := checkpoint(t, k)
			status, _ = advance(t, k, before)
			if status != wire.OK && status != wire.FlashFailed {
				t.Fatal(status)
			}
			if status == wire.FlashFailed && checkpoint(t, k) != checkpoint(t, start(t, memory, made)) {
				t.Fatalf("write %d: the key shows another position than it keeps", n)
			}
			if status, _ := advance(t, k, before); status != wire.OK {
				t.Fatalf("write %d: asked again: %v", n, status)
			}
			if !f.fired {
				break
			}
		}
	}
}

// stuck is a flash with bytes that do not take what they are given.
type stuck struct {
	Flash
	bad func(page, offset int) bool
}

func (f stuck) Read(page, offset int, b []byte) error {
	err := f.Flash.Read(page, offset, b)
	for i := range b {
		if f.bad(page, offset+i) && b[i] != 0xFF {
			b[i] ^= 1
		}
	}
	return err
}

func TestBadSlotsAreLeftOut(t *testing.T) {
	f := stuck{NewMemory(small), func(page, offset int) bool { return page == 3 || page == 2 && offset == 70 }}
	k := start(t, f, anchor)
	for range 20 {
		now := checkpoint(t, k)
		if status, _ := advance(t, k, now); status != wire.OK {
			t.Fatal(status)
		}
		if again := checkpoint(t, start(t, f, anchor)); again != checkpoint(t, k) {
			t.Fatalf("stands at %+v, came back at %+v", checkpoint(t, k), again)
		}
	}
}

// A log that keeps nothing says so instead of trying for ever, and never gives
// up the position it has.
func TestBadLog(t *testing.T) {
	bad := false
	f := stuck{NewMemory(small), func(page, _ int) bool { return bad && page >= 3 }}
	k := start(t, f, anchor)
	for range 4 { // fill the first page
		if status, _ := advance(t, k, checkpoint(t, k)); status != wire.OK {
			t.Fatal(status)
		}
	}
	now := checkpoint(t, k)
	bad = true
	for range 3 {
		if status, _ := advance(t, k, now); status != wire.FlashFailed {
			t.Fatal(status)
		}
		if c := checkpoint(t, k); c != now {
			t.Fatalf("stands at %+v, stood at %+v", c, now)
		}
	}
}
