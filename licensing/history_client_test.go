package licensing_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"time"

	"github.com/sojournlm/sojourn/internal/peer"
	"github.com/sojournlm/sojourn/licensing"
)

// client is somebody who asks one node for one thing after the other.
type client struct {
	h    *history
	node *node
	rand *rand.Rand
}

func (c *client) chance(percent int) bool { return c.rand.IntN(100) < percent }

// operate does one thing, whichever.
func (c *client) operate() {
	laptop := c.node != c.h.office
	switch n := c.rand.IntN(100); {
	case laptop && n < 32, n < 12:
		c.detachOnline()
	case n < 45:
		c.detachFile()
	case n < 62:
		c.cancel(false)
	case n < 70:
		c.cancel(true)
	case n < 88:
		c.install()
	case n < 91:
		c.download()
	case n < 95:
		c.check()
	case n < 96:
		c.forget()
	default:
		c.again()
	}
}

// uncertain is what an answer leaves open.
type uncertain struct {
	any  bool     // it may have happened
	lost bool     // and nobody said for certain that it is pending, and how it will end
	why  []string // the answers
}

// ask asks the node, under one request key or none, until the answer is certain or
// the client has had enough.
func (c *client) ask(key string, f func(ctx context.Context, m *licensing.Manager, o *licensing.ChangeOptions) error) (before uncertain, err error) {
	for attempt := 0; ; attempt++ {
		p := c.h.up(c.node)
		if p == nil {
			return uncertain{any: true, lost: true}, errHistoryLine
		}
		patience := time.Second
		if c.chance(4) {
			patience = time.Duration(c.rand.IntN(6000)) * time.Microsecond
		}
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		err = f(ctx, p.manager, &licensing.ChangeOptions{RequestKey: key})
		cancel()
		var e *licensing.Error
		if err != nil {
			before.why = append(before.why, err.Error())
		}
		switch {
		case err == nil:
			return before, nil
		case !errors.As(err, &e) || e.Message == "" || e.Advice == "" || e.Op == "":
			c.h.Errorf("an error that does not say enough: %#v", err)
			return uncertain{any: true, lost: true}, err
		case p.dead.Load():
			before.any, before.lost = true, true
		case errors.Is(err, licensing.ErrUnknown):
			before.any = true
			before.lost = before.lost || e.Intent == 0 || e.Code == licensing.GetResponseFailed // or perhaps it ended well
		}
		if key == "" || !before.any || attempt > 4 || c.chance(25) {
			return before, err
		}
	}
}

func (c *client) key(percent int) string {
	if !c.chance(percent) {
		return ""
	}
	return fmt.Sprint("request ", c.h.ops.Add(1))
}

func (c *client) request(recipient int, offline bool) licensing.DetachRequest {
	duration := 48 * time.Hour
	if c.chance(10) {
		duration = 90 * time.Second
	}
	return licensing.DetachRequest{
		Offline: offline, Recipient: c.h.ids[recipient], Key: worldKey, Duration: duration, Seats: 1 + c.rand.IntN(2),
		Features: []licensing.Selector{{ProductNumber: worldProduct, FeatureNumber: uint32(1 + c.rand.IntN(historyFeatures))}},
	}
}

// detached notes what became of a detach, and gives the license where it is known.
func (c *client) detached(r licensing.DetachRequest, recipient int, d *licensing.Detached, err error, before uncertain, call int64, fetched bool) *lent {
	end := c.h.moment()
	e := event{
		feature: r.Features[0].FeatureNumber, computer: recipient, seats: r.Seats, duration: int64(r.Duration / time.Second),
		op: int(c.h.ops.Add(1)), why: strings.Join(before.why, " / "),
	}
	note := func(v verb, end int64, change func(*event)) {
		x := e
		x.verb = v
		if change != nil {
			change(&x)
		}
		c.h.add(x, call, end)
	}
	code := licensing.OK
	if err != nil {
		code = codeOf(err)
	}
	switch {
	case err == nil:
		e.license = d.LicenseID
		note(leaves, end, func(e *event) { e.death = d.Ends.Unix() })
		l := &lent{id: d.LicenseID, feature: e.feature, recipient: recipient, short: r.Duration < time.Hour}
		if !r.Offline {
			note(getsIn, end, nil)
		}
		c.h.lend(l)
		return l
	case before.any:
		maybe := func(e *event) {
			e.maybe = true
			if fetched { // a copy of the request may still be on its way, but not for long
				e.late = c.h.clock.Now().Add(peer.NonceLife).Unix()
			}
		}
		note(leaves, open, maybe)
		if !r.Offline {
			if before.lost {
				note(getsIn, open, maybe)
			}
			note(comesHome, open, maybe) // what was pending is undone
		}
	case code == licensing.FeatureResourceExhaust:
		note(isFull, end, nil)
	case code == licensing.CancelPreviousDetachRequired:
		note(isHeld, end, nil)
	case !r.Offline && (code == licensing.DetachedLicenseExpired || code == licensing.InvalidUpdateOrAlreadyInstalled):
		// The clock here is ahead, and it is undone; or it came as a file before the answer and was given back.
		maybe := func(e *event) { e.maybe = true }
		note(leaves, open, maybe)
		note(comesHome, open, maybe)
	default:
		c.h.excused("detach", err, licensing.ServerNotFound, licensing.NoService, licensing.RequestFailed, licensing.DongleNotFound,
			licensing.AccessDenied)
	}
	return nil
}

