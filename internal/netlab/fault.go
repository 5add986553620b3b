package netlab

import (
	"fmt"
	"maps"
	"os/exec"
	"slices"
	"strings"
)

// Partition lets nothing pass between two hosts any more, in either direction
// and of any kind. Open connections do not end: they hear nothing.
func (l *Lab) Partition(a, b *Host) {
	l.t.Helper()
	l.change(func() {
		l.cut[[2]string{a.name, b.name}] = true
		l.cut[[2]string{b.name, a.name}] = true
	})
}

// Lose loses that many of a hundred packets (0 to 100), chosen at random,
// between any two hosts.
func (l *Lab) Lose(percent int) {
	l.t.Helper()
	l.change(func() { l.percent = min(max(percent, 0), 100) })
}

// Heal ends every partition and every loss. An unplugged host stays unplugged.
func (l *Lab) Heal() {
	l.t.Helper()
	l.change(func() {
		clear(l.cut)
		l.percent = 0
	})
}

// change makes the switch's rules anew: the old ones hold until the new ones
// do, in one step.
func (l *Lab) change(edit func()) {
	l.t.Helper()
	l.mu.Lock()
	defer l.mu.Unlock()
	edit()
	if _, err := exec.LookPath("nft"); err != nil {
		if l.percent == 0 && len(l.cut) == 0 {
			return
		}
		refuse(l.t, "the program nft, which drops packets, is not installed (package nftables)")
	}
	out, err := run(l.rules(), "ip", "netns", "exec", l.switchNS, "nft", "-f", "-")
	if err != nil {
		l.t.Errorf("netlab: nft: %v: %s", err, out)
	}
}

func (l *Lab) rules() string {
	var b strings.Builder
	b.WriteString("add table bridge lab\ndelete table bridge lab\ntable bridge lab {\n\tchain forward {\n")
	b.WriteString("\t\ttype filter hook forward priority 0; policy accept;\n")
	for _, pair := range slices.SortedFunc(maps.Keys(l.cut), func(a, b [2]string) int { return slices.Compare(a[:], b[:]) }) {
		fmt.Fprintf(&b, "\t\tiifname %q oifname %q drop\n", pair[0], pair[1])
	}
	switch {
	case l.percent == 100: // nft's numbers end at 99
		b.WriteString("\t\tdrop\n")
	case l.percent > 0:
		fmt.Fprintf(&b, "\t\tnumgen random mod 100 < %d drop\n", l.percent)
	}
	b.WriteString("\t}\n}\n")
	return b.String()
}
