package licensing_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sojournlm/sojourn/internal/document"
	"github.com/sojournlm/sojourn/licensing"
	"github.com/sojournlm/sojourn/licensing/issuer"
	"github.com/sojournlm/sojourn/storage/memory"
	"github.com/sojournlm/sojourn/transport/simulator"
)

// library is an office with two keys from which licenses were detached in turns.
func library(t testing.TB, licenses int) (*world, *machine) {
	w := newWorld(t)
	m := w.bare("OFFICE", memory.New())
	m.addKey(worldKey)
	m.addKey(worldKey + 1)
	w.ok(m.boot())
	for _, key := range m.keys {
		var features []issuer.Feature
		for i := range uint32(4) {
			f := feature(i, 1000)
			f.Name = fmt.Sprintf("Prüfung %d", i)
			features = append(features, f)
		}
		w.ok(m.Install(w.ctx, m.poolOf(key, features...), nil))
	}
	ids := m.strangers(licenses/8 + 1)
	random := rand.New(rand.NewPCG(1, 2))
	for n := range licenses {
		if random.IntN(3) == 0 {
			w.turn(time.Duration(random.IntN(5)) * time.Second)
		}
		_, err := m.Detach(w.ctx, licensing.DetachRequest{
			Offline: true, Recipient: ids[n/8], Key: m.keys[n%2].ID(), Duration: time.Hour + time.Duration(n)*time.Second,
			Features: []licensing.Selector{{ProductNumber: worldProduct, FeatureNumber: uint32(n / 2 % 4)}},
		}, nil)
		w.ok(err)
	}
	return w, m
}

// Turning all pages gives the whole list, whatever the filter and the page.
func TestPages(t *testing.T) {
	w, m := library(t, 121)
	filters := map[string]licensing.Filter{
		"all":            {},
		"one key":        {Key: new(uint64(worldKey))},
		"product":        {Product: new(uint32(worldProduct))},
		"feature":        {Feature: new(uint32(2))},
		"host":           {Search: "pc-0000"},
		"feature's name": {Search: "PRÜFUNG 3"},
		"both":           {Key: new(uint64(worldKey + 1)), Feature: new(uint32(1)), Search: "pc"},
		"key's number":   {Search: fmt.Sprint(worldKey)},
		"vendor's text":  {Search: "demonvk"},
		"nothing":        {Search: "no such thing"},
		"no such key":    {Key: new(uint64(99))},
		"no such number": {Feature: new(uint32(0xFFFFFFFF))},
	}
	for name, filter := range filters {
		t.Run(name, func(t *testing.T) {
			whole := collect[licensing.DetachedLicense](w)(m.ListDetached(w.ctx, filter))
			if name == "all" && len(whole) != 121 {
				t.Fatalf("%d licenses are out", len(whole))
			}
			if !slices.IsSortedFunc(whole, func(a, b licensing.DetachedLicense) int {
				if c := a.Issued.Compare(b.Issued); c != 0 {
					return c
				}
				return int(min(1, max(-1, int64(a.ID)-int64(b.ID))))
			}) {
				t.Error("the list is out of order")
			}
			for _, d := range whole {
				if !fits(filter, d) {
					t.Errorf("%+v does not belong here", d)
				}
			}
			all := collect[licensing.DetachedLicense](w)(m.ListDetached(w.ctx, licensing.Filter{}))
			if want := len(slices.DeleteFunc(all, func(d licensing.DetachedLicense) bool { return !fits(filter, d) })); want != len(whole) {
				t.Errorf("%d are listed, want %d", len(whole), want)
			}
			for _, limit := range []int{1, 7, 60, 1000} {
				var paged []licensing.DetachedLicense
				for number := 1; ; number++ {
					filter.Page = licensing.Page{Number: number, Limit: limit}
					list, err := m.ListDetached(w.ctx, filter)
					w.ok(err)
					if list.Total != len(whole) {
						t.Fatalf("page %d of %d: the total is %d, want %d", number, limit, list.Total, len(whole))
					}
					page := slices.Collect(list.All())
					if len(page) == 0 {
						break
					}
					paged = append(paged, page...)
				}
				if diff := cmp.Diff(whole, paged); diff != "" {
					t.Errorf("pages of %d (-whole +paged):\n%s", limit, diff)
				}
			}
		})
	}
	for _, page := range []licensing.Page{{Number: -1}, {Limit: -1}, {Number: -7, Limit: 3}} {
		_, err := m.ListDetached(w.ctx, licensing.Filter{Page: page})
		w.refused(err, licensing.InvalidParameter)
		_, err = m.Fingerprints(w.ctx, "", page)
		w.refused(err, licensing.InvalidParameter)
		_, err = m.Features(w.ctx, licensing.Filter{Page: page})
		w.refused(err, licensing.InvalidParameter)
		_, err = m.ListCancelled(w.ctx, page)
		w.refused(err, licensing.InvalidParameter)
	}
}

