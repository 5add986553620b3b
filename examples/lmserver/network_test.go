package main

import (
	"net/http"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/sojournlm/sojourn/internal/netlab"
)

// TestNetDiscovery: managers on one network find each other, without being told
// of one another, and see each other's keys; one that falls silent stays known, also
// over a restart.
func TestNetDiscovery(t *testing.T) {
	t.Parallel()
	for _, n := range []int{2, 3} {
		if n == 2 && !long {
			continue
		}
		t.Run(strconv.Itoa(n), func(t *testing.T) {
			t.Parallel()
			lab := netlab.New(t, n)
			var all []*machine
			for i, host := range lab.Hosts {
				args := append(open(host), "-admit-found")
				if i == 0 {
					args = append(args, "-simulate", "pools.json")
				}
				all = append(all, newMachine(t, host, args...))
			}
			for _, m := range all {
				await(t, m.host.Name()+" knows all others", func() bool { return len(m.do(t, "GET", "/fingerprints", nil).Fingerprints) == n })
				for _, o := range all {
					c, env := m.knows(t, o.host.Name()), o.environment(t)
					if c == nil || c.LMSID != env.LMSID || !c.Auto || c.Remote != (o != m) || c.SilentSince != 0 {
						t.Errorf("%s shows %s as %+v", m.host.Name(), o.host.Name(), c)
					}
				}
			}
			for _, m := range all[1:] {
				await(t, m.host.Name()+" sees the key", func() bool { return m.sees(t, seedKey) })
			}
			last := all[n-1]
			if told := last.change("/detach", last.online(last.environment(t).LMSID, seedFeature), "", patience); told.status != http.StatusOK {
				t.Errorf("a seat of a key that was found: %v", told)
			}
			if last.here(t, seedFeature) == 0 || all[0].free(t) != 2 {
				t.Error("the seat has not moved")
			}

			before := time.Now().Unix()
			last.kill()
			known := func() *computer {
				c := all[0].knows(t, last.host.Name())
				if c == nil {
					t.Fatal("a silent manager is forgotten")
				}
				return c
			}
			await(t, "who was killed is silent", func() bool { return known().SilentSince != 0 })
			if since := known().SilentSince; since < before || since > time.Now().Unix() {
				t.Errorf("killed after %d, and silent since %d", before, since)
			}
			// It is known over a restart of the one who knows it, too.
			since := known().SilentSince
			all[0].stop(t)
			all[0].again(t)
			if c := known(); c.SilentSince != since || !c.Auto || !c.Remote || c.LMSID == "" {
				t.Errorf("silent since %d, and after a restart it is known as %+v", since, c)
			}
			last.again(t)
			await(t, "who is back is not silent", func() bool { return known().SilentSince == 0 })
		})
	}
}

// TestNetMoved: a manager that comes back at another address is found there, and what
// was pending with it is brought to its end.
func TestNetMoved(t *testing.T) {
	t.Parallel()
	lab := netlab.New(t, 3)
	office := newMachine(t, lab.Hosts[0], append(open(lab.Hosts[0]), "-simulate", "pools.json")...)
	laptop := newMachine(t, lab.Hosts[1], open(lab.Hosts[1])...)
	office.admit(t, laptop)
	await(t, "the laptop sees the office's key", func() bool { return laptop.sees(t, seedKey) })
	told := laptop.change("/detach", laptop.online(laptop.environment(t).LMSID, seedFeature), "", patience)
	if told.status != http.StatusOK {
		t.Fatal(told)
	}
	office.kill()
	told = laptop.change("/canceldetach", object{"dongleId": seedKey}, "", patience)
	if told.status != http.StatusServiceUnavailable || told.Error.Code != 14 {
		t.Fatalf("given back to one who is dead: %v", told)
	}
	if told.Error.IntentID == "" || !laptop.pending(t) || laptop.here(t, seedFeature) != 0 {
		t.Errorf("pending: %v, installed: %v, told: %v", laptop.pending(t), laptop.here(t, seedFeature), told)
	}
	office.host, office.client = lab.Hosts[2], clientOn(t, lab.Hosts[2])
	office.args = append(office.args, open(lab.Hosts[2])...)
	office.again(t)
	await(t, "nothing is pending", func() bool { return !laptop.pending(t) })
	if laptop.here(t, seedFeature) != 0 || office.free(t) != 3 {
		t.Errorf("installed: %d, free: %d", laptop.here(t, seedFeature), office.free(t))
	}
}

// TestNetUnseen: with -no-discovery, and where only this computer is served, nobody
// is looked for, and nobody finds it.
func TestNetUnseen(t *testing.T) {
	t.Parallel()
	lab := netlab.New(t, 4)
	hosts := lab.Hosts
	quiet := newMachine(t, hosts[0], append(open(hosts[0]), "-no-discovery")...)
	local := newMachine(t, hosts[1])
	seen := newMachine(t, hosts[2], open(hosts[2])...)
	other := newMachine(t, hosts[3], open(hosts[3])...)
	await(t, "two find each other", func() bool {
		return seen.knows(t, other.host.Name()) != nil && other.knows(t, seen.host.Name()) != nil
	})
	for m, want := range map[*machine]int{quiet: 1, local: 1, seen: 2, other: 2} {
		if list := m.do(t, "GET", "/fingerprints", nil).Fingerprints; len(list) != want {
			t.Errorf("%s knows %+v", m.host.Name(), list)
		}
		// 224.0.0.251, as the kernel writes it: who has not joined the group hears no
		// question.
		groups, err := m.host.Command(t.Context(), "cat", "/proc/net/igmp").CombinedOutput()
		if joined := strings.Contains(string(groups), "FB0000E0"); err != nil || joined != (want == 2) {
			t.Errorf("%s has joined these groups, %v:\n%s", m.host.Name(), err, groups)
		}
	}
}

