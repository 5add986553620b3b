//go:build cgo && gousb && linux

package usb

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

// plug shows a device as the kernel does.
func plug(t testing.TB, root, place string, attributes map[string]string) {
	t.Helper()
	for name, text := range map[string]string{
		"busnum": "1", "devnum": "2", "idVendor": "1209", "idProduct": "0001", "serial": "A1", "bNumInterfaces": " 1",
		place + ":1.0/bInterfaceClass": "ff", place + ":1.0/bInterfaceSubClass": "53", place + ":1.0/bInterfaceProtocol": "01",
	} {
		if other, ok := attributes[name]; ok {
			text = other
		}
		file := filepath.Join(root, place, name)
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(text+"\n"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

func newTestSysfs(root string) *sysfs {
	return newSysfs(root, (*Options)(nil).withDefaults(), func(f func()) { go f() })
}

func TestSysfs(t *testing.T) {
	root := t.TempDir()
	s := newTestSysfs(root)
	list := func() (places []string) {
		t.Helper()
		found, err := s.list()
		if err != nil {
			t.Fatal(err)
		}
		for _, p := range found {
			places = append(places, p.place+" "+p.serial)
		}
		return places
	}
	want := func(what string, want ...string) {
		t.Helper()
		if diff := cmp.Diff(want, list()); diff != "" {
			t.Errorf("%s (-want +got):\n%s", what, diff)
		}
	}
	want("nothing")
	plug(t, root, "usb1", nil)
	plug(t, root, "1-1", map[string]string{"idVendor": "046d"})
	plug(t, root, "1-2", map[string]string{"1-2:1.0/bInterfaceProtocol": "02"})
	plug(t, root, "1-3", map[string]string{"devnum": "-5"})
	plug(t, root, "1-4", map[string]string{"busnum": "99999999999999999999"})
	want("devices that are no keys")
	plug(t, root, "1-5.2", map[string]string{"serial": "a key\x1b[2J\u202eof \xff evil-1" + strings.Repeat("x", 100)})
	want("a key with an evil serial number", "1-5.2 akey2Jofevil-1"+strings.Repeat("x", 50))
	if err := os.RemoveAll(filepath.Join(root, "1-5.2")); err != nil {
		t.Fatal(err)
	}
	plug(t, root, "1-5.2", map[string]string{"serial": "B2", "devnum": "3"})
	want("another one in its place", "1-5.2 B2")
	if err := os.RemoveAll(filepath.Join(root, "1-5.2")); err != nil {
		t.Fatal(err)
	}
	want("pulled out")
	none := newTestSysfs(filepath.Join(root, "no such directory"))
	if found, err := none.list(); err != nil || len(found) != 0 {
		t.Errorf("a computer without USB: %v, %v", found, err)
	}
}

// The kernel lists a device first and takes it in then: its interfaces come one by one,
// the directory of each before what is in it. Whatever a look at it meets, a later one
// finds the key, although the link in the list has not changed.
func TestSysfsComing(t *testing.T) {
	root, devices := t.TempDir(), t.TempDir()
	show := func(name, text string) {
		t.Helper()
		file := filepath.Join(devices, "1-6", name)
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink(filepath.Join(devices, "1-6"), filepath.Join(root, "1-6")); err != nil {
		t.Fatal(err)
	}
	s := newTestSysfs(root)
	steps := [][2]string{
		{"idVendor", "1209\n"}, {"idProduct", "0001\n"}, {"busnum", "1\n"}, {"devnum", "2\n"}, {"serial", "A1\n"},
		{"bNumInterfaces", ""}, // no configuration yet
		{"bNumInterfaces", " 2\n"},
		{"1-6:1.0/power", ""}, // a directory without attributes
		{"1-6:1.0/bInterfaceClass", "03\n"}, {"1-6:1.0/bInterfaceSubClass", "00\n"}, {"1-6:1.0/bInterfaceProtocol", "00\n"},
		{"1-6:1.1/power", ""},
		{"1-6:1.1/bInterfaceClass", "ff\n"}, {"1-6:1.1/bInterfaceSubClass", "53\n"}, {"1-6:1.1/bInterfaceProtocol", "01\n"},
	}
	show("descriptors", "")
	for i, step := range steps {
		show(step[0], step[1])
		found, err := s.list()
		if last := i == len(steps)-1; err != nil || last != (len(found) == 1) {
			t.Errorf("after %s: %v, %v", step[0], found, err)
		}
		if want := i > 0 && i < len(steps)-1; want != (s.silent() == 1) { // before, nobody knows its ids
			t.Errorf("after %s: %d silent devices", step[0], s.silent())
		}
	}
	show("serial", "B2\n")
	if found, err := s.list(); err != nil || len(found) != 1 || found[0].serial != "A1" {
		t.Errorf("a key that is whole is looked at again each time: %v, %v", found, err)
	}
}

// The kernel may forget the link of a device and make it again. That is the same device,
// which is looked at no more, and stays in the list while it does not answer.
func TestSysfsForgetful(t *testing.T) {
	root, devices := t.TempDir(), t.TempDir()
	plug(t, devices, "1-7", nil)
	link := filepath.Join(root, "1-7")
	if err := os.Symlink(filepath.Join(devices, "1-7"), link); err != nil {
		t.Fatal(err)
	}
	s := newTestSysfs(root)
	want := func(what, serial string) {
		t.Helper()
		found, err := s.list()
		if err != nil || len(found) != 1 || found[0].serial != serial {
			t.Errorf("%s: %v, %v", what, found, err)
		}
	}
	want("plugged in", "A1")
	for _, step := range []struct{ what, address, serial string }{
		{"forgotten", "2", "A1"}, {"another one under the link's number", "3", "B2"},
	} {
		plug(t, devices, "1-7", map[string]string{"serial": "B2", "devnum": step.address})
		before := s.seen["1-7"].stamp
		for s.seen["1-7"].stamp == before { // time moves on in steps
			if err := os.Lchown(link, os.Getuid(), os.Getgid()); err != nil {
				t.Fatal(err)
			}
			if _, err := s.list(); err != nil {
				t.Fatal(err)
			}
		}
		want(step.what, step.serial)
	}
}

func TestNames(t *testing.T) {
	at := func(place, serial string) plugged { return plugged{place: place, serial: serial} }
	var before []named
	for _, step := range []struct {
		what  string
		found []plugged
		want  string
	}{
		{"by serial number", []plugged{at("1-2", "B"), at("1-1", "A")}, "usb:A=1-1 usb:B=1-2"},
		{"moved to another port", []plugged{at("1-1", "A"), at("3-1", "B")}, "usb:A=1-1 usb:B=3-1"},
		{"a second one in front keeps behind", []plugged{at("1-0", "A"), at("1-1", "A")}, "usb:A=1-1 usb:A@1-0=1-0"},
		{"the first is gone, the second keeps its name", []plugged{at("1-0", "A")}, "usb:A@1-0=1-0"},
		{"without a serial number", []plugged{at("1-3", "")}, "usb:@1-3=1-3"},
	} {
		before = name(step.found, before)
		var got []string
		for _, n := range before {
			got = append(got, string(n.id)+"="+n.place)
		}
		if s := strings.Join(got, " "); s != step.want {
			t.Errorf("%s: %s, want %s", step.what, s, step.want)
		}
	}
}

// Descriptors are whatever a device likes them to be.
func TestHazardous(t *testing.T) {
	intf := func(number byte) []byte { return []byte{9, 4, number, 0, 0, 0xFF, 0, 0, 0} }
	device, configuration := append([]byte{18, 1}, make([]byte, 16)...), []byte{9, 2, 255, 0, 2, 1, 0, 0, 0}
	endpoint := []byte{7, 5, 1, 2, 0, 2, 0}
	with := func(b []byte, at int, value byte) []byte {
		b = bytes.Clone(b)
		b[at] = value
		return b
	}
	join := func(parts ...[]byte) (b []byte) {
		for _, p := range parts {
			b = append(b, p...)
		}
		return b
	}
	for _, c := range []struct {
		name string
		b    []byte
		want bool
	}{
		{"none", nil, false},
		{"two interfaces", join(device, configuration, intf(0), intf(1)), false},
		{"two settings", join(device, configuration, intf(0), intf(0), intf(1)), false},
		{"two configurations", join(device, configuration, intf(0), intf(1), configuration, intf(0), intf(1)), false},
		{"no end", join(device, configuration, intf(0), []byte{99}), false},
		{"no end before an endpoint", join(device, configuration, with(intf(0), 4, 2), []byte{178, 178, 178}), true},
		{"no end after an endpoint", join(device, configuration, with(intf(0), 4, 2), endpoint, []byte{178, 178, 178}), false},
		{"no end within the configuration", join(device, with(configuration, 2, 9+9+3), with(intf(0), 4, 2), []byte{4, 33, 0, 0}, endpoint), true},
		{"one comes back", join(device, configuration, intf(0), intf(1), intf(0)), true},
	} {
		if got := hazardous(c.b); got != c.want {
			t.Errorf("%s: %v", c.name, got)
		}
	}
	rapid.Check(t, func(t *rapid.T) { hazardous(rapid.SliceOf(rapid.Byte()).Draw(t, "descriptors")) }) // ends
}

// Keys are listed before each change of a pool.
func BenchmarkList(b *testing.B) {
	root := b.TempDir()
	for i := range 10 {
		plug(b, root, fmt.Sprintf("1-%d", i+1), map[string]string{"idVendor": "046d"})
	}
	plug(b, root, "2-1", nil)
	s := newTestSysfs(root)
	for b.Loop() {
		if found, err := s.list(); err != nil || len(found) != 1 {
			b.Fatal(found, err)
		}
	}
}