// fits is the meaning of a filter, in as few words as can be.
func fits(f licensing.Filter, d licensing.DetachedLicense) bool {
	x := d.Features[0]
	texts := fmt.Sprint("\n", d.HostName, "\n", d.Origin, "\n", d.Vendor, "\n", licensing.PublicCodeText(d.Vendor), "\n",
		x.Number, "\n", x.Name, "\n", x.ProductNumber, "\n", x.ProductName, "\n", x.Modification)
	return (f.Key == nil || *f.Key == d.Origin) && (f.Product == nil || *f.Product == x.ProductNumber) &&
		(f.Feature == nil || *f.Feature == x.Number) && strings.Contains(strings.ToLower(texts), strings.ToLower(f.Search))
}

// The short lists page as well, and a page costs nothing of what comes after it.
func TestPagesOfTheOtherLists(t *testing.T) {
	w, m := library(t, 40)
	for name, pages := range map[string]func(licensing.Page) (string, int){
		"features": func(p licensing.Page) (string, int) {
			l, err := m.Features(w.ctx, licensing.Filter{Page: p})
			w.ok(err)
			return fmt.Sprint(slices.Collect(l.All())), l.Total
		},
		"computers": func(p licensing.Page) (string, int) {
			l, err := m.Fingerprints(w.ctx, "PC-", p)
			w.ok(err)
			return fmt.Sprint(slices.Collect(l.All())), l.Total
		},
		"keys": func(p licensing.Page) (string, int) {
			l, err := m.Keys(w.ctx, licensing.Filter{Page: p})
			w.ok(err)
			return fmt.Sprint(slices.Collect(l.All())), l.Total
		},
	} {
		whole, total := pages(licensing.Page{})
		var all []string
		for n := 1; n <= total; n++ {
			one, again := pages(licensing.Page{Number: n, Limit: 1})
			if again != total {
				t.Errorf("%s: the total is %d on page %d, %d without", name, again, n, total)
			}
			all = append(all, strings.Trim(one, "[]"))
		}
		if got := "[" + strings.Join(all, " ") + "]"; got != whole || total == 0 {
			t.Errorf("%s: the pages are\n%s\nthe whole is\n%s", name, got, whole)
		}
		if last, _ := pages(licensing.Page{Number: total + 1, Limit: 1}); last != "[]" {
			t.Errorf("%s: behind the last page there is %s", name, last)
		}
	}
}

