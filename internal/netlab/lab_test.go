package netlab

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"
)

// echo answers on a host's port 7 until the test ends.
func echo(t *testing.T, h *Host) string {
	t.Helper()
	ln, err := h.Listen(t.Context(), 7)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ln.Close() })
	go func() {
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close()
				io.Copy(conn, conn)
			}()
		}
	}()
	return ln.Addr().String()
}

func dial(t *testing.T, from *Host, address string, patience time.Duration) (net.Conn, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	conn, err := from.DialContext(ctx, "tcp", address)
	if err == nil {
		t.Cleanup(func() { conn.Close() })
	}
	return conn, err
}

// said sends a line and gives what came back before the patience ended.
func said(conn net.Conn, line string, patience time.Duration) (string, error) {
	conn.SetDeadline(time.Now().Add(patience))
	if _, err := io.WriteString(conn, line+"\n"); err != nil {
		return "", err
	}
	answer := make([]byte, len(line)+1)
	_, err := io.ReadFull(conn, answer)
	return strings.TrimSpace(string(answer)), err
}

func TestHostsReachEachOtherAndNobodyElse(t *testing.T) {
	lab := New(t, 3)
	for i, server := range lab.Hosts {
		address := echo(t, server)
		client := lab.Hosts[(i+1)%3]
		conn, err := dial(t, client, address, 5*time.Second)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := said(conn, "hello", 5*time.Second); got != "hello" || err != nil {
			t.Fatalf("%s over %s: %q, %v", client.Name(), server.Name(), got, err)
		}
		if from := netip.MustParseAddrPort(conn.LocalAddr().String()).Addr(); from != client.Addr() {
			t.Errorf("%s speaks from %v, want %v", client.Name(), from, client.Addr())
		}
	}
	if conn, err := dial(t, lab.Hosts[0], "192.0.2.1:7", time.Second); err == nil {
		t.Errorf("a host reached outside: %v", conn.RemoteAddr())
	}
	if conn, err := dial(t, lab.Hosts[0], "localhost:7", time.Second); err == nil {
		t.Errorf("a name was looked up: %v", conn.RemoteAddr())
	}
	// This process itself is where it was.
	interfaces, err := net.Interfaces()
	if err != nil {
		t.Fatal(err)
	}
	for _, i := range interfaces {
		addrs, _ := i.Addrs()
		for _, a := range addrs {
			if strings.HasPrefix(a.String(), "10.77.0.") {
				t.Errorf("the machine itself has %v on %s", a, i.Name)
			}
		}
	}
}

func TestLabsAreApart(t *testing.T) {
	one, two := New(t, 1), New(t, 2)
	address := echo(t, one.Hosts[0]) // 10.77.0.1, as in the other lab
	conn, err := dial(t, two.Hosts[1], address, time.Second)
	if err == nil {
		t.Errorf("a host of one lab reached %v of another", conn.RemoteAddr())
	}
}

func TestCommandRunsOnItsHost(t *testing.T) {
	lab := New(t, 2)
	for _, h := range lab.Hosts {
		out, err := h.Command(t.Context(), "ip", "-o", "addr").CombinedOutput()
		if err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		for _, want := range []string{h.Addr().String() + "/24", h.Addr6().String() + "/64", "fe80::", "127.0.0.1/8"} {
			if !strings.Contains(string(out), want) {
				t.Errorf("%s does not have %s:\n%s", h.Name(), want, out)
			}
		}
	}
	sleep := lab.Hosts[0].Command(t.Context(), "sleep", "1000")
	if err := sleep.Start(); err != nil {
		t.Fatal(err)
	}
	sleep.Process.Kill()
	err := sleep.Wait()
	var exit *exec.ExitError
	if !errors.As(err, &exit) || exit.Sys().(syscall.WaitStatus).Signal() != syscall.SIGKILL {
		t.Errorf("the killed program ended with %v", err)
	}
}

