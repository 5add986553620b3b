package gadget_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"

	"pgregory.net/rapid"

	"github.com/sojournlm/sojourn/internal/gadget"
	"github.com/sojournlm/sojourn/internal/wire"
)

// key is a key whose answers a test makes up.
type key func([]byte) []byte

func (k key) Exchange(_ context.Context, request []byte) ([]byte, error) { return k(request), nil }

func echo(request []byte) []byte { return request }

// computer is the other end of the cable.
type computer struct {
	t *testing.T
	*gadget.Device
}

// result is how a transfer ended.
type result struct {
	ended  bool
	status gadget.Status
	n      int
	data   string
}

func (c computer) submit(u *gadget.URB) *result {
	r := new(result)
	u.Done = func(s gadget.Status, n int, in []byte) {
		if r.ended {
			c.t.Error("a transfer ended twice")
		}
		*r = result{true, s, n, string(in)}
	}
	c.Submit(u)
	return r
}

func (c computer) out(data string) *result {
	return c.submit(&gadget.URB{Endpoint: gadget.AddressOut, Data: []byte(data)})
}

func (c computer) in(room int) *result {
	return c.submit(&gadget.URB{Endpoint: gadget.AddressIn, Room: room})
}

func (c computer) control(kind, request byte, value, index uint16, room int) *result {
	u := &gadget.URB{Endpoint: kind & 0x80, Room: room, Setup: [8]byte{kind, request}}
	binary.LittleEndian.PutUint16(u.Setup[2:], value)
	binary.LittleEndian.PutUint16(u.Setup[4:], index)
	binary.LittleEndian.PutUint16(u.Setup[6:], uint16(room))
	return c.submit(u)
}

func (c computer) want(what string, r *result, want result) {
	c.t.Helper()
	synctest.Wait()
	if *r != want {
		c.t.Errorf("%s: %+v, want %+v", what, *r, want)
	}
}

// bench runs a test with a key plugged in, at full speed: packets of 64 bytes.
func bench(t *testing.T, k key, f func(t *testing.T, c computer)) {
	synctest.Test(t, func(t *testing.T) {
		c := computer{t, gadget.New(k, gadget.Config{Serial: "1"})}
		defer c.Unplug()
		f(t, c)
	})
}

func letters(n int) string { return string(bytes.Repeat([]byte{'x'}, n)) }