// An installed license shows as a software key, with what was detached.
func TestInstalledShowsAsAKey(t *testing.T) {
	s := newStage(t)
	d, err := s.office.Detach(s.ctx, licensing.DetachRequest{
		Offline: true, Recipient: s.laptop.id, Key: worldKey, Duration: time.Hour, Seats: 2,
		Features: []licensing.Selector{{ProductNumber: worldProduct, FeatureNumber: 1}},
	}, nil)
	s.ok(err)
	s.ok(s.laptop.Install(s.ctx, d.License, nil))
	short := uint64(document.ShortID(d.LicenseID))
	want := []licensing.Feature{{
		Key: short, Vendor: worldVendor, ProductNumber: worldProduct, ProductName: "product", Number: 1, Name: "feature",
		RemoteMode: 3, Max: 2, Free: 2,
	}}
	if diff := cmp.Diff(want, s.laptop.look().Features); diff != "" {
		t.Errorf("features (-want +got):\n%s", diff)
	}
	keys := collect[licensing.Key](s.world)(s.laptop.Keys(s.ctx, licensing.Filter{}))
	wantKeys := []licensing.Key{{ID: short, Model: licensing.ModelDL, Vendor: worldVendor, Products: 1, Installed: s.laptop.watch.Now()}}
	if diff := cmp.Diff(wantKeys, keys); diff != "" {
		t.Errorf("keys (-want +got):\n%s", diff)
	}
	out := s.office.look().Detached
	if len(out) != 1 || out[0].ID != d.LicenseID || out[0].Origin != worldKey || out[0].Recipient != s.laptop.id || out[0].HostName != "LAPTOP" ||
		out[0].Seats != 2 || out[0].Duration != time.Hour || !out[0].Death.Equal(d.Ends) || len(out[0].Features) != 1 || out[0].Features[0].Max != 2 {
		t.Errorf("listed as %+v", out)
	}
	s.office.keys[0].Unplug()
	for _, k := range collect[licensing.Key](s.world)(s.office.Keys(s.ctx, licensing.Filter{})) {
		if !k.Inaccessible || k.ID != worldKey || k.Model != licensing.ModelSign || k.Products != 1 || k.Firmware != "1.0" {
			t.Errorf("pulled out, the key is listed as %+v", k)
		}
	}
	s.ok(s.office.keys[0].Plug())
	env, err := s.laptop.Environment(s.ctx)
	s.ok(err)
	if env.LMSID == 0 || env.HostName != "LAPTOP" || !env.Auto || env.Remote || env.OS == "" || env.Version == "" || len(env.Fingerprint) == 0 {
		t.Errorf("the environment is %+v", env)
	}
}