func TestPartition(t *testing.T) {
	lab := New(t, 3)
	a, b, c := lab.Hosts[0], lab.Hosts[1], lab.Hosts[2]
	address := echo(t, b)
	near, err := dial(t, a, address, 5*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	far, err := dial(t, c, address, 5*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	lab.Partition(b, a)
	if got, err := said(near, "cut", 500*time.Millisecond); err == nil {
		t.Errorf("through a partition came %q", got)
	}
	if _, err := dial(t, a, address, 500*time.Millisecond); err == nil {
		t.Error("a partition let a new connection pass")
	}
	if got, err := said(far, "third", 5*time.Second); got != "third" || err != nil {
		t.Errorf("the third host was cut off too: %q, %v", got, err)
	}
	lab.Heal()
	if conn, err := dial(t, a, address, 5*time.Second); err != nil {
		t.Errorf("after healing: %v", err)
	} else if got, err := said(conn, "again", 5*time.Second); got != "again" || err != nil {
		t.Errorf("after healing: %q, %v", got, err)
	}
	// What was said into the partition arrives once TCP repeats it.
	near.SetDeadline(time.Now().Add(20 * time.Second))
	if line, err := bufio.NewReader(near).ReadString('\n'); line != "cut\n" {
		t.Errorf("the old connection gave %q, %v", line, err)
	}
}

func TestUnplug(t *testing.T) {
	lab := New(t, 2)
	a, b := lab.Hosts[0], lab.Hosts[1]
	address := echo(t, b)
	b.Unplug()
	if _, err := dial(t, a, address, 500*time.Millisecond); err == nil {
		t.Error("a host without a cable was reached")
	}
	out, err := b.Command(t.Context(), "ip", "-o", "link", "show", "eth0").Output()
	if err != nil || !strings.Contains(string(out), "NO-CARRIER") {
		t.Errorf("the host does not see that its cable is out: %v\n%s", err, out)
	}
	b.Plug()
	if _, err := dial(t, a, address, 5*time.Second); err != nil {
		t.Errorf("after plugging: %v", err)
	}
}

// packets sends n datagrams to group or host from a and says how many reach b.
func packets(t *testing.T, a, b *Host, to *net.UDPAddr, n int) int {
	t.Helper()
	var sender, receiver net.PacketConn
	open := func(h *Host, f func() error) {
		t.Helper()
		if err := h.Do(f); err != nil {
			t.Fatal(err)
		}
	}
	open(b, func() (err error) {
		if to.IP.IsMulticast() {
			eth0, err := net.InterfaceByName("eth0")
			if err != nil {
				return err
			}
			receiver, err = net.ListenMulticastUDP("udp4", eth0, to)
			return err
		}
		receiver, err = net.ListenUDP("udp4", to)
		return err
	})
	defer receiver.Close()
	open(a, func() (err error) {
		sender, err = net.ListenUDP("udp4", &net.UDPAddr{IP: a.Addr().AsSlice()})
		return err
	})
	defer sender.Close()
	buf := make([]byte, 16)
	got := 0
	for i := range n {
		if _, err := sender.WriteTo(fmt.Append(nil, i), to); err != nil {
			t.Fatal(err)
		}
		if i%50 == 49 || i == n-1 { // the receiver's buffer never fills
			for {
				receiver.SetReadDeadline(time.Now().Add(100 * time.Millisecond))
				if _, _, err := receiver.ReadFrom(buf); err != nil {
					break
				}
				got++
			}
		}
	}
	return got
}

func TestLossAndMulticast(t *testing.T) {
	lab := New(t, 2)
	a, b := lab.Hosts[0], lab.Hosts[1]
	if out, err := a.Command(t.Context(), "ip", "route", "add", "224.0.0.0/4", "dev", "eth0").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	group := &net.UDPAddr{IP: net.IPv4(224, 0, 0, 251), Port: 5353}
	if got := packets(t, a, b, group, 100); got != 100 {
		t.Errorf("of 100 multicasts %d arrived", got)
	}
	lab.Lose(30)
	if got := packets(t, a, b, group, 1000); got < 600 || got > 800 {
		t.Errorf("with 30 %% lost, %d of 1000 multicasts arrived", got)
	}
	lab.Lose(200)
	if got := packets(t, a, b, group, 50); got != 0 {
		t.Errorf("with all lost, %d arrived", got)
	}
	lab.Heal()
	if got := packets(t, a, b, &net.UDPAddr{IP: b.Addr().AsSlice(), Port: 5353}, 100); got != 100 {
		t.Errorf("after healing %d of 100 arrived", got)
	}
}

func namespaces(t *testing.T, pid int) (names []string) {
	t.Helper()
	entries, err := os.ReadDir(netnsDir)
	if err != nil && !os.IsNotExist(err) {
		t.Fatal(err)
	}
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), fmt.Sprintf("%s%d-", prefix, pid)) {
			names = append(names, e.Name())
		}
	}
	return names
}

