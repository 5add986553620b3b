// Package netlab is a network of a test's own: hosts in Linux network
// namespaces on one switch, with hands that cut, lose and unplug, and a proxy
// that fails a chosen request at a chosen moment.
//
// Nothing in a lab is connected to the machine's own network, and the machine's
// own network is never changed. A lab needs Linux, root and the program ip (and
// nft for what it drops); where they are missing the test is skipped, or fails
// if the environment says NETNS_TEST_REQUIRE=1.
package netlab

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

const (
	maxHosts = 200
	prefix   = "sojourn-lab-" // sojourn-lab-PID-NUMBER-HOST
	netnsDir = "/var/run/netns"
	// patience is how long one ip or nft command may take on a loaded machine.
	patience = 30 * time.Second
)

// Lab is a network with n hosts on one switch. It is safe for concurrent use.
type Lab struct {
	Hosts []*Host

	t        testing.TB
	switchNS string

	mu      sync.Mutex
	cut     map[[2]string]bool // ports between which nothing passes, in order
	percent int                // of the packets that are lost
}

var (
	labs      sync.Mutex
	labNumber int
)

// New builds a lab with n hosts, which is taken down when the test ends. Labs
// that dead test processes left behind are removed first.
func New(t testing.TB, n int) *Lab {
	t.Helper()
	if n < 1 || n > maxHosts {
		t.Fatalf("netlab: a lab has 1 to %d hosts, not %d", maxHosts, n)
	}
	if why := missing(); why != "" {
		refuse(t, why)
	}
	labs.Lock()
	removeStale(labNumber > 0)
	labNumber++
	name := fmt.Sprintf("%s%d-%d-", prefix, os.Getpid(), labNumber)
	labs.Unlock()

	l := &Lab{t: t, switchNS: name + "switch", cut: map[[2]string]bool{}}
	for i := range n {
		l.Hosts = append(l.Hosts, newHost(l, name, i))
	}
	t.Cleanup(l.close)
	if err := l.build(); err != nil {
		refuse(t, "this process may not make one, or the kernel cannot: "+err.Error())
	}
	return l
}

// missing says what a lab needs and this machine lacks, or "".
func missing() string {
	switch {
	case runtime.GOOS != "linux":
		return "network namespaces are a thing of Linux"
	case os.Geteuid() != 0:
		return "it needs root"
	}
	if _, err := exec.LookPath("ip"); err != nil {
		return "the program ip is not installed (package iproute2)"
	}
	return ""
}

// refuse ends a test that cannot have what it needs: skipped, or failed where
// the environment insists.
func refuse(t testing.TB, why string) {
	t.Helper()
	if os.Getenv("NETNS_TEST_REQUIRE") == "1" {
		t.Fatalf("netlab: no network of its own for this test, and NETNS_TEST_REQUIRE=1: %s", why)
	} else {
		t.Skipf("netlab: no network of its own for this test: %s", why)
	}
}

func (l *Lab) build() error {
	var spaces, wires, ports strings.Builder
	ports.WriteString("link add br0 type bridge mcast_snooping 0\nlink set br0 up\n")
	fmt.Fprintf(&spaces, "netns add %s\n", l.switchNS)
	for _, h := range l.Hosts {
		fmt.Fprintf(&spaces, "netns add %s\n", h.ns)
		fmt.Fprintf(&wires, "link add eth0 netns %s type veth peer name %s netns %s\n", h.ns, h.name, l.switchNS)
		fmt.Fprintf(&ports, "link set %s master br0 up\n", h.name)
	}
	for _, step := range []struct{ ns, commands string }{
		{"", spaces.String()}, {"", wires.String()}, {l.switchNS, ports.String()},
	} {
		if err := batch(step.ns, step.commands); err != nil {
			return err
		}
	}
	for _, h := range l.Hosts {
		if err := batch(h.ns, h.commands()); err != nil {
			return err
		}
	}
	return nil
}

// close ends what still runs inside the lab, and removes it.
func (l *Lab) close() {
	for _, h := range l.Hosts {
		if n := remove(h.ns); n > 0 {
			l.t.Logf("netlab: ended %d processes that still ran on host %s", n, h.name)
		}
	}
	remove(l.switchNS)
}

// remove ends the processes of a namespace, takes its name away and says how
// many processes there were. The kernel drops the namespace with its wires.
func remove(ns string) (ended int) {
	if out, err := ip("netns", "pids", ns); err == nil {
		for field := range strings.FieldsSeq(out) {
			pid, err := strconv.Atoi(field)
			if err != nil || pid == os.Getpid() { // a thread that just left its namespace
				continue
			}
			if p, err := os.FindProcess(pid); err == nil && p.Kill() == nil {
				ended++
			}
		}
	}
	ip("netns", "del", ns) // it may never have been made
	return ended
}

// removeStale removes labs of processes that died without cleaning up; ours
// lets those of this process live.
func removeStale(ours bool) {
	entries, err := os.ReadDir(netnsDir)
	if err != nil {
		return // no namespace was ever made here
	}
	for _, e := range entries {
		rest, found := strings.CutPrefix(e.Name(), prefix)
		pid, err := strconv.Atoi(strings.SplitN(rest, "-", 2)[0])
		if !found || err != nil {
			continue
		}
		if pid == os.Getpid() && ours || pid != os.Getpid() && alive(pid) {
			continue
		}
		remove(e.Name())
	}
}

func alive(pid int) bool {
	p, err := os.FindProcess(pid)
	return err == nil && p.Signal(syscall.Signal(0)) == nil
}

func ip(args ...string) (string, error) { return run("", "ip", args...) }

// batch runs ip's commands, one a line, in a namespace, or outside for "".
func batch(ns, commands string) error {
	args := []string{"-batch", "-"}
	if ns != "" {
		args = append([]string{"-n", ns}, args...)
	}
	out, err := run(commands, "ip", args...)
	if err != nil {
		return fmt.Errorf("ip %s: %w: %s\n%s", strings.Join(args, " "), err, out, commands)
	}
	return nil
}

func run(stdin, name string, args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Stdin = strings.NewReader(stdin)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	err := cmd.Run()
	return strings.TrimSpace(out.String()), err
}