// Every code that a manager answers comes with words for the user; the codes of
// the requests that no file and no fault is needed for are here.
func TestRefusals(t *testing.T) {
	s := newStage(t)
	at := s.office.watch.Now()
	runs, fixed, old, later := feature(3, 5), feature(4, 5), feature(5, 5), feature(6, 5)
	runs.MaxRuns, fixed.Detachable, old.ValidUpTo, later.ValidFrom = 7, false, at.Add(-time.Hour), at.Add(time.Hour)
	short := feature(7, 5)
	short.ValidUpTo = at.Add(time.Hour)
	s.ok(s.office.Install(s.ctx, s.office.pool(feature(1, 3), feature(2, 1), runs, fixed, old, later, short, feature(8, 5)), nil))
	s.office.crash()
	s.office.opts.Policy = licensing.Policy{
		MaxDuration: 30 * 24 * time.Hour, Reserve: 1,
		Forbidden: []licensing.Selector{{ProductNumber: worldProduct, FeatureNumber: 8}},
	}
	s.ok(s.office.boot())
	lent := s.office.lend(s.laptop, 1)

	ask := func(change func(*licensing.DetachRequest)) error {
		r := s.office.request(s.laptop, 1)
		change(&r)
		_, err := s.office.Detach(s.ctx, r, nil)
		return err
	}
	number := func(numbers ...uint32) error {
		return ask(func(r *licensing.DetachRequest) {
			r.Features = nil
			for _, n := range numbers {
				r.Features = append(r.Features, licensing.Selector{ProductNumber: worldProduct, FeatureNumber: n})
			}
		})
	}
	cancel := func(r licensing.CancelRequest) error {
		_, err := s.laptop.CancelDetach(s.ctx, r, nil)
		return err
	}
	download := func(f func() (licensing.Buffer, error)) error { _, err := f(); return err }
	for name, c := range map[string]struct {
		err  error
		want licensing.Code
	}{
		"no duration":         {ask(func(r *licensing.DetachRequest) { r.Duration = 0 }), licensing.InvalidParameter},
		"too long for ever":   {ask(func(r *licensing.DetachRequest) { r.Duration = (1 << 31) * time.Second }), licensing.InvalidParameter},
		"half a second":       {ask(func(r *licensing.DetachRequest) { r.Duration = time.Second / 2 }), licensing.InvalidParameter},
		"backwards":           {ask(func(r *licensing.DetachRequest) { r.Duration = -time.Hour }), licensing.InvalidParameter},
		"no features":         {ask(func(r *licensing.DetachRequest) { r.Features = nil }), licensing.InvalidParameter},
		"too many seats":      {ask(func(r *licensing.DetachRequest) { r.Seats = 65536 }), licensing.InvalidParameter},
		"negative seats":      {ask(func(r *licensing.DetachRequest) { r.Seats = -1 }), licensing.InvalidParameter},
		"a stranger":          {ask(func(r *licensing.DetachRequest) { r.Recipient = 1 << 40 }), licensing.NoResultsFound},
		"no such key":         {ask(func(r *licensing.DetachRequest) { r.Key = 77 }), licensing.DongleNotFound},
		"online, no such key": {ask(func(r *licensing.DetachRequest) { r.Offline, r.Recipient, r.Key = false, s.office.id, 77 }), licensing.ServerNotFound},
		"online, not here":    {ask(func(r *licensing.DetachRequest) { r.Offline = false }), licensing.OperationIsNotAllowed},
		"no such feature":     {number(99), licensing.FeatureNotFound},
		"expired":             {number(5), licensing.FeatureExpired},
		"limited by runs":     {number(3), licensing.CanNotDetachSomeFeatures},
		"not detachable":      {number(4), licensing.CanNotDetachSomeFeatures},
		"not valid yet":       {number(6), licensing.CanNotDetachSomeFeatures},
		"out already":         {number(1), licensing.CancelPreviousDetachRequired},
		"several reasons":     {number(1, 5, 99), licensing.CanNotDetachSomeFeatures},
		"a seat stays":        {number(2), licensing.DetachForbidden},
		"beyond validity":     {number(7), licensing.DetachForbidden},
		"forbidden":           {number(8), licensing.DetachForbidden},
		"too long by policy": {ask(func(r *licensing.DetachRequest) {
			r.Features[0].FeatureNumber, r.Duration = 2, 31*24*time.Hour
		}), licensing.DetachForbidden},
		"cancel online":         {cancel(licensing.CancelRequest{License: lent.LicenseID}), licensing.ServerNotFound},
		"cancel nothing":        {cancel(licensing.CancelRequest{Offline: true, License: 1 << 40}), licensing.DetachedLicenseNotFound},
		"cancel by no id":       {cancel(licensing.CancelRequest{Offline: true}), licensing.InvalidParameter},
		"cancel by a bad id":    {cancel(licensing.CancelRequest{Offline: true, License: 0xFFFFFFFF}), licensing.InvalidParameter},
		"download nothing":      {download(func() (licensing.Buffer, error) { return s.office.DownloadDetached(s.ctx, 1) }), licensing.DetachedLicenseNotFound},
		"download no return":    {download(func() (licensing.Buffer, error) { return s.laptop.DownloadCancelled(s.ctx, 1) }), licensing.NoResultsFound},
		"forget nothing":        {s.laptop.ForgetCancelled(s.ctx, 1, nil), licensing.NoResultsFound},
		"remove oneself":        {s.office.RemoveFingerprint(s.ctx, s.office.id, nil), licensing.OperationIsNotAllowed},
		"remove a stranger":     {s.office.RemoveFingerprint(s.ctx, 1<<40, nil), licensing.NoResultsFound},
		"edit a stranger":       {s.office.EditFingerprint(s.ctx, licensing.FingerprintFields{LMSID: new(uint64(1 << 40))}, nil), licensing.NoResultsFound},
		"edit nobody":           {s.office.EditFingerprint(s.ctx, licensing.FingerprintFields{}, nil), licensing.InvalidParameter},
		"add nothing":           {s.office.AddFingerprint(s.ctx, licensing.FingerprintFields{}, nil), licensing.InvalidParameter},
		"a long request key":    {s.laptop.ForgetCancelled(s.ctx, 1, &licensing.ChangeOptions{RequestKey: strings.Repeat("x", 256)}), licensing.InvalidParameter},
		"a longest request key": {s.laptop.ForgetCancelled(s.ctx, 1, &licensing.ChangeOptions{RequestKey: strings.Repeat("x", 255)}), licensing.NoResultsFound},
	} {
		t.Run(name, func(t *testing.T) {
			w := *s.world
			w.TB = t
			w.refused(c.err, c.want)
		})
	}
	s.office.keys[0].Unplug()
	s.refused(number(2), licensing.NoService)
	s.ok(s.office.keys[0].Plug())
	s.checkPromises()
}

