package discovery

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"os/signal"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sojournlm/sojourn/internal/netlab"
)

// The test binary is also the program that the hosts of a lab run:
//
//	DISCOVERY_ROLE=announce INSTANCE=… LISTEN=… [TLS=1]
//	DISCOVERY_ROLE=browse
//
// It ends at an interrupt, and says what was found, or how it ended, in lines.
func TestMain(m *testing.M) {
	role := os.Getenv("DISCOVERY_ROLE")
	if role == "" {
		os.Exit(m.Run())
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	before := runtime.NumGoroutine()
	var err error
	if role == "announce" {
		err = Announce(ctx, Announcement{Instance: os.Getenv("INSTANCE"), Listen: netip.MustParseAddrPort(os.Getenv("LISTEN")), TLS: os.Getenv("TLS") == "1"})
	} else {
		err = Browse(ctx, func(address string) { fmt.Println("found", address) })
	}
	// The one that waits for the signal may have ended, too.
	fmt.Println("ended", err, max(0, runtime.NumGoroutine()-before))
	stop()
	os.Exit(0)
}

// player is such a program on a host.
type player struct {
	t   *testing.T
	cmd *exec.Cmd

	mu    sync.Mutex
	lines []string
	more  chan struct{}
}

func play(t *testing.T, h *netlab.Host, env ...string) *player {
	t.Helper()
	p := &player{t: t, cmd: h.Command(t.Context(), os.Args[0]), more: make(chan struct{}, 1)}
	p.cmd.Env = append(os.Environ(), env...)
	p.cmd.Stderr = os.Stderr
	out, err := p.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var reading sync.WaitGroup
	reading.Go(func() {
		for scanner := bufio.NewScanner(out); scanner.Scan(); {
			p.mu.Lock()
			p.lines = append(p.lines, scanner.Text())
			p.mu.Unlock()
			select {
			case p.more <- struct{}{}:
			default:
			}
		}
	})
	t.Cleanup(func() {
		p.cmd.Process.Kill()
		reading.Wait()
		p.cmd.Wait()
	})
	return p
}

// says waits for a line and gives how long that took.
func (p *player) says(line string, patience time.Duration) time.Duration {
	p.t.Helper()
	begin := time.Now()
	timeout := time.After(patience)
	for {
		p.mu.Lock()
		lines := p.lines
		p.mu.Unlock()
		for _, l := range lines {
			if l == line {
				return time.Since(begin)
			}
		}
		select {
		case <-p.more:
		case <-timeout:
			p.t.Fatalf("within %v nobody said %q, only %q", patience, line, lines)
		}
	}
}

// end interrupts the program, which must then end well and leave nothing.
func (p *player) end() {
	p.t.Helper()
	p.cmd.Process.Signal(os.Interrupt)
	p.says("ended <nil> 0", 10*time.Second)
}

func announcer(t *testing.T, h *netlab.Host, instance, listen string, env ...string) *player {
	return play(t, h, append(env, "DISCOVERY_ROLE=announce", "INSTANCE="+instance, "LISTEN="+listen)...)
}

func browser(t *testing.T, h *netlab.Host) *player { return play(t, h, "DISCOVERY_ROLE=browse") }

func at(h *netlab.Host, port int) string { return fmt.Sprintf("http://%s:%d", h.Addr(), port) }

const soon = 20 * time.Second // on a loaded machine

func TestThreeManagersFindEachOther(t *testing.T) {
	lab := netlab.New(t, 3)
	var announcers, browsers []*player
	for _, h := range lab.Hosts {
		browsers = append(browsers, browser(t, h))
	}
	for i, h := range lab.Hosts {
		announcers = append(announcers, announcer(t, h, "host "+h.Name(), fmt.Sprintf("[::]:%d", 3189+i)))
	}
	for _, b := range browsers {
		for i, h := range lab.Hosts {
			took := b.says("found "+at(h, 3189+i), soon)
			t.Logf("after %v more: %s", took.Round(time.Millisecond), at(h, 3189+i))
		}
	}
	// Who comes late asks, and need not wait for an announcement.
	begin := time.Now()
	late := browser(t, lab.Hosts[0])
	for i, h := range lab.Hosts {
		late.says("found "+at(h, 3189+i), soon)
	}
	t.Logf("who came late found all three within %v", time.Since(begin).Round(time.Millisecond))
	for _, p := range append(append(announcers, browsers...), late) {
		p.end()
	}
}

func TestOnlyWhatTheServerListensOnIsAnnounced(t *testing.T) {
	lab := netlab.New(t, 2)
	host, other := lab.Hosts[0], lab.Hosts[1]
	if out, err := host.Command(t.Context(), "ip", "addr", "add", "10.77.0.100/24", "dev", "eth0").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	announcer(t, host, "second", "10.77.0.100:1")
	announcer(t, host, "six", "["+host.Addr6().String()+"]:2")
	announcer(t, host, "local", "[fe80::1%eth0]:3", "TLS=1")
	announcer(t, host, "first", host.Addr().String()+":4")
	b := browser(t, other)
	b.says("found http://10.77.0.100:1", soon)
	b.says("found http://["+host.Addr6().String()+"]:2", soon)
	b.says("found https://[fe80::1%25eth0]:3", soon)
	b.says("found "+at(host, 4), soon)
	b.end()
	if len(b.lines) != 5 {
		t.Errorf("more was found: %q", b.lines)
	}
}

func TestWhatIsMissingIsSaid(t *testing.T) {
	lab := netlab.New(t, 1)
	host := lab.Hosts[0]
	p := announcer(t, host, "x", "10.77.0.9:1")
	p.says("ended "+ErrNoInterface.Error()+"; the server listens on 10.77.0.9 alone 0", soon)
	if out, err := host.Command(t.Context(), "ip", "link", "set", "eth0", "down").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	for _, p := range []*player{browser(t, host), announcer(t, host, "x", "0.0.0.0:1")} {
		p.says("ended "+ErrNoInterface.Error()+" 0", soon)
	}
}

func TestNetworksComeAndGo(t *testing.T) {
	lab := netlab.New(t, 3)
	office, laptop, home := lab.Hosts[0], lab.Hosts[1], lab.Hosts[2]
	lab.Partition(office, laptop)
	announcer(t, home, "home", "0.0.0.0:1")
	b := browser(t, laptop)
	b.says("found "+at(home, 1), soon)
	a := announcer(t, office, "office", "0.0.0.0:3189")
	// The laptop is carried home and back, and has another address there.
	laptop.Unplug()
	if out, err := laptop.Command(t.Context(), "ip", "addr", "change", "10.77.0.150/24", "dev", "eth0").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	lab.Heal()
	laptop.Plug()
	took := b.says("found "+at(office, 3189), soon)
	t.Logf("found %v after the cable was plugged in", took.Round(time.Millisecond))
	// And the office's server moves: its interface gets another address.
	for _, change := range []string{"del 10.77.0.1/24", "add 10.77.0.151/24"} {
		args := append([]string{"addr"}, append(strings.Fields(change), "dev", "eth0")...)
		if out, err := office.Command(t.Context(), "ip", args...).CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
	}
	took = b.says("found http://10.77.0.151:3189", soon)
	t.Logf("found under its new address after %v", took.Round(time.Millisecond))
	a.end()
	b.end()
}

func TestFoundThroughLoss(t *testing.T) {
	lab := netlab.New(t, 2)
	lab.Lose(40)
	announcer(t, lab.Hosts[0], "office", "0.0.0.0:3189")
	took := browser(t, lab.Hosts[1]).says("found "+at(lab.Hosts[0], 3189), 90*time.Second)
	t.Logf("found with 40 %% lost in %v", took.Round(time.Millisecond))
}

// listener hears what is said on a lab's network.
func listener(t *testing.T, h *netlab.Host) *net.UDPConn {
	t.Helper()
	var conn *net.UDPConn
	err := h.Do(func() error {
		eth0, err := net.InterfaceByName("eth0")
		if err != nil {
			return err
		}
		conn, err = net.ListenMulticastUDP("udp4", eth0, &net.UDPAddr{IP: net.IPv4(224, 0, 0, 251), Port: port})
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return conn
}

// hears waits for a message that is wanted.
func hears(t *testing.T, conn *net.UDPConn, patience time.Duration, wanted func(message) bool) {
	t.Helper()
	conn.SetReadDeadline(time.Now().Add(patience))
	packet := make([]byte, maxPacket)
	for {
		n, err := conn.Read(packet)
		if err != nil {
			t.Fatal(err)
		}
		if m, err := parse(packet[:n]); err == nil && wanted(m) {
			return
		}
	}
}

func named(instance string, living bool) func(message) bool {
	return func(m message) bool {
		for _, s := range m.services {
			if m.response && s.instance == lower(instance+"."+serviceType) && (s.ttl > 0) == living {
				return true
			}
		}
		return false
	}
}

func TestNamesAreUniqueAndGoodbyesAreSaid(t *testing.T) {
	lab := netlab.New(t, 3)
	ear := listener(t, lab.Hosts[2])
	first := announcer(t, lab.Hosts[0], "Same", "0.0.0.0:3189")
	hears(t, ear, soon, named("Same", true))
	second := announcer(t, lab.Hosts[1], "same", "0.0.0.0:3189")
	hears(t, ear, soon, named("same (2)", true))
	first.end()
	hears(t, ear, soon, named("Same", false))
	second.end()
	hears(t, ear, soon, named("same (2)", false))
}

// TestTwoAtOnce starts two of one name in the same moment, on one computer.
func TestTwoAtOnce(t *testing.T) {
	lab := netlab.New(t, 2)
	ear := listener(t, lab.Hosts[1])
	announcer(t, lab.Hosts[0], "twin", "0.0.0.0:1")
	announcer(t, lab.Hosts[0], "twin", "0.0.0.0:2")
	hosts := map[string]string{}
	hears(t, ear, soon, func(m message) bool {
		for _, s := range m.services {
			if m.response {
				hosts[s.instance] = s.host
			}
		}
		one, two := hosts["twin."+serviceType], hosts["twin (2)."+serviceType]
		return one != "" && two != "" && one != two
	})
}

// TestFlood sends what made other responders stall: thousands of questions in
// few packets, and answers without number. The announcer still answers, the
// browser still finds, and both end at once and small.
func TestFlood(t *testing.T) {
	lab := netlab.New(t, 3)
	b := browser(t, lab.Hosts[1])
	ear := listener(t, lab.Hosts[2])
	a := announcer(t, lab.Hosts[0], "office", "0.0.0.0:3189")
	b.says("found "+at(lab.Hosts[0], 3189), soon)

	var mouth *net.UDPConn
	group := &net.UDPAddr{IP: net.IPv4(224, 0, 0, 251), Port: port}
	if out, err := lab.Hosts[2].Command(t.Context(), "ip", "route", "add", "224.0.0.0/4", "dev", "eth0").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	if err := lab.Hosts[2].Do(func() (err error) {
		mouth, err = net.ListenUDP("udp4", &net.UDPAddr{IP: lab.Hosts[2].Addr().AsSlice()})
		return err
	}); err != nil {
		t.Fatal(err)
	}
	defer mouth.Close()
	packets := hostilePackets(t)
	for range 100 {
		for _, p := range packets {
			mouth.WriteTo(p, group)
		}
	}
	question, err := query()
	if err != nil {
		t.Fatal(err)
	}
	mouth.WriteTo(question, group)
	hears(t, ear, soon, named("office", true))
	for _, p := range []*player{a, b} {
		if kb := residentKB(t, p.cmd.Process.Pid); kb > 60<<10 {
			t.Errorf("after the flood it has %d kB", kb)
		}
		begin := time.Now()
		p.end()
		if took := time.Since(begin); took > 5*time.Second {
			t.Errorf("it took %v to end", took)
		}
	}
	if n := len(b.lines); n > maxKnown+5 {
		t.Errorf("the browser told of %d addresses", n)
	}
}

func residentKB(t *testing.T, pid int) (kb int) {
	t.Helper()
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(status), "VmRSS:")
	if _, err := fmt.Sscan(rest, &kb); err != nil {
		t.Fatal(err)
	}
	return kb
}