func (c *client) detachOnline() {
	r, key, call := c.request(c.node.number, false), c.key(70), c.h.moment()
	var d *licensing.Detached
	before, err := c.ask(key, func(ctx context.Context, m *licensing.Manager, o *licensing.ChangeOptions) (err error) {
		d, err = m.Detach(ctx, r, o)
		return err
	})
	if l := c.detached(r, c.node.number, d, err, before, call, false); l != nil && key != "" && !l.short {
		c.h.remember(repeat{c.node, key, r, l})
	}
}

// detachFile has the office make a file for any computer; a laptop asks it to.
func (c *client) detachFile() {
	recipient := c.rand.IntN(len(c.h.nodes))
	r, key, call := c.request(recipient, true), c.key(70), c.h.moment()
	var d *licensing.Detached
	before, err := c.ask(key, func(ctx context.Context, m *licensing.Manager, o *licensing.ChangeOptions) (err error) {
		d, err = m.Detach(ctx, r, o)
		return err
	})
	l := c.detached(r, recipient, d, err, before, call, c.node != c.h.office)
	if l == nil {
		return
	}
	c.h.post(file{l, false, d.License})
	if key != "" && !l.short {
		c.h.remember(repeat{c.node, key, r, l})
	}
}

// note notes something about a license.
func (c *client) note(v verb, l *lent, call, end int64, change func(*event)) {
	e := event{verb: v, feature: l.feature, computer: l.recipient, license: l.id}
	if change != nil {
		change(&e)
	}
	c.h.add(e, call, end)
}

func strictly(e *event)    { e.strict = true }
func uncertainly(e *event) { e.maybe = true }

func (c *client) cancel(offline bool) {
	l := c.h.license(c.rand, c.node.number)
	if l == nil {
		return
	}
	key, call := c.key(50), c.h.moment()
	var out *licensing.Cancelled
	before, err := c.ask(key, func(ctx context.Context, m *licensing.Manager, o *licensing.ChangeOptions) (err error) {
		out, err = m.CancelDetach(ctx, licensing.CancelRequest{Offline: offline, License: l.id}, o)
		return err
	})
	end := c.h.moment()
	switch {
	case err == nil:
		c.note(isGiven, l, call, end, nil)
		if offline {
			c.h.post(file{l, true, out.Return})
		} else {
			c.note(comesHome, l, call, end, nil)
		}
	case before.any && before.lost:
		c.note(isGiven, l, call, open, uncertainly)
		if !offline {
			c.note(comesHome, l, call, open, uncertainly)
		}
	case before.any: // it is pending: given back for certain, and handed over by itself
		c.note(isGiven, l, call, end, nil)
		c.note(comesHome, l, call, open, nil)
	case codeOf(err) == licensing.DetachedLicenseExpired: // given back or not: by the clock there it is over
		c.note(isGiven, l, call, open, uncertainly)
		if !offline {
			c.note(comesHome, l, call, open, uncertainly)
		}
	case codeOf(err) == licensing.DetachedLicenseNotFound && l.forgotten.Load(): // by this too, perhaps, and is handed over by itself
		c.note(isGiven, l, call, end, uncertainly)
		if !offline {
			c.note(comesHome, l, call, open, uncertainly)
		}
	case codeOf(err) == licensing.DetachedLicenseNotFound:
		c.note(isGone, l, call, end, nil)
	default:
		c.h.excused("cancel", err, licensing.ServerNotFound, licensing.NoService, licensing.RequestFailed)
	}
}

