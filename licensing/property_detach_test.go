package licensing_test

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"pgregory.net/rapid"

	"github.com/sojournlm/sojourn/licensing"
)

func (w *play) detach(t *rapid.T) {
	o := w.running(t, w.origins())
	req := licensing.DetachRequest{
		Offline: true, Key: o.key.ID(),
		Recipient: pick(t, "recipient", w.recipients()).lmsID,
		Duration:  time.Second * time.Duration(pick(t, "duration", []int{60, 7200, 30 * 3600, 30 * 3600, 10 * 86400, 10 * 86400})),
		Seats:     rapid.IntRange(1, 2).Draw(t, "seats"),
		Features: pick(t, "features", [][]licensing.Selector{
			{{ProductNumber: playProduct, FeatureNumber: 1}},
			{{ProductNumber: playProduct, FeatureNumber: 1}},
			{{ProductNumber: playProduct, FeatureNumber: 2}},
			{{ProductNumber: playProduct, FeatureNumber: 1}, {ProductNumber: playProduct, FeatureNumber: 2}},
			{{ProductNumber: playProduct, Whole: true}},
			{{ProductNumber: playProduct, FeatureNumber: 9}},
		}),
	}
	opts := w.newKey(t)
	if opts != nil {
		w.asked = append(w.asked, &asked{opts.RequestKey, o, req})
	}
	w.detachBy(o, req, opts)
}

// again asks for what was asked for before, under the same request key, and now
// and then for something else.
func (w *play) again(t *rapid.T) {
	a := pick(t, "request", w.asked)
	if !a.at.up() {
		t.SkipNow()
	}
	req := a.req
	if rapid.IntRange(0, 4).Draw(t, "altered") == 0 {
		req.Seats = 3 - req.Seats
	}
	w.detachBy(a.at, req, &licensing.ChangeOptions{RequestKey: a.key})
}

// detachBy asks for a license and holds the answer against the model.
func (w *play) detachBy(o *player, req licensing.DetachRequest, opts *licensing.ChangeOptions) {
	to := w.players[slices.IndexFunc(w.players, func(p *player) bool { return p.lmsID == req.Recipient })]
	key := ""
	if opts != nil {
		key = opts.RequestKey
	}
	before, allowed := o.expectDetach(req, to, key)
	d := o.detachDoubt(req, to, key)
	got, err := o.Detach(w.ctx(), req, opts)
	what := fmt.Sprintf("detach %v ×%d for %v to %s, key %q", featuresOf(o, req), req.Seats, req.Duration, to.name, key)
	if !w.answered(o, what, err, d, allowed...) {
		if before != nil && before.death > max(w.now, o.wall(), o.pool.span.hi) && !errors.Is(err, licensing.ErrUnknown) && (errors.Is(err, licensing.NoService) || errors.Is(err, licensing.DongleNotFound)) {
			w.failf("%s: %s: license %v was made under the same request key, and this is a certain no: %v", o.name, what, before, err)
		}
		return
	}
	if before != nil {
		if got.LicenseID != before.id || got.Ends.Unix() != before.death {
			w.failf("%s: request key %q gave license %v first, and now %d", o.name, key, before, got.LicenseID)
		}
		w.mail = append(w.mail, &letter{file: got.License, seat: before})
		return // from what was there before: the pool may have been asked nothing
	}
	features := featuresOf(o, req)
	if len(o.doubts) > 0 { // the pool may have changed by what was in doubt
		features = numbersOf(o.look().out[got.LicenseID])
	}
	issued := got.Ends.Unix() - int64(req.Duration/time.Second)
	s := &seat{id: got.LicenseID, from: o, to: to, features: features, seats: req.Seats, issued: issued, death: got.Ends.Unix(), made: w.now, request: key}
	for _, other := range w.seats {
		if other.id == s.id {
			w.failf("%s: license %v was made twice", o.name, other)
		}
	}
	if len(o.doubts) == 0 { // else it may be from before
		w.ok(o.name+" detaches", o.pool.span.at(issued))
	}
	o.doubts = slices.DeleteFunc(o.doubts, func(d *doubt) bool { return d.inPool && d.request == key && key != "" })
	w.seats = append(w.seats, s)
	w.mail = append(w.mail, &letter{file: got.License, seat: s})
	o.settled(true)
	if _, ok := o.latest.out[s.id]; !ok {
		w.failf("%s: license %v was made and is not listed", o.name, s)
	}
}

// featuresOf is what a request names, as the pool is now.
func featuresOf(o *player, req licensing.DetachRequest) (list []uint32) {
	for _, sel := range req.Features {
		if !sel.Whole {
			list = append(list, sel.FeatureNumber)
			continue
		}
		for f, most := range o.pool.max {
			if most > 0 {
				list = append(list, f)
			}
		}
	}
	slices.Sort(list)
	return list
}