// The same request under the same key gives the same answer, for every change;
// another one is refused.
func TestRequestKeys(t *testing.T) {
	once := &licensing.ChangeOptions{RequestKey: "once"}
	type changes struct {
		act
		other func(*stage) error
	}
	var all []changes
	for _, a := range acts() {
		c := changes{act: a}
		switch a.name {
		case "detach":
			c.other = func(s *stage) error {
				_, err := s.office.Detach(s.ctx, s.office.request(s.laptop, 2), once)
				return err
			}
		case "install a license":
			c.other = func(s *stage) error { return s.laptop.Install(s.ctx, s.office.detach(s.laptop, 2).License, once) }
		case "cancel":
			c.other = func(s *stage) error {
				d := s.office.lend(s.laptop, 2)
				_, err := s.laptop.CancelDetach(s.ctx, licensing.CancelRequest{Offline: true, License: d.LicenseID}, once)
				return err
			}
		case "forget cancelled":
			c.other = func(s *stage) error { return s.laptop.ForgetCancelled(s.ctx, 1<<40, once) }
		case "add fingerprint", "edit fingerprint", "remove fingerprint":
			c.other = func(s *stage) error { return s.office.RemoveFingerprint(s.ctx, 1<<40, once) }
		default:
			continue
		}
		all = append(all, c)
	}
	for _, c := range all {
		t.Run(c.name, func(t *testing.T) {
			s := c.stage(t)
			s.ok(c.run(s))
			s.at.unchanged(func() { s.ok(c.run(s)) })
			s.refused(c.other(s), licensing.InvalidParameter)
			s.at.reopen()
			s.at.unchanged(func() { s.ok(c.run(s)) })
			s.checkPromises()
		})
	}
}

// What a request key brought forth is given again as it was, until it came home.
func TestRequestKeyOfADetach(t *testing.T) {
	once := &licensing.ChangeOptions{RequestKey: "once"}
	s := newStage(t)
	ask := func() (*licensing.Detached, error) {
		return s.office.Detach(s.ctx, s.office.request(s.laptop, 1), once)
	}
	first, err := ask()
	s.ok(err)
	s.turn(time.Hour)
	again, err := ask()
	s.ok(err)
	if again.LicenseID != first.LicenseID || !again.Ends.Equal(first.Ends) {
		t.Errorf("asked again: %v, ends %v; at first: %v, ends %v", again.LicenseID, again.Ends, first.LicenseID, first.Ends)
	}
	s.ok(s.laptop.Install(s.ctx, again.License, nil))
	s.ok(s.office.Install(s.ctx, s.laptop.giveBack(first.LicenseID), nil))
	s.office.unchanged(func() {
		_, err := ask()
		s.refused(err, licensing.InvalidUpdateOrAlreadyInstalled)
	})
	s.turn(24 * time.Hour) // past its death the key is free again
	next, err := ask()
	s.ok(err)
	if next.LicenseID == first.LicenseID {
		t.Error("a dead license was given again")
	}
	s.checkPromises()
}

