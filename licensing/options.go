package licensing

import (
	"crypto/ed25519"
	"log/slog"
	"maps"
	"slices"
	"time"

	"github.com/sojournlm/sojourn/detach"
	"github.com/sojournlm/sojourn/fingerprint"
	"github.com/sojournlm/sojourn/internal/document"
	"github.com/sojournlm/sojourn/internal/ledger"
	"github.com/sojournlm/sojourn/transport"
)

// Options are a Manager's settings. The zero Options make a manager without
// keys that trusts nobody, which can be asked for its fingerprint only. Open
// copies them: what is changed later changes nothing. It refuses by name
// what cannot be meant: a negative length of time, say, or a vendor's key that is none.
type Options struct {
	// Vendors are the vendors whose licenses count, by public code. Every
	// document must lead back to one of these keys.
	Vendors map[uint32]ed25519.PublicKey

	// Buses are where keys are found. None: this manager only installs.
	Buses []transport.Bus

	// Peers are how other managers are found and reached. Nil: this one keeps to
	// itself, and only the keys on its own buses can be detached from online.
	Peers *Peers

	// HostName is the computer's name in fingerprints and lists. Empty: the
	// operating system's.
	HostName string

	// Hardware tells what the computer consists of. Nil: its machine id.
	Hardware fingerprint.Source

	// Policy is what the administrator allows. The zero Policy forbids nothing.
	Policy Policy

	// GrantLength is how long one Check grants, at most until the license's death
	// time; rounded up to seconds. Zero: a minute.
	GrantLength time.Duration

	// SkewAllowance is how long after the death time a seat stays out, for
	// recipients whose clock is behind; rounded up to seconds. Zero: not at all.
	SkewAllowance time.Duration

	// Clock is the time. Nil: the computer's.
	Clock Clock

	// ClockStep is the largest step forward of the clock that is believed
	// while the manager runs. Zero: an hour. ClockGap is the same against the
	// last recorded time at start. Zero: 400 days.
	ClockStep, ClockGap time.Duration

	// Logger hears of what an operator should know. Nil: nobody does.
	Logger *slog.Logger
}

// Policy is what a pool's administrator allows beyond what the vendor allows:
// longest duration, seats that must stay, features that may not leave.
type Policy = detach.Policy

// Clock is the time as a Manager sees it: the wall clock, and a time that
// passes steadily whatever is done to the wall clock. It must be safe for
// concurrent use.
type Clock = ledger.Wall

// check refuses by its name what cannot be meant.
func (o *Options) check() error {
	for publicCode, key := range o.Vendors {
		if len(key) != ed25519.PublicKeySize {
			return invalid("Options.Vendors", "the key of vendor %s (%d) has %d bytes, want %d", PublicCodeText(publicCode), publicCode, len(key), ed25519.PublicKeySize)
		}
		if [ed25519.PublicKeySize]byte(key) == [ed25519.PublicKeySize]byte{} {
			return invalid("Options.Vendors", "the key of vendor %s (%d) was never set: it is all zero, and anybody can sign for it", PublicCodeText(publicCode), publicCode)
		}
	}
	if err := document.CheckText(o.HostName); err != nil {
		return invalid("Options.HostName", "it %v", err)
	}
	for i, bus := range o.Buses {
		if bus == nil {
			return invalid("Options.Buses", "number %d is nil", i)
		}
	}
	if o.Peers != nil && o.Peers.Exchange == nil {
		return invalid("Options.Peers.Exchange", "it must be set")
	}
	for _, d := range []struct {
		name  string
		value time.Duration
	}{
		{"GrantLength", o.GrantLength},
		{"SkewAllowance", o.SkewAllowance},
		{"ClockStep", o.ClockStep},
		{"ClockGap", o.ClockGap},
		{"Policy.MaxDuration", o.Policy.MaxDuration},
	} {
		if d.value < 0 {
			return invalid("Options."+d.name, "%v, want 0 or more", d.value)
		}
	}
	if d := o.Policy.MaxDuration; d%time.Second != 0 {
		return invalid("Options.Policy.MaxDuration", "%v is not whole seconds", d)
	}
	return nil
}

// withDefaults is a copy of its own, with the defaults filled in.
func (o *Options) withDefaults() Options {
	var d Options
	if o != nil {
		d = *o
	}
	d.Vendors = maps.Clone(d.Vendors)
	for publicCode, key := range d.Vendors {
		d.Vendors[publicCode] = slices.Clone(key)
	}
	d.Buses = slices.Clone(d.Buses)
	d.Policy.Forbidden = slices.Clone(d.Policy.Forbidden)
	if d.Peers != nil {
		p := *d.Peers
		p.Addresses = slices.Clone(p.Addresses)
		d.Peers = &p
	}
	if d.GrantLength == 0 {
		d.GrantLength = time.Minute
	}
	if d.Clock == nil {
		d.Clock = ledger.System()
	}
	if d.Hardware == nil {
		d.Hardware = fingerprint.Machine()
	}
	if d.Logger == nil {
		d.Logger = slog.New(slog.DiscardHandler)
	}
	return d
}
