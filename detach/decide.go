package detach

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/sojournlm/sojourn/internal/code"
	"github.com/sojournlm/sojourn/internal/document"
)

// Bounds of a detach.
const (
	maxDuration = 1<<31 - 1 // seconds
	maxSeats    = 65535

	// maxSelectors is far more than a key has products and features, so that a
	// refusal that names each of them stays readable.
	maxSelectors = 4 * document.MaxFeatures
)

// DetachRequest asks for one license.
type DetachRequest struct {
	Features  []Selector          // what to detach; the same feature twice counts once
	Seats     uint32              // taken from every feature, 1 to 65535
	Duration  int64               // seconds, 1 to 2^31−1
	Recipient document.Recipient  // the computer the license is for
	Request   document.RequestKey // zero where the caller gave none
	Remote    bool                // asked by another manager: features for local use only do not exist
}

// Detached is the answer to a [DetachRequest].
type Detached struct {
	Entry    []byte         // what happens; nil where nothing does, because it has happened before
	Terms    document.Terms // of the license, the new one or the one from before
	Existing *Record        // the license from before, nil where there is a new one
}

// Detach decides whether a license may leave the pool: all its features, or
// none and a [*Refusal] that names each feature that stands in the way. newID
// gives candidates for the license's id, random numbers below 2^53.
//
// Asked again under the same request key, it gives the license from before.
func (p *Pool) Detach(r DetachRequest, policy Policy, now int64, newID func() uint64) (Detached, error) {
	if err := r.Check(); err != nil {
		return Detached{}, err
	}
	if existing, err := p.repeated(r.Request, now); err != nil {
		return Detached{}, err
	} else if existing != nil {
		return Detached{Terms: existing.Terms(), Existing: existing}, nil
	}
	features, obstacles, err := p.choose(r.Features, r.Remote)
	if err != nil {
		return Detached{}, err
	}
	out := p.outFeatures(r.Recipient.ID)
	for _, f := range features {
		if o := p.obstacle(f, &r, out, policy, now); o != nil {
			obstacles = append(obstacles, *o)
		}
	}
	if len(obstacles) > 0 {
		return Detached{}, refuseFeatures(obstacles)
	}
	id, err := p.freshID(newID)
	if err != nil {
		return Detached{}, err
	}
	head := p.Head()
	t := document.Terms{
		License: id, Revision: firstRevision, Key: head.Key, Vendor: head.Vendor, Counter: head.Counter,
		Seats: r.Seats, Issued: now, Duration: r.Duration, Death: now + r.Duration,
		Recipient: r.Recipient, Request: r.Request,
	}
	for _, f := range features {
		t.Features = append(t.Features, f.Ref())
	}
	return Detached{Entry: t.Encode(), Terms: t}, nil
}

// Check holds the request against the bounds, before anything else.
func (r *DetachRequest) Check() error {
	switch {
	case r.Duration < 1 || r.Duration > maxDuration:
		return refuse(code.InvalidParameter, "durationInSec is %d, want 1 to %d", r.Duration, maxDuration)
	case r.Seats < 1 || r.Seats > maxSeats:
		return refuse(code.InvalidParameter, "concurrentResourceToConsume is %d, want 1 to %d", r.Seats, maxSeats)
	case len(r.Features) == 0:
		return refuse(code.InvalidParameter, "productFeatures is empty, want at least one product or feature")
	case len(r.Features) > maxSelectors:
		return refuse(code.InvalidParameter, "productFeatures has %d entries, at most %d are allowed", len(r.Features), maxSelectors)
	}
	return nil
}

// repeated gives the license that was made under the request key before, nil
// where none was.
func (p *Pool) repeated(key document.RequestKey, now int64) (*Record, error) {
	if _, err := p.Asked(key); err != nil {
		return nil, err
	}
	r, ok := p.requests.Get(&Record{request: &key})
	switch {
	case !ok: // no license is remembered under the zero key
		return nil, nil
	case r.status == isEnding || r.status == isHome:
		return nil, refuse(code.InvalidUpdateOrAlreadyInstalled, "license %d, made under this request key, has come home", r.License)
	case r.Death() <= now:
		return nil, refuse(code.DetachedLicenseExpired, "license %d, made under this request key, died at %s", r.License, clock(r.Death()))
	}
	return r, nil
}

