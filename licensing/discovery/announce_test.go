package discovery

import (
	"context"
	"net/netip"
	"strings"
	"testing"
	"unicode/utf8"

	"pgregory.net/rapid"
)

func TestAnnouncementIsChecked(t *testing.T) {
	good := Announcement{Instance: "OFFICE", Listen: netip.MustParseAddrPort("0.0.0.0:3189")}
	for _, c := range []struct {
		why  string
		edit func(*Announcement)
		want string
	}{
		{"good", func(*Announcement) {}, ""},
		{"IPv4 in IPv6, as a listener may say it", func(a *Announcement) { a.Listen = netip.MustParseAddrPort("[::ffff:192.0.2.1]:1") }, ""},
		{"no address", func(a *Announcement) { a.Listen = netip.AddrPort{} }, "Listen is not set"},
		{"no port", func(a *Announcement) { a.Listen = netip.MustParseAddrPort("192.0.2.1:0") }, "Listen has port 0"},
		{"loopback", func(a *Announcement) { a.Listen = netip.MustParseAddrPort("127.0.0.1:1") }, "loopback"},
		{"loopback in IPv6", func(a *Announcement) { a.Listen = netip.MustParseAddrPort("[::ffff:127.0.0.1]:1") }, "loopback"},
		{"::1", func(a *Announcement) { a.Listen = netip.MustParseAddrPort("[::1]:1") }, "loopback"},
		{"multicast", func(a *Announcement) { a.Listen = netip.MustParseAddrPort("224.0.0.251:1") }, "not one computer's"},
		{"no name", func(a *Announcement) { a.Instance = " \x00\n " }, "Instance is"},
	} {
		a := good
		c.edit(&a)
		_, err := a.service()
		if c.want == "" != (err == nil) || err != nil && !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", c.why, err, c.want)
		}
		if err != nil {
			if said := Announce(context.Background(), a); said == nil || said.Error() != err.Error() {
				t.Errorf("%s: Announce says %v", c.why, said)
			}
		}
	}
	one, _ := good.service()
	two, _ := good.service()
	if one.host == two.host {
		t.Error("two announcements have one host name")
	}
}

func TestLabel(t *testing.T) {
	for name, want := range map[string]string{
		"OFFICE":                 "OFFICE",
		" Büro im 2. Stock ":     "Büro im 2- Stock",
		"pc.example.com":         "pc-example-com",
		"a\x00b\nc\xff":          "abc",
		strings.Repeat("x", 100): strings.Repeat("x", 48),
		strings.Repeat("ü", 100): strings.Repeat("ü", 24),
	} {
		if got := label(name); got != want {
			t.Errorf("%q is shown as %q, want %q", name, got, want)
		}
	}
}

// TestAnyNameIsAnnounced: whatever a computer is called, its announcement can
// be built and found, and its own name is known again.
func TestAnyNameIsAnnounced(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		name := rapid.OneOf(rapid.String(), rapid.StringN(40, 80, 300)).Draw(t, "name")
		shown := label(name)
		if !utf8.ValidString(shown) || len(shown) > maxInstance {
			t.Fatalf("shown as %q", shown)
		}
		if shown == "" {
			return
		}
		c := newClaim(service{instance: shown, host: "sojourn-00", port: 1})
		for range rapid.IntRange(0, 3).Draw(t, "conflicts") {
			c.sent = 1
			c.conflict(c.due)
		}
		m := heardOf(c.announcement(addrs("192.0.2.1"), false))
		if got := m.managers(lan()); len(got) != 1 || got[0] != "http://192.0.2.1:1" {
			t.Fatalf("found %q", got)
		}
		if len(m.known) != 1 || m.known[0].instance != lower(c.name()) {
			t.Fatalf("known as %v", m.known)
		}
	})
}

func TestEndedBeforeItBegan(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	for _, err := range []error{
		Announce(ctx, Announcement{Instance: "x", Listen: netip.MustParseAddrPort("0.0.0.0:1")}),
		Browse(ctx, func(a string) { t.Errorf("found %s", a) }),
	} {
		if err != nil && !strings.Contains(err.Error(), ErrNoInterface.Error()) {
			t.Error(err)
		}
	}
}
