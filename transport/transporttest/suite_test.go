package transporttest_test

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sojournlm/sojourn/transport"
	"github.com/sojournlm/sojourn/transport/simulator"
	"github.com/sojournlm/sojourn/transport/transporttest"
)

// simulated is a rig of two simulated keys.
func simulated() (*transporttest.Rig, error) {
	bus := simulator.New()
	keys := map[transport.KeyID]*simulator.Key{}
	rig := &transporttest.Rig{
		Bus:    bus,
		Plug:   func(id transport.KeyID) error { return keys[id].Plug() },
		Unplug: func(id transport.KeyID) error { keys[id].Unplug(); return nil },
		Slow:   func(id transport.KeyID, d time.Duration) { keys[id].SetDelay(d, 0) },
		Lose:   func(id transport.KeyID) { keys[id].FailNth(0, simulator.LoseReply) },
		Seen: func(id transport.KeyID) (n int) {
			for _, times := range keys[id].Exchanges() {
				n += times
			}
			return n
		},
		Close: func() error { return nil },
	}
	for id := range uint64(2) {
		key, err := bus.Add(simulator.Config{KeyID: id + 9, VendorPublic: make(ed25519.PublicKey, ed25519.PublicKeySize)})
		if err != nil {
			return nil, err
		}
		keys[key.BusID()] = key
		rig.Keys = append(rig.Keys, key.BusID())
	}
	return rig, nil
}

func TestSimulatorPasses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		if err := transporttest.Check(t.Context(), simulated); err != nil {
			t.Error(err)
		}
	})
}

// A rig that cannot be slowed is tested as far as it goes.
func TestWithoutSlow(t *testing.T) {
	transporttest.Run(t, func() (*transporttest.Rig, error) {
		rig, err := simulated()
		rig.Slow = nil
		return rig, err
	})
}

func TestBadSetup(t *testing.T) {
	errSetup := errors.New("no rig")
	if err := transporttest.Check(t.Context(), func() (*transporttest.Rig, error) { return nil, errSetup }); !errors.Is(err, errSetup) {
		t.Error(err)
	}
	if err := transporttest.Check(t.Context(), func() (*transporttest.Rig, error) {
		return &transporttest.Rig{Bus: simulator.New()}, nil
	}); err == nil {
		t.Error("passed without keys")
	}
}

// One key and no hands, as with hardware on a desk: what can be tested is.
func TestWithoutHands(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		alone := func(bus func(transport.Bus) transport.Bus) error {
			return transporttest.Check(t.Context(), func() (*transporttest.Rig, error) {
				rig, err := simulated()
				if err == nil {
					rig = &transporttest.Rig{Bus: bus(rig.Bus), Keys: rig.Keys[:1], Close: rig.Close}
				}
				return rig, err
			})
		}
		if err := alone(func(b transport.Bus) transport.Bus { return onlyFirst{b} }); err != nil {
			t.Error(err)
		}
		broken := mutant{exchange: func(c *mutantConn, ctx context.Context, request []byte) ([]byte, error) {
			return bytes.Clone(request), nil
		}}
		if err := alone(func(b transport.Bus) transport.Bus {
			return &mutantBus{inner: onlyFirst{b}, m: broken, conns: map[transport.KeyID]transport.Conn{}}
		}); err == nil {
			t.Error("a bus whose keys echo passed")
		}
	})
}

// onlyFirst is a bus with one key of another's.
type onlyFirst struct{ transport.Bus }

func (b onlyFirst) Keys(ctx context.Context) ([]transport.KeyInfo, error) {
	infos, err := b.Bus.Keys(ctx)
	return infos[:min(1, len(infos))], err
}

// Every mutant keeps the contract but for one sentence, and is caught at it.
func TestMutants(t *testing.T) {
	for _, m := range mutants {
		t.Run(m.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				err := transporttest.Check(t.Context(), func() (*transporttest.Rig, error) {
					rig, err := simulated()
					if err == nil {
						rig.Bus = &mutantBus{inner: rig.Bus, m: m, conns: map[transport.KeyID]transport.Conn{}}
					}
					return rig, err
				})
				if err == nil {
					t.Fatal("the mutant survived")
				}
				for _, c := range m.caught {
					if !failed(err, c) {
						t.Errorf("case %s did not catch it; what did:\n%v", c, err)
					}
				}
			})
		})
	}
}

func failed(err error, name string) bool {
	joined, ok := err.(interface{ Unwrap() []error })
	if !ok {
		return false
	}
	for _, err := range joined.Unwrap() {
		if f := (*transporttest.Failure)(nil); errors.As(err, &f) && f.Case == name {
			return true
		}
	}
	return false
}

// Every case quotes the contract as it stands, every sentence of the contract
// has a case, and every case catches a mutant.
func TestSentences(t *testing.T) {
	contract := contract(t)
	rest := contract
	caught := map[string]bool{}
	for _, m := range mutants {
		for _, c := range m.caught {
			caught[c] = true
		}
	}
	for name, sentence := range transporttest.Sentences() {
		if !strings.Contains(contract, sentence) {
			t.Errorf("case %s quotes what the contract does not say: %q", name, sentence)
		}
		rest = strings.ReplaceAll(rest, sentence, "")
		if !caught[name] {
			t.Errorf("no mutant for case %s", name)
		}
	}
	for _, s := range said {
		if !strings.Contains(rest, s) {
			t.Errorf("the contract does not say %q any more", s)
		}
		rest = strings.ReplaceAll(rest, s, "")
	}
	if rest = strings.Join(strings.Fields(rest), " "); rest != "" {
		t.Errorf("no case for: %q", rest)
	}
}

// said is what the contract says without anything to test in it.
var said = []string{
	"KeyID names a key on a bus.",
	"It is chosen by the bus, opaque to everybody else, and",
	"Bus lists and opens the keys of one kind of port.",
	"Conn is a connection to one key.",
	"Ender is a Conn that knows, without talking to the key, whether it has ended: a key that was pulled out and put back is listed again, and its old connection is of no more use. A Conn need not be one.",
	"KeyInfo is what a bus knows of a key without talking to it.",
	"Error is a failed opening or exchange.",
}

// contract is the documentation of KeyID, KeyInfo, Bus, Conn, Ender and Error.
func contract(t *testing.T) string {
	file, err := parser.ParseFile(token.NewFileSet(), "../transport.go", nil, parser.ParseComments)
	if err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	add := func(doc *ast.CommentGroup) { fmt.Fprintln(&b, doc.Text()) }
	for _, d := range file.Decls {
		d, ok := d.(*ast.GenDecl)
		if !ok || d.Tok != token.TYPE {
			continue
		}
		spec := d.Specs[0].(*ast.TypeSpec)
		switch spec.Name.Name {
		case "KeyID", "KeyInfo", "Error":
			add(d.Doc)
		case "Bus", "Conn", "Ender":
			add(d.Doc)
			for _, m := range spec.Type.(*ast.InterfaceType).Methods.List {
				add(m.Doc)
			}
		}
	}
	return strings.Join(strings.Fields(b.String()), " ")
}