// choose gives the features that the selectors name, ordered and each once, and
// an obstacle for each selector that names none. remote leaves out what other
// managers do not see.
func (p *Pool) choose(selectors []Selector, remote bool) ([]*document.Feature, []obstacle, error) {
	var places []int
	var missing []obstacle
	var ambiguous []Detail
	var number uint32
	var product []int // the features of product number
	for i, s := range distinct(selectors) {
		if i == 0 || s.ProductNumber != number {
			number, product = s.ProductNumber, p.product(s.ProductNumber, remote)
			if mods := p.modifications(product); len(mods) > 1 {
				ambiguous = append(ambiguous, mods...)
			}
		}
		found := len(places)
		for _, at := range product {
			f := &p.license.Features[at]
			if s.matches(f) && (!s.Whole || immovable(f) == "") {
				places = append(places, at)
			}
		}
		if len(places) == found {
			missing = append(missing, p.missing(s, product))
		}
	}
	if len(ambiguous) > 0 {
		return nil, nil, refuseAmbiguous(ambiguous)
	}
	slices.Sort(places)
	var features []*document.Feature
	for _, at := range slices.Compact(places) {
		features = append(features, &p.license.Features[at])
	}
	return features, missing, nil
}

// distinct orders selectors and leaves out the repeated ones.
func distinct(selectors []Selector) []Selector {
	list := slices.Clone(selectors)
	for i := range list {
		if list[i].Whole {
			list[i].FeatureNumber = anyNumber
		}
	}
	slices.SortFunc(list, func(a, b Selector) int {
		return cmp.Or(cmp.Compare(a.ProductNumber, b.ProductNumber), cmp.Compare(a.FeatureNumber, b.FeatureNumber))
	})
	return slices.Compact(list)
}

// RemoteBit in a feature's remote mode lets other managers see and ask for it.
const RemoteBit = 2

// product gives the places of a product's features, of all its modifications.
func (p *Pool) product(number uint32, remote bool) []int {
	at, _ := p.find(document.FeatureRef{ProductNumber: number})
	var places []int
	for ; p.license != nil && at < len(p.license.Features) && p.license.Features[at].ProductNumber == number; at++ {
		if !remote || p.license.Features[at].RemoteMode&RemoteBit != 0 {
			places = append(places, at)
		}
	}
	return places
}

// modifications gives a detail for each modification among a product's features.
func (p *Pool) modifications(product []int) []Detail {
	var list []Detail
	for _, at := range product {
		f := &p.license.Features[at]
		if n := len(list); n > 0 && list[n-1].Modification == f.Modification {
			continue
		}
		list = append(list, Detail{
			ProductNumber: f.ProductNumber, Modification: f.Modification, Whole: true, Code: code.InvalidParameter,
			Message: fmt.Sprintf("modification %d of product %d (%s)", f.Modification, f.ProductNumber, f.ProductName),
		})
	}
	return list
}

// missing is the detail of a selector that names no feature to detach, though
// product are the places of its product's.
func (p *Pool) missing(s Selector, product []int) obstacle {
	d := Detail{ProductNumber: s.ProductNumber, Whole: s.Whole, Code: code.FeatureNotFound}
	if !s.Whole {
		d.FeatureNumber = s.FeatureNumber
	}
	if len(product) > 0 {
		d.Modification = p.license.Features[product[0]].Modification
	}
	switch {
	case len(product) == 0:
		d.Message = "the key has no such product"
	case s.Whole:
		d.Code, d.Message = code.CanNotDetachSomeFeatures, "none of its features may be detached"
	default:
		d.Message = "the product has no such feature"
	}
	return obstacle{Detail: d}
}

// obstacle is why one feature, or one whole product, stands in the way.
type obstacle struct {
	Detail
	longest int64 // seconds that would pass, where the duration is the reason
}