// numbersOf are the features of a listed license.
func numbersOf(l licensing.DetachedLicense) (list []uint32) {
	for _, f := range l.Features {
		list = append(list, f.Number)
	}
	return list
}

// expectDetach gives the answers that the model allows, and the license made
// under the request key before, if the answer must be that one.
func (o *player) expectDetach(req licensing.DetachRequest, to *player, key string) (before *seat, allowed []licensing.Code) {
	w := o.world
	if codes := o.keyless(licensing.DongleNotFound); codes != nil {
		return o.expectKeyless(req, key, codes)
	}
	if !o.pool.span.sure() {
		allowed = append(allowed, licensing.RTCError)
	}
	for _, s := range w.seats {
		if s.from != o || s.request != key || key == "" {
			continue
		}
		alive, dead := o.pool.span.before(s.death)
		switch {
		case alive && s.seats != req.Seats:
			allowed = append(allowed, licensing.InvalidParameter)
		case alive && s.home:
			allowed = append(allowed, licensing.InvalidUpdateOrAlreadyInstalled)
			if !o.loaded { // as without the key: what came home last is in doubt
				before, allowed = s, append(allowed, licensing.OK)
			}
		case alive:
			before, allowed = s, append(allowed, licensing.OK)
		}
		if dead && !o.pool.span.sure() {
			allowed = append(allowed, licensing.DetachedLicenseExpired, licensing.InvalidUpdateOrAlreadyInstalled, licensing.InvalidParameter)
		}
		if !dead {
			return before, allowed
		}
	}
	free := map[uint32]uint32{}
	for n, f := range o.latest.pool {
		free[n] = f.Free
	}
	var taken []uint32
	for _, l := range o.latest.out {
		if l.Recipient == to.lmsID {
			taken = append(taken, numbersOf(l)...)
		}
	}
	features := featuresOf(o, req)
	codes := o.pool.refusals(features, req.Seats, free, taken)
	if len(features) == 0 {
		codes = []licensing.Code{licensing.CanNotDetachSomeFeatures}
	}
	if !o.loaded { // what is free is not known before the pool was read
		return before, append(allowed, licensing.OK, licensing.FeatureResourceExhaust, licensing.CancelPreviousDetachRequired, licensing.CanNotDetachSomeFeatures, licensing.FeatureNotFound)
	}
	if len(o.doubts) > 0 {
		return before, append(allowed, licensing.OK)
	}
	return before, append(allowed, verdict(codes))
}

// expectKeyless is expectDetach where the key is away, which alone is answered by the
// codes. A request that happened is known without the key, or it is unknown what
// became of it: the answer is never a certain no before the license's death.
func (o *player) expectKeyless(req licensing.DetachRequest, key string, codes []licensing.Code) (before *seat, allowed []licensing.Code) {
	if key == "" {
		return nil, codes
	}
	allowed = []licensing.Code{licensing.GetResponseFailed}
	for _, s := range o.world.seats {
		if s.from != o || s.request != key {
			continue
		}
		if s.death <= max(o.world.now, o.wall(), o.pool.span.hi) { // by some clock it may be over, and forgotten
			before = s
			allowed = append(allowed, licensing.OK, licensing.DetachedLicenseExpired, licensing.InvalidUpdateOrAlreadyInstalled)
			continue
		}
		switch {
		case s.seats != req.Seats:
			return nil, append(allowed, licensing.InvalidParameter)
		case s.home:
			return s, append(allowed, licensing.InvalidUpdateOrAlreadyInstalled, licensing.OK) // what came home last is in doubt
		case len(o.doubts) > 0:
			allowed = append(allowed, licensing.InvalidUpdateOrAlreadyInstalled)
		}
		return s, append(allowed, licensing.OK)
	}
	// What is in doubt may stand under the key, also for another request.
	return before, append(append(allowed, licensing.InvalidParameter), codes...)
}

// detachDoubt is a license that may have been made.
func (o *player) detachDoubt(req licensing.DetachRequest, to *player, key string) *doubt {
	w := o.world
	features, whole := featuresOf(o, req), req.Features[0].Whole
	find := func(v view) *licensing.DetachedLicense {
		for id, l := range v.out {
			known := slices.ContainsFunc(w.seats, func(s *seat) bool { return s.id == id })
			if !known && l.Recipient == to.lmsID && l.Seats == req.Seats && l.Duration == req.Duration && (whole || slices.Equal(numbersOf(l), features)) {
				return &l
			}
		}
		return nil
	}
	return &doubt{
		inPool: true, request: key,
		shows: func(v view) bool { return find(v) != nil },
		happen: func(v view) {
			l := find(v)
			w.seats = append(w.seats, &seat{
				id: l.ID, from: o, to: to, features: numbersOf(*l), seats: l.Seats,
				issued: l.Issued.Unix(), death: l.Death.Unix(), made: w.now, request: key,
			})
			w.note("%s: the license for %s was made after all", o.name, to.name)
		},
	}
}