// A request key stands for one request, whichever ledger would hear of it.
func TestRequestKeyAcrossLedgers(t *testing.T) {
	once := &licensing.ChangeOptions{RequestKey: "once"}
	w, m := library(t, 0)
	laptop := w.laptop("LAPTOP", m)
	_, err := m.Detach(w.ctx, m.request(laptop, 1), once)
	w.ok(err)
	other := m.request(laptop, 1)
	other.Key = worldKey + 1
	_, err = m.Detach(w.ctx, other, once)
	w.refused(err, licensing.InvalidParameter)
	w.refused(m.RemoveFingerprint(w.ctx, laptop.id, once), licensing.InvalidParameter)
}

// A pool license and a return under a request key are answered alike.
func TestRequestKeyOfAFile(t *testing.T) {
	for _, a := range acts() {
		if a.name != "install a newer pool" && a.name != "install a return" {
			continue
		}
		s := a.stage(t)
		s.ok(a.run(s))
		s.at.unchanged(func() { s.ok(a.run(s)) })
		s.refused(s.at.Install(s.ctx, s.office.pool(feature(1, 9)), askedOnce), licensing.InvalidParameter)
	}
}

// A license is named by its own id, its short id or its origin's id.
func TestNamesOfALicense(t *testing.T) {
	for name, of := range map[string]func(d *licensing.Detached) uint64{
		"its id":          func(d *licensing.Detached) uint64 { return d.LicenseID },
		"its short id":    func(d *licensing.Detached) uint64 { return uint64(document.ShortID(d.LicenseID)) },
		"its origin's id": func(d *licensing.Detached) uint64 { return worldKey },
	} {
		t.Run(name, func(t *testing.T) {
			s := newStage(t)
			d := s.office.lend(s.laptop, 1)
			first := s.laptop.giveBack(of(d))
			if again := s.laptop.giveBack(of(d)); string(again) != string(first) {
				t.Error("asked again, the return is another")
			}
			if file, err := s.laptop.DownloadCancelled(s.ctx, d.LicenseID); err != nil || string(file) != string(first) {
				t.Errorf("downloaded, the return is another: %v", err)
			}
			s.ok(s.office.Install(s.ctx, first, nil))
			s.checkPromises()
		})
	}
	s := newStage(t)
	s.office.lend(s.laptop, 1)
	s.office.lend(s.laptop, 2)
	_, err := s.laptop.CancelDetach(s.ctx, licensing.CancelRequest{Offline: true, License: worldKey}, nil)
	s.refused(err, licensing.InvalidParameter)
	if e := err.(*licensing.Error); len(e.Details) != 2 || e.Details[0].License == 0 {
		t.Errorf("the candidates are %+v", e.Details)
	}
}

// Whatever goes wrong on the bus, the error has a code and words.
func TestErrorsOfABrokenKey(t *testing.T) {
	for _, fault := range simulator.Faults() {
		s := newStage(t)
		for range 30 {
			s.office.keys[0].FailNth(0, fault)
		}
		newer := s.office.pool(feature(1, 5))
		for range 3 {
			if _, err := s.office.Detach(s.ctx, s.office.request(s.laptop, 1), nil); err != nil {
				checkError(t, err)
			}
			if err := s.office.Install(s.ctx, newer, nil); err != nil {
				checkError(t, err)
			}
		}
		s.end()
	}
}

// A license that is installed here shows as a software key, and is not one to
// detach from.
func TestDetachAgain(t *testing.T) {
	s := newStage(t)
	s.lent = s.office.lend(s.laptop, 1)
	_, err := s.laptop.Detach(s.ctx, licensing.DetachRequest{
		Offline: true, Recipient: s.laptop.id, Key: uint64(document.ShortID(s.lent.LicenseID)), Duration: time.Hour,
		Features: []licensing.Selector{{ProductNumber: worldProduct, FeatureNumber: 1}},
	}, nil)
	s.refused(err, licensing.CanNotDetachSomeFeatures)
}