func TestPackets(t *testing.T) {
	ok := func(n int, data string) result { return result{true, gadget.StatusOK, n, data} }
	t.Run("a short packet ends a frame", func(t *testing.T) {
		bench(t, echo, func(t *testing.T, c computer) {
			c.want("out", c.out("hello"), ok(5, ""))
			c.want("in", c.in(64), ok(5, "hello"))
		})
	})
	t.Run("a frame of full packets needs an empty one", func(t *testing.T) {
		bench(t, echo, func(t *testing.T, c computer) {
			c.want("out", c.out(letters(128)), ok(128, ""))
			in := c.in(64)
			c.want("in", in, result{})
			c.want("the end", c.out(""), ok(0, ""))
			c.want("in", in, ok(64, letters(64)))
			c.want("more", c.in(128), ok(64, letters(64))) // ended by the empty packet
		})
	})
	t.Run("the computer's driver can send the empty packet", func(t *testing.T) {
		bench(t, echo, func(t *testing.T, c computer) {
			c.want("out", c.submit(&gadget.URB{Endpoint: gadget.AddressOut, Data: []byte(letters(64)), ZeroEnd: true}), ok(64, ""))
			c.want("in", c.in(128), ok(64, letters(64)))
		})
	})
	t.Run("a full buffer ends a transfer, not the answer", func(t *testing.T) {
		bench(t, echo, func(t *testing.T, c computer) {
			c.out(letters(64 + 3))
			c.want("in", c.in(64), ok(64, letters(64)))
			c.want("rest", c.in(64), ok(3, letters(3)))
		})
	})
	t.Run("a packet that does not fit is an overflow", func(t *testing.T) {
		bench(t, echo, func(t *testing.T, c computer) {
			c.out("hello")
			c.want("in", c.in(3), result{true, gadget.StatusOverflow, 3, "hel"})
		})
	})
	t.Run("one request waits, the next has no room", func(t *testing.T) {
		bench(t, echo, func(t *testing.T, c computer) {
			c.out("1")
			c.want("waits", c.out("2"), ok(1, ""))
			third := c.out("3")
			c.want("no room", third, result{})
			c.want("first", c.in(64), ok(1, "1"))
			c.want("room now", third, ok(1, ""))
			c.want("second", c.in(64), ok(1, "2"))
			c.want("third", c.in(64), ok(1, "3"))
		})
	})
	t.Run("a transfer that is too long is answered", func(t *testing.T) {
		bench(t, echo, func(t *testing.T, c computer) {
			c.want("out", c.out(letters(100_000)), ok(100_000, ""))
			bad := string(wire.Frame{}.Answer(wire.BadFrame, nil).Encode())
			c.want("in", c.in(64), ok(len(bad), bad))
		})
	})
	t.Run("a reset drops what is under way", func(t *testing.T) {
		bench(t, echo, func(t *testing.T, c computer) {
			c.out("1")
			c.out("2")
			c.want("reset", c.control(gadget.RequestTypeReset, gadget.RequestReset, 0, 0, 0), ok(0, ""))
			c.out(letters(64)) // half a request
			c.control(gadget.RequestTypeReset, gadget.RequestReset, 0, 0, 0)
			c.out("3")
			c.want("only the last one", c.in(64), ok(1, "3"))
			if got := c.Counts(); got.Resets != 2 {
				t.Errorf("%+v", got)
			}
		})
	})
	t.Run("what is not quite a reset is refused", func(t *testing.T) {
		bench(t, echo, func(t *testing.T, c computer) {
			stall := result{true, gadget.StatusStall, 0, ""}
			c.out("1")
			c.want("another interface", c.control(gadget.RequestTypeReset, gadget.RequestReset, 0, 1, 0), stall)
			c.want("wValue", c.control(gadget.RequestTypeReset, gadget.RequestReset, 1, 0, 0), stall)
			c.want("wLength", c.control(gadget.RequestTypeReset, gadget.RequestReset, 0, 0, 1), stall)
			c.want("nothing is dropped", c.in(64), ok(1, "1"))
		})
	})
	t.Run("resets that go wrong are no resets", func(t *testing.T) {
		bench(t, echo, func(t *testing.T, c computer) {
			reset := func() *result { return c.control(gadget.RequestTypeReset, gadget.RequestReset, 0, 0, 0) }
			c.out("1")
			c.FailResets(1, gadget.StallReset)
			c.want("refused", reset(), result{true, gadget.StatusStall, 0, ""})
			c.FailResets(1, gadget.IgnoreReset)
			unheard := reset()
			c.want("ignored", unheard, result{})
			c.want("nothing is dropped", c.in(64), ok(1, "1"))
			c.want("the next one", reset(), ok(0, ""))
			if got := c.Counts(); got.Resets != 1 || got.Unheard != 1 {
				t.Errorf("%+v", got)
			}
			c.Unplug()
			c.want("ignored until the plug is pulled", unheard, result{true, gadget.StatusGone, 0, ""})
		})
	})
	t.Run("unplugged", func(t *testing.T) {
		bench(t, echo, func(t *testing.T, c computer) {
			in := c.in(64)
			c.Unplug()
			c.Unplug()
			gone := result{true, gadget.StatusGone, 0, ""}
			c.want("in flight", in, gone)
			c.want("later", c.out("x"), gone)
			c.want("control", c.control(0x80, 6, 0x100, 0, 18), gone)
		})
	})
	t.Run("taken back", func(t *testing.T) {
		bench(t, echo, func(t *testing.T, c computer) {
			u := &gadget.URB{Endpoint: gadget.AddressIn, Room: 64}
			r := c.submit(u)
			if !c.Cancel(u) || c.Cancel(u) {
				t.Error("it was waiting, once")
			}
			c.out("1")
			c.want("never done", r, result{})
			c.want("for the next one", c.in(64), ok(1, "1"))
		})
	})
}

