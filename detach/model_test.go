package detach

import (
	"errors"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/sojournlm/sojourn/internal/code"
	"github.com/sojournlm/sojourn/internal/document"
	"github.com/sojournlm/sojourn/internal/ledger"
)

// modelLicense is the model of one license: which seats it has and when they are free.
type modelLicense struct {
	terms document.Terms
	free  int64 // when its seats are back; the death, or what an installed return says, and what clocks may differ
	home  bool  // a return was installed
	works int64 // until when its program may run, as the recipient knows
	given bool  // the recipient gave it back; asked again, it gives the same return
}

// model is the pool as the promises describe it: a list of licenses.
type model struct {
	skew     int64
	features map[uint32]uint32 // seats by number
	licenses []*modelLicense
	counter  uint64
}

func (m *model) away(number uint32, now int64) (seats uint32) {
	for _, l := range m.licenses {
		if l.free > now && slices.Contains(l.terms.Features, ref(number)) {
			seats += l.terms.Seats
		}
	}
	return seats
}

// detach says how a request must be answered.
func (m *model) detach(r DetachRequest, now int64) code.Code {
	for _, l := range m.licenses {
		if r.Request.Key == (document.Hash{}) || l.terms.Request.Key != r.Request.Key || l.terms.Death+m.skew <= now {
			continue
		}
		switch {
		case l.terms.Request.Request != r.Request.Request:
			return code.InvalidParameter
		case l.home:
			return code.InvalidUpdateOrAlreadyInstalled
		case l.terms.Death <= now:
			return code.DetachedLicenseExpired
		}
		return code.OK
	}
	var codes []code.Code
	for _, s := range r.Features {
		seats, ok := m.features[s.FeatureNumber]
		out := slices.ContainsFunc(m.licenses, func(l *modelLicense) bool {
			return !l.home && l.terms.Death > now && l.terms.Recipient.ID == r.Recipient.ID && slices.Contains(l.terms.Features, ref(s.FeatureNumber))
		})
		switch {
		case !ok:
			codes = append(codes, code.FeatureNotFound)
		case seats == 0:
			codes = append(codes, code.CanNotDetachSomeFeatures)
		case out:
			codes = append(codes, code.CancelPreviousDetachRequired)
		case m.away(s.FeatureNumber, now)+r.Seats > seats:
			codes = append(codes, code.FeatureResourceExhaust)
		}
	}
	slices.Sort(codes)
	switch codes = slices.Compact(codes); len(codes) {
	case 0:
		return code.OK
	case 1:
		return codes[0]
	}
	return code.CanNotDetachSomeFeatures
}

// play is one run of the property test.
type play struct {
	w     *world
	m     *model
	files []*document.Return // on their way; any may be lost, repeated or late
}

func newPlay(t *rapid.T) *play {
	p := &play{w: newWorld(t), m: &model{skew: rapid.SampledFrom([]int64{0, 0, 7}).Draw(t, "skew")}}
	p.w.pool = NewPool(p.w.trust(p.m.skew))
	p.update(t)
	return p
}

// update grows and shrinks features, or takes some away.
func (p *play) update(t *rapid.T) {
	p.m.features = map[uint32]uint32{}
	var features []document.Feature
	for _, n := range rapid.SampledFrom([][]uint32{{1, 2, 3}, {1, 3}, {2}}).Draw(t, "numbers") {
		seats := rapid.Uint32Range(0, 5).Draw(t, "seats")
		p.m.features[n] = seats
		features = append(features, feature(n, seats))
	}
	p.w.settle()
	if p.m.counter > 0 {
		_, err := p.w.pool.Update(p.w.license(p.m.counter, features...), document.RequestKey{})
		if !errors.Is(err, code.InvalidUpdateOrAlreadyInstalled) {
			t.Fatalf("an old update: %v", err)
		}
	}
	p.m.counter += rapid.Uint64Range(1, 3).Draw(t, "counter step")
	p.w.update(p.w.license(p.m.counter, features...))
}

func (p *play) detach(t *rapid.T) {
	r := request(rapid.IntRange(0, 3).Draw(t, "computer"), rapid.Int64Range(1, 60).Draw(t, "duration"))
	r.Seats = rapid.Uint32Range(1, 2).Draw(t, "seats")
	for _, n := range rapid.SliceOfNDistinct(rapid.Uint32Range(1, 3), 1, 3, rapid.ID[uint32]).Draw(t, "features") {
		r.Features = append(r.Features, one(16, n))
	}
	if key := rapid.ByteRange(0, 3).Draw(t, "request key"); key != 0 {
		r.Request = document.RequestKey{Key: document.Hash{key}, Request: document.Hash{rapid.ByteRange(1, 2).Draw(t, "request hash")}}
	}
	want := p.m.detach(r, p.w.now)
	d, err := p.w.detach(r, Policy{})
	if want == code.OK && err != nil || want != code.OK && !errors.Is(err, want) {
		t.Fatalf("detach: %v, want code %d", err, uint32(want))
	}
	if err == nil && d.Existing == nil {
		p.m.licenses = append(p.m.licenses, &modelLicense{terms: d.Terms, free: d.Terms.Death + p.m.skew, works: d.Terms.Death})
	}
}

