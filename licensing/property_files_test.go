package licensing_test

import (
	"bytes"
	"fmt"
	"slices"

	"pgregory.net/rapid"

	"github.com/sojournlm/sojourn/licensing"
)

func (w *play) install(t *rapid.T) {
	l := pick(t, "file", w.mail)
	p := w.running(t, w.players)
	if right := l.right(); right.up() && rapid.IntRange(0, 3).Draw(t, "wrong computer") > 0 {
		p = right
	}
	w.installAt(p, l, w.newKey(t))
}

// installNewest carries a file that is news to the computer it is for, so that
// seats get somewhere.
func (w *play) installNewest(t *rapid.T) {
	l := pick(t, "file", slices.DeleteFunc(slices.Clone(w.mail), func(l *letter) bool {
		switch {
		case !l.right().up():
			return true
		case l.seat == nil:
			return l.counter <= l.pool.pool.counter
		case l.returns:
			return l.seat.home || l.seat.death <= l.seat.from.pool.span.lo
		}
		return l.seat.there != unseen || l.seat.death <= l.seat.to.local.lo
	}))
	w.installAt(l.right(), l, w.newKey(t))
}

// right is the computer a file is for.
func (l *letter) right() *player {
	switch {
	case l.seat == nil:
		return l.pool
	case l.returns:
		return l.seat.from
	}
	return l.seat.to
}

func (w *play) installAt(p *player, l *letter, opts *licensing.ChangeOptions) {
	s := l.seat
	var d *doubt
	var allowed []licensing.Code
	var name string
	switch wrong := p != l.right(); {
	case s == nil:
		name = fmt.Sprintf("pool %d of %s", l.counter, l.pool.name)
		d = &doubt{inPool: true, inKey: true, shows: l.shows, happen: func(view) { p.took(l) }}
		switch codes := p.keyless(licensing.StorageIDMismatch); {
		case wrong:
			allowed = []licensing.Code{licensing.StorageIDMismatch}
		case codes != nil:
			d, allowed = nil, codes
			if opts != nil && (l.counter > p.pool.counter || !p.loaded) { // asked before, it may be in the key
				allowed = append(allowed, licensing.GetResponseFailed)
			}
		case l.counter <= p.pool.counter:
			allowed = []licensing.Code{licensing.InvalidUpdateOrAlreadyInstalled}
		default:
			p.pool.span.hi = max(p.pool.span.hi, w.now) // the vendor's signature is a time, too
			allowed = []licensing.Code{licensing.OK}
		}
	case l.returns:
		name = fmt.Sprintf("return of %v", s)
		s.maybeHome = s.maybeHome || p.rough && p == s.from
		d = &doubt{
			inPool: true,
			shows:  func(v view) bool { _, out := v.out[s.id]; return v.pool != nil && !out && p.pool.span.hi < s.death },
			happen: func(view) { s.home = true },
		}
		switch codes := p.keyless(licensing.StorageIDMismatch); {
		case wrong:
			allowed = []licensing.Code{licensing.StorageIDMismatch}
		case codes != nil:
			allowed = codes
		case s.home:
			alive, dead := p.pool.span.before(s.death)
			allowed = either(alive, dead, licensing.InvalidUpdateOrAlreadyInstalled, licensing.DetachedLicenseExpired)
		default:
			alive, dead := p.pool.span.before(s.death)
			allowed = either(alive, dead, licensing.OK, licensing.DetachedLicenseExpired)
			if s.maybeHome && alive {
				allowed = append(allowed, licensing.InvalidUpdateOrAlreadyInstalled)
			}
		}
	default:
		name = fmt.Sprintf("license %v", s)
		short := shortOf(s)
		s.doubted = s.doubted || p.rough
		d = &doubt{shows: func(v view) bool { return v.installed[short] != nil }, happen: func(view) { s.there = installed }}
		alive, dead := p.local.before(s.death)
		switch {
		case wrong:
			allowed = []licensing.Code{licensing.HardwareIDMismatch}
		case s.there == unseen:
			allowed = either(alive, dead, licensing.OK, licensing.DetachedLicenseExpired)
		default:
			allowed = either(alive, dead, licensing.InvalidUpdateOrAlreadyInstalled, licensing.DetachedLicenseExpired)
		}
	}
	if len(p.doubts) > 0 {
		allowed = append(allowed, licensing.OK)
	}
	if p != l.right() {
		d = nil
	}
	err := p.Install(w.ctx(), l.file, opts)
	if !w.answered(p, "install "+name, err, d, allowed...) {
		return
	}
	switch {
	case s == nil:
		p.took(l)
	case l.returns:
		s.home = true
	default:
		s.there = installed
	}
	p.settled(l.seat == nil || l.returns)
}