// install brings any file anywhere; most to where it belongs.
func (c *client) install() {
	f, ok := c.h.mail(c.rand)
	if !ok {
		return
	}
	to := c.node
	if c.chance(85) {
		to = c.h.nodes[f.lent.recipient]
		if f.back {
			to = c.h.office
		}
	}
	at := client{c.h, to, c.rand}
	right := to.number == f.lent.recipient
	if f.back {
		right = to == c.h.office
	}
	l, call := f.lent, c.h.moment()
	before, err := at.ask(c.key(50), func(ctx context.Context, m *licensing.Manager, o *licensing.ChangeOptions) error {
		return m.Install(ctx, f.bytes, o)
	})
	end := c.h.moment()
	happens, useless := getsIn, isKnown
	if f.back {
		happens, useless = comesHome, isNotOut
	}
	switch {
	case !right:
		if err == nil || !before.any && codeOf(err) != licensing.HardwareIDMismatch && codeOf(err) != licensing.StorageIDMismatch &&
			codeOf(err) != licensing.RequestFailed {
			c.h.excused("install at the wrong place", err, licensing.NoService)
		}
	case err == nil:
		c.note(happens, l, call, end, strictly)
	case before.any:
		c.note(happens, l, call, open, uncertainly)
	case codeOf(err) == licensing.InvalidUpdateOrAlreadyInstalled:
		c.note(useless, l, call, end, nil)
	default:
		c.h.excused("install", err, licensing.NoService, licensing.RequestFailed, licensing.DetachedLicenseExpired)
	}
}

// download gets a file once more: of what is out, also of what is only pending, or
// of what was given back.
func (c *client) download() {
	p := c.h.up(c.node)
	if p == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	if c.node != c.h.office {
		if l := c.h.license(c.rand, c.node.number); l != nil {
			if b, err := p.manager.DownloadCancelled(ctx, l.id); err == nil {
				c.h.post(file{l, true, b})
			}
		}
		return
	}
	list, err := p.manager.ListDetached(ctx, licensing.Filter{})
	if err != nil {
		return
	}
	for d := range list.All() {
		l := c.h.known(d)
		if b, err := p.manager.DownloadDetached(ctx, d.ID); err == nil && c.chance(40) {
			c.h.post(file{l, false, b})
		}
	}
}

func (c *client) check() {
	feature, call := uint32(1+c.rand.IntN(historyFeatures)), c.h.moment()
	var g *licensing.Grant
	_, err := c.ask("", func(ctx context.Context, m *licensing.Manager, _ *licensing.ChangeOptions) (err error) {
		g, err = m.Check(ctx, worldVendor, worldProduct, feature)
		return err
	})
	if err == nil {
		c.note(mayRun, &lent{id: g.LicenseID, feature: feature, recipient: c.node.number}, call, c.h.moment(), nil)
	}
}

// forget deletes the record of a license that was given back: its seats come home
// when it dies, unless its return is there already.
func (c *client) forget() {
	l := c.h.license(c.rand, c.node.number)
	if l == nil {
		return
	}
	l.forgotten.Store(true)
	c.ask(c.key(50), func(ctx context.Context, m *licensing.Manager, o *licensing.ChangeOptions) error {
		return m.ForgetCancelled(ctx, l.id, o)
	})
}

// again asks once more for what was answered before, under the same request key.
func (c *client) again() {
	r, ok := c.h.repeat(c.rand, c.node)
	if !ok {
		return
	}
	call := c.h.moment()
	var d *licensing.Detached
	before, err := c.ask(r.key, func(ctx context.Context, m *licensing.Manager, o *licensing.ChangeOptions) (err error) {
		d, err = m.Detach(ctx, r.request, o)
		return err
	})
	end := c.h.moment()
	switch {
	case err == nil && d.LicenseID != r.lent.id:
		c.h.Errorf("asked again under its request key, license %d became %d", r.lent.id, d.LicenseID)
	case err == nil && !r.request.Offline:
		c.note(worksHere, r.lent, call, end, nil)
	case err == nil:
		c.note(outIs, r.lent, call, end, nil)
	case before.any: // nothing new has happened, nor will
	case codeOf(err) == licensing.InvalidUpdateOrAlreadyInstalled:
		if r.request.Offline {
			c.note(isNotOut, r.lent, call, end, nil)
		} else {
			c.note(isGone, r.lent, call, end, nil)
		}
	default:
		c.h.excused("detach again", err, licensing.ServerNotFound, licensing.NoService, licensing.RequestFailed,
			licensing.DetachedLicenseExpired, licensing.DongleNotFound, licensing.AccessDenied)
	}
}

func codeOf(err error) licensing.Code {
	var e *licensing.Error
	if errors.As(err, &e) {
		return e.Code
	}
	return licensing.OK
}