// giveBack lets a recipient give a license back: from then on it works no
// longer than the grants that live.
func (p *play) giveBack(t *rapid.T) {
	if len(p.m.licenses) == 0 {
		return
	}
	l := p.m.licenses[rapid.IntRange(0, len(p.m.licenses)-1).Draw(t, "license")]
	if l.given || l.works <= p.w.now {
		return
	}
	until := min(l.terms.Death, rapid.SampledFrom([]int64{0, p.w.now + 1, p.w.now + 10, p.w.now + 100}).Draw(t, "until"))
	l.given, l.works = true, max(p.w.now, until)
	p.files = append(p.files, p.w.giveBack(int(l.terms.Recipient.ID-1000), l.terms.License, until))
}

func (p *play) install(t *rapid.T) {
	if len(p.files) == 0 {
		return
	}
	file := p.files[rapid.IntRange(0, len(p.files)-1).Draw(t, "file")]
	i := slices.IndexFunc(p.m.licenses, func(l *modelLicense) bool { return l.terms.License == file.Terms().License })
	l, err := p.m.licenses[i], p.w.install(file)
	switch {
	case l.terms.Death <= p.w.now:
		if !errors.Is(err, code.DetachedLicenseExpired) {
			t.Fatalf("a return after the death: %v", err)
		}
	case l.home:
		if !errors.Is(err, code.InvalidUpdateOrAlreadyInstalled) {
			t.Fatalf("a return for the second time: %v", err)
		}
	case err != nil:
		t.Fatalf("a return: %v", err)
	default:
		l.home, l.free = true, p.w.now
		if file.Until > 0 {
			l.free = max(p.w.now, file.Until+p.m.skew)
		}
	}
}

// check holds the pool against the model and the promises.
func (p *play) check(t *rapid.T) {
	if p.w.now%2 == 0 { // also look at pools that have not been settled for long
		p.w.settle()
	} else {
		p.w.pool = p.w.pool.Clone()
		for _, e := range p.w.pool.Due(p.w.now) { // as a reader sees it
			if err := p.w.pool.Apply(ledger.Position{Seq: p.w.seq + 1, Time: p.w.now, Rules: 1}, e); err != nil {
				t.Fatal(err)
			}
		}
	}
	horizon, live := int64(0), []uint64{}
	for _, l := range p.m.licenses {
		horizon = max(horizon, l.terms.Death)
		if !l.home && l.terms.Death > p.w.now {
			live = append(live, l.terms.License)
		}
		if l.free <= p.w.now && l.works > p.w.now {
			t.Fatalf("license %d works until %d, its seats were free at %d", l.terms.License, l.works, l.free)
		}
	}
	for number, seats := range p.m.features {
		s, ok := p.w.pool.Feature(ref(number))
		if away := p.m.away(number, p.w.now); !ok || s.Detached != away || s.Feature.Seats != seats {
			t.Fatalf("feature %d: %+v, want %d of %d seats away", number, s, away, seats)
		}
	}
	for _, s := range p.w.pool.Features(Filter{}) {
		if s.Free+s.Detached != s.Feature.Seats+s.Overdrawn || s.Free > 0 && s.Overdrawn > 0 {
			t.Fatalf("promise 1: %+v", s)
		}
	}
	if diff := cmp.Diff(live, idsOf(p.w.pool.Detached(Filter{}))); diff != "" {
		t.Fatalf("licenses that are out: %s", diff)
	}
	if p.w.pool.Horizon() != horizon {
		t.Fatalf("horizon %d, want %d", p.w.pool.Horizon(), horizon)
	}
	if err := p.w.pool.Check(); err != nil {
		t.Fatal(err)
	}
}

// TestPropertyPromises plays random commands, time steps, and lost, repeated,
// late and reordered files against the model.
func TestPropertyPromises(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p := newPlay(t)
		t.Repeat(map[string]func(*rapid.T){
			"detach":  p.detach,
			"detach2": p.detach,
			"return":  p.giveBack,
			"install": p.install,
			"update":  p.update,
			"wait":    func(t *rapid.T) { p.w.now += rapid.SampledFrom([]int64{1, 1, 5, 30}).Draw(t, "seconds") },
			"":        p.check,
		})
	})
}

// TestPropertyFoldingAgainGivesTheSamePool: the state is the fold of the
// entries, whatever is allowed for clocks meanwhile.
func TestPropertyFoldingAgainGivesTheSamePool(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p := newPlay(t)
		t.Repeat(map[string]func(*rapid.T){
			"detach": p.detach, "return": p.giveBack, "install": p.install, "update": p.update,
			"wait": func(t *rapid.T) { p.w.now += rapid.Int64Range(1, 20).Draw(t, "seconds") },
		})
		again := NewPool(p.w.trust(rapid.SampledFrom([]int64{0, 7, 40}).Draw(t, "another skew")))
		for _, e := range p.w.log {
			if err := again.Judge(e.at, e.entry); err != nil {
				t.Fatal(err)
			}
			if err := again.Apply(e.at, e.entry); err != nil {
				t.Fatal(err)
			}
		}
		if diff := cmp.Diff(idsOf(p.w.pool.Detached(Filter{})), idsOf(again.Detached(Filter{}))); diff != "" {
			t.Fatal(diff)
		}
		if diff := cmp.Diff(p.w.pool.Features(Filter{}), again.Features(Filter{})); diff != "" {
			t.Fatal(diff)
		}
		if again.Horizon() != p.w.pool.Horizon() || again.Counter() != p.w.pool.Counter() {
			t.Fatal("another horizon or counter")
		}
		if err := again.Check(); err != nil {
			t.Fatal(err)
		}
	})
}