func TestControl(t *testing.T) {
	bench(t, echo, func(t *testing.T, c computer) {
		d := c.Descriptors()
		stall := result{true, gadget.StatusStall, 0, ""}
		c.want("device", c.control(0x80, 6, 0x100, 0, 255), result{true, 0, 18, string(d.Device)})
		c.want("its first bytes", c.control(0x80, 6, 0x100, 0, 8), result{true, 0, 8, string(d.Device[:8])})
		c.want("configuration", c.control(0x80, 6, 0x200, 0, 255), result{true, 0, 32, string(d.Configuration)})
		c.want("serial number", c.control(0x80, 6, 0x303, 0x409, 255), result{true, 0, 4, "\x04\x031\x00"})
		c.want("no such text", c.control(0x80, 6, 0x304, 0x409, 255), stall)
		c.want("no such request", c.control(0xC0, 0x42, 0, 0, 8), stall)

		c.FailNth(0, gadget.StallAnswer)
		in := c.in(64)
		c.out("x")
		c.want("halted", in, stall)
		c.want("still", c.in(64), stall)
		c.want("says so", c.control(0x82, 0, 0, gadget.AddressIn, 2), result{true, 0, 2, "\x01\x00"})
		c.want("cleared", c.control(0x02, 1, 0, gadget.AddressIn, 0), result{true, 0, 0, ""})
		c.out("y")
		c.want("works again", c.in(64), result{true, 0, 1, "y"})
	})
}

// Whatever went wrong in one exchange, after a reset the next ones go well, but
// for what comes late, before the second's answer or as part of it.
func TestFaults(t *testing.T) {
	for _, fault := range gadget.Faults() {
		t.Run(fault.String(), func(t *testing.T) {
			bench(t, echo, func(t *testing.T, c computer) {
				gone := make(chan bool, 1)
				c.Gone = func() { gone <- true }
				armed := c.FailNth(0, fault)
				in := &gadget.URB{Endpoint: gadget.AddressIn, Room: 8192}
				c.submit(in)
				c.out(letters(100))
				synctest.Wait()
				if !armed.Fired() {
					t.Error("it did not fire")
				}
				c.Cancel(in)
				if fault.Pulls() {
					<-gone
					return
				}
				c.ResetPort()
				c.out("next")
				next := c.in(8192)
				synctest.Wait()
				switch fault {
				case gadget.LateAnswer:
					if next.data != letters(100) {
						t.Errorf("%+v, want the late answer", *next)
					}
					next = c.in(8192)
				case gadget.LeftPacket:
					if len(next.data) != 64+4 || !strings.HasPrefix(letters(100), next.data[:64]) {
						t.Errorf("%+v, want a packet of the first answer and the second", *next)
					}
					c.out("next")
					next = c.in(8192)
				}
				c.want("next", next, result{true, 0, 4, "next"})
			})
		})
	}
}

// What is split into packets and put together again is the same, at any size.
func TestSplitAndAssemble(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		size := rapid.SampledFrom([]int{8, 16, 32, 64, 512, 1024}).Draw(t, "packet")
		var a gadget.Assembler
		for range 3 {
			frame := make([]byte, rapid.IntRange(0, wire.MaxFrame).Draw(t, "length"))
			packets := gadget.Packets(frame, size)
			for i, p := range packets {
				got := a.Packet(p, size)
				if last := i == len(packets)-1; (got != nil) != last || last && !bytes.Equal(got, frame) {
					t.Fatalf("%d bytes in packets of %d: %d bytes with packet %d of %d", len(frame), size, len(got), i+1, len(packets))
				}
			}
		}
	})
}

func ExampleDescribe() {
	d := gadget.Describe(gadget.Config{Serial: gadget.Serial(0x1234), Speed: gadget.HighSpeed})
	fmt.Printf("%x\n%x\n%q\n", d.Device, d.Configuration, d.Strings)
	// Output:
	// 12010002ff00004009120100000101020301
	// 0902200001010080320904000002ff5301000705010200020007058102000200
	// ["Sojourn" "License key" "00001234"]
}