// shows reports whether the pool is what the vendor's file says.
func (l *letter) shows(v view) bool { return v.pool[1].Name == l.name() }

func (w *play) cancel(t *rapid.T) {
	p := w.running(t, w.recipients())
	here := slices.DeleteFunc(slices.Clone(w.seats), func(s *seat) bool { return s.to != p })
	live := slices.DeleteFunc(slices.Clone(here), func(s *seat) bool { return s.there != installed || s.death <= p.local.lo })
	if len(live) > 0 && rapid.IntRange(0, 3).Draw(t, "any license") > 0 {
		here = live
	}
	s := pick(t, "license", here)
	name := s.id
	if rapid.Bool().Draw(t, "by short id") {
		name = shortOf(s)
	}
	alive, dead := p.local.before(s.death)
	var allowed []licensing.Code
	switch s.there {
	case installed:
		allowed = either(alive, dead, licensing.OK, licensing.DetachedLicenseExpired)
	case cancelled:
		allowed = []licensing.Code{licensing.OK}
	default:
		allowed = []licensing.Code{licensing.DetachedLicenseNotFound}
		if s.doubted { // it may have been installed and have ended before anybody looked
			allowed = append(allowed, licensing.DetachedLicenseExpired)
		}
	}
	if len(p.doubts) > 0 {
		allowed = append(allowed, licensing.OK)
	}
	d := &doubt{shows: func(v view) bool { return v.cancelled[s.id] }, happen: func(view) { s.cancelled(p) }}
	if s.there == cancelled {
		d = nil
	}
	got, err := p.CancelDetach(w.ctx(), licensing.CancelRequest{Offline: true, License: name}, w.newKey(t))
	if !w.answered(p, fmt.Sprintf("cancel %v", s), err, d, allowed...) {
		return
	}
	if got.LicenseID != s.id || s.there == cancelled && !bytes.Equal(got.Return, s.back) {
		w.failf("%s: cancelling %v gave another return, or that of %d", p.name, s, got.LicenseID)
	}
	if s.there == cancelled {
		return
	}
	if len(p.doubts) == 0 { // else it may be from before
		w.ok(p.name+" cancels", p.local.at(returnOf(got.Return).At))
	}
	s.cancelled(p)
	p.settled(false)
}

// cancelled takes note of a return. Whoever was told to run may run until the
// seat is used elsewhere.
func (s *seat) cancelled(p *player) {
	w := p.world
	file, err := p.DownloadCancelled(w.ctx(), s.id)
	w.ok(p.name+" downloads a return", err)
	s.there, s.back, s.until = cancelled, file, returnOf(file).Until
	if ends := min(p.local.lo+s.running()-1, s.death); ends > p.local.lo && s.until < ends {
		w.failf("%s: the return of %v frees the seat at %d, but a program may run there until %d", p.name, s, s.until, ends)
	}
	w.mail = append(w.mail, &letter{file: file, seat: s, returns: true})
}

func (w *play) download(t *rapid.T) {
	s := pick(t, "license", w.seats)
	if s.from.up() {
		file, err := s.from.DownloadDetached(w.ctx(), s.id)
		want := licensing.DetachedLicenseNotFound
		_, out := s.from.latest.out[s.id]
		if _, stored := s.from.latest.stored[s.id]; out || stored {
			want = licensing.OK
		}
		if w.answered(s.from, fmt.Sprintf("download %v", s), err, nil, want) {
			w.mail = append(w.mail, &letter{file: file, seat: s})
		}
	}
	if s.to.up() {
		file, err := s.to.DownloadCancelled(w.ctx(), s.id)
		want := licensing.NoResultsFound
		if s.there == cancelled {
			want = licensing.OK
		}
		if w.answered(s.to, fmt.Sprintf("download the return of %v", s), err, nil, want) && !bytes.Equal(file, s.back) {
			w.failf("%s: the return of %v has changed", s.to.name, s)
		}
	}
}

func (w *play) forget(t *rapid.T) {
	p := w.running(t, w.recipients())
	s := pick(t, "license", slices.DeleteFunc(slices.Clone(w.seats), func(s *seat) bool { return s.to != p || s.there == unseen }))
	want := []licensing.Code{licensing.NoResultsFound}
	if s.there == cancelled {
		want = []licensing.Code{licensing.OK}
	} else if len(p.doubts) > 0 {
		want = append(want, licensing.OK)
	}
	d := &doubt{shows: func(v view) bool { return s.there == cancelled && !v.cancelled[s.id] }, happen: func(view) { s.there = forgotten }}
	if w.answered(p, fmt.Sprintf("forget %v", s), p.ForgetCancelled(w.ctx(), s.id, w.newKey(t)), d, want...) {
		s.there = forgotten
		p.settled(false)
	}
}