func TestNothingIsLeftBehind(t *testing.T) {
	before := len(namespaces(t, os.Getpid()))
	var sleep *exec.Cmd
	t.Run("lab", func(t *testing.T) {
		lab := New(t, 2)
		sleep = lab.Hosts[1].Command(context.Background(), "sleep", "1000")
		startSleep(t, sleep)
	})
	if sleep == nil {
		t.SkipNow()
	}
	if err := sleep.Wait(); err == nil || err.Error() != "signal: killed" {
		t.Errorf("what ran in the lab ended with %v", err)
	}
	if after := namespaces(t, os.Getpid()); len(after) != before {
		t.Errorf("there were %d namespaces, there are %v", before, after)
	}
}

// TestKilledLabIsRemoved kills a test process that has a lab, and the next lab
// anywhere removes what it left.
func TestKilledLabIsRemoved(t *testing.T) {
	if os.Getenv("NETLAB_DIE") == "1" {
		lab := New(t, 2)
		sleep := lab.Hosts[0].Command(context.Background(), "sleep", "1000")
		startSleep(t, sleep)
		fmt.Println("made", len(namespaces(t, os.Getpid())), "and", sleep.Process.Pid)
		self, _ := os.FindProcess(os.Getpid())
		self.Kill()
		select {}
	}
	New(t, 1) // skips where there is no lab at all
	cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestKilledLabIsRemoved$")
	cmd.Env = append(os.Environ(), "NETLAB_DIE=1")
	out, err := cmd.Output()
	var made, pid int
	if _, scan := fmt.Sscanf(string(out), "made %d and %d", &made, &pid); scan != nil || made != 3 || err == nil || err.Error() != "signal: killed" {
		t.Fatalf("the helper was not killed with a lab: %v\n%s", err, out)
	}
	New(t, 1)
	if left := namespaces(t, cmd.Process.Pid); len(left) != 0 {
		t.Errorf("still there: %v", left)
	}
	// Its program ends, even if nobody waits for it.
	waitFor(t, "its program ends", func() bool { return !sleeps(pid) })
}

// startSleep starts sleep on a host and waits until it is there: ip starts
// first, outside, and only then enters and becomes the program.
func startSleep(t *testing.T, sleep *exec.Cmd) {
	t.Helper()
	if err := sleep.Start(); err != nil {
		t.Fatal(err)
	}
	waitFor(t, "the program runs", func() bool { return sleeps(sleep.Process.Pid) })
}

func sleeps(pid int) bool {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	return err == nil && strings.Contains(string(stat), " (sleep) S ")
}

func waitFor(t *testing.T, what string, so func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); !so(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("after %v it is still not so that %s", patience, what)
		}
	}
}

// judged records how a test would have ended.
type judged struct {
	testing.TB
	ended string
}

func (j *judged) Helper() {}
func (j *judged) Skipf(format string, args ...any) {
	j.ended = "skipped: " + fmt.Sprintf(format, args...)
}
func (j *judged) Fatalf(format string, args ...any) {
	j.ended = "failed: " + fmt.Sprintf(format, args...)
}

func TestRefusal(t *testing.T) {
	for require, want := range map[string]string{"": "skipped: ", "0": "skipped: ", "1": "failed: "} {
		t.Setenv("NETNS_TEST_REQUIRE", require)
		j := &judged{TB: t}
		refuse(j, "it needs root")
		if !strings.HasPrefix(j.ended, want) || !strings.HasSuffix(j.ended, "it needs root") {
			t.Errorf("NETNS_TEST_REQUIRE=%s: %q", require, j.ended)
		}
	}
}