// obstacle gives the first reason, in the order of the rules, why a feature may
// not leave as requested; nil where it may. out is what is out to the recipient.
func (p *Pool) obstacle(f *document.Feature, r *DetachRequest, out map[document.FeatureRef]*Record, policy Policy, now int64) *obstacle {
	o := &obstacle{Detail: Detail{ProductNumber: f.ProductNumber, Modification: f.Modification, FeatureNumber: f.FeatureNumber}}
	because := func(c code.Code, format string, args ...any) *obstacle {
		o.Code, o.Message = c, fmt.Sprintf(format, args...)
		return o
	}
	if f.ValidUpTo != 0 && f.ValidUpTo <= now {
		return because(code.FeatureExpired, "it was valid up to %s", clock(f.ValidUpTo))
	}
	if why := immovable(f); why != "" {
		return because(code.CanNotDetachSomeFeatures, "%s", why)
	}
	if f.ValidFrom > now {
		return because(code.CanNotDetachSomeFeatures, "it is valid from %s only", clock(f.ValidFrom))
	}
	if existing := out[f.Ref()]; existing != nil {
		o.License = existing.License
		return because(code.CancelPreviousDetachRequired, "license %d of it is out to this computer until %s", existing.License, clock(existing.Death()))
	}
	free := p.Seats(f).Free
	switch longest := policy.longest(f, p.Head(), now); {
	case free < r.Seats:
		return because(code.FeatureResourceExhaust, "%d of its %d seats are free, %d are asked for", free, f.Seats, r.Seats)
	case policy.forbids(f):
		return because(code.DetachForbidden, "the pool's administrator forbids to detach it")
	case free-r.Seats < policy.Reserve:
		return because(code.DetachForbidden, "%d of its seats must stay in the pool, so %d of the %d free ones may leave",
			policy.Reserve, free-min(free, policy.Reserve), free)
	case r.Duration > longest:
		o.longest = longest
		return because(code.DetachForbidden, "it may be away for at most %d s, %d s are asked for", longest, r.Duration)
	}
	return nil
}

// refuseFeatures makes the one refusal of all obstacles. Its code is theirs
// where they agree.
func refuseFeatures(obstacles []obstacle) *Refusal {
	slices.SortStableFunc(obstacles, func(a, b obstacle) int {
		return cmp.Or(cmp.Compare(a.ProductNumber, b.ProductNumber), cmp.Compare(a.Modification, b.Modification), cmp.Compare(a.FeatureNumber, b.FeatureNumber))
	})
	refusal := &Refusal{Code: obstacles[0].Code}
	const shown = 4 // what a person reads; Details has them all
	var reasons []string
	longest, tooLong := int64(math.MaxInt64), 0
	for i, o := range obstacles {
		refusal.Details = append(refusal.Details, o.Detail)
		if o.Code != refusal.Code {
			refusal.Code = code.CanNotDetachSomeFeatures
		}
		if i < shown {
			reasons = append(reasons, o.name()+": "+o.Message)
		}
		if o.longest > 0 {
			longest, tooLong = min(longest, o.longest), tooLong+1
		}
	}
	if more := len(obstacles) - len(reasons); more > 0 {
		reasons = append(reasons, fmt.Sprintf("and %d more", more))
	}
	if tooLong > 1 && tooLong == len(obstacles) {
		reasons = append(reasons, fmt.Sprintf("all of them may be away for %d s", longest))
	}
	refusal.Message = refusal.Code.Error() + ": " + strings.Join(reasons, "; ")
	return refusal
}

func refuseAmbiguous(modifications []Detail) *Refusal {
	var names []string
	for _, m := range modifications {
		names = append(names, m.Message)
	}
	r := refuse(code.InvalidParameter, "productFeatures: a product number stands for several on this key: %s", strings.Join(names, ", "))
	r.Details = modifications
	return r
}

func (o *obstacle) name() string {
	if o.Whole {
		return fmt.Sprintf("product %d", o.ProductNumber)
	}
	return nameRef(document.FeatureRef{ProductNumber: o.ProductNumber, Modification: o.Modification, FeatureNumber: o.FeatureNumber})
}

func nameRef(ref document.FeatureRef) string {
	return fmt.Sprintf("feature %d of product %d", ref.FeatureNumber, ref.ProductNumber)
}

// freshID takes the first candidate that can be a license's id and is not
// remembered, neither whole nor short.
func (p *Pool) freshID(newID func() uint64) (uint64, error) {
	const tries = 10_000 // only a source that is not random needs that many
	for range tries {
		id := newID()
		if !validLicenseID(id) {
			continue
		}
		if p.short(document.ShortID(id)) == nil {
			return id, nil
		}
	}
	return 0, refuse(code.InternalError, "no id for the license was found among %d random numbers", tries)
}

// validLicenseID reports whether id is between 2^32 and 2^53, so that no JSON
// client corrupts it, and its short form is valid too.
func validLicenseID(id uint64) bool {
	return id >= 1<<32 && id < 1<<53 && document.ValidID(uint64(document.ShortID(id)))
}

// clock is a time as messages show it.
func clock(unix int64) string { return time.Unix(unix, 0).UTC().Format(time.RFC3339) }
