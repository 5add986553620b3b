// Package arch holds the plan of the house: which package stands on which
// floor and what it may import. Its test reads the import lines of the whole
// module and fails where the code has left the plan.
package arch

// Room is one package or, with a path that ends in "/", all packages below it.
type Room struct {
	Path  string // from the module's root, "." for the root itself
	Floor int    // a package imports only from lower floors
	// Plugin rooms are chosen by programs: only examples, tests and the rooms
	// named in UsedBy import them.
	Plugin bool
	UsedBy []string
	// Third are the modules outside the standard library that the room may
	// import. Each third party sits behind few doors.
	Third []string
	// Seam rooms import nothing but the standard library, so that anybody can
	// stand on them.
	Seam bool
}

// Floors is the plan, top to bottom.
var Floors = []Room{
	{Path: ".", Floor: 0},
	{Path: "internal/arch", Floor: 0},
	{Path: "examples/", Floor: 8, Third: []string{"github.com/prometheus/client_golang"}},
	{Path: "examples/internal/demo", Floor: 7},
	{Path: "licensing/licensingtest", Floor: 7},
	{Path: "licensing/discovery", Floor: 6, Third: []string{"golang.org/x/net"}},
	{Path: "licensing/", Floor: 6},
	{Path: "internal/netlab", Floor: 6, Plugin: true, Seam: true}, // for tests alone, which import what they like
	{Path: "licensing", Floor: 5, Third: []string{"golang.org/x/sync"}},
	{Path: "detach", Floor: 4, Third: []string{"github.com/tidwall/btree"}},
	{Path: "device", Floor: 3},
	{Path: "fingerprint", Floor: 3, Third: []string{"github.com/tidwall/btree", "golang.org/x/sys"}},
	{Path: "internal/ledger", Floor: 3, Third: []string{"golang.org/x/sys"}},
	{Path: "internal/peer", Floor: 3},
	{Path: "transport/simulator", Floor: 3, Plugin: true, UsedBy: []string{"licensing/licensingtest", "internal/usbtest"}},
	{Path: "transport/usb", Floor: 3, Plugin: true, Third: []string{"github.com/google/gousb"}},
	{Path: "transport/transporttest", Floor: 3, Plugin: true},
	{Path: "storage/memory", Floor: 3, Plugin: true, UsedBy: []string{"licensing/licensingtest"}, Third: []string{"github.com/tidwall/btree"}},
	{Path: "storage/badgerstore", Floor: 3, Plugin: true, Third: []string{"github.com/dgraph-io/badger/v4", "github.com/dgraph-io/ristretto/v2", "golang.org/x/sys"}},
	{Path: "storage/storagetest", Floor: 3, Plugin: true},
	{Path: "internal/usbtest", Floor: 5, Third: []string{"golang.org/x/sys"}},
	{Path: "internal/usbtest/vmrun", Floor: 5, Third: []string{"golang.org/x/sys"}},
	{Path: "internal/functionfs", Floor: 4, Third: []string{"golang.org/x/sys"}},
	{Path: "internal/usbip", Floor: 4},
	{Path: "internal/gadget", Floor: 3},
	{Path: "internal/firmware", Floor: 2, Third: []string{"golang.org/x/sys"}},
	{Path: "transport", Floor: 2, Seam: true},
	{Path: "storage", Floor: 2, Seam: true},
	{Path: "internal/document", Floor: 1, Third: []string{"github.com/fxamacker/cbor/v2", "golang.org/x/mod"}},
	{Path: "internal/wire", Floor: 1, Third: []string{"github.com/sigurn/crc16"}},
	{Path: "internal/code", Floor: 0},
	{Path: "internal/fold", Floor: 0},
}
