// Package fingerprint says who a computer is: it collects the computer's
// hardware components, hashes them, compares them with the ones a license was
// made for and says what changed; and it keeps the book of known computers.
//
// A component's value never leaves the computer. What is compared and carried
// is its hash under the manager's own id, so two fingerprints of one computer,
// made by two managers, have nothing in common.
package fingerprint

import (
	"cmp"
	"context"
	"crypto/sha256"
	"slices"

	"github.com/sojournlm/sojourn/internal/document"
)

// Component is one hardware component as it was found, such as the machine id.
// Its value is not for carrying; see [Hash].
type Component struct {
	Name  string // such as MACHINE, CPU, MAC
	Value string
}

// Source finds components of the computer the program runs on. Implementations
// are safe for concurrent use.
type Source interface {
	// Components gives what the source finds now, in any order. A component
	// that this computer does not have is left out and is no error; an error
	// means that nothing can be said about the computer.
	Components(ctx context.Context) ([]Component, error)
}

// Static is a source that always finds the same components: a computer made up
// for a test.
type Static []Component

// Components implements [Source].
func (s Static) Components(ctx context.Context) ([]Component, error) {
	return slices.Clone(s), ctx.Err()
}

// Hash gives the components in the form that is carried and compared, ordered
// by name: one for each name, hashed under salt, which is the manager's id.
// Values of one name (several network cards, say) are one component, whatever
// their order. Empty values count as absent.
func Hash(salt uint64, found []Component) []document.Component {
	found = slices.DeleteFunc(slices.Clone(found), func(c Component) bool { return c.Name == "" || c.Value == "" })
	slices.SortFunc(found, func(a, b Component) int {
		return cmp.Or(cmp.Compare(a.Name, b.Name), cmp.Compare(a.Value, b.Value))
	})
	found = slices.Compact(found)

	var hashed []document.Component
	for len(found) > 0 {
		name := found[0].Name
		var values []string
		for len(found) > 0 && found[0].Name == name {
			values = append(values, found[0].Value)
			found = found[1:]
		}
		hashed = append(hashed, document.Component{Name: name, Hash: hash(salt, name, values)})
	}
	return hashed
}

// hash is separated by its own domain from everything else that is hashed, and
// its parts are encoded, so that no two different components share an input.
func hash(salt uint64, name string, values []string) document.Hash {
	return sha256.Sum256(document.Encode(struct {
		Domain string   `cbor:"1,keyasint"`
		Salt   uint64   `cbor:"2,keyasint"`
		Name   string   `cbor:"3,keyasint"`
		Values []string `cbor:"4,keyasint"`
	}{"sojourn/component/1", salt, name, values}))
}