// TestNetSilence: a list is there soon though a manager is behind a line that
// swallows everything, and says who is silent; and who asks that one for a seat
// hears so.
func TestNetSilence(t *testing.T) {
	t.Parallel()
	lab := netlab.New(t, 2)
	office := newMachine(t, lab.Hosts[0], append(open(lab.Hosts[0]), "-no-discovery", "-simulate", "pools.json")...)
	laptop := newMachine(t, lab.Hosts[1], "-peer", office.url)
	office.admit(t, laptop)
	await(t, "the laptop sees the office's key", func() bool { return laptop.sees(t, seedKey) })
	begin := time.Now()
	lab.Partition(lab.Hosts[0], lab.Hosts[1])
	for _, path := range []string{"/features", "/dongles", "/dongles/products/features", "/fingerprints"} {
		var took []time.Duration
		await(t, "the office is silent", func() bool {
			begin := time.Now()
			resp, _, err := laptop.ask(t.Context(), "GET", api+path, nil)
			took = append(took, time.Since(begin))
			if err != nil || resp.StatusCode != http.StatusOK {
				t.Fatal(resp, err)
			}
			return strings.HasPrefix(resp.Header.Get("X-Silent-Manager"), `host="h1"; lmsId=`) || path == "/fingerprints"
		})
		if best := slices.Min(took); best > 1500*time.Millisecond {
			t.Errorf("%s takes %v while another manager is silent", path, best)
		}
	}
	await(t, "the key of a silent manager cannot be used", func() bool { return !laptop.sees(t, seedKey) })
	if c := laptop.knows(t, "h1"); c == nil || c.SilentSince < begin.Unix() {
		t.Errorf("the silent manager is %+v", c)
	}
	// It is known to be silent, and what is begun all the same is given up by itself.
	told := laptop.change("/detach", laptop.online(laptop.environment(t).LMSID, seedFeature), "", patience)
	if told.status != http.StatusServiceUnavailable || told.Error.Code != 14 || told.took > 10*time.Second || told.Error.IntentID == "" {
		t.Errorf("a seat of a silent manager: %v", told)
	}
	await(t, "nothing is pending", func() bool { return !laptop.pending(t) })
	lab.Heal()
	await(t, "the office is back", func() bool { return laptop.sees(t, seedKey) })
}

// TestNetTLS: managers speak over HTTPS to one that other computers reach and that
// asks everybody else for a token.
func TestNetTLS(t *testing.T) {
	t.Parallel()
	lab := netlab.New(t, 3)
	const token = "0123456789abcdef"
	cert, key, pool := certificate(t, lab.Hosts[0].Addr().AsSlice())
	office := &machine{t: t, host: lab.Hosts[0], client: clientOn(t, lab.Hosts[0])}
	office.client.Transport.(*http.Transport).TLSClientConfig = trusting(pool)
	office.args = []string{
		"-listen", lab.Hosts[0].Addr().String() + ":3189", "-tls-cert", cert, "-tls-key", key,
		"-token-file", file(t, []byte(token)), "-simulate", "pools.json",
	}
	if err := office.start(); err != nil {
		t.Fatal(err)
	}
	laptop := newMachine(t, lab.Hosts[1], "-peer", office.url, "-peer-ca", cert)
	distrustful := newMachine(t, lab.Hosts[2], append(open(lab.Hosts[2]), "-peer", office.url)...)

	ask := func(path string, body any, header ...string) int {
		t.Helper()
		resp, _, err := office.ask(t.Context(), http.MethodPost, api+path, body, header...)
		if err != nil {
			t.Fatal(err)
		}
		return resp.StatusCode
	}
	known := object{"fingerprint": laptop.environment(t).Fingerprint}
	if status := ask("/fingerprints", known); status != http.StatusUnauthorized {
		t.Errorf("without a token: %d", status)
	}
	for _, m := range []*machine{laptop, distrustful} {
		told := m.change("/detach", m.online(m.environment(t).LMSID, seedFeature), "", patience)
		if told.status != http.StatusServiceUnavailable || told.Error.Code != 14 {
			t.Errorf("a stranger is told %v", told)
		}
	}
	if status := ask("/fingerprints", known, "Authorization", "Bearer "+token); status != http.StatusOK {
		t.Fatalf("with the token: %d", status)
	}
	await(t, "the laptop sees the office's key", func() bool { return laptop.sees(t, seedKey) })
	lmsID := laptop.environment(t).LMSID
	if told := laptop.change("/detach", laptop.online(lmsID, seedFeature), "", patience); told.status != http.StatusOK || laptop.here(t, seedFeature) == 0 {
		t.Errorf("detach: %v", told)
	}
	if told := laptop.change("/canceldetach", object{"dongleId": seedKey}, "", patience); told.status != http.StatusOK || laptop.here(t, seedFeature) != 0 {
		t.Errorf("cancel: %v", told)
	}
	// The door for managers is open for what they say, and for nothing else.
	if status := ask("/peer/messages", object{"message": "AAAA"}); status == http.StatusUnauthorized || status < 400 {
		t.Errorf("no message of a manager: %d", status)
	}
	if status := ask("/detach", laptop.online(lmsID, seedFeature)); status != http.StatusUnauthorized {
		t.Errorf("a detach without a token: %d", status)
	}
	if distrustful.sees(t, seedKey) || distrustful.knows(t, "h1") != nil {
		t.Error("a certificate that nobody vouches for is trusted")
	}
	if log := office.log.String() + laptop.log.String(); strings.Contains(log, token) {
		t.Error("the token is in a log")
	}
}
